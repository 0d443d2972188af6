//! Reductions in a fixed order, over any engine.

use crate::Engine;
use candle_core::{DType, Result, WithDType, bail};
use msharp_core::{Communicator, ParamVec};
use pulp::Arch;

/// The ranks that an engine connects.
///
/// A vector is summed in pieces, and a piece is cut into one [message](Engine::message) for each of n ranks. Rank k
/// receives chunk k of all, sums it in f64 in the order of the ranks, rounds once, and sends the result to all. Each
/// rank sends 2(n − 1)/n of the vector, as little as any algorithm, and the order of a sum does not depend on the
/// engine.
///
/// Memory: the result, and three pieces. Vectors are f32 or f64; those on a GPU go through the host.
#[derive(Clone, Copy, Debug)]
pub struct Ranks<E>(pub E);

impl<E: Engine> Ranks<E> {
    /// Σᵣ wᵣgᵣ, divided by Σᵣ wᵣ if `is_mean`.
    fn reduce(&self, local: ParamVec, weight: f64, is_mean: bool) -> Result<ParamVec> {
        if self.0.size() == 1 {
            return Ok(local);
        }
        match local.tensors().first().map(|tensor| tensor.dtype()) {
            Some(DType::F32) => self.reduce_numbers::<f32>(&local, weight, is_mean),
            Some(DType::F64) => self.reduce_numbers::<f64>(&local, weight, is_mean),
            other => bail!("a vector of {other:?} cannot be summed over ranks; expected F32 or F64"),
        }
    }

    fn reduce_numbers<T: Number>(&self, local: &ParamVec, weight: f64, is_mean: bool) -> Result<ParamVec> {
        let (rank, size) = (self.0.rank(), self.0.size());
        let weights = if is_mean { self.weights(weight)? } else { vec![1.; size] };
        let divisor = if is_mean { weights.iter().sum() } else { 1. };
        let mut received = Vec::new();
        let mut sum = |mine: &[T], all: &mut [T]| -> Result<()> {
            let each = mine.len() / size;
            received.resize(mine.len(), T::zeroed());
            let to: Vec<&[u8]> = mine.chunks_exact(each).map(bytemuck::cast_slice).collect();
            let mut from: Vec<&mut [u8]> = received.chunks_exact_mut(each).map(bytemuck::cast_slice_mut).collect();
            self.0.exchange(&to, &mut from)?;
            let mut chunks: Vec<&[T]> = received.chunks_exact(each).collect();
            chunks[rank] = &mine[rank * each..][..each];
            let own = &mut all[rank * each..][..each];
            Arch::new().dispatch(|| weighted_sum(&chunks, &weights, divisor, own));
            self.fill(all)
        };
        let each = (self.0.message() / size_of::<T>()).max(1);
        local.map_pieces::<T>(each.saturating_mul(size), |piece, out| {
            if piece.len().is_multiple_of(size) {
                return sum(piece, out);
            }
            let mut padded = piece.to_vec(); // the one that is shorter
            padded.resize(piece.len().next_multiple_of(size), T::zeroed());
            let mut all = padded.clone();
            sum(&padded, &mut all)?;
            out.copy_from_slice(&all[..out.len()]);
            Ok(())
        })
    }

    /// The weight of each rank.
    pub(crate) fn weights(&self, own: f64) -> Result<Vec<f64>> {
        let mut weights = vec![own; self.0.size()];
        self.fill(&mut weights)?;
        Ok(weights)
    }

    /// Makes each chunk of `all` that of its rank, who has put it there. There is one chunk for each rank.
    fn fill<T: bytemuck::Pod>(&self, all: &mut [T]) -> Result<()> {
        let each = all.len() / self.0.size();
        let mut chunks: Vec<&mut [u8]> = all.chunks_exact_mut(each).map(bytemuck::cast_slice_mut).collect();
        let mine: &mut [u8] = std::mem::take(&mut chunks[self.0.rank()]);
        self.0.exchange(&vec![&*mine; chunks.len()], &mut chunks)
    }
}

/// Σᵣ wᵣ cᵣ / divisor of the `chunks` cᵣ, each entry in f64 and in the order of the ranks.
#[inline(always)] // for the instructions of the processor at hand
fn weighted_sum<T: Number>(chunks: &[&[T]], weights: &[f64], divisor: f64, into: &mut [T]) {
    /// Entries whose sums stay in the nearest cache.
    const BLOCK: usize = 512;
    for (block, into) in into.chunks_mut(BLOCK).enumerate() {
        let mut sums = [0f64; BLOCK];
        for (chunk, weight) in chunks.iter().zip(weights) {
            for (sum, number) in sums.iter_mut().zip(&chunk[block * BLOCK..][..into.len()]) {
                *sum += weight * number.to_f64();
            }
        }
        for (into, sum) in into.iter_mut().zip(&sums) {
            *into = T::from_f64(sum / divisor);
        }
    }
}

impl<E: Engine> Communicator for Ranks<E> {
    fn rank(&self) -> usize {
        self.0.rank()
    }

    fn size(&self) -> usize {
        self.0.size()
    }

    fn sum(&self, local: ParamVec) -> Result<ParamVec> {
        self.reduce(local, 1., false)
    }

    fn mean(&self, local: ParamVec, weight: f64) -> Result<ParamVec> {
        self.reduce(local, weight, true)
    }

    fn gather(&self, mine: &[u8]) -> Result<Vec<Vec<u8>>> {
        let (rank, size) = (self.0.rank(), self.0.size());
        let mut lengths = vec![0u64; size];
        lengths[rank] = mine.len() as u64;
        self.fill(&mut lengths)?;
        let longest = lengths.iter().copied().max().unwrap_or(0) as usize;
        if longest == 0 {
            return Ok(vec![Vec::new(); size]);
        }
        let mut all = vec![0u8; longest * size];
        all[rank * longest..][..mine.len()].copy_from_slice(mine);
        self.fill(&mut all)?;
        Ok(all.chunks_exact(longest).zip(lengths).map(|(bytes, length)| bytes[..length as usize].to_vec()).collect())
    }
}

/// A number that is sent.
trait Number: WithDType + bytemuck::Pod {}

impl Number for f32 {}
impl Number for f64 {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Metered, Threads, Traffic};
    use candle_core::{Device, Var};
    use msharp_core::{Key, Params};
    use std::thread;

    /// What `f` yields on each of `size` ranks.
    fn on_ranks<T: Send>(size: usize, f: impl Fn(Ranks<Metered<Threads>>) -> T + Sync) -> Vec<T> {
        thread::scope(|scope| {
            let start = |rank| scope.spawn(|| f(Ranks(Metered::new(rank))));
            let ranks: Vec<_> = Threads::new(size).into_iter().map(start).collect();
            ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
        })
    }

    fn params(dtype: DType) -> Params {
        let var = |shape: &[usize]| Var::zeros(shape, dtype, &Device::Cpu).unwrap();
        Params::new([("a".to_owned(), var(&[3, 5])), ("b".to_owned(), var(&[2]))]).unwrap()
    }

    /// The order of f64 sums of f32 numbers: by hand.
    #[test]
    fn sums_and_means_are_those_in_the_order_of_the_ranks_and_equal_on_each() {
        for size in [1, 2, 3, 4, 20] {
            for dtype in [DType::F32, DType::F64] {
                let vector = |rank: usize| ParamVec::gaussian(&params(dtype), Key::new(rank as u64)).unwrap();
                let rounded = |x: f64| if dtype == DType::F32 { f64::from(x as f32) } else { x };
                let values: Vec<Vec<f64>> = (0..size).map(|rank| vector(rank).to_vec().unwrap()).collect();
                let weights: f64 = (1..=size).map(|rank| rank as f64).sum();
                let by_hand = |weight: fn(usize) -> f64, divisor: f64| -> Vec<f64> {
                    let entry = |i| (0..size).fold(0., |sum, rank: usize| sum + weight(rank) * values[rank][i]);
                    (0..17).map(|i| rounded(entry(i) / divisor)).collect()
                };
                let (sum, mean) = (by_hand(|_| 1., 1.), by_hand(|rank| (rank + 1) as f64, weights));
                let found = on_ranks(size, |ranks| {
                    let local = vector(ranks.rank());
                    let mean = ranks.mean(local.clone(), (ranks.rank() + 1) as f64).unwrap();
                    (ranks.sum(local).unwrap().to_vec().unwrap(), mean.to_vec().unwrap())
                });
                assert!(found.iter().all(|(found, _)| *found == sum), "{size} ranks, {dtype:?}");
                assert!(size == 1 || found.iter().all(|(_, found)| *found == mean), "{size} ranks, {dtype:?}");
            }
        }
    }

    #[test]
    fn bytes_are_gathered_in_order_and_those_of_rank_0_broadcast() {
        let found = on_ranks(3, |ranks| {
            let mine = vec![ranks.rank() as u8; 2 * ranks.rank()];
            let (all, first) = (ranks.gather(&mine).unwrap(), ranks.broadcast(&[ranks.rank() as u8 + 7]).unwrap());
            ranks.barrier().unwrap();
            (all, first, ranks.any(ranks.rank() == 2).unwrap(), ranks.any(false).unwrap())
        });
        assert!(found.iter().all(|found| *found == (vec![vec![], vec![1; 2], vec![2; 4]], vec![7], true, false)));
    }

    /// 2(n − 1)/n · d numbers, and the weight.
    #[test]
    fn as_few_bytes_are_sent_as_any_algorithm_sends() {
        let params = params(DType::F32); // d = 17, chunks of 5
        let sent = on_ranks(4, |ranks| {
            ranks.mean(ParamVec::zeros(&params).unwrap(), 1.).unwrap();
            ranks.0.traffic()
        });
        let expected = 3 * (8 + 5 * 4) + 3 * 5 * 4;
        assert!(sent.iter().all(|Traffic { bytes, calls, .. }| (*bytes, *calls) == (expected, 3)));
    }

    #[test]
    fn a_rank_that_has_ended_is_named_and_other_types_of_numbers_are_refused() {
        let without_backtrace = |error: candle_core::Error| error.to_string().lines().next().unwrap().to_owned();
        let errors = on_ranks(3, |ranks| match ranks.rank() {
            1 => String::new(), // ends
            _ => without_backtrace(ranks.barrier().unwrap_err()),
        });
        // Who notices it ends too, and may be what the last one names.
        let names = |rank: usize| errors.iter().any(|error| *error == format!("rank {rank} has ended"));
        assert!(names(1) && [&errors[0], &errors[2]].iter().all(|error| error.ends_with("has ended")), "{errors:?}");
        let half = params(DType::F16);
        let errors = on_ranks(2, |ranks| ranks.sum(ParamVec::zeros(&half).unwrap()).unwrap_err().to_string());
        assert!(errors[0].contains("expected F32 or F64"), "{errors:?}");
    }
}
