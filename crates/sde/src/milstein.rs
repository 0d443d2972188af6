//! The derivative-free Milstein integrator.

use crate::brownian;
use crate::error::Error;
use crate::lanes::Number;
use crate::scheme::{Scheme, chain_of, step_size};
use crate::sde::{NoiseType, Sde};

/// x ← x + b dt + σ ΔW + (σ(x̂) − σ) (ΔW² − dt) / (2 √dt) with x̂ = x + b dt + σ √dt.
///
/// The derivative-free Milstein integrator. Strong and weak order 1. One drift and two diffusions per step; the
/// difference replaces the derivative of σ along itself. It applies to a single Brownian motion, or to diagonal noise
/// with σᵢ a function of xᵢ only: otherwise iterated integrals of the Brownian motions would be needed.
/// Reference: Kloeden and Platen, *Numerical Solution of Stochastic Differential Equations* (1992), §11.1.
#[derive(Clone, Debug)]
pub struct Milstein<E> {
    sde: E,
    dt: f64,
}

impl<E: Sde> Milstein<E> {
    /// Integrates `sde` with steps of size `dt`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if there are several Brownian motions and the noise is not diagonal and
    /// [`separable`](Sde::separable); [`Error::InvalidArgument`] if `dt` is not a positive number or the equation has
    /// no dimension.
    pub fn new(sde: E, dt: f64) -> Result<Self, Error> {
        let found = match sde.noise_type() {
            noise if noise.sources(sde.dim()) == 1 => None,
            NoiseType::Diagonal if sde.separable() => None,
            NoiseType::Diagonal => Some("diagonal noise of an equation that does not say so".to_owned()),
            NoiseType::General(sources) => Some(format!("general noise of {sources} Brownian motions")),
        };
        if let Some(found) = found {
            return Err(Error::unsupported(format!(
                "Milstein's scheme expects one Brownian motion, or diagonal noise with σᵢ of xᵢ alone \
                 (Sde::separable), and not {found}; Euler–Maruyama and the scheme of weak order 2 take any"
            )));
        }
        let dt = step_size(&sde, dt, 0.)?;
        Ok(Self { sde, dt })
    }

    /// A step with given increments of the Brownian motions, `[q]`; `scratch` is
    /// [`Chain::scratch`](crate::Chain::scratch) long, or [`Chain::lane_scratch`](crate::Chain::lane_scratch) for
    /// lanes.
    #[inline(always)]
    pub fn advance_with<T: Number>(&self, x: &mut [T], increments: &[T], scratch: &mut [T]) {
        let (d, dt, root) = (x.len(), self.dt, self.dt.sqrt());
        let (drift, rest) = scratch.split_at_mut(d);
        let (sigma, rest) = rest.split_at_mut(d); // one number a component, for both kinds of noise
        let (there, rest) = rest.split_at_mut(d);
        let (support, spare) = rest.split_at_mut(d);
        T::drift(&self.sde, x, drift, spare);
        T::diffusion(&self.sde, x, sigma, spare);
        for i in 0..d {
            support[i] = T::zip([&x[i], &drift[i], &sigma[i]], |[x, b, s]| x + b * dt + s * root);
        }
        T::diffusion(&self.sde, support, there, spare);
        for i in 0..d {
            let increment = &increments[i.min(increments.len() - 1)];
            x[i] = T::zip([&x[i], &drift[i], &sigma[i], &there[i], increment], |[x, b, s, t, w]| {
                x + b * dt + s * w + (t - s) * (w * w - dt) / (2. * root)
            });
        }
    }

    fn sources(&self) -> usize {
        self.sde.noise_type().sources(self.sde.dim())
    }
}

impl<E: Sde> Scheme for Milstein<E> {
    fn numbers(&self) -> usize {
        self.sources() + 4 * self.sde.dim()
    }

    #[inline(always)]
    fn advance<T: Number>(&self, x: &mut [T], source: &mut T::Source, scratch: &mut [T]) {
        let (increments, scratch) = scratch.split_at_mut(self.sources());
        brownian::gaussian(source, self.dt, increments);
        self.advance_with(x, increments, scratch);
    }
}

chain_of!(Milstein);
