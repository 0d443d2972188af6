//! The seam: a stochastic differential equation in Itô's sense.

use crate::error::Error;
use crate::lanes::{LANES, Lanes, gather, scatter};

/// dX = b(X) dt + σ(X) dW for X of `d` components and W of `q` independent Brownian motions.
///
/// Everything that integrates, and every ensemble, takes one of these; implement it for an equation of your own. Four
/// methods are enough. The others say the same again for several paths at once, or for one Brownian motion alone;
/// [`drifts`](Sde::drifts) and [`diffusions`](Sde::diffusions) are worth writing where ensembles are large.
pub trait Sde: Sync {
    /// d, the number of components of X.
    fn dim(&self) -> usize;

    /// How the noise enters.
    fn noise(&self) -> Noise;

    /// Writes b(x) into `drift`, `[d]`.
    fn drift(&self, x: &[f64], drift: &mut [f64]);

    /// Writes σ(x) into `sigma`: `[d, q]` row by row, or its diagonal `[d]` where the noise is diagonal.
    fn diffusion(&self, x: &[f64], sigma: &mut [f64]);

    /// Whether the noise is diagonal and σᵢ depends on xᵢ alone; a constant does. What is said here is believed:
    /// Milstein's scheme is refused without it, and wrong where it is not true.
    fn separable(&self) -> bool {
        false
    }

    /// [`drift`](Sde::drift) of several paths at once, `[d]` lanes each. Must compute what `drift` computes.
    ///
    /// By default path by path. An implementation of your own, whose loops over the lanes become vector instructions,
    /// is several times as fast; mark it `#[inline(always)]`, so that it is compiled for the widest vectors of the
    /// processor. `scratch`, which the default uses, has at least d + max(d, [`Noise::len`]) numbers of any contents.
    #[inline(always)]
    fn drifts(&self, x: &[Lanes], drift: &mut [Lanes], scratch: &mut [f64]) {
        let (point, value) = split(scratch, self.dim(), self.dim());
        for lane in 0..LANES {
            gather(x, lane, point);
            self.drift(point, value);
            scatter(value, lane, drift);
        }
    }

    /// [`diffusion`](Sde::diffusion) of several paths at once; otherwise like [`drifts`](Sde::drifts).
    #[inline(always)]
    fn diffusions(&self, x: &[Lanes], sigma: &mut [Lanes], scratch: &mut [f64]) {
        let (point, value) = split(scratch, self.dim(), self.noise().len(self.dim()));
        for lane in 0..LANES {
            gather(x, lane, point);
            self.diffusion(point, value);
            scatter(value, lane, sigma);
        }
    }

    /// Writes what Brownian motion `source` contributes, column `source` of σ(x), into `column`, `[d]`.
    ///
    /// By default from the whole of σ, for which `sigma` has room. The scheme of weak order 2 asks for 4 q columns a
    /// step.
    fn column(&self, source: usize, x: &[f64], column: &mut [f64], sigma: &mut [f64]) {
        let len = self.noise().len(self.dim());
        self.diffusion(x, &mut sigma[..len]);
        self.noise().column(source, &sigma[..len], column);
    }
}

/// d of an equation, if it is in any.
pub(crate) fn dimension(sde: &impl Sde) -> Result<usize, Error> {
    match sde.dim() {
        0 => Err(Error::new("the equation is in 0 dimensions; expected at least 1")),
        d => Ok(d),
    }
}

/// A time for which an equation can go on from its start.
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

/// An equation that is used elsewhere as well.
impl<E: Sde + ?Sized> Sde for &E {
    fn dim(&self) -> usize {
        (**self).dim()
    }

    fn noise(&self) -> Noise {
        (**self).noise()
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
