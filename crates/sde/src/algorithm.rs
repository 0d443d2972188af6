//! The discrete algorithms of the SAM family: ascent gradient, normalisation, radius, micro-batches and sampling.

use crate::Error;

/// A step x⁺ = x − η·mean over micro-batches I of ∇f_I(x + ρ u_I(x)), on a batch γ of `batch` samples.
///
/// f_I is the mean of the losses of micro-batch I, and u_I its perturbation direction: the ascent gradient v_I, either
/// itself or normalised. With `micro == batch` the batch is its only micro-batch. The constructors have the names of
/// the literature and its order of arguments: ρ, λ, m, b; they draw batches with replacement.
///
/// | constructor | published as |
/// |---|---|
/// | [`sgd`](Algorithm::sgd) | SGD |
/// | [`usam`](Algorithm::usam) | unnormalised SAM, Andriushchenko and Flammarion 2022 |
/// | [`sam`](Algorithm::sam) | SAM, Foret et al. 2021, <https://arxiv.org/abs/2010.01412> |
/// | [`m_sam`](Algorithm::m_sam) | m-SAM: "m-sharpness", Foret et al. 2021, section 4.1 |
/// | [`n_sam`](Algorithm::n_sam), [`n_usam`](Algorithm::n_usam) | the ascent gradient is that of the full set |
/// | [`rw_sam`](Algorithm::rw_sam), [`rw_usam`](Algorithm::rw_usam) | reweighted SAM, of the paper on m-sharpness |
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Algorithm {
    /// The ascent gradient v.
    pub ascent: AscentGradient,
    /// How v becomes the direction u.
    pub normalisation: Normalisation,
    /// ρ, the radius of the perturbation; finite and at least 0.
    pub rho: f64,
    /// m, the samples of a micro-batch; divides `batch`.
    pub micro: usize,
    /// b = |γ|, the samples of a batch.
    pub batch: usize,
    /// How a batch is drawn.
    pub sampling: Sampling,
}

/// The ascent gradient v of a micro-batch I.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AscentGradient {
    /// v = 0: SGD.
    None,
    /// v = ∇f, of the full set: n-SAM and n-USAM.
    Full,
    /// v = ∇f_I, of the micro-batch: SAM, m-SAM and their unnormalised forms.
    Mean,
    /// v = Σᵢ pᵢ∇ℓᵢ over I with p ∝ exp(λ‖∇ℓᵢ‖), from exact norms: RW-SAM and RW-USAM.
    Gibbs {
        /// λ, the inverse temperature of the Gibbs weights; 0 for equal weights.
        lambda: f64,
    },
}

/// How the ascent gradient v becomes the perturbation direction u.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Normalisation {
    /// u = v: USAM and its variants.
    None,
    /// u = v/√(‖v‖² + floor²): SAM. Without a floor, u(0) = 0.
    Unit {
        /// Makes u smooth where v is 0, as the theorems assume; 0 for the published algorithm.
        floor: f64,
    },
}

/// How a batch is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampling {
    /// Every sample independently and uniformly.
    WithReplacement,
    /// A uniform subset, divided into micro-batches at random.
    WithoutReplacement,
}

const SAM: Normalisation = Normalisation::Unit { floor: 0. };

impl Algorithm {
    const fn new(ascent: AscentGradient, normalisation: Normalisation, rho: f64, micro: usize, batch: usize) -> Self {
        Self { ascent, normalisation, rho, micro, batch, sampling: Sampling::WithReplacement }
    }

    /// SGD on batches of b.
    pub const fn sgd(b: usize) -> Self {
        Self::new(AscentGradient::None, Normalisation::None, 0., b, b)
    }

    /// USAM with the ascent gradient of the full set.
    pub const fn n_usam(rho: f64, b: usize) -> Self {
        Self::new(AscentGradient::Full, Normalisation::None, rho, b, b)
    }

    /// Mini-batch USAM.
    pub const fn usam(rho: f64, b: usize) -> Self {
        Self::new(AscentGradient::Mean, Normalisation::None, rho, b, b)
    }

    /// USAM on micro-batches of m.
    pub const fn m_usam(rho: f64, m: usize, b: usize) -> Self {
        Self::new(AscentGradient::Mean, Normalisation::None, rho, m, b)
    }

    /// Reweighted USAM with inverse temperature λ.
    pub const fn rw_usam(rho: f64, lambda: f64, b: usize) -> Self {
        Self::new(AscentGradient::Gibbs { lambda }, Normalisation::None, rho, b, b)
    }

    /// SAM with the ascent gradient of the full set.
    pub const fn n_sam(rho: f64, b: usize) -> Self {
        Self::new(AscentGradient::Full, SAM, rho, b, b)
    }

    /// Mini-batch SAM.
    pub const fn sam(rho: f64, b: usize) -> Self {
        Self::new(AscentGradient::Mean, SAM, rho, b, b)
    }

    /// SAM on micro-batches of m.
    pub const fn m_sam(rho: f64, m: usize, b: usize) -> Self {
        Self::new(AscentGradient::Mean, SAM, rho, m, b)
    }

    /// Reweighted SAM with inverse temperature λ.
    pub const fn rw_sam(rho: f64, lambda: f64, b: usize) -> Self {
        Self::new(AscentGradient::Gibbs { lambda }, SAM, rho, b, b)
    }

    /// The same, drawn without replacement.
    pub const fn without_replacement(self) -> Self {
        Self { sampling: Sampling::WithoutReplacement, ..self }
    }

    /// The name in the literature: `SGD`, `n-USAM`, `m-SAM (m = 2)`, `RW-SAM (λ = 3)`.
    pub fn name(&self) -> String {
        let rule = if self.normalisation == Normalisation::None { "USAM" } else { "SAM" };
        let m = if self.micro == self.batch { String::new() } else { format!("m = {}", self.micro) };
        match self.ascent {
            AscentGradient::None => "SGD".to_owned(),
            AscentGradient::Full => format!("n-{rule}"),
            AscentGradient::Mean if m.is_empty() => rule.to_owned(),
            AscentGradient::Mean => format!("m-{rule} ({m})"),
            AscentGradient::Gibbs { lambda } if m.is_empty() => format!("RW-{rule} (λ = {lambda})"),
            AscentGradient::Gibbs { lambda } => format!("m-RW-{rule} (λ = {lambda}, {m})"),
        }
    }

    /// b/m, the number of micro-batches in a batch; exact if [`validate`](Algorithm::validate) succeeds.
    ///
    /// # Panics
    /// If m is 0.
    #[track_caller]
    pub const fn micro_batches(&self) -> usize {
        assert!(self.micro > 0, "micro is 0; expected at least 1");
        self.batch / self.micro
    }

    /// Checks the fields for a problem of n samples.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] with the name of the field and what was expected.
    pub fn validate(&self, n: usize) -> Result<(), Error> {
        let Self { micro, batch, rho, .. } = *self;
        let fail = |text: String| Err(Error::invalid(text));
        if n == 0 {
            return fail("the problem has no samples; expected at least one".to_owned());
        }
        if batch == 0 || micro == 0 || batch % micro != 0 {
            return fail(format!(
                "micro is {micro} and batch {batch}; expected both positive, micro a divisor of batch"
            ));
        }
        if self.sampling == Sampling::WithoutReplacement && batch > n {
            return fail(format!(
                "batch is {batch}; expected at most the {n} samples, which are drawn without replacement"
            ));
        }
        if !(rho >= 0. && rho.is_finite()) {
            return fail(format!("rho is {rho}; expected a finite number of at least 0"));
        }
        match (self.ascent, self.normalisation) {
            (AscentGradient::Gibbs { lambda }, _) if !(lambda >= 0. && lambda.is_finite()) => {
                fail(format!("lambda is {lambda}; expected a finite number of at least 0"))
            }
            (_, Normalisation::Unit { floor }) if !(floor >= 0. && floor.is_finite()) => {
                fail(format!("floor is {floor}; expected a finite number of at least 0"))
            }
            _ => Ok(()),
        }
    }
}

impl Sampling {
    /// The finite population correction, the factor on the variance of the mean of k samples: (n − k)/(n − 1) without
    /// replacement, 0 for k ≥ n, and 1 with replacement.
    ///
    /// # Panics
    /// If n or k is 0.
    #[track_caller]
    pub fn population_factor(self, n: usize, k: usize) -> f64 {
        assert!(n > 0 && k > 0, "a mean of {k} of {n} samples; expected at least 1 of each");
        match self {
            Sampling::WithReplacement => 1.,
            Sampling::WithoutReplacement if n < 2 => 0.,
            Sampling::WithoutReplacement => n.saturating_sub(k) as f64 / (n - 1) as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn algorithms_have_the_names_of_the_field() {
        let names = [
            Algorithm::sgd(4),
            Algorithm::n_usam(0.1, 4),
            Algorithm::sam(0.1, 4),
            Algorithm::m_sam(0.1, 2, 4),
            Algorithm::rw_usam(0.1, 3., 4),
        ]
        .map(|algorithm| algorithm.name());
        assert_eq!(names, ["SGD", "n-USAM", "SAM", "m-SAM (m = 2)", "RW-USAM (λ = 3)"]);
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (algorithm, field) in [
            (Algorithm::m_sam(0.1, 3, 4), "micro"),
            (Algorithm::m_sam(0.1, 0, 4), "micro"),
            (Algorithm::sam(-1., 4), "rho"),
            (Algorithm::sam(f64::NAN, 4), "rho"),
            (Algorithm::rw_sam(0.1, f64::INFINITY, 4), "lambda"),
            (Algorithm::sam(0.1, 9).without_replacement(), "batch"),
            (Algorithm { normalisation: Normalisation::Unit { floor: -1. }, ..Algorithm::sam(0.1, 4) }, "floor"),
        ] {
            let text = algorithm.validate(8).unwrap_err().to_string();
            assert!(text.contains(field) && text.contains("expected"), "{text}");
        }
        assert!(Algorithm::sam(0.1, 9).validate(8).is_ok());
        assert!(Algorithm::sgd(1).validate(0).unwrap_err().to_string().contains("no samples"));
        assert_eq!(Sampling::WithoutReplacement.population_factor(4, 5), 0.);
    }
}
