//! The random numbers of a path, and those of several paths at once.

use crate::lanes::LANES;
use rand::TryRng;
use std::convert::Infallible;

/// The random generator of one path: xoshiro256++ (Blackman and Vigna, 2021), period 2²⁵⁶ − 1. It implements the traits
/// of `rand`, so every distribution of `rand` can sample from it.
///
/// It is implemented here because [`Streams`] advances several generators at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    state: [u64; 4],
}

/// The stream of path `path` of an ensemble: a pure function of both numbers.
pub fn stream(seed: u64, path: u64) -> Stream {
    // SplitMix64's finaliser separates neighbouring paths; the generator's own seeding separates seeds.
    Stream::seeded(seed.rotate_left(32) ^ finalised(path.wrapping_add(GOLDEN)))
}

/// 2⁶⁴ by the golden ratio: the increment of SplitMix64.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finaliser of SplitMix64 (Steele, Lea and Flood, 2014): a bijection that changes half of the bits.
fn finalised(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Stream {
    /// With the first four numbers of SplitMix64 as its state, as the authors of the generator advise.
    pub(crate) fn seeded(seed: u64) -> Self {
        Self { state: [1, 2, 3, 4].map(|k: u64| finalised(seed.wrapping_add(GOLDEN.wrapping_mul(k)))) }
    }

    /// 64 random bits.
    #[inline(always)]
    pub fn bits(&mut self) -> u64 {
        next(&mut self.state)
    }
}

/// One step of xoshiro256++.
#[inline(always)]
fn next([a, b, c, d]: &mut [u64; 4]) -> u64 {
    let out = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
    let shifted = *b << 17;
    *c ^= *a;
    *d ^= *b;
    *b ^= *c;
    *a ^= *d;
    *c ^= shifted;
    *d = d.rotate_left(45);
    out
}

impl TryRng for Stream {
    type Error = Infallible;

    #[inline]
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.bits() >> 32) as u32) // the generator's upper bits are its better ones
    }

    #[inline]
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.bits())
    }

    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Infallible> {
        for chunk in to.chunks_mut(8) {
            chunk.copy_from_slice(&self.bits().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

/// The random generators of [`LANES`] paths, one in each lane. A lane generates the same numbers as its [`Stream`].
#[derive(Clone, Debug)]
pub struct Streams {
    state: [[u64; LANES]; 4],
    live: [bool; LANES],
}

impl Streams {
    /// Lane i is the stream of path `first` + i; the first `live` lanes are [live](Streams::is_live).
    pub fn new(seed: u64, first: u64, live: usize) -> Self {
        let mut streams = Self { state: [[0; LANES]; 4], live: [false; LANES] };
        for lane in 0..LANES {
            streams.set(lane, &stream(seed, first.wrapping_add(lane as u64)));
            streams.live[lane] = lane < live;
        }
        streams
    }

    /// 64 random bits for each lane.
    #[inline(always)]
    pub fn bits(&mut self) -> [u64; LANES] {
        let [a, b, c, d] = &mut self.state;
        std::array::from_fn(|i| {
            let mut state = [a[i], b[i], c[i], d[i]];
            let out = next(&mut state);
            [a[i], b[i], c[i], d[i]] = state;
            out
        })
    }

    /// The stream of a lane in its current state.
    pub fn get(&self, lane: usize) -> Stream {
        Stream { state: [0, 1, 2, 3].map(|word| self.state[word][lane]) }
    }

    /// Replaces the stream of a lane.
    pub fn set(&mut self, lane: usize, stream: &Stream) {
        (0..4).for_each(|word| self.state[word][lane] = stream.state[word]);
    }

    /// Whether the lane has a path. The state of another lane is not used; it may be advanced or not.
    pub fn is_live(&self, lane: usize) -> bool {
        self.live[lane]
    }

    /// Marks the lane as one without a path.
    pub(crate) fn retire(&mut self, lane: usize) {
        self.live[lane] = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    #[test]
    fn the_generator_is_the_one_of_its_authors() {
        for seed in [0, 1, 0xdead_beef, u64::MAX] {
            let (mut ours, mut theirs) = (Stream::seeded(seed), Xoshiro256PlusPlus::seed_from_u64(seed));
            for _ in 0..1000 {
                assert_eq!(ours.bits(), theirs.next_u64());
            }
            assert_eq!(ours.next_u32(), theirs.next_u32());
            let (mut a, mut b) = ([0; 13], [0; 13]);
            ours.fill_bytes(&mut a);
            theirs.fill_bytes(&mut b);
            assert_eq!(a, b);
        }
    }

    #[test]
    fn a_lane_is_the_stream_of_its_path() {
        let mut streams = Streams::new(7, 40, 3);
        let mut one_by_one: Vec<Stream> = (0..LANES as u64).map(|lane| stream(7, 40 + lane)).collect();
        for _ in 0..100 {
            let bits = streams.bits();
            for (lane, alone) in one_by_one.iter_mut().enumerate() {
                assert_eq!(bits[lane], alone.bits());
            }
        }
        assert_eq!(streams.get(2), one_by_one[2]);
        streams.set(0, &one_by_one[2]);
        let bits = streams.bits();
        assert_eq!(bits[0], bits[2]);
        assert!(streams.is_live(2) && !streams.is_live(3));
    }

    #[test]
    fn paths_and_seeds_have_streams_of_their_own() {
        let mut first: Vec<u64> =
            (0..40).flat_map(|seed| (0..100).map(move |path| stream(seed, path).bits())).collect();
        first.sort_unstable();
        first.dedup();
        assert_eq!(first.len(), 4000);
    }
}
