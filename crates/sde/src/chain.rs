//! The seam: a Markov chain, which a discrete algorithm is, and an equation under an integrator as well.

use crate::lanes::{LANES, Lanes, gather, scatter};
use crate::sde::split;
use crate::stream::{Stream, Streams};

/// A Markov chain in ℝᵈ: what comes next depends on where it is, and on chance.
pub trait Chain: Sync {
    /// d.
    fn dim(&self) -> usize;

    /// How many numbers [`step`](Chain::step) needs for what it computes on the way.
    fn scratch(&self) -> usize;

    /// Takes one step from `x`, `[d]`, which it replaces. `scratch` has at least as many elements as
    /// [`scratch`](Chain::scratch) says, and any contents.
    fn step(&self, x: &mut [f64], stream: &mut Stream, scratch: &mut [f64]);

    /// Takes `steps` steps of several paths at once, `[d]` lanes; each live lane must come to the bits that
    /// [`step`](Chain::step) comes to, whatever the other lanes hold. `scratch` has at least
    /// [`lane_scratch`](Chain::lane_scratch) elements, of any contents.
    ///
    /// By default path by path.
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

    /// How many lanes [`steps`](Chain::steps) needs for what it computes on the way.
    fn lane_scratch(&self) -> usize {
        (self.dim() + self.scratch()).div_ceil(LANES)
    }
}

/// A chain that is used elsewhere as well.
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
