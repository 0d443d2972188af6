//! Several ranks compute what one process computes: whole runs on threads, in f64.

use crate::problems::{bits, distance};
use candle_core::{DType, Device, Result, Tensor, bail};
use msharp_core::{
    Alone, Batch, BatchLoss, Batches, Communicator, Counted, DataSource, Objective, Params, Perturbation, Seeded,
    Share, Temperature,
};
use msharp_data::{Loader, synthetic};
use msharp_dist::{Metered, Ranks, Threads, Traffic};
use msharp_gradnorm::FiniteDifference;
use msharp_models::{Architecture, Model, Norm};
use msharp_perturb::{
    Descend, Friendly, L2, Mean, Micro, Plain, Sampa, Sharp, ae_sam, asam, esam, gsam, look_sam, m_sam, rw_sam, sam,
};
use msharp_train::{
    Checkpoint, CheckpointPolicy, Classifier, Control, Observer, Outcome, Progress, Schedule, Sgd, StepReport, Task,
    evaluate, evaluate_over, fit,
};
use std::path::Path;
use std::sync::Arc;

/// Images in f64, 64 of them in batches of 16, cropped and flipped.
pub struct InF64(Loader);

impl InF64 {
    pub fn new() -> Self {
        Self(Loader { prefetch: 0, ..Loader::train(Arc::new(synthetic(64, 0, 1).train), 16, 5) })
    }
}

impl DataSource for InF64 {
    fn steps(&self) -> usize {
        self.0.steps()
    }

    fn samples(&self) -> usize {
        self.0.samples()
    }

    fn epoch_from(&self, epoch: usize, step: usize) -> Batches<'_> {
        self.slices_from(epoch, step, Share::WHOLE)
    }

    fn slices_from(&self, epoch: usize, step: usize, share: Share) -> Batches<'_> {
        let in_f64 = |batch: Batch| Ok(Batch { inputs: batch.inputs.to_dtype(DType::F64)?, ..batch });
        Box::new(self.0.slices_from(epoch, step, share).map(move |batch| in_f64(batch?)))
    }
}

pub fn resnet8(norm: Norm) -> Result<(Classifier<Model>, Params)> {
    let init = Seeded::new(3, DType::F64, &Device::Cpu);
    let model = Architecture::ResNet8.build(norm, 10, init.var_builder())?;
    Ok((Classifier::new(model), init.params()?))
}

pub type MakeRule = fn() -> Box<dyn Perturbation>;

/// What a rank ends with.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    pub weights: Vec<f64>,
    pub losses: Vec<f64>,
    pub samples: usize,
}

/// Losses of the steps; stops after so many epochs.
pub struct Watched(pub Vec<f64>, pub usize);

impl Observer for Watched {
    fn step(&mut self, report: &StepReport) -> Result<Control> {
        self.0.extend(report.loss);
        Ok(Control::Continue)
    }

    fn epoch(&mut self, progress: &Progress) -> Result<Control> {
        Ok(if progress.epoch == self.1 { Control::Stop } else { Control::Continue })
    }
}

/// ResNet-8 with group normalisation over `epochs` epochs of 4 steps, or on from the checkpoint at `path`, until `stop`
/// epochs are done.
fn train(ranks: &dyn Communicator, rule: MakeRule, epochs: usize, checkpoint: Option<(&Path, usize)>) -> Result<End> {
    let ((classifier, params), mut rule) = (resnet8(Norm::Group(8))?, rule());
    let mut sgd = Sgd { momentum: 0.9, ..Sgd::default() };
    let (mut progress, mut observer) = (Progress::default(), Watched(Vec::new(), usize::MAX));
    if let Some((path, stop)) = checkpoint {
        observer.1 = stop;
        progress = Checkpoint::resume_or_start(path, "", &params, &mut sgd, &mut rule)?;
        ranks.barrier()?; // before rank 0 replaces it
    }
    let (data, policy) = (InF64::new(), checkpoint.map(|(path, _)| CheckpointPolicy::new(path, "")));
    let task = Task::new(&classifier, &params, &mut rule, &mut sgd, &data, epochs, Schedule::cosine(0.05));
    let (_, progress) = fit(Task { ranks, checkpoint: policy, ..task }, progress, &mut observer)?;
    let weights = params.iter().map(|param| param.var.flatten_all()?.to_vec1::<f64>()).collect::<Result<Vec<_>>>()?;
    Ok(End { weights: weights.concat(), losses: observer.0, samples: progress.whole_run.samples })
}

/// What `f` yields on each of `size` threads.
pub fn on_ranks<T: Send>(size: usize, f: impl Fn(&Ranks<Metered<Threads>>) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let start = |rank| scope.spawn(|| f(&Ranks(Metered::new(rank))));
        let ranks: Vec<_> = Threads::new(size).into_iter().map(start).collect();
        ranks.into_iter().map(|rank| rank.join().expect("no panic")).collect()
    })
}

/// The one end of all ranks.
fn end(size: usize, rule: MakeRule, epochs: usize, checkpoint: Option<(&Path, usize)>) -> Result<End> {
    let ends = on_ranks(size, |ranks| train(ranks, rule, epochs, checkpoint));
    let mut ends = ends.into_iter().collect::<Result<Vec<End>>>()?;
    let last = ends.pop().expect("at least one rank");
    assert!(ends.iter().all(|end| *end == last), "the ranks end differently");
    Ok(last)
}

#[track_caller]
pub fn assert_near(found: &End, expected: &End, tolerance: f64, what: &str) {
    let off = distance(&found.weights, &expected.weights);
    let losses = distance(&found.losses, &expected.losses);
    println!("{what}: weights {off:.1e}, losses {losses:.1e}");
    assert!(off < tolerance && losses < tolerance, "{what}: weights {off:e}, losses {losses:e}");
    assert_eq!(found.samples, expected.samples);
}

/// SAM, whose perturbation is of all samples, and m-SAM with m = 4, over 20 steps.
#[test]
fn any_number_of_ranks_trains_as_one_process_and_repeats_to_the_bit() -> Result<()> {
    for (name, rule) in [("SAM", (|| Box::new(sam(0.05))) as MakeRule), ("m-SAM, m = 4", || Box::new(m_sam(0.05, 4)))] {
        let alone = train(&Alone, rule, 5, None)?;
        assert_eq!(alone.losses.len(), 20);
        for size in [2, 4] {
            let found = end(size, rule, 5, None)?;
            assert_near(&found, &alone, 1e-9, &format!("{name}, {size} ranks"));
            if size == 4 {
                assert!(end(size, rule, 5, None)? == found, "{name}: other bits when repeated");
            }
        }
    }
    Ok(())
}

/// Reweighted, selected and adaptive rules, and an estimator's probes: 4 steps on 3 ranks, of which the last has fewer
/// samples.
#[test]
fn every_kind_of_rule_computes_on_ranks_what_it_computes_alone() -> Result<()> {
    let rules: [(&str, MakeRule); 8] = [
        ("plain", || Box::new(Plain)),
        ("ASAM", || Box::new(asam(0.5))),
        ("GSAM", || Box::new(gsam(0.05, 0.3, 0.))),
        ("ESAM", || Box::new(esam(0.05, 0.6, 0.5))),
        ("AE-SAM", || Box::new(ae_sam(0.05))),
        ("RW-SAM", || Box::new(rw_sam(0.05, Temperature::EffectiveSize(6.), FiniteDifference::default()))),
        ("Friendly SAM", || {
            Box::new(Sharp { ascent: Mean, offset: Friendly::new(L2 { rho: 0.05 }, 1., 0.6), combine: Descend })
        }),
        ("LookSAM", || Box::new(look_sam(0.05, 2, 0.7))),
    ];
    let mut ends: Vec<Vec<u64>> = Vec::new();
    for (name, rule) in rules {
        let alone = train(&Alone, rule, 1, None)?;
        assert_near(&end(3, rule, 1, None)?, &alone, 1e-8, name);
        ends.push(alone.weights.iter().map(|weight| weight.to_bits()).collect());
    }
    ends.sort();
    assert!(ends.windows(2).all(|pair| pair[0] != pair[1]), "two of the rules are one");
    // m-RW-SAM has the probes of its micro-batches on whichever rank they are.
    let micro: MakeRule = || {
        let inner = rw_sam(0.05, Temperature::EffectiveSize(2.), FiniteDifference::default());
        Box::new(Micro::new(inner, 4))
    };
    let alone = train(&Alone, micro, 1, None)?;
    for size in [2, 4] {
        assert_near(&end(size, micro, 1, None)?, &alone, 1e-8, &format!("m-RW-SAM, {size} ranks"));
    }
    Ok(())
}

/// On two ranks each half has whole batches, as one process has: the same bits, also on from a checkpoint with another
/// number of ranks. Each rank makes about one pass of a step, where one process makes two.
#[test]
fn sampa_has_a_gradient_on_each_half_of_the_ranks() -> Result<()> {
    let rule: MakeRule = || Box::new(Sampa::new(0.05, 0.2));
    let alone = train(&Alone, rule, 2, None)?;
    assert!(end(2, rule, 2, None)? == alone, "other bits on two ranks");
    let four = end(4, rule, 2, None)?;
    let off = distance(&four.weights, &alone.weights);
    assert!(off < 1e-9 && four.samples == alone.samples, "4 ranks end {off:e} away");
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("checkpoint");
    train(&Alone, rule, 2, Some((&path, 1)))?;
    assert_eq!(end(2, rule, 2, Some((&path, usize::MAX)))?.weights, alone.weights, "on from one process");

    let passes = on_ranks(2, |ranks| -> Result<Vec<(u64, u64)>> {
        let ((classifier, params), mut rule) = (resnet8(Norm::Group(8))?, rule());
        let counted = Counted::new(&classifier);
        let batches = InF64::new();
        let point = Schedule::cosine(0.05).at(0, 1);
        let step = |batch: Result<Batch>| {
            rule.gradient(BatchLoss::new(&counted, &params, &batch?.at(point)).over(ranks))?;
            Ok(counted.take())
        };
        batches.slices_from(0, 0, ranks.share()).map(step).collect()
    });
    let passes = passes.into_iter().collect::<Result<Vec<_>>>()?;
    assert_eq!(passes[0], [(32, 32), (16, 16), (16, 16), (16, 16)], "the first half makes the pass for g₀ too");
    assert_eq!(passes[1], [(16, 16); 4]);
    Ok(())
}

/// Bytes of one step on rank 0 of 4: those of the step itself, without the comparisons around it.
fn bytes_of_a_step(rule: MakeRule) -> Result<(usize, usize)> {
    let found = on_ranks(4, |ranks| {
        let ((classifier, params), mut rule) = (resnet8(Norm::Group(8))?, rule());
        let Some(batch) = InF64::new().slices_from(0, 0, ranks.share()).next() else { bail!("no batch") };
        rule.gradient(BatchLoss::new(&classifier, &params, &batch?).over(ranks))?;
        let Traffic { bytes, .. } = ranks.0.traffic();
        Ok((bytes, params.count()))
    });
    found.into_iter().next().expect("a rank")
}

#[test]
fn local_sam_sends_what_sgd_sends_and_global_sam_twice_that() -> Result<()> {
    let (plain, d) = bytes_of_a_step(|| Box::new(Plain))?;
    let chunk = 8 * d.div_ceil(4);
    assert_eq!(plain, 3 * (8 + chunk) + 3 * chunk, "2 (n − 1)/n · d numbers, and a weight for each other rank");
    assert_eq!(bytes_of_a_step(|| Box::new(m_sam(0.05, 4)))?.0, plain);
    assert_eq!(bytes_of_a_step(|| Box::new(m_sam(0.05, 2)))?.0, plain);
    assert_eq!(bytes_of_a_step(|| Box::new(sam(0.05)))?.0, 2 * plain);
    Ok(())
}

#[test]
fn a_run_goes_on_with_any_number_of_ranks() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let rule: MakeRule = || Box::new(m_sam(0.05, 4));
    let whole = end(2, rule, 3, None)?;
    for (before, after) in [(2, 2), (2, 4), (4, 1), (1, 2)] {
        let path = folder.path().join(format!("{before}-{after}.safetensors"));
        let first = end(before, rule, 3, Some((&path, 1)))?;
        let mut rest = end(after, rule, 3, Some((&path, 9)))?;
        rest.losses = [first.losses, rest.losses].concat();
        assert_near(&rest, &whole, 1e-9, &format!("{before}, then {after} ranks"));
        assert_eq!(rest == whole, (before, after) == (2, 2), "{before}, then {after} ranks: the bits");
    }
    Ok(())
}

/// Running statistics are those of rank 0, and all evaluate with them.
#[test]
fn evaluation_is_shared_and_running_statistics_are_those_of_rank_0() -> Result<()> {
    let test = InF64(Loader::eval(Arc::new(synthetic(0, 21, 1).test), 8)); // of the last 5 samples rank 3 has none
    let found = on_ranks(4, |ranks| {
        let (classifier, params) = resnet8(Norm::Batch)?;
        let (data, mut sgd, mut rule) = (InF64::new(), Sgd::default(), sam(0.05));
        let task = Task::new(&classifier, &params, &mut rule, &mut sgd, &data, 1, Schedule::constant(0.05));
        fit(Task { ranks, ..task }, Progress::default(), &mut ())?;
        let buffers: Vec<Tensor> = params.buffers().iter().map(|(_, var)| var.as_detached_tensor()).collect();
        let of_floats = buffers.iter().filter(|buffer| buffer.dtype() == DType::F64);
        Ok((evaluate_over(ranks, &classifier, &test)?, evaluate(&classifier, &test)?, bits(of_floats)?))
    });
    let found = found.into_iter().collect::<Result<Vec<_>>>()?;
    let (_, alone, buffers) = &found[0];
    for (shared, _, others) in &found {
        assert_eq!(others, buffers);
        assert!((shared.loss - alone.loss).abs() < 1e-12 * alone.loss.abs());
        assert_eq!((shared.samples, &shared.classes, shared.top5), (21, &alone.classes, alone.top5));
        assert_eq!(shared, &found[0].0);
    }
    Ok(())
}

/// Fails, or yields NaN, on rank 2 from its third step on.
struct Faulty<'a>(&'a Classifier<Model>, &'a dyn Communicator, bool);

impl Objective for Faulty<'_> {
    fn losses(&self, batch: &Batch, train: bool) -> Result<Tensor> {
        let is_due = batch.training_point.is_some_and(|point| point.progress > 0.4) && self.1.rank() == 2;
        match (is_due, self.2) {
            (false, _) => self.0.losses(batch, train),
            (true, false) => bail!("the disk is gone"),
            (true, true) => self.0.losses(batch, train)?.affine(f64::NAN, 0.),
        }
    }
}

#[test]
fn a_rank_that_fails_ends_all_and_nan_is_named_with_its_rank() -> Result<()> {
    let run = |is_nan: bool| {
        on_ranks(4, |ranks| {
            let (classifier, params) = resnet8(Norm::Group(8))?;
            let (data, mut sgd, mut rule) = (InF64::new(), Sgd::default(), sam(0.05));
            let faulty = Faulty(&classifier, ranks, is_nan);
            let task = Task::new(&faulty, &params, &mut rule, &mut sgd, &data, 1, Schedule::constant(0.05));
            fit(Task { ranks, ..task }, Progress::default(), &mut ()).map(|(outcome, _)| outcome)
        })
    };
    for (rank, error) in run(false).into_iter().enumerate() {
        let error = error.expect_err("no rank goes on").to_string();
        let expected = if rank == 2 { "the disk is gone" } else { "has ended" };
        assert!(error.contains("epoch 0, step 2") && error.contains(expected), "rank {rank}: {error}");
    }
    for outcome in run(true).into_iter().collect::<Result<Vec<Outcome>>>()? {
        assert_eq!(outcome, Outcome::Diverged { epoch: 0, step: 2, what: "the loss on rank 2".to_owned() });
    }
    Ok(())
}

/// What cannot be one run on several ranks is an error.
#[test]
fn states_of_single_ranks_and_batches_that_are_too_small_are_refused() -> Result<()> {
    let error = |size: usize, rule: MakeRule| {
        let ends = on_ranks(size, |ranks| train(ranks, rule, 1, None));
        let errors = ends.into_iter().filter_map(|end| end.err().map(|error| error.to_string()));
        errors.collect::<Vec<_>>().join("; ")
    };
    let local: MakeRule = || {
        let inner = Sharp { ascent: Mean, offset: Friendly::new(L2 { rho: 0.05 }, 1., 0.6), combine: Descend };
        Box::new(Micro::new(inner, 4))
    };
    let said = error(2, local);
    assert!(said.contains("rule/inner/offset/mean") && said.contains("another on rank 1"), "{said}");
    let said = error(3, || Box::new(Sampa::new(0.1, 0.2)));
    assert!(said.contains("SAMPa") && said.contains("there are 3"), "{said}");
    let said = error(17, || Box::new(Plain));
    assert!(said.contains("none of the samples is for rank 16"), "{said}");
    Ok(())
}
