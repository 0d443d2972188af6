//! The Euler–Maruyama integrator.

use crate::brownian;
use crate::error::Error;
use crate::lanes::Number;
use crate::scheme::{Scheme, chain_of, step_size};
use crate::sde::{Sde, split};

/// The Euler–Maruyama integrator: x ← x + b(x) dt + σ(x) ΔW with ΔW ~ N(0, dt).
///
/// Weak order 1; strong order ½, and 1 for constant σ. One drift and one diffusion per step, for any [noise
/// type](crate::NoiseType).
/// Reference: Maruyama, *Continuous Markov processes and stochastic equations* (1955).
#[derive(Clone, Debug)]
pub struct EulerMaruyama<E> {
    sde: E,
    dt: f64,
}

impl<E: Sde> EulerMaruyama<E> {
    /// Integrates `sde` with steps of size `dt`.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if `dt` is not a positive number or the equation has no dimension;
    /// [`Error::TooLarge`] if a step, with σ for [`LANES`](crate::LANES) paths, takes more than 4 GiB.
    pub fn new(sde: E, dt: f64) -> Result<Self, Error> {
        let dt = step_size(&sde, dt, 0.)?;
        Ok(Self { sde, dt })
    }

    /// A step with given increments of the Brownian motions, `[q]`; `scratch` is
    /// [`Chain::scratch`](crate::Chain::scratch) long, or [`Chain::lane_scratch`](crate::Chain::lane_scratch) for
    /// lanes.
    #[inline(always)]
    pub fn advance_with<T: Number>(&self, x: &mut [T], increments: &[T], scratch: &mut [T]) {
        let (noise, dt) = (self.sde.noise_type(), self.dt);
        let (drift, rest) = scratch.split_at_mut(x.len());
        let (sigma, spare) = rest.split_at_mut(noise.len(x.len()));
        T::drift(&self.sde, x, drift, spare);
        T::diffusion(&self.sde, x, sigma, spare);
        for (x, drift) in x.iter_mut().zip(drift) {
            *x = T::zip([x, drift], |[x, b]| x + b * dt);
        }
        noise.add(sigma, increments, x);
    }
}

impl<E: Sde> Scheme for EulerMaruyama<E> {
    /// The increments, which come first, and the rest.
    fn numbers(&self) -> usize {
        let (d, noise) = (self.sde.dim(), self.sde.noise_type());
        noise.sources(d) + d + noise.len(d)
    }

    #[inline(always)]
    fn advance<T: Number>(&self, x: &mut [T], source: &mut T::Source, scratch: &mut [T]) {
        let sources = self.sde.noise_type().sources(x.len());
        let rest = scratch.len() - sources;
        let (increments, scratch) = split(scratch, sources, rest);
        brownian::gaussian(source, self.dt, increments);
        self.advance_with(x, increments, scratch);
    }
}

chain_of!(EulerMaruyama);
