//! One cell: every estimator on the batches of a network as it stands.

use super::comparison::{Entry, Figures, Point};
use super::figures::{Mean, digits, relative_error, scaled_error, spearman, total_variation};
use super::truth::{Truth, mean_norm};
use crate::interrupt;
use crate::statistics::median;
use anyhow::Result;
use msharp_core::{Batch, BatchLoss, GradNormEstimator, Objective, Params, Temperature, effective_size, gibbs};
use msharp_gradnorm::{Delta, FiniteDifference, Ghost, LastLayer, Noise, Probe};
use rand::RngExt;
use std::time::Instant;

/// An estimator by name. A new one is one more line of [`candidates`].
pub struct Candidate {
    pub name: &'static str,
    pub probes: Option<usize>,
    /// Whether it depends on the batch's key: one draw is enough otherwise.
    pub random: bool,
    pub estimator: Box<dyn GradNormEstimator>,
}

/// The entry of the truth itself, which has its cost and nothing else to tell.
pub const EXACT: &str = "exact";

/// One-sided Rademacher probes at the default step: what K is chosen for.
pub const RADEMACHER: &str = "finite difference";

/// All that are compared with `Exact`, `most` probes at most.
pub fn candidates(most: usize) -> Vec<Candidate> {
    let random = |name, estimator: FiniteDifference| Candidate {
        name,
        probes: Some(estimator.probes),
        random: true,
        estimator: Box::new(estimator),
    };
    let k = |probes| FiniteDifference { probes, ..FiniteDifference::default() };
    let last = Candidate { name: "last layer", probes: None, random: false, estimator: Box::new(LastLayer::default()) };
    let ghost = Candidate { name: "ghost", probes: None, random: false, estimator: Box::new(Ghost::default()) };
    let mut all = vec![last, ghost];
    all.extend([1, 2, 4, 6, 16].map(|probes| random(RADEMACHER, k(probes))));
    all.extend([1, 6].map(|probes| random("adaptive δ", FiniteDifference::adaptive(probes))));
    all.extend([1, 6].map(|probes| random("Gaussian", FiniteDifference { probe: Probe::Gaussian, ..k(probes) })));
    all.extend([1, 6].map(|probes| random("sphere", FiniteDifference { probe: Probe::Sphere, ..k(probes) })));
    all.push(random("central", FiniteDifference { central: true, ..k(1) }));
    all.retain(|candidate| candidate.probes.is_none_or(|probes| probes <= most));
    all
}

/// A network, the batches, and the truth about them.
pub struct Cell<'a> {
    pub f: &'a dyn Objective,
    pub params: &'a Params,
    pub batches: Vec<(Batch, Truth)>,
    pub draws: usize,
    /// Seconds of a forward without a graph.
    pub forward: f64,
}

/// How often weights are shuffled, and drawn, for each draw of the probes: it costs products of b × b matrices.
const CONTROLS: usize = 8;

impl<'a> Cell<'a> {
    pub fn new(f: &'a dyn Objective, params: &'a Params, batches: Vec<Batch>, draws: usize) -> Result<Self> {
        let mut times = Vec::new();
        for repetition in 0..6 {
            let started = Instant::now();
            params.keeping_buffers(|| msharp_ops::no_grad(|| f.losses(&batches[0], true)))?;
            if repetition > 0 {
                times.push(started.elapsed().as_secs_f64());
            }
        }
        let forward = median(times);
        let known = |batch: Batch| Ok((batch.clone(), Truth::of(f, params, &batch)?));
        let batches = batches.into_iter().map(known).collect::<Result<_>>()?;
        Ok(Self { f, params, batches, draws, forward })
    }

    /// m_eff = b/4: as far from the plain mean as micro-batches of b/4 are.
    fn quarter(&self) -> Temperature {
        Temperature::EffectiveSize(self.batches[0].0.len() as f64 / 4.)
    }

    /// The cost of the truth.
    pub fn exact(&self) -> Entry {
        let seconds: f64 = self.batches.iter().map(|(_, truth)| truth.seconds).sum();
        let forwards = digits(seconds / self.batches.len() as f64 / self.forward);
        Entry { name: EXACT.to_owned(), probes: None, refused: 0, forwards, figures: None }
    }

    /// The noise of the batches: the means of tr V, ‖∇L‖² and m_eff.
    pub fn noise(&self) -> (f64, f64, f64) {
        let n = self.batches.len() as f64;
        let mut sums = (0., 0., 0.);
        for (_, truth) in &self.batches {
            let noise = Noise { norms: truth.norms.clone(), mean_norm: mean_norm(&truth.gram) };
            sums.0 += noise.trace() / n;
            sums.1 += noise.squared_gradient() / n;
            sums.2 += noise.m_eff(Temperature::Relative(1.)) / n;
        }
        sums
    }

    /// The cosine between the plain mean gradient and the exactly weighted one.
    pub fn plain(&self) -> Option<Mean> {
        let of = |(batch, truth): &(Batch, Truth)| {
            truth.gram.cosine(&vec![1.; batch.len()], &gibbs(&truth.norms, self.quarter()))
        };
        Mean::of(&self.batches.iter().map(of).collect::<Vec<_>>())
    }

    /// An estimator on all batches and draws; `None` if the user asked to stop.
    pub fn entry(&self, candidate: &mut Candidate) -> Result<Option<Entry>> {
        let (mut seen, mut seconds, mut refused) = (Vec::new(), Vec::new(), 0);
        for (batch, truth) in &self.batches {
            for draw in 0..if candidate.random { self.draws } else { 1 } {
                if interrupt::requested() {
                    return Ok(None);
                }
                let batch = Batch { key: batch.key.fold(draw as u64), ..batch.clone() };
                let started = Instant::now();
                let estimate = self
                    .params
                    .keeping_buffers(|| candidate.estimator.estimate(BatchLoss::new(self.f, self.params, &batch)));
                seconds.push(started.elapsed().as_secs_f64());
                match estimate {
                    Ok(estimate) => {
                        let ratio = estimate.measures.get("probe_ratio").map(|ratio| ratio.to_scalar::<f64>());
                        seen.push(self.compare(truth, &batch, &estimate.norms.to_vec1::<f64>()?, ratio.transpose()?));
                    }
                    Err(error) if error.to_string().contains("FiniteDifference:") => refused += 1,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        let forwards = digits(median(seconds) / self.forward);
        let figures = figures(&seen);
        Ok(Some(Entry { name: candidate.name.to_owned(), probes: candidate.probes, refused, forwards, figures }))
    }

    fn compare(&self, truth: &Truth, batch: &Batch, norms: &[f64], ratio: Option<f64>) -> Seen {
        let (quarter, relative) = (self.quarter(), Temperature::Relative(1.));
        let (exact, found) = (gibbs(&truth.norms, quarter), gibbs(norms, quarter));
        let cosine = |weights: &[f64]| truth.gram.cosine(weights, &exact);
        let (mut shuffled, mut random, mut rng) = (0., 0., batch.key.fold_name("controls").rng());
        for _ in 0..CONTROLS {
            let mut weights = found.clone();
            for i in (1..weights.len()).rev() {
                weights.swap(i, rng.random_range(0..=i)); // Fisher and Yates
            }
            shuffled += cosine(&weights) / CONTROLS as f64;
            // Weights of an uninformative probe: half-normal norms, alike for all samples.
            let normal = || -> f64 { (0..12).map(|_| rng.random::<f64>() - 0.5).sum::<f64>().abs() };
            let norms: Vec<f64> = std::iter::repeat_with(normal).take(weights.len()).collect();
            random += cosine(&gibbs(&norms, quarter)) / CONTROLS as f64;
        }
        let plain = cosine(&vec![1.; norms.len()]);
        let (own_relative, exact_relative) = (gibbs(norms, relative), gibbs(&truth.norms, relative));
        Seen {
            spearman: spearman(norms, &truth.norms),
            error: relative_error(norms, &truth.norms),
            scaled_error: scaled_error(norms, &truth.norms),
            variation: total_variation(&found, &exact),
            variation_relative: total_variation(&own_relative, &exact_relative),
            m_eff: effective_size(&own_relative),
            cosine: cosine(&found),
            shuffled,
            random,
            plain,
            ratio,
        }
    }

    /// The slopes of one Rademacher probe at a step δ, on the first batch.
    pub fn point(&self, delta: f64, draws: usize) -> Result<Option<Point>> {
        let step = FiniteDifference { delta: Delta::Absolute(delta), ..FiniteDifference::default() };
        let (mut errors, mut noises, mut factors) = (Vec::new(), Vec::new(), Vec::new());
        let (batch, truth) = &self.batches[0];
        for draw in 0..draws {
            if interrupt::requested() {
                return Ok(None);
            }
            let batch = Batch { key: batch.key.fold_name("sweep").fold(draw as u64), ..batch.clone() };
            let slopes: Vec<f64> = truth.along(&step.probe(self.params, &batch, 0)?)?.iter().map(|s| s.abs()).collect();
            if let Ok(norms) = { step }.norms(BatchLoss::new(self.f, self.params, &batch)) {
                errors.push(relative_error(&norms.to_vec1::<f64>()?, &slopes));
            }
            let noise = step.noise(BatchLoss::new(self.f, self.params, &batch))?;
            noises.push(noise.ratio());
            factors.push(noise.is_too_short());
        }
        let noise = median(noises);
        let too_short = factors.iter().filter(|short| **short).count() * 2 > draws;
        let refused = match (noise >= 1., errors.is_empty()) {
            (true, _) => Some(if too_short { "too small" } else { "too large" }.to_owned()),
            (false, true) => Some("too small".to_owned()), // what is refused for nothing is
            (false, false) => None,
        };
        let ratio = delta * (self.params.count() as f64).sqrt() / self.params.norm()?;
        let (error, noise) = (Mean::of(&errors), (noise > 0.).then(|| digits(noise)));
        Ok(Some(Point { delta, ratio: digits(ratio), error, noise, refused }))
    }
}

/// One estimate against the truth.
struct Seen {
    spearman: f64,
    error: f64,
    scaled_error: f64,
    variation: f64,
    variation_relative: f64,
    m_eff: f64,
    cosine: f64,
    shuffled: f64,
    random: f64,
    plain: f64,
    ratio: Option<f64>,
}

fn figures(seen: &[Seen]) -> Option<Figures> {
    let mean = |of: &dyn Fn(&Seen) -> f64| Mean::of(&seen.iter().map(of).collect::<Vec<_>>());
    let ratios: Vec<f64> = seen.iter().filter_map(|seen| seen.ratio).collect();
    Some(Figures {
        spearman: mean(&|s| s.spearman)?,
        error: mean(&|s| s.error)?,
        scaled_error: mean(&|s| s.scaled_error)?,
        variation: mean(&|s| s.variation)?,
        variation_relative: mean(&|s| s.variation_relative)?,
        m_eff: mean(&|s| s.m_eff)?,
        cosine: mean(&|s| s.cosine)?,
        shuffled: mean(&|s| s.shuffled)?,
        random: mean(&|s| s.random)?,
        minus_shuffled: mean(&|s| s.cosine - s.shuffled)?,
        minus_random: mean(&|s| s.cosine - s.random)?,
        minus_plain: mean(&|s| s.cosine - s.plain)?,
        ratio: Mean::of(&ratios).map(|ratio| ratio.mean),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Tensor};
    use msharp_core::{Key, Seeded};
    use msharp_gradnorm::Exact;

    /// ln(1 + exp⟨aᵢ, x⟩) for rows of different lengths, in candle's own ops: those that this test's neighbours count
    /// are not among them.
    #[test]
    fn the_truth_compared_with_itself_is_right_and_its_shuffled_weights_are_not() {
        let init = Seeded::new(0, DType::F32, &Device::Cpu);
        let normal = candle_nn::Init::Randn { mean: 0., stdev: 1. };
        let x = init.var_builder().get_with_hints((9, 1), "x", normal).unwrap();
        let params = init.params().unwrap();
        let rows = Seeded::new(1, DType::F32, &Device::Cpu).var_builder().get_with_hints((8, 9), "rows", normal);
        let lengths = Tensor::arange(1f32, 9., &Device::Cpu).unwrap().unsqueeze(1).unwrap();
        let rows = rows.unwrap().broadcast_mul(&lengths).unwrap().detach();
        let f = |batch: &Batch, _: bool| (batch.inputs.matmul(&x)?.squeeze(1)?.exp()? + 1.)?.log();

        let batch = Batch::new(rows.clone(), rows, Key::new(3));
        let cell = Cell::new(&f, &params, vec![batch], 1).unwrap();
        let mut exact = Candidate { name: EXACT, probes: None, random: false, estimator: Box::new(Exact) };
        let entry = cell.entry(&mut exact).unwrap().unwrap();
        let Figures { spearman, error, variation, cosine, shuffled, minus_shuffled, .. } = entry.figures.unwrap();
        assert_eq!((spearman.mean, error.mean, variation.mean, cosine.mean), (1., 0., 0., 1.));
        assert!(shuffled.mean < 1. && minus_shuffled.mean > 0.);
        // the noise from products is that of gradients
        let noise = Noise::measure(&mut Exact, BatchLoss::new(&f, &params, &cell.batches[0].0)).unwrap();
        assert!((cell.noise().0 / noise.trace() - 1.).abs() < 1e-4);
        let point = cell.point(1e-3, 2).unwrap().unwrap();
        assert!(point.error.unwrap().mean < 0.5 && point.refused.is_none());
        assert_eq!(cell.point(1e-12, 1).unwrap().unwrap().refused.as_deref(), Some("too small"));
    }
}
