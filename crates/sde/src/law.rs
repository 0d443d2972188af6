//! The law of a micro-batch, by enumeration: exact expectations over everything that can be drawn.

use crate::algorithm::{Algorithm, Sampling};
use crate::error::Error;

/// More batches than this are not enumerated: a mistake in the numbers would take days.
const MOST: usize = 200_000;

/// All micro-batches with their probabilities, and, where those of one batch depend on each other, all pairs.
#[derive(Clone, Debug)]
pub struct Law {
    /// The members of each, every sample once with its share, one after the other.
    members: Vec<(usize, f64)>,
    /// Where each begins in `members`, and the end.
    begins: Vec<usize>,
    probabilities: Vec<f64>,
    /// Pairs that can be in one batch, equally likely; empty if the micro-batches of a batch are independent.
    pairs: Vec<(u32, u32)>,
    /// Whether the micro-batches of a batch have no member in common.
    depends: bool,
    pieces: usize,
}

impl Law {
    /// The law of the micro-batches of an algorithm on n samples.
    ///
    /// With replacement these are the C(n + m − 1, m) multisets, without it the C(n, m) subsets.
    ///
    /// # Errors
    /// If the algorithm cannot be carried out, or there are more than 200 000 micro-batches or pairs.
    pub fn new(algorithm: &Algorithm, n: usize) -> Result<Self, Error> {
        algorithm.validate(n)?;
        let (m, pieces) = (algorithm.micro, algorithm.pieces());
        let with = algorithm.sampling == Sampling::WithReplacement;
        let count = if with { binomial(n + m - 1, m) } else { binomial(n, m) };
        let pair_count = if with || pieces == 1 { 0. } else { count * binomial(n - m, m) };
        if count.max(pair_count) > MOST as f64 {
            return Err(Error::new(format!(
                "micro-batches of {m} among {n} samples are {} combinations; expected at most {MOST}, to enumerate them",
                count.max(pair_count)
            )));
        }
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
        let mut pairs = Vec::new();
        if pair_count > 0. {
            let all: Vec<&[(usize, f64)]> = begins.windows(2).map(|range| &members[range[0]..range[1]]).collect();
            for (i, a) in all.iter().enumerate() {
                let apart = all.iter().enumerate().filter(|(_, b)| apart(a, b));
                pairs.extend(apart.map(|(j, _)| (i as u32, j as u32)));
            }
        }
        Ok(Self { members, begins, probabilities, pairs, depends: !with, pieces })
    }

    /// Each micro-batch, as samples with their shares in it, and its probability.
    pub fn iter(&self) -> impl Iterator<Item = (&[(usize, f64)], f64)> {
        self.probabilities.iter().enumerate().map(|(k, p)| (self.members_of(k), *p))
    }

    fn members_of(&self, k: usize) -> &[(usize, f64)] {
        &self.members[self.begins[k]..self.begins[k + 1]]
    }

    /// Everything that a step can be: which micro-batches, by their places in [`iter`](Law::iter), and with what
    /// probability.
    ///
    /// # Errors
    /// If these are more than 200 000.
    pub fn steps(&self) -> Result<Vec<(Vec<usize>, f64)>, Error> {
        let fits = |chosen: &[usize], k: usize| {
            !self.depends || chosen.iter().all(|&c| apart(self.members_of(c), self.members_of(k)))
        };
        let mut steps = vec![(Vec::new(), 1.)];
        for _ in 0..self.pieces {
            let mut longer = Vec::new();
            for (chosen, p) in &steps {
                let next: Vec<usize> = (0..self.len()).filter(|&k| fits(chosen, k)).collect();
                let rest = next.iter().map(|&k| self.probabilities[k]).sum::<f64>();
                for k in next {
                    longer.push(([chosen.as_slice(), &[k]].concat(), p * self.probabilities[k] / rest));
                }
                if longer.len() > MOST {
                    return Err(Error::new(format!(
                        "a step can be more than {MOST} things; expected fewer, to enumerate them"
                    )));
                }
            }
            steps = longer;
        }
        Ok(steps)
    }

    /// How many micro-batches there are.
    pub fn len(&self) -> usize {
        self.probabilities.len()
    }

    /// Whether there is none; there always is one.
    pub fn is_empty(&self) -> bool {
        self.probabilities.is_empty()
    }

    /// Writes the mean of `values`, `[len, d]`, into `mean`, `[d]`.
    pub fn mean(&self, values: &[f64], mean: &mut [f64]) {
        mean.fill(0.);
        for (value, p) in values.chunks_exact(mean.len()).zip(&self.probabilities) {
            mean.iter_mut().zip(value).for_each(|(mean, value)| *mean += p * value);
        }
    }

    /// Writes into `covariance`, `[d, d]`, that of the mean of `values`, `[len, d]`, over the micro-batches of a batch:
    /// Cov(h_I)/K + (1 − 1/K)·Cov(h_I, h_J) with K = b/m and I, J apart. `mean` is as [`mean`](Law::mean) has it.
    pub fn covariance(&self, values: &[f64], mean: &[f64], covariance: &mut [f64]) {
        let (d, pieces) = (mean.len(), self.pieces as f64);
        covariance.fill(0.);
        let mut add = |a: &[f64], b: &[f64], weight: f64| {
            for i in 0..d {
                let left = weight * (a[i] - mean[i]);
                for j in 0..d {
                    covariance[i * d + j] += left * (b[j] - mean[j]);
                }
            }
        };
        for (value, p) in values.chunks_exact(d).zip(&self.probabilities) {
            add(value, value, p / pieces);
        }
        let each = (1. - 1. / pieces) / self.pairs.len() as f64;
        for &(i, j) in &self.pairs {
            let of = |k: u32| &values[k as usize * d..][..d];
            add(of(i), of(j), each);
        }
    }
}

/// Whether two micro-batches have no member in common.
fn apart(a: &[(usize, f64)], b: &[(usize, f64)]) -> bool {
    a.iter().all(|(i, _)| b.iter().all(|(j, _)| i != j))
}

/// The next multiset in order, or the next subset; false after the last.
fn advance(current: &mut [usize], n: usize, with: bool) -> bool {
    let m = current.len();
    let last = |k: usize| if with { n - 1 } else { n - m + k };
    let Some(k) = (0..m).rev().find(|&k| current[k] < last(k)) else { return false };
    current[k] += 1;
    for j in k + 1..m {
        current[j] = if with { current[k] } else { current[j - 1] + 1 };
    }
    true
}

fn binomial(n: usize, k: usize) -> f64 {
    if k > n {
        return 0.;
    }
    (0..k).fold(1., |product, i| product * (n - i) as f64 / (i + 1) as f64).round()
}

/// The probability of a sorted multiset: m!/∏ multiplicities! / nᵐ.
fn multinomial(sorted: &[usize], n: usize) -> f64 {
    let (mut probability, mut run) = (1., 0);
    for (i, member) in sorted.iter().enumerate() {
        run = if i > 0 && sorted[i - 1] == *member { run + 1 } else { 1 };
        probability *= (i + 1) as f64 / (run as f64 * n as f64);
    }
    probability
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
        let text = Law::new(&Algorithm::sgd(20), 50).unwrap_err().to_string();
        assert!(text.contains("expected at most 200000"), "{text}");
    }
}
