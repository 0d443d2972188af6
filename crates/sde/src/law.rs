//! The distribution of a micro-batch, by enumeration: exact expectations over all draws.

use crate::algorithm::{Algorithm, Sampling};
use crate::error::Error;
use crate::memory;
use crate::subsets::{advance, binomial, multinomial, partition_point};

/// The largest number of batches that are enumerated; more would take too long.
const MOST: usize = 200_000;

/// The law (probability distribution) of the micro-batches of an [`Algorithm`]: all of them with their probabilities.
#[derive(Clone, Debug)]
pub struct Law {
    /// The members of each, every sample once with its share, one after the other.
    members: Vec<(usize, f64)>,
    /// Where each begins in `members`, and the end.
    begins: Vec<usize>,
    probabilities: Vec<f64>,
    /// Pairs that can be in one batch, equally likely; empty if the micro-batches of a batch are independent.
    pairs: Vec<(u32, u32)>,
    sampling: Sampling,
    /// n.
    samples: usize,
    /// m.
    micro: usize,
    /// b/m.
    pieces: usize,
}

impl Law {
    /// The law of the micro-batches of an algorithm on n samples.
    ///
    /// With replacement these are the C(n + m − 1, m) multisets, without replacement the C(n, m) subsets.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if [`Algorithm::validate`] fails; [`Error::TooLarge`] if there are more than 200 000
    /// micro-batches or pairs of one batch, or they take more than 4 GiB.
    pub fn new(algorithm: &Algorithm, n: usize) -> Result<Self, Error> {
        algorithm.validate(n)?;
        let (m, pieces) = (algorithm.micro, algorithm.micro_batches());
        let with = algorithm.sampling == Sampling::WithReplacement;
        let count = match n.checked_add(m - 1) {
            Some(n_and_m) if with => binomial(n_and_m, m),
            None if with => f64::INFINITY,
            _ => binomial(n, m),
        };
        let pair_count = if with || pieces == 1 { 0. } else { count * binomial(n - m, m) };
        for (count, what) in [(count, "micro-batches"), (pair_count, "pairs of micro-batches")] {
            if count > MOST as f64 {
                return Err(Error::too_large(format!(
                    "there are {count} {what} of {m} among {n} samples; expected at most {MOST}, to enumerate them"
                )));
            }
        }
        memory::fits(
            &format!("the members of {count} micro-batches of {m} among {n} samples"),
            count * m.min(n) as f64 * size_of::<(usize, f64)>() as f64 + m as f64 * size_of::<usize>() as f64,
            "use paths (Descent in an Ensemble), which enumerate nothing",
        )?;
        let (mut members, mut begins, mut probabilities) = (Vec::new(), vec![0], Vec::new());
        let mut current: Vec<usize> = if with { vec![0; m] } else { (0..m).collect() };
        loop {
            for equal in current.chunk_by(|a, b| a == b) {
                members.push((equal[0], equal.len() as f64 / m as f64));
            }
            begins.push(members.len());
            probabilities.push(if with { multinomial(&current, n) } else { 1. / count });
            if !advance(&mut current, n, with) {
                break;
            }
        }
        let law = Self {
            members,
            begins,
            probabilities,
            pairs: Vec::new(),
            sampling: algorithm.sampling,
            samples: n,
            micro: m,
            pieces,
        };
        let beside = |i: usize| law.beside(&[i]).into_iter().map(move |j| (i as u32, j as u32));
        let pairs = if pair_count > 0. { (0..law.len()).flat_map(beside).collect() } else { Vec::new() };
        Ok(Self { pairs, ..law })
    }

    /// The micro-batches that a batch can have besides these, in order: with replacement all, without it those of the
    /// samples that are left.
    fn beside(&self, chosen: &[usize]) -> Vec<usize> {
        if self.sampling == Sampling::WithReplacement {
            return (0..self.len()).collect();
        }
        let taken = |i: usize| chosen.iter().any(|&k| self.members_of(k).iter().any(|(j, _)| *j == i));
        let left: Vec<usize> = (0..self.samples).filter(|i| !taken(*i)).collect();
        let mut places = Vec::new();
        if self.micro > left.len() {
            return places;
        }
        let mut current: Vec<usize> = (0..self.micro).collect();
        loop {
            let samples = current.iter().map(|&place| left[place]);
            // Subsets are in the order of their members, one after the other.
            let place = partition_point(self.len(), |k| self.members_of(k).iter().map(|(i, _)| *i).lt(samples.clone()));
            places.push(place);
            if !advance(&mut current, left.len(), false) {
                return places;
            }
        }
    }

    /// Each micro-batch with its probability. A micro-batch is a list of its distinct samples, each with its share: its
    /// multiplicity over m.
    pub fn iter(&self) -> impl Iterator<Item = (&[(usize, f64)], f64)> {
        self.probabilities.iter().enumerate().map(|(k, p)| (self.members_of(k), *p))
    }

    fn members_of(&self, k: usize) -> &[(usize, f64)] {
        &self.members[self.begins[k]..self.begins[k + 1]]
    }

    /// All combinations of micro-batches in a batch, by their positions in [`iter`](Law::iter), with their
    /// probabilities.
    ///
    /// # Errors
    /// If these are more than 200 000, or take more than 4 GiB.
    pub(crate) fn steps(&self) -> Result<Vec<(Vec<usize>, f64)>, Error> {
        let count: f64 = match self.sampling {
            Sampling::WithReplacement => (self.len() as f64).powf(self.pieces as f64),
            Sampling::WithoutReplacement => {
                (0..self.pieces).map(|k| binomial(self.samples - k * self.micro, self.micro)).product()
            }
        };
        if count > MOST as f64 {
            return Err(Error::too_large(format!(
                "a step can be {count} things; expected at most {MOST}, to enumerate them"
            )));
        }
        memory::fits(
            &format!("{count} steps of {} micro-batches each", self.pieces),
            2. * count * self.pieces as f64 * size_of::<usize>() as f64,
            "use paths (Descent in an Ensemble), which enumerate nothing",
        )?;
        let mut steps = vec![(Vec::new(), 1.)];
        for _ in 0..self.pieces {
            let mut longer = Vec::new();
            for (chosen, p) in &steps {
                let next = self.beside(chosen);
                let rest = next.iter().map(|&k| self.probabilities[k]).sum::<f64>();
                for k in next {
                    longer.push(([chosen.as_slice(), &[k]].concat(), p * self.probabilities[k] / rest));
                }
            }
            steps = longer;
        }
        Ok(steps)
    }

    /// The number of micro-batches.
    pub fn len(&self) -> usize {
        self.probabilities.len()
    }

    /// Always `false`.
    pub fn is_empty(&self) -> bool {
        self.probabilities.is_empty()
    }

    /// Writes the mean of `values`, `[len, d]`, into `mean`, `[d]`.
    pub(crate) fn mean(&self, values: &[f64], mean: &mut [f64]) {
        mean.fill(0.);
        for (value, p) in values.chunks_exact(mean.len()).zip(&self.probabilities) {
            mean.iter_mut().zip(value).for_each(|(mean, value)| *mean += p * value);
        }
    }

    /// Writes into `covariance`, `[d, d]`, that of the mean of `values`, `[len, d]`, over the micro-batches of a batch:
    /// Cov(h_I)/K + (1 − 1/K)·Cov(h_I, h_J) with K = b/m and I, J apart. `mean` is as [`mean`](Law::mean) has it.
    ///
    /// A variance that is rounding error is set to exactly 0: where all values of a component are equal, and where the
    /// two terms cancel, as without replacement when the batch is the full set.
    pub(crate) fn covariance(&self, values: &[f64], mean: &[f64], covariance: &mut [f64]) {
        let (d, pieces) = (mean.len(), self.pieces as f64);
        covariance.fill(0.);
        let add = |covariance: &mut [f64], a: &[f64], b: &[f64], weight: f64| {
            for i in 0..d {
                let left = weight * (a[i] - mean[i]);
                for j in 0..d {
                    covariance[i * d + j] += left * (b[j] - mean[j]);
                }
            }
        };
        for (value, p) in values.chunks_exact(d).zip(&self.probabilities) {
            add(covariance, value, value, p / pieces);
        }
        let alone: Vec<f64> = (0..d).map(|j| covariance[j * d + j]).collect();
        let each = (1. - 1. / pieces) / self.pairs.len() as f64;
        for &(i, j) in &self.pairs {
            let of = |k: u32| &values[k as usize * d..][..d];
            add(covariance, of(i), of(j), each);
        }
        // Of sums of so many terms: of a deviation from the mean, and of a difference of variances.
        let rounding = 4. * f64::EPSILON * ((self.len() + self.pairs.len()) as f64).sqrt();
        for (j, alone) in alone.into_iter().enumerate() {
            let constant = alone * pieces <= (rounding * mean[j]).powi(2);
            if constant || (!self.pairs.is_empty() && covariance[j * d + j] <= rounding * alone) {
                covariance[j * d..][..d].fill(0.);
                covariance.chunks_exact_mut(d).for_each(|row| row[j] = 0.);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn law(algorithm: Algorithm, n: usize) -> Law {
        Law::new(&algorithm, n).unwrap()
    }

    #[test]
    fn probabilities_sum_to_1() {
        for (law, len) in [
            (law(Algorithm::sgd(3), 5), 35),
            (law(Algorithm::sgd(3).without_replacement(), 5), 10),
            (law(Algorithm::m_sam(0.1, 2, 4).without_replacement(), 6), 15),
            (law(Algorithm::sgd(5).without_replacement(), 5), 1),
        ] {
            assert_eq!(law.len(), len);
            assert!((law.iter().map(|(_, p)| p).sum::<f64>() - 1.).abs() < 1e-14);
        }
    }

    /// The mean of a batch has variance V/b·(n − b)/(n − 1), in micro-batches or not.
    #[test]
    fn variances_are_those_of_sample_means() {
        let samples = [0.3, -1., 2.5, 0.7, 4., -2.];
        let n = samples.len();
        let mean = samples.iter().sum::<f64>() / n as f64;
        let variance = samples.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n as f64;
        for sampling in [Sampling::WithReplacement, Sampling::WithoutReplacement] {
            for (micro, batch) in [(1, 1), (3, 3), (1, 3), (2, 4), (6, 6), (3, 6), (1, 6)] {
                let law = law(Algorithm { sampling, ..Algorithm::m_sam(0.1, micro, batch) }, n);
                let values: Vec<f64> =
                    law.iter().map(|(members, _)| members.iter().map(|&(i, share)| share * samples[i]).sum()).collect();
                let (mut found, mut covariance) = ([0.], [0.]);
                law.mean(&values, &mut found);
                law.covariance(&values, &found, &mut covariance);
                let expected = variance / batch as f64 * sampling.population_factor(n, batch);
                assert!((found[0] - mean).abs() < 1e-14);
                let (mut p_sum, mut square) = (0., 0.);
                for (pieces_of, p) in law.steps().unwrap() {
                    let step = pieces_of.iter().map(|&k| values[k]).sum::<f64>() / pieces_of.len() as f64;
                    p_sum += p;
                    square += p * (step - mean) * (step - mean);
                }
                assert!((p_sum - 1.).abs() < 1e-12 && (square - covariance[0]).abs() < 1e-12);
                assert!((covariance[0] - expected).abs() < 1e-14, "{sampling:?} {micro} {batch}");
            }
        }
    }

    #[test]
    fn too_many_are_an_error() {
        let fails = |algorithm, n| Law::new(&algorithm, n).unwrap_err().to_string();
        let text = fails(Algorithm::sgd(20), 50);
        assert!(text.contains("micro-batches of 20 among 50") && text.contains("expected at most 200000"), "{text}");
        let text = fails(Algorithm::m_sam(0.1, 5, 10).without_replacement(), 20);
        assert!(text.contains("46558512 pairs of micro-batches"), "{text}");
        // Each is enumerable, and their steps are not.
        let text = law(Algorithm::m_sam(0.1, 1, 8), 10).steps().unwrap_err().to_string();
        assert!(text.contains("100000000 things"), "{text}");
        assert!(law(Algorithm::m_sam(0.1, 1, 8).without_replacement(), 10).steps().is_err());
    }

    /// All but one of many samples: few micro-batches, with many members.
    #[test]
    fn many_members_are_refused_with_their_size() {
        let text = Law::new(&Algorithm::sgd(99_999).without_replacement(), 100_000).unwrap_err().to_string();
        assert!(
            text.contains("149.0 GiB") && text.contains("100000 micro-batches") && text.contains("paths"),
            "{text}"
        );
        let text = Law::new(&Algorithm::sgd(usize::MAX), 2).unwrap_err().to_string();
        assert!(text.contains("expected at most 200000"), "{text}");
        let many = law(Algorithm { micro: 1, ..Algorithm::sgd(1 << 31) }, 2).steps().unwrap_err().to_string();
        assert!(many.contains("expected at most 200000"), "{many}");
    }

    /// Rounding of one component must not be taken for noise of it, however small the others are.
    #[test]
    fn what_does_not_vary_has_no_variance() {
        let full = law(Algorithm::m_sam(0.1, 1, 6).without_replacement(), 6);
        let once = law(Algorithm::sgd(2), 6);
        let samples = [0.3, -1., 2.5, 0.7, 4., -2.];
        let found = |law: &Law, first: &dyn Fn(usize) -> f64| {
            let of = |members: &[(usize, f64)]| {
                let mean = |f: &dyn Fn(usize) -> f64| members.iter().map(|&(i, share)| share * f(i)).sum::<f64>();
                [mean(first), mean(&|i| 1e-9 * samples[(i + 2) % 6])]
            };
            let values: Vec<f64> = law.iter().flat_map(|(members, _)| of(members)).collect();
            let (mut mean, mut covariance) = ([0.; 2], [0.; 4]);
            law.mean(&values, &mut mean);
            law.covariance(&values, &mean, &mut covariance);
            covariance
        };
        assert_eq!(found(&full, &|i| 1e9 * samples[i]), [0.; 4]);
        let [first, mixed, again, second] = found(&once, &|_| 1e9 / 3.);
        assert_eq!([first, mixed, again], [0.; 3]);
        assert!(second > 1e-18, "{second:e}");
    }

    /// Half of the samples: there are as many pairs as micro-batches, found without looking at all squares.
    #[test]
    fn halves_have_one_other_half() {
        let law = law(Algorithm::m_sam(0.1, 9, 18).without_replacement(), 18);
        assert_eq!((law.len(), law.pairs.len()), (48_620, 48_620));
        assert!(
            law.pairs.iter().all(|(i, j)| i + j == 48_619),
            "in order, the complement comes at the same place from the end"
        );
        assert_eq!(law.steps().unwrap().len(), 48_620);
    }
}
