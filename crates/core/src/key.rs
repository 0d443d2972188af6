//! Randomness as a value: a key is folded with what it is for, and yields the same stream every time.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// A point in the tree of random streams, in the manner of JAX's keys.
///
/// Two different chains of [`fold`](Key::fold) give unrelated streams; the same chain gives the same stream on every
/// machine. There is no hidden state, so resuming at step k needs nothing but k.
///
/// ```
/// use msharp_core::Key;
/// let step = |epoch, k| Key::new(7).fold(epoch).fold(k);
/// assert_eq!(step(3, 10), step(3, 10));
/// assert_ne!(step(3, 10), step(10, 3));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(u64);

impl Key {
    /// The root of all streams of one seed.
    pub const fn new(seed: u64) -> Self {
        Self(mix(seed ^ 0x6d73_6861_7270)) // so that seed 0 is no special state
    }

    /// The key for the part `index` of what this key stands for: an epoch, a step, a micro-batch, a sample.
    pub const fn fold(self, index: u64) -> Self {
        Self(mix(self.0.rotate_left(23) ^ mix(index)))
    }

    /// The key for the part called `name`, a parameter's path for instance.
    pub fn fold_name(self, name: &str) -> Self {
        name.bytes().fold(self.fold(name.len() as u64), |key, byte| key.fold(byte as u64))
    }

    /// The two halves of the number that this key is, for a checkpoint.
    pub(crate) const fn halves(self) -> [u32; 2] {
        [(self.0 >> 32) as u32, self.0 as u32]
    }

    pub(crate) const fn from_halves([high, low]: [u32; 2]) -> Self {
        Self((high as u64) << 32 | low as u64)
    }

    /// The seed of this key's stream, as the random ops of msharp-ops take it.
    pub fn seed(self) -> [u8; 32] {
        self.rng().get_seed()
    }

    /// The stream of this key, from its beginning.
    pub fn rng(self) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(self.0)
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): every input bit reaches every output bit.
const fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn the_stream_of_a_key_never_changes() {
        let mut rng = Key::new(0).fold(1).fold_name("conv1.weight").rng();
        let drawn: Vec<u32> = (0..3).map(|_| rng.next_u32()).collect();
        assert_eq!(drawn, [2685432408, 1810231329, 2792536009]);
    }

    #[test]
    fn folds_do_not_commute_and_do_not_collide() {
        let mut keys: Vec<u64> = Vec::new();
        for a in 0..50 {
            for b in 0..50 {
                keys.push(Key::new(1).fold(a).fold(b).0);
            }
        }
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 2500);
    }
}
