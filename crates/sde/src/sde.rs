//! The seam: a stochastic differential equation in Itô's sense.

/// dX = b(X) dt + σ(X) dW for X of `d` components and W of `q` independent Brownian motions.
///
/// Everything that integrates, and every ensemble, takes one of these; implement it for an equation of your own.
pub trait Sde: Sync {
    /// d, the number of components of X.
    fn dim(&self) -> usize;

    /// How the noise enters.
    fn noise(&self) -> Noise;

    /// Writes b(x) into `drift`, `[d]`.
    fn drift(&self, x: &[f64], drift: &mut [f64]);

    /// Writes σ(x) into `sigma`: `[d, q]` row by row, or its diagonal `[d]` where the noise is diagonal.
    fn diffusion(&self, x: &[f64], sigma: &mut [f64]);
}

/// How the noise of an equation enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noise {
    /// Component i has a Brownian motion of its own, and σᵢ depends on xᵢ alone or on all of x; σ is `[d]`.
    Diagonal,
    /// Every component sees all of so many Brownian motions; σ is `[d, q]`.
    General(usize),
}

impl Noise {
    /// q, the number of Brownian motions of an equation of `d` components.
    pub fn sources(self, d: usize) -> usize {
        match self {
            Noise::Diagonal => d,
            Noise::General(sources) => sources,
        }
    }

    /// The numbers that σ(x) consists of.
    pub fn len(self, d: usize) -> usize {
        match self {
            Noise::Diagonal => d,
            Noise::General(sources) => d * sources,
        }
    }
}
