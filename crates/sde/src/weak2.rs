//! A stochastic Runge–Kutta integrator of weak order 2.

use crate::brownian;
use crate::error::Error;
use crate::lanes::Number;
use crate::scheme::{Scheme, chain_of, step_size};
use crate::sde::Sde;

/// The stochastic Runge–Kutta integrator RI6 of Rößler, of weak order 2, for any [noise type](crate::NoiseType).
///
/// With bᵏ for column k of σ, Îₖ three-point increments and Ĩₖₗ two-point ones, Îₖₖ = (Îₖ² − dt)/2 and
/// Îₖₗ = (Îₖ Îₗ ∓ √dt Ĩₖₗ)/2, minus for k < l and plus with Ĩₗₖ for k > l:
///
/// ```text
/// y   = x + b(x) dt                   H₀  = y + Σₖ bᵏ(x) Îₖ
/// H±ᵏ = y ± bᵏ(x) √dt                 Ĥ±ᵏ = x ± Σₗ≠ₖ bˡ(x) Îₖₗ/√dt
/// x ← x + (b(x) + b(H₀)) dt/2
///       + Σₖ (2 bᵏ(x) + bᵏ(H₊ᵏ) + bᵏ(H₋ᵏ)) Îₖ/4 + (bᵏ(H₊ᵏ) − bᵏ(H₋ᵏ)) Îₖₖ/(2 √dt)
///       + Σₖ (bᵏ(Ĥ₊ᵏ) + bᵏ(Ĥ₋ᵏ) − 2 bᵏ(x)) Îₖ/4 + (bᵏ(Ĥ₊ᵏ) − bᵏ(Ĥ₋ᵏ)) √dt/2
/// ```
///
/// It approximates expectations only, not paths, as its increments are not those of a Brownian motion. A step costs two
/// drifts, one diffusion and 4q columns, each column by default a whole diffusion ([`Sde::column`]). For a single
/// Brownian motion, or [`separable`](Sde::separable) noise, the last line vanishes, and a step costs two drifts and
/// three diffusions.
///
/// There is one two-point increment for each pair of Brownian motions, as in Kloeden and Platen (1992), §14.2. With one
/// for each motion except the last, Îₖₗ and Îₖₘ correlate, and noise of three non-commuting motions is integrated to
/// order 1 only.
/// Reference: Rößler, *Second order Runge–Kutta methods for Itô stochastic differential equations* (2009).
#[derive(Clone, Debug)]
pub struct WeakOrder2<E> {
    sde: E,
    dt: f64,
}

impl<E: Sde> WeakOrder2<E> {
    /// Integrates `sde` with steps of size `dt`.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if `dt` is not a positive number or the equation has no dimension;
    /// [`Error::TooLarge`] if a step, with σ for [`LANES`](crate::LANES) paths, takes more than 4 GiB.
    pub fn new(sde: E, dt: f64) -> Result<Self, Error> {
        let sources = sde.noise_type().sources(sde.dim()) as f64;
        let pairs = if sde.separable() { 0. } else { sources * sources / 2. };
        let dt = step_size(&sde, dt, pairs)?;
        Ok(Self { sde, dt })
    }

    /// A step with given increments Î, `[q]`, and Ĩ, `[q (q − 1)/2]`, Ĩ of k < l at l (l − 1)/2 + k; not used where the
    /// noise is separable. `scratch` is [`Chain::scratch`](crate::Chain::scratch) long, or
    /// [`Chain::lane_scratch`](crate::Chain::lane_scratch) for lanes.
    #[inline(always)]
    pub fn advance_with<T: Number>(&self, x: &mut [T], increments: &[T], signs: &[T], scratch: &mut [T]) {
        let (d, noise, dt, root) = (x.len(), self.sde.noise_type(), self.dt, self.dt.sqrt());
        let (drift, rest) = scratch.split_at_mut(d);
        let (y, rest) = rest.split_at_mut(d);
        let (stage, rest) = rest.split_at_mut(d);
        let (next, rest) = rest.split_at_mut(d);
        let (sigma, rest) = rest.split_at_mut(noise.len(d));
        T::drift(&self.sde, x, drift, rest);
        T::diffusion(&self.sde, x, sigma, rest);
        for i in 0..d {
            y[i] = T::zip([&x[i], &drift[i]], |[x, b]| x + b * dt);
            next[i] = T::zip([&x[i], &drift[i]], |[x, b]| x + 0.5 * dt * b);
        }
        stage.copy_from_slice(y);
        noise.add(sigma, increments, stage);
        T::drift(&self.sde, stage, drift, rest);
        for i in 0..d {
            next[i] = T::zip([&next[i], &drift[i]], |[x, b]| x + 0.5 * dt * b);
        }
        let (here, rest) = rest.split_at_mut(d);
        let (plus, rest) = rest.split_at_mut(d);
        let (minus, spare) = rest.split_at_mut(d);
        let along =
            |[next, s, p, m, w]: [f64; 5]| next + 0.25 * (2. * s + p + m) * w + (p - m) * (w * w - dt) / (4. * root);
        if self.sde.separable() {
            // every motion has a component of its own: one evaluation serves them all
            for (sign, there) in [(root, &mut *plus), (-root, &mut *minus)] {
                for i in 0..d {
                    stage[i] = T::zip([&y[i], &sigma[i]], |[y, s]| y + s * sign);
                }
                T::diffusion(&self.sde, stage, there, spare);
            }
            for i in 0..d {
                next[i] = T::zip([&next[i], &sigma[i], &plus[i], &minus[i], &increments[i]], along);
            }
            x.copy_from_slice(next);
            return;
        }
        for (k, increment) in increments.iter().enumerate() {
            noise.column(k, sigma, here);
            for (sign, there) in [(root, &mut *plus), (-root, &mut *minus)] {
                for i in 0..d {
                    stage[i] = T::zip([&y[i], &here[i]], |[y, s]| y + s * sign);
                }
                T::column(&self.sde, k, stage, there, spare);
            }
            for i in 0..d {
                next[i] = T::zip([&next[i], &here[i], &plus[i], &minus[i], increment], along);
            }
            if increments.len() == 1 {
                break;
            }
            for (sign, there) in [(1. / root, &mut *plus), (-1. / root, &mut *minus)] {
                stage.copy_from_slice(x);
                for (l, other) in increments.iter().enumerate().filter(|(l, _)| *l != k) {
                    let (low, high) = (k.min(l), k.max(l));
                    let twist = &signs[high * (high - 1) / 2 + low];
                    let mixed = T::zip([increment, other, twist], |[a, b, t]| {
                        0.5 * sign * if k < l { a * b - root * t } else { a * b + root * t }
                    });
                    noise.add_column(l, sigma, &mixed, stage);
                }
                T::column(&self.sde, k, stage, there, spare);
            }
            for i in 0..d {
                next[i] = T::zip([&next[i], &here[i], &plus[i], &minus[i], increment], |[next, s, p, m, w]| {
                    next + 0.25 * (p + m - 2. * s) * w + 0.5 * (p - m) * root
                });
            }
        }
        x.copy_from_slice(next);
    }

    fn sources(&self) -> usize {
        self.sde.noise_type().sources(self.sde.dim())
    }

    /// One for each pair of motions, where they meet.
    fn signs(&self) -> usize {
        if self.sde.separable() { 0 } else { self.sources() * self.sources().saturating_sub(1) / 2 }
    }
}

impl<E: Sde> Scheme for WeakOrder2<E> {
    fn numbers(&self) -> usize {
        let d = self.sde.dim();
        self.sources() + self.signs() + 7 * d + self.sde.noise_type().len(d)
    }

    #[inline(always)]
    fn advance<T: Number>(&self, x: &mut [T], source: &mut T::Source, scratch: &mut [T]) {
        let (increments, rest) = scratch.split_at_mut(self.sources());
        let (signs, scratch) = rest.split_at_mut(self.signs());
        brownian::discrete(source, self.dt, increments, signs);
        self.advance_with(x, increments, signs, scratch);
    }
}

chain_of!(WeakOrder2);
