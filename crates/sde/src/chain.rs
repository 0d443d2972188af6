//! The trait of Markov chains: discrete algorithms, and equations under an integrator.

use crate::lanes::{LANES, Lanes, gather, scatter};
use crate::sde::split;
use crate::stream::{Stream, Streams};

/// A Markov chain in ℝᵈ with random numbers from a [`Stream`]. [`Descent`](crate::Descent) and the integrators
/// implement it, and an [`Ensemble`](crate::Ensemble) runs it.
pub trait Chain: Sync {
    /// d, the dimension.
    fn dim(&self) -> usize;

    /// The number of `scratch` elements that [`step`](Chain::step) needs.
    fn scratch(&self) -> usize;

    /// Replaces `x`, `[d]`, by the state after one step. `scratch` has at least [`scratch`](Chain::scratch) elements of
    /// any contents.
    fn step(&self, x: &mut [f64], stream: &mut Stream, scratch: &mut [f64]);

    /// Takes `steps` steps of [`LANES`] paths at once, `x` `[d]` lanes. Each [live](Streams::is_live) lane must have
    /// the bits that [`step`](Chain::step) computes, whatever the other lanes contain. `scratch` has at least
    /// [`lane_scratch`](Chain::lane_scratch) elements of any contents.
    ///
    /// The default loops over the paths.
    fn steps(&self, steps: usize, x: &mut [Lanes], streams: &mut Streams, scratch: &mut [Lanes]) {
        let (point, scratch) = split(scratch.as_flattened_mut(), self.dim(), self.scratch());
        for lane in 0..LANES {
            if !streams.is_live(lane) {
                continue;
            }
            let mut stream = streams.get(lane);
            gather(x, lane, point);
            for _ in 0..steps {
                self.step(point, &mut stream, scratch);
            }
            scatter(point, lane, x);
            streams.set(lane, &stream);
        }
    }

    /// The number of `scratch` elements that [`steps`](Chain::steps) needs.
    fn lane_scratch(&self) -> usize {
        (self.dim() + self.scratch()).div_ceil(LANES)
    }
}

/// A reference to a chain is a chain.
impl<C: Chain + ?Sized> Chain for &C {
    fn dim(&self) -> usize {
        (**self).dim()
    }

    fn scratch(&self) -> usize {
        (**self).scratch()
    }

    fn step(&self, x: &mut [f64], stream: &mut Stream, scratch: &mut [f64]) {
        (**self).step(x, stream, scratch);
    }

    fn steps(&self, steps: usize, x: &mut [Lanes], streams: &mut Streams, scratch: &mut [Lanes]) {
        (**self).steps(steps, x, streams, scratch);
    }

    fn lane_scratch(&self) -> usize {
        (**self).lane_scratch()
    }
}
