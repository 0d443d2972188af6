//! The discrete algorithms, as sentences: where the ascent gradient comes from × how it becomes an offset ×
//! micro-batches.

use crate::Error;

/// x⁺ = x − η·mean over micro-batches I of ∇f_I(x + ρ u_I(x)), on a batch γ of `batch` samples.
///
/// f_I is the mean of the losses of I. With `micro == batch` the batch is its own and only micro-batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Algorithm {
    /// Where the ascent gradient v comes from.
    pub ascent: Ascent,
    /// How v becomes u.
    pub ball: Ball,
    /// ρ.
    pub rho: f64,
    /// m, which divides `batch`.
    pub micro: usize,
    /// b = |γ|.
    pub batch: usize,
    /// How γ is drawn.
    pub sampling: Sampling,
}

/// Where the ascent gradient v of a micro-batch I comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ascent {
    /// Nowhere, v = 0: SGD.
    None,
    /// v = ∇f: the n-variants.
    Full,
    /// v = ∇f_I.
    Mean,
    /// v = Σᵢ pᵢ∇ℓᵢ over I with p ∝ exp(λ‖∇ℓᵢ‖), the norms exact: RW-SAM with the paper's λ.
    Gibbs {
        /// λ, 0 for equal weights.
        lambda: f64,
    },
}

/// How the ascent gradient v becomes the direction u.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ball {
    /// u = v: the unnormalised variants.
    Raw,
    /// u = v/√(‖v‖² + floor²): SAM. Without a floor, u(0) = 0.
    Unit {
        /// What makes u smooth where v is 0, as the theorems assume; 0 for the published rule.
        floor: f64,
    },
}

/// How a batch is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampling {
    /// Every sample of it independently.
    WithReplacement,
    /// A uniform subset, cut into micro-batches at random.
    WithoutReplacement,
}

const SAM: Ball = Ball::Unit { floor: 0. };

impl Algorithm {
    const fn new(ascent: Ascent, ball: Ball, rho: f64, micro: usize, batch: usize) -> Self {
        Self { ascent, ball, rho, micro, batch, sampling: Sampling::WithReplacement }
    }

    /// SGD on batches of b, with replacement as all of these.
    pub const fn sgd(b: usize) -> Self {
        Self::new(Ascent::None, Ball::Raw, 0., b, b)
    }

    /// USAM that ascends on the full set.
    pub const fn n_usam(rho: f64, b: usize) -> Self {
        Self::new(Ascent::Full, Ball::Raw, rho, b, b)
    }

    /// Mini-batch USAM.
    pub const fn usam(rho: f64, b: usize) -> Self {
        Self::new(Ascent::Mean, Ball::Raw, rho, b, b)
    }

    /// USAM on micro-batches of m.
    pub const fn m_usam(rho: f64, m: usize, b: usize) -> Self {
        Self::new(Ascent::Mean, Ball::Raw, rho, m, b)
    }

    /// Reweighted USAM.
    pub const fn rw_usam(rho: f64, lambda: f64, b: usize) -> Self {
        Self::new(Ascent::Gibbs { lambda }, Ball::Raw, rho, b, b)
    }

    /// SAM that ascends on the full set.
    pub const fn n_sam(rho: f64, b: usize) -> Self {
        Self::new(Ascent::Full, SAM, rho, b, b)
    }

    /// Mini-batch SAM.
    pub const fn sam(rho: f64, b: usize) -> Self {
        Self::new(Ascent::Mean, SAM, rho, b, b)
    }

    /// SAM on micro-batches of m.
    pub const fn m_sam(rho: f64, m: usize, b: usize) -> Self {
        Self::new(Ascent::Mean, SAM, rho, m, b)
    }

    /// Reweighted SAM.
    pub const fn rw_sam(rho: f64, lambda: f64, b: usize) -> Self {
        Self::new(Ascent::Gibbs { lambda }, SAM, rho, b, b)
    }

    /// The same, drawn without replacement.
    pub const fn without_replacement(self) -> Self {
        Self { sampling: Sampling::WithoutReplacement, ..self }
    }

    /// The field's name for it: `SGD`, `n-USAM`, `m-SAM (m = 2)`, `RW-SAM (λ = 3)`.
    pub fn name(&self) -> String {
        let rule = if self.ball == Ball::Raw { "USAM" } else { "SAM" };
        let m = if self.micro == self.batch { String::new() } else { format!("m = {}", self.micro) };
        match self.ascent {
            Ascent::None => "SGD".to_owned(),
            Ascent::Full => format!("n-{rule}"),
            Ascent::Mean if m.is_empty() => rule.to_owned(),
            Ascent::Mean => format!("m-{rule} ({m})"),
            Ascent::Gibbs { lambda } if m.is_empty() => format!("RW-{rule} (λ = {lambda})"),
            Ascent::Gibbs { lambda } => format!("m-RW-{rule} (λ = {lambda}, {m})"),
        }
    }

    /// b/m, a whole number where [`validate`](Algorithm::validate) finds no fault.
    ///
    /// # Panics
    /// If m is 0.
    #[track_caller]
    pub const fn pieces(&self) -> usize {
        assert!(self.micro > 0, "micro is 0; expected at least 1");
        self.batch / self.micro
    }

    /// Whether it can be carried out on n samples.
    ///
    /// # Errors
    /// Names the field and what was expected.
    pub fn validate(&self, n: usize) -> Result<(), Error> {
        let Self { micro, batch, rho, .. } = *self;
        let fail = |text: String| Err(Error::new(text));
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
        match (self.ascent, self.ball) {
            (Ascent::Gibbs { lambda }, _) if !(lambda >= 0. && lambda.is_finite()) => {
                fail(format!("lambda is {lambda}; expected a finite number of at least 0"))
            }
            (_, Ball::Unit { floor }) if !(floor >= 0. && floor.is_finite()) => {
                fail(format!("floor is {floor}; expected a finite number of at least 0"))
            }
            _ => Ok(()),
        }
    }
}

impl Sampling {
    /// By what the variance of the mean of k samples is multiplied: (n − k)/(n − 1) without replacement, which is 0
    /// from k = n on, and 1 with.
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
            (Algorithm { ball: Ball::Unit { floor: -1. }, ..Algorithm::sam(0.1, 4) }, "floor"),
        ] {
            let text = algorithm.validate(8).unwrap_err().to_string();
            assert!(text.contains(field) && text.contains("expected"), "{text}");
        }
        assert!(Algorithm::sam(0.1, 9).validate(8).is_ok());
        assert!(Algorithm::sgd(1).validate(0).unwrap_err().to_string().contains("no samples"));
        assert_eq!(Sampling::WithoutReplacement.population_factor(4, 5), 0.);
    }
}
