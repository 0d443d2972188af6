//! What the norms of the samples' gradients say about the noise of a batch's gradient.

use crate::Error;
use candle_core::Result;
use msharp_core::{BatchLoss, Estimate, GradNormEstimator, Temperature, backward, effective_size, gibbs, quantile};

/// The norms of the n samples' gradients gᵢ of a batch, and of their mean: all that the noise scale needs.
///
/// V is the covariance of gᵢ, tr V the mean of ‖gᵢ − ∇L‖²: what m-sharpness regularises, with the weight ρ/2m.
///
/// The norms must be those of whole gradients, or unbiased in the square: [`Exact`](crate::Exact),
/// [`FiniteDifference`](crate::FiniteDifference). [`LastLayer`](crate::LastLayer)'s are of one layer alone, and no
/// variance of all parameters follows from them.
///
/// **Under batch normalisation** gᵢ is the gradient of ℓᵢ through the shared statistics. The identity behind
/// [`trace`](Self::trace) holds, since the mean of the gᵢ is still the batch's gradient; but the gᵢ are not independent
/// draws, so that the gradient of another batch does not vary by tr V/b, and [`TwoSizes`] compares two normalisation
/// batches as well. Use group normalisation where the noise is what is studied.
///
/// ```
/// use msharp_gradnorm::Noise;
/// // gradients (1, 0), (3, 0), (2, 3): their mean is (2, 1)
/// let noise = Noise { norms: vec![1., 3., 13f64.sqrt()], mean_norm: 5f64.sqrt() };
/// assert!((noise.trace_biased() - (1. + 1. + 1. + 1. + 4.) / 3.).abs() < 1e-12);
/// assert!((noise.trace() - 4.).abs() < 1e-12);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Noise {
    /// ‖gᵢ‖, or estimates of it.
    pub norms: Vec<f64>,
    /// ‖∇L‖, the norm of the mean of the gᵢ.
    pub mean_norm: f64,
}

impl Noise {
    /// Measures a batch: the estimator's passes, and one backward. Parameters and buffers are put back; an estimator
    /// that adapts takes it as one more estimate, so use one that is not a rule's. A host-device synchronisation.
    ///
    /// # Errors
    /// If the estimator's norms are not those of whole gradients: [`LastLayer`](crate::LastLayer) and
    /// [`RandomNorms`](crate::RandomNorms) have no variance of all parameters, and [`Ghost`](crate::Ghost) measures
    /// something else under batch normalisation.
    pub fn measure(estimator: &mut dyn GradNormEstimator, loss: BatchLoss) -> Result<Self> {
        if !estimator.is_of_whole_gradients() {
            let estimator = estimator.name();
            let text = format!(
                "{estimator} does not measure the norms of whole gradients, and no variance of all parameters follows \
                 from others; expected Exact, Ghost or FiniteDifference"
            );
            return Err(Error::NotWholeGradients { estimator, text }.into());
        }
        loss.params.keeping_buffers(|| {
            let Estimate { losses, norms, measures } = estimator.estimate(loss)?;
            if measures.contains_key("coupled") {
                let estimator = estimator.name();
                let text = format!(
                    "under batch normalisation {estimator} measures shares of the batch's gradient, and not the \
                     gradients of the samples' losses, of which a variance is taken; expected Exact or FiniteDifference"
                );
                return Err(Error::NotWholeGradients { estimator, text }.into());
            }
            let mean_norm = backward(&losses, None, loss.params)?.norm()?;
            Ok(Self { norms: norms.to_vec1()?, mean_norm })
        })
    }

    fn n(&self) -> f64 {
        self.norms.len() as f64
    }

    /// The mean of ‖gᵢ‖².
    pub fn mean_square(&self) -> f64 {
        self.norms.iter().map(|norm| norm * norm).sum::<f64>() / self.n()
    }

    /// Mean ‖gᵢ‖² − ‖∇L‖²: tr V of these n samples. Of the distribution that they are drawn from it is too small, by
    /// (n − 1)/n.
    pub fn trace_biased(&self) -> f64 {
        self.mean_square() - self.mean_norm.powi(2)
    }

    /// tr V, unbiased over independent samples: n/(n − 1) of [`trace_biased`](Self::trace_biased). NaN for one sample.
    pub fn trace(&self) -> f64 {
        if self.norms.len() < 2 { f64::NAN } else { self.trace_biased() * self.n() / (self.n() - 1.) }
    }

    /// ‖∇L‖² of the distribution, unbiased: that of the batch less tr V/n, which is its noise. It can be below 0.
    pub fn squared_gradient(&self) -> f64 {
        self.mean_norm.powi(2) - self.trace() / self.n()
    }

    /// tr V/‖∇L‖², both unbiased: the batch size at which noise and gradient are equally large. Infinite where n
    /// samples are too few to distinguish the gradient from 0. Over several batches use [`PooledNoise`], not a mean.
    ///
    /// Reference: the simple noise scale (McCandlish, Kaplan, Amodei et al., 2018).
    pub fn scale(&self) -> f64 {
        noise_scale(self.trace(), self.squared_gradient())
    }

    /// m_eff = 1/Σp² of the [`gibbs`] weights of these norms.
    pub fn m_eff(&self, temperature: Temperature) -> f64 {
        effective_size(&gibbs(&self.norms, temperature))
    }

    /// The q-quantiles of the norms.
    pub fn quantiles<const N: usize>(&self, q: [f64; N]) -> [f64; N] {
        q.map(|q| quantile(&self.norms, q))
    }

    /// The histogram of the norms.
    pub fn histogram(&self) -> Histogram {
        Histogram::of(&self.norms)
    }
}

/// tr V and ‖∇L‖² over several batches of one size: the noise scale of all of them.
///
/// A single batch's [`scale`](Noise::scale) is the ratio of two noisy numbers, the second of which can be below 0: a
/// mean over batches of such ratios, those left out that are not finite, is too large, three times where 32 samples are
/// drawn at a true scale of 100. Numerator and denominator are averaged here before they are divided.
///
/// ```
/// use msharp_gradnorm::{Noise, PooledNoise};
/// let mut pooled = PooledNoise::default();
/// pooled.add(&Noise { norms: vec![2., 2.], mean_norm: 2. }); // tr V = 0, ‖∇L‖² = 4
/// pooled.add(&Noise { norms: vec![1., 1.], mean_norm: 0. }); // tr V = 2, ‖∇L‖² = −1
/// assert_eq!((pooled.batches, pooled.without_gradient, pooled.scale()), (2, 1, 1. / 1.5));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PooledNoise {
    /// Batches that were added.
    pub batches: usize,
    /// Those of them in which the gradient cannot be distinguished from 0: their own scale is infinite.
    pub without_gradient: usize,
    trace: f64,
    squared_gradient: f64,
}

impl PooledNoise {
    /// Adds a batch; one of a single sample, which has no variance, makes all of it NaN.
    pub fn add(&mut self, noise: &Noise) {
        self.batches += 1;
        self.without_gradient += usize::from(noise.squared_gradient() <= 0.);
        self.trace += noise.trace();
        self.squared_gradient += noise.squared_gradient();
    }

    /// The mean of tr V.
    pub fn trace(&self) -> f64 {
        self.trace / self.batches as f64
    }

    /// The mean of ‖∇L‖², unbiased; it can be below 0.
    pub fn squared_gradient(&self) -> f64 {
        self.squared_gradient / self.batches as f64
    }

    /// tr V/‖∇L‖² of the means; infinite where all batches together do not distinguish the gradient from 0.
    pub fn scale(&self) -> f64 {
        noise_scale(self.trace(), self.squared_gradient())
    }
}

/// Counts of norms by powers of 2 relative to their mean, which do not depend on the scale of the gradients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    /// `counts[k]` norms lie in [2^(k−5), 2^(k−4)) of the mean; the first count has all smaller ones too, the last all
    /// larger ones.
    pub counts: [usize; 10],
}

impl Histogram {
    /// Of norms ≥ 0. Where all are 0 they are at their mean. Those that are not finite are in no count.
    pub fn of(norms: &[f64]) -> Self {
        let norms: Vec<f64> = norms.iter().copied().filter(|norm| norm.is_finite()).collect();
        let (mean, mut counts) = (norms.iter().sum::<f64>() / norms.len() as f64, [0; 10]);
        for norm in &norms {
            let octave = if mean == 0. { 0. } else { (norm / mean).log2().floor() };
            counts[(octave + 5.).clamp(0., 9.) as usize] += 1; // −∞, the octave of 0, is the first
        }
        Self { counts }
    }

    /// From where to where count `k` reaches, relative to the mean.
    pub fn edges(k: usize) -> (f64, f64) {
        let edge = |k: usize| 2f64.powi(k as i32 - 5);
        (if k == 0 { 0. } else { edge(k) }, if k >= 9 { f64::INFINITY } else { edge(k + 1) })
    }
}

/// tr V from gradients of two batch sizes alone, without any sample's: E‖g_b‖² = ‖∇L‖² + tr V/b for each b.
///
/// The sizes may be those of data-parallel ranks and of their mean. For batches drawn without replacement from N
/// samples, tr V is that with the divisor N − 1.
///
/// Reference: McCandlish, Kaplan, Amodei et al., 2018, appendix A.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TwoSizes {
    /// b, and the mean of ‖g_b‖² over batches of that size.
    pub small: (f64, f64),
    /// B > b, and the mean of ‖g_B‖².
    pub large: (f64, f64),
}

impl TwoSizes {
    /// tr V = (E‖g_b‖² − E‖g_B‖²)/(1/b − 1/B), unbiased; NaN unless 0 < b < B.
    pub fn trace(&self) -> f64 {
        let ((b, small), (big, large)) = (self.small, self.large);
        if !(0. < b && b < big) {
            return f64::NAN;
        }
        (small - large) / (1. / b - 1. / big)
    }

    /// ‖∇L‖² = (B E‖g_B‖² − b E‖g_b‖²)/(B − b), unbiased; it can be below 0. NaN unless 0 < b < B.
    pub fn squared_gradient(&self) -> f64 {
        let ((b, small), (big, large)) = (self.small, self.large);
        if !(0. < b && b < big) {
            return f64::NAN;
        }
        (big * large - b * small) / (big - b)
    }

    /// tr V/‖∇L‖²; infinite where the gradient cannot be told from 0.
    pub fn scale(&self) -> f64 {
        noise_scale(self.trace(), self.squared_gradient())
    }
}

/// tr V/‖∇f‖², and ∞ where no gradient is seen above the noise.
fn noise_scale(trace: f64, squared_gradient: f64) -> f64 {
    if squared_gradient <= 0. { f64::INFINITY } else { trace / squared_gradient }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() <= 1e-12 * expected.abs().max(1.), "{found} for {expected}");
    }

    /// Gradients (2, 0), (0, 2), (4, 4): the mean is (2, 2).
    #[test]
    fn three_gradients_by_hand() {
        let noise = Noise { norms: vec![2., 2., 32f64.sqrt()], mean_norm: 8f64.sqrt() };
        near(noise.trace_biased(), 40. / 3. - 8.); // (4 + 4 + 8)/3
        near(noise.trace(), 8.);
        near(noise.squared_gradient(), 8. - 8. / 3.);
        near(noise.scale(), 8. / (16. / 3.));
        assert_eq!(noise.quantiles([0., 0.5, 1.]), [2., 2., 32f64.sqrt()]);
        near(noise.m_eff(Temperature::Raw(0.)), 3.);
        assert_eq!(noise.histogram().counts.iter().sum::<usize>(), 3);
    }

    #[test]
    fn equal_gradients_have_no_noise_and_one_sample_no_variance() {
        let noise = Noise { norms: vec![3.; 4], mean_norm: 3. };
        assert_eq!((noise.trace(), noise.scale()), (0., 0.));
        assert!(Noise { norms: vec![3.], mean_norm: 3. }.trace().is_nan());
        let pure = Noise { norms: vec![1., 1.], mean_norm: 0. }; // g and −g
        assert_eq!((pure.trace(), pure.scale()), (2., f64::INFINITY));
    }

    /// g = μ + √(tr V/d) z in d = 50 dimensions with ‖μ‖ = 1 and tr V = 100, batches of 32.
    #[test]
    fn a_pooled_scale_is_the_true_one_and_a_mean_of_ratios_is_not() {
        use rand::RngExt;
        let (d, n, batches, mut rng) = (50, 32, 2000, msharp_core::Key::new(5).rng());
        let (mut pooled, mut ratios) = (PooledNoise::default(), Vec::new());
        for _ in 0..batches {
            let (mut norms, mut mean) = (Vec::new(), vec![0.; d]);
            for _ in 0..n {
                let g: Vec<f64> = (0..d)
                    .map(|j| f64::from(j == 0) + 2f64.sqrt() * rng.sample::<f64, _>(rand_distr::StandardNormal))
                    .collect();
                norms.push(g.iter().map(|x| x * x).sum::<f64>().sqrt());
                mean.iter_mut().zip(&g).for_each(|(mean, x)| *mean += x / n as f64);
            }
            let noise = Noise { norms, mean_norm: mean.iter().map(|x| x * x).sum::<f64>().sqrt() };
            pooled.add(&noise);
            ratios.extend(Some(noise.scale()).filter(|scale| scale.is_finite()));
        }
        let mean_of_ratios = ratios.iter().sum::<f64>() / ratios.len() as f64;
        assert!((pooled.scale() / 100. - 1.).abs() < 0.05, "{}", pooled.scale());
        assert!(mean_of_ratios > 200., "{mean_of_ratios}");
        assert_eq!(pooled.batches, ratios.len() + pooled.without_gradient);
    }

    #[test]
    fn two_sizes_solve_two_equations() {
        let (gradient, trace) = (3., 40.);
        let mean = |b: f64| (b, gradient + trace / b);
        let sizes = TwoSizes { small: mean(4.), large: mean(32.) };
        near(sizes.trace(), trace);
        near(sizes.squared_gradient(), gradient);
        near(sizes.scale(), trace / gradient);
    }

    #[test]
    fn a_histogram_counts_octaves_of_the_mean() {
        let histogram = Histogram::of(&[0., 0., 0.5, 1., 1., 1., 3.5]); // their mean is 1
        assert_eq!(histogram.counts, [2, 0, 0, 0, 1, 3, 1, 0, 0, 0]);
        assert_eq!(Histogram::edges(4), (0.5, 1.));
        assert_eq!((Histogram::edges(0).0, Histogram::edges(9).1), (0., f64::INFINITY));
        assert_eq!(Histogram::of(&[0., 0.]).counts[5], 2);
        assert_eq!(Histogram::of(&[1., f64::NAN, 1., f64::INFINITY]).counts, Histogram::of(&[1., 1.]).counts);
    }
}
