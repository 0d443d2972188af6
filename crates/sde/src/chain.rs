//! The seam: a Markov chain, which a discrete algorithm is, and an equation under an integrator as well.

use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

/// The random numbers of one path.
pub type Stream = Xoshiro256PlusPlus;

/// The stream of path `path` of an ensemble: a pure function of both numbers.
pub fn stream(seed: u64, path: u64) -> Stream {
    // SplitMix64's finaliser separates neighbouring paths; the generator's own seeding separates seeds.
    let mut z = path.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    Stream::seed_from_u64(seed.rotate_left(32) ^ z ^ (z >> 31))
}

/// A Markov chain in ℝᵈ: what comes next depends on where it is, and on chance.
pub trait Chain: Sync {
    /// d.
    fn dim(&self) -> usize;

    /// How many numbers [`step`](Chain::step) needs for what it computes on the way.
    fn scratch(&self) -> usize;

    /// Takes one step from `x`, `[d]`, which it replaces. `scratch` has at least as many elements as [`scratch`](Chain::scratch)
    /// says, and any contents.
    fn step(&self, x: &mut [f64], stream: &mut Stream, scratch: &mut [f64]);
}
