//! Loss and accuracy over a set, and over each of its classes.

use crate::Classifier;
use candle_core::{DType, Device, Result, Tensor, bail};
use candle_nn::ModuleT;
use msharp_core::{Alone, Batch, Communicator, DataSource};

/// What a classifier does on a set.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// The mean cross-entropy, without label smoothing; NaN where a sample's logits are not finite.
    pub loss: f64,
    /// Top-1: the share of samples whose largest logit is that of their label, in [0, 1]; of equal logits the first is
    /// the largest. A sample whose logits are not all finite is classified wrongly.
    pub accuracy: f64,
    /// Top-5: the share of samples whose label is among the five largest logits, in [0, 1].
    pub top5: f64,
    /// How many samples.
    pub samples: usize,
    /// How many of them have a logit that is not finite.
    pub not_finite: usize,
    /// `[k]`, the samples of each class.
    pub classes: Vec<ClassTally>,
}

/// The samples of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassTally {
    /// How many.
    pub samples: usize,
    /// How many of them are classified as such.
    pub correct: usize,
}

/// Evaluates a classifier over epoch 0 of `data`, in evaluation mode and without a graph. One forward pass over the
/// set.
///
/// # Errors
/// If there is no sample.
pub fn evaluate<M: ModuleT>(classifier: &Classifier<M>, data: &dyn DataSource) -> Result<Evaluation> {
    evaluate_over(&Alone, classifier, data)
}

/// As [`evaluate`], shared over ranks: each evaluates its share of every batch, and gets what all have found.
///
/// # Errors
/// As those.
pub fn evaluate_over<M: ModuleT>(
    ranks: &dyn Communicator,
    classifier: &Classifier<M>,
    data: &dyn DataSource,
) -> Result<Evaluation> {
    tally(ranks, |batch| classifier.logits(&batch.inputs, false), data)
}

/// As [`evaluate`], of any function from a batch to logits `[b, k]`: for a model that is no candle `ModuleT`, or that
/// needs the batch's key.
///
/// # Errors
/// If there is no sample, or as `logits`.
pub fn evaluate_logits(logits: impl Fn(&Batch) -> Result<Tensor>, data: &dyn DataSource) -> Result<Evaluation> {
    tally(&Alone, logits, data)
}

fn tally(
    ranks: &dyn Communicator,
    logits: impl Fn(&Batch) -> Result<Tensor>,
    data: &dyn DataSource,
) -> Result<Evaluation> {
    let (mut loss, mut top5, mut not_finite) = (0f64, 0, 0);
    let mut classes: Vec<ClassTally> = Vec::new();
    for batch in data.slices_from(0, 0, ranks.share()) {
        let batch = batch?;
        if batch.is_empty() && ranks.size() > 1 {
            continue; // of a few samples this rank has none
        }
        batch.check()?;
        let logits = msharp_ops::no_grad(|| logits(&batch))?.detach().to_device(&Device::Cpu)?;
        let targets = batch.targets.to_device(&Device::Cpu)?; // [b], and logits [b, k]
        let losses = msharp_ops::cross_entropy(&logits, &targets, 0.)?; // [b]
        loss += losses.to_dtype(DType::F64)?.sum_all()?.to_scalar::<f64>()?;
        classes.resize(classes.len().max(logits.dims()[1]), ClassTally::default());
        for (row, target) in logits.to_dtype(DType::F64)?.to_vec2::<f64>()?.iter().zip(targets.to_vec1::<u32>()?) {
            let rank = rank(row, target as usize);
            let class = &mut classes[target as usize];
            class.samples += 1;
            class.correct += usize::from(rank == Some(0));
            top5 += usize::from(rank.is_some_and(|rank| rank < 5));
            not_finite += usize::from(rank.is_none());
        }
    }
    if ranks.size() > 1 {
        (loss, top5, not_finite, classes) = sum_over(ranks, loss, top5, not_finite, &classes)?;
    }
    let sum = |count: fn(&ClassTally) -> usize| classes.iter().map(count).sum::<usize>();
    let samples = sum(|class| class.samples);
    if samples == 0 {
        bail!("cannot evaluate over a data source without batches")
    }
    Ok(Evaluation {
        loss: if not_finite == 0 { loss / samples as f64 } else { f64::NAN },
        accuracy: sum(|class| class.correct) as f64 / samples as f64,
        top5: top5 as f64 / samples as f64,
        samples,
        not_finite,
        classes,
    })
}

type Sums = (f64, usize, usize, Vec<ClassTally>);

/// Sums over the samples of each rank, added in the order of the ranks. Counts are exact in f64.
fn sum_over(
    ranks: &dyn Communicator,
    loss: f64,
    top5: usize,
    not_finite: usize,
    classes: &[ClassTally],
) -> Result<Sums> {
    let counts = [top5, not_finite].into_iter().chain(classes.iter().flat_map(|class| [class.samples, class.correct]));
    let numbers = std::iter::once(loss).chain(counts.map(|count| count as f64));
    let bytes: Vec<u8> = numbers.flat_map(f64::to_le_bytes).collect();
    let mut sums: Vec<f64> = Vec::new();
    for of_rank in ranks.gather(&bytes)? {
        let (numbers, _) = of_rank.as_chunks::<8>();
        sums.resize(sums.len().max(numbers.len()), 0.); // a rank without a sample knows no class
        sums.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += f64::from_le_bytes(*number));
    }
    let [loss, top5, not_finite, classes @ ..] = sums.as_slice() else { bail!("the ranks sent no sums") };
    let class = |pair: &[f64; 2]| ClassTally { samples: pair[0] as usize, correct: pair[1] as usize };
    Ok((*loss, *top5 as usize, *not_finite as usize, classes.as_chunks().0.iter().map(class).collect()))
}

/// How many logits come before that of `target` in falling order, of equal ones the first; none if one is not finite.
fn rank(logits: &[f64], target: usize) -> Option<usize> {
    let comes_before = |(i, x): (usize, &f64)| *x > logits[target] || (*x == logits[target] && i < target);
    let is_finite = logits.iter().all(|x| x.is_finite());
    is_finite.then(|| logits.iter().enumerate().filter(|entry| comes_before(*entry)).count())
}

/// Whether all logits of each sample are finite, `[b]`; logits `[b, k]`.
pub fn finite_rows(logits: &Tensor) -> Result<Vec<bool>> {
    let rows = logits.to_dtype(DType::F64)?.to_vec2::<f64>()?;
    Ok(rows.iter().map(|row| row.iter().all(|x| x.is_finite())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use msharp_core::{Batches, Key};

    struct One(Tensor);

    impl DataSource for One {
        fn steps(&self) -> usize {
            1
        }

        fn samples(&self) -> usize {
            self.0.dims()[0]
        }

        fn epoch_from(&self, _: usize, _: usize) -> Batches<'_> {
            let targets = Tensor::zeros(self.samples(), DType::U32, &Device::Cpu);
            Box::new(std::iter::once(targets.map(|targets| Batch::new(self.0.clone(), targets, Key::new(0)))))
        }
    }

    #[derive(Clone)]
    struct Identity;

    impl ModuleT for Identity {
        fn forward_t(&self, xs: &Tensor, _: bool) -> Result<Tensor> {
            Ok(xs.clone())
        }
    }

    /// Of logits that are no numbers the first class is the largest, which is the label here.
    #[test]
    fn logits_that_are_not_finite_are_wrong_and_counted() -> Result<()> {
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        let logits = Tensor::new(&[[2f32, 1.], [nan, nan], [inf, 0.], [0., 1.], [3., 0.]], &Device::Cpu)?;
        let found = evaluate(&Classifier::new(Identity), &One(logits.clone()))?;
        assert_eq!((found.accuracy, found.samples, found.not_finite), (0.4, 5, 2));
        assert!(found.loss.is_nan());
        let of_batch = evaluate_logits(|batch| batch.inputs.affine(-1., 0.), &One(logits.narrow(0, 3, 2)?))?;
        assert_eq!(of_batch.accuracy, 0.5, "the other of the two is right now");
        let found = evaluate(&Classifier::new(Identity), &One(logits.narrow(0, 3, 2)?))?;
        assert_eq!((found.accuracy, found.not_finite), (0.5, 0));
        assert!(found.loss.is_finite());
        Ok(())
    }

    #[test]
    fn the_five_largest_and_each_class_are_counted() -> Result<()> {
        let falling: [f32; 7] = std::array::from_fn(|i| -(i as f32));
        let ranks = [0, 4, 5, 6];
        let rows: Vec<f32> = ranks.iter().flat_map(|rank| (0..7).map(move |i| falling[(i + rank) % 7])).collect();
        let found = evaluate(&Classifier::new(Identity), &One(Tensor::from_vec(rows, (4, 7), &Device::Cpu)?))?;
        assert_eq!((found.accuracy, found.top5), (0.25, 0.5));
        assert_eq!(found.classes[0], ClassTally { samples: 4, correct: 1 });
        assert_eq!(found.classes[1..], [ClassTally::default(); 6]);
        let equal = Tensor::zeros((3, 7), DType::F32, &Device::Cpu)?;
        let found = evaluate(&Classifier::new(Identity), &One(equal))?;
        assert_eq!(found.accuracy, 1., "of equal logits the first is the largest");
        assert_eq!(rank(&[1., 1., 1.], 2), Some(2));
        Ok(())
    }
}
