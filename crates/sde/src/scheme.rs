//! What the schemes share: a step written once runs path by path, or for several paths in vector instructions.

use crate::lanes::{Lanes, Number};
use crate::stream::Streams;
use pulp::{Arch, Simd, WithSimd};

/// A step of an equation, for one path or several.
pub(crate) trait Scheme: Sync {
    /// One step of size dt from `x`, `[d]`.
    fn advance<T: Number>(&self, x: &mut [T], source: &mut T::Source, scratch: &mut [T]);
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
