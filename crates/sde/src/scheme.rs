//! What the integrators share: a step written once runs path by path, or for several paths in vector instructions.

use crate::error::Error;
use crate::lanes::{LANES, Lanes, Number};
use crate::memory;
use crate::sde::{NoiseType, Sde, dimension};
use crate::stream::Streams;
use pulp::{Arch, Simd, WithSimd};

/// A step of an integrator, for one path or several; `chain_of` derives the chain.
pub(crate) trait Scheme: Sync {
    /// How many numbers a step needs, besides what the equation needs for itself.
    fn numbers(&self) -> usize;

    /// One step of size dt from `x`, `[d]`.
    fn advance<T: Number>(&self, x: &mut [T], source: &mut T::Source, scratch: &mut [T]);
}

/// `dt`, if a step of `sde` can have it as its size, and what a step needs has room: σ of as many paths as go side by
/// side, and `pairs` more numbers for each of them.
pub(crate) fn step_size(sde: &impl Sde, dt: f64, pairs: f64) -> Result<f64, Error> {
    if !(dt > 0. && dt.is_finite()) {
        return Err(Error::invalid(format!("dt is {dt}; expected a finite number above 0")));
    }
    let d = dimension(sde)?;
    let (sources, sigma) = match sde.noise_type() {
        NoiseType::Diagonal => (d, d as f64),
        NoiseType::General(sources) => (sources, d as f64 * sources as f64),
    };
    let each = memory::numbers(8. * d as f64 + sources as f64 + sigma + pairs);
    memory::fits(
        &format!("a step of {LANES} paths in {d} dimensions with {sources} Brownian motions"),
        each * (LANES + 1) as f64,
        "use an equation whose noise is diagonal or has fewer Brownian motions, or the algorithm itself (Descent)",
    )?;
    Ok(dt)
}

/// Takes `steps` steps of several paths, compiled for the widest vectors that this processor has.
pub(crate) fn advance_lanes<S: Scheme>(
    scheme: &S,
    steps: usize,
    x: &mut [Lanes],
    streams: &mut Streams,
    scratch: &mut [Lanes],
) {
    Arch::new().dispatch(Walk { scheme, steps, x, streams, scratch });
}

/// Makes a [`Chain`](crate::Chain) of a scheme whose equation is its field `sde`. A macro, because `impl<S: Scheme>
/// Chain for S` would conflict with the chain that `&C` is.
macro_rules! chain_of {
    ($scheme:ident) => {
        impl<E: Sde> crate::Chain for $scheme<E> {
            fn dim(&self) -> usize {
                self.sde.dim()
            }

            fn scratch(&self) -> usize {
                self.numbers() + <f64 as Number>::spare(&self.sde)
            }

            fn step(&self, x: &mut [f64], stream: &mut crate::Stream, scratch: &mut [f64]) {
                self.advance(x, stream, scratch);
            }

            fn steps(
                &self,
                steps: usize,
                x: &mut [crate::Lanes],
                streams: &mut crate::Streams,
                scratch: &mut [crate::Lanes],
            ) {
                crate::scheme::advance_lanes(self, steps, x, streams, scratch);
            }

            fn lane_scratch(&self) -> usize {
                self.numbers() + <crate::Lanes as Number>::spare(&self.sde)
            }
        }
    };
}

pub(crate) use chain_of;

struct Walk<'a, S> {
    scheme: &'a S,
    steps: usize,
    x: &'a mut [Lanes],
    streams: &'a mut Streams,
    scratch: &'a mut [Lanes],
}

impl<S: Scheme> WithSimd for Walk<'_, S> {
    type Output = ();

    #[inline(always)]
    fn with_simd<V: Simd>(self, _: V) {
        for _ in 0..self.steps {
            self.scheme.advance(self.x, self.streams, self.scratch);
        }
    }
}
