//! The trait of stochastic differential equations in Itô's sense.

use crate::error::Error;
use crate::lanes::{LANES, Lanes, gather, scatter};

/// dX = b(X) dt + σ(X) dW for X of `d` components and W of `q` independent Brownian motions.
///
/// Implement it for an equation of your own; every integrator and every method for expectations takes it. Four methods
/// are required. The provided methods compute the same for several paths at once, or for one Brownian motion;
/// [`drifts`](Sde::drifts) and [`diffusions`](Sde::diffusions) are worth overriding for large ensembles.
pub trait Sde: Sync {
    /// d, the number of components of X.
    fn dim(&self) -> usize;

    /// The structure of σ.
    fn noise_type(&self) -> NoiseType;

    /// Writes b(x) into `drift`, `[d]`.
    fn drift(&self, x: &[f64], drift: &mut [f64]);

    /// Writes σ(x) into `sigma`: `[d, q]` row by row, or its diagonal `[d]` where the noise is diagonal.
    fn diffusion(&self, x: &[f64], sigma: &mut [f64]);

    /// Whether the noise is diagonal and σᵢ depends on xᵢ only, or is constant ("diagonal noise" in the sense of
    /// Kloeden and Platen, 1992, §10.3, which is commutative). The default is `false`.
    ///
    /// It is not checked: [`Milstein`](crate::Milstein) requires it for more than one Brownian motion, and is wrong if
    /// it does not hold.
    fn separable(&self) -> bool {
        false
    }

    /// [`drift`](Sde::drift) of [`LANES`] paths at once, `x` and `drift` `[d]` lanes. Must compute the bits of `drift`.
    ///
    /// The default loops over the paths. An override whose loops over lanes become vector instructions is several times
    /// as fast; mark it `#[inline(always)]`, so that it is compiled for the widest vectors of the processor. `scratch`
    /// has at least d + max(d, [`NoiseType::len`]) numbers of any contents.
    #[inline(always)]
    fn drifts(&self, x: &[Lanes], drift: &mut [Lanes], scratch: &mut [f64]) {
        let (point, value) = split(scratch, self.dim(), self.dim());
        for lane in 0..LANES {
            gather(x, lane, point);
            self.drift(point, value);
            scatter(value, lane, drift);
        }
    }

    /// [`diffusion`](Sde::diffusion) of [`LANES`] paths at once, as [`drifts`](Sde::drifts).
    #[inline(always)]
    fn diffusions(&self, x: &[Lanes], sigma: &mut [Lanes], scratch: &mut [f64]) {
        let (point, value) = split(scratch, self.dim(), self.noise_type().len(self.dim()));
        for lane in 0..LANES {
            gather(x, lane, point);
            self.diffusion(point, value);
            scatter(value, lane, sigma);
        }
    }

    /// Writes column `source` of σ(x), the coefficient of Brownian motion `source`, into `column`, `[d]`.
    ///
    /// The default computes all of σ in `sigma`, which has [`NoiseType::len`] numbers.
    /// [`WeakOrder2`](crate::WeakOrder2) evaluates 4q columns per step.
    fn column(&self, source: usize, x: &[f64], column: &mut [f64], sigma: &mut [f64]) {
        let len = self.noise_type().len(self.dim());
        self.diffusion(x, &mut sigma[..len]);
        self.noise_type().column(source, &sigma[..len], column);
    }
}

/// d of an equation, at least 1.
pub(crate) fn dimension(sde: &impl Sde) -> Result<usize, Error> {
    match sde.dim() {
        0 => Err(Error::invalid("the equation is in 0 dimensions; expected at least 1")),
        d => Ok(d),
    }
}

/// Panics unless `time` is finite and at least 0.
#[inline]
#[track_caller]
pub(crate) fn assert_time(time: f64) {
    assert!(time >= 0. && time.is_finite(), "the time is {time}; expected a finite number of at least 0");
}

/// The first `a` numbers and the `b` after them.
#[inline(always)]
pub(crate) fn split<T>(scratch: &mut [T], a: usize, b: usize) -> (&mut [T], &mut [T]) {
    let (first, rest) = scratch.split_at_mut(a);
    (first, &mut rest[..b])
}

/// A reference to an equation is an equation.
impl<E: Sde + ?Sized> Sde for &E {
    fn dim(&self) -> usize {
        (**self).dim()
    }

    fn noise_type(&self) -> NoiseType {
        (**self).noise_type()
    }

    #[inline(always)]
    fn drift(&self, x: &[f64], drift: &mut [f64]) {
        (**self).drift(x, drift);
    }

    #[inline(always)]
    fn diffusion(&self, x: &[f64], sigma: &mut [f64]) {
        (**self).diffusion(x, sigma);
    }

    fn separable(&self) -> bool {
        (**self).separable()
    }

    #[inline(always)]
    fn drifts(&self, x: &[Lanes], drift: &mut [Lanes], scratch: &mut [f64]) {
        (**self).drifts(x, drift, scratch);
    }

    #[inline(always)]
    fn diffusions(&self, x: &[Lanes], sigma: &mut [Lanes], scratch: &mut [f64]) {
        (**self).diffusions(x, sigma, scratch);
    }

    fn column(&self, source: usize, x: &[f64], column: &mut [f64], sigma: &mut [f64]) {
        (**self).column(source, x, column, sigma);
    }
}

/// The structure of the diffusion matrix σ, as `noise_type` in torchsde.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoiseType {
    /// σ is diagonal, stored as `[d]`: component i has its own Brownian motion. σᵢ may depend on all of x.
    Diagonal,
    /// σ is a full matrix `[d, q]` for this number q of Brownian motions.
    General(usize),
}

impl NoiseType {
    /// q, the number of Brownian motions of an equation of `d` components.
    pub fn sources(self, d: usize) -> usize {
        match self {
            NoiseType::Diagonal => d,
            NoiseType::General(sources) => sources,
        }
    }

    /// The number of stored elements of σ(x): d or d·q.
    pub fn len(self, d: usize) -> usize {
        match self {
            NoiseType::Diagonal => d,
            NoiseType::General(sources) => d * sources,
        }
    }
}
