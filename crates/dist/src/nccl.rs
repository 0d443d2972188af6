//! Ranks that have a GPU each: vectors go from GPU to GPU, over NVIDIA's NCCL.

use crate::{Engine, Ranks};
use candle_core::{Device, Result, Tensor, bail};
use msharp_core::{Communicator, ParamVec};
use msharp_ops::{NCCL_ID, NcclRank, nccl_id, nccl_version};
use std::fmt::Display;
use std::sync::{Mutex, PoisonError};

/// The ranks that an engine connects, with the GPU of each connected by NCCL.
///
/// Vectors on a GPU are f32 and go from GPU to GPU, on the stream of candle's device, so that a reduction has no
/// host-device synchronisation. NCCL's own sums have an order that depends on the machine; these have that of
/// [`Ranks`], and its bits: rank k receives chunk k of all, sums it in f64 in the order of the ranks, rounds once, and
/// sends the result to all. Each rank sends 2(n − 1)/n of the vector. Memory: the result, and two vectors.
///
/// Everything else goes through the engine: vectors on the CPU, bytes that are gathered, the weights of a mean, and the
/// id by which NCCL finds the ranks.
#[derive(Debug)]
pub struct Nccl<E> {
    ranks: Ranks<E>,
    gpu: Mutex<Option<NcclRank>>,
}

impl<E: Engine> Nccl<E> {
    /// Over an engine, with no GPU connected yet.
    pub fn new(engine: E) -> Self {
        Self { ranks: Ranks(engine), gpu: Mutex::new(None) }
    }

    /// Connects the GPU `device` of this rank with those of the others; otherwise the first reduction does so. All
    /// ranks call it, each with a GPU of its own.
    ///
    /// # Errors
    /// On all ranks, if one cannot load NCCL, or has another version of it. If `device` is no GPU, or NCCL refuses: two
    /// ranks with one GPU, for example.
    pub fn connect(&self, device: &Device) -> Result<()> {
        let mut gpu = self.gpu.lock().unwrap_or_else(PoisonError::into_inner);
        if gpu.is_none() && self.ranks.size() > 1 {
            *gpu = Some(self.or_ended(self.connected(device))?);
        }
        Ok(())
    }

    fn connected(&self, device: &Device) -> Result<NcclRank> {
        let (rank, size) = (self.ranks.rank(), self.ranks.size());
        let own = || -> Result<Vec<u8>> {
            let id = if rank == 0 { nccl_id()?.to_vec() } else { Vec::new() };
            Ok([&[1], &nccl_version()?.to_le_bytes()[..], &id].concat())
        };
        // An error is sent as a text after a 0.
        let own = own().unwrap_or_else(|error| [&[0], one_line(&error).as_bytes()].concat());
        let all = self.ranks.gather(&own)?;
        let mut versions = Vec::with_capacity(size);
        for (rank, sent) in all.iter().enumerate() {
            match sent.split_first() {
                Some((1, [a, b, c, d, ..])) => versions.push(i32::from_le_bytes([*a, *b, *c, *d])),
                Some((_, text)) => bail!("rank {rank}: {}", String::from_utf8_lossy(text)),
                None => bail!("rank {rank} sent no version of NCCL; expected the same program on all ranks"),
            }
        }
        if let Some(rank) = versions.iter().position(|version| *version != versions[0]) {
            bail!(
                "rank {rank} has version {} of NCCL, and rank 0 has {}; expected the same",
                versions[rank],
                versions[0]
            )
        }
        let Some(Ok(id)) = all[0].get(5..).map(<[u8; NCCL_ID]>::try_from) else {
            bail!("rank 0 sent no id of NCCL; expected the same program on all ranks")
        };
        NcclRank::new(device, &id, rank, size)
    }

    /// Σᵣ wᵣgᵣ / Σᵣ wᵣ, or Σᵣ gᵣ without a weight, of vectors on GPUs.
    fn reduce(&self, local: &ParamVec, device: &Device, weight: Option<f64>) -> Result<ParamVec> {
        self.connect(device)?;
        let (weights, divisor) = match weight {
            Some(weight) => {
                let weights = self.ranks.weights(weight)?;
                let divisor = weights.iter().sum();
                (weights, divisor)
            }
            None => (vec![1.; self.ranks.size()], 1.),
        };
        let gpu = self.gpu.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(gpu) = &*gpu else { bail!("no GPU is connected") };
        Ok(local.with(self.or_ended(gpu.sum(&local.refs(), &weights, divisor))?))
    }

    /// Who has ended, where that is why NCCL failed.
    fn or_ended<T>(&self, result: Result<T>) -> Result<T> {
        result.or_else(|error| match self.ranks.0.ended() {
            Some(ended) => bail!("{ended}"),
            None => Err(error),
        })
    }

    /// The GPU of a vector that more than one rank has there.
    fn gpu_of(&self, local: &ParamVec) -> Option<Device> {
        let device = local.tensors().first().map(Tensor::device)?;
        (device.is_cuda() && self.ranks.size() > 1).then(|| device.clone())
    }
}

/// An error without the trace of calls that may follow it.
fn one_line(error: &dyn Display) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

impl<E: Engine> Communicator for Nccl<E> {
    fn rank(&self) -> usize {
        self.ranks.rank()
    }

    fn size(&self) -> usize {
        self.ranks.size()
    }

    fn sum(&self, local: ParamVec) -> Result<ParamVec> {
        match self.gpu_of(&local) {
            Some(device) => self.reduce(&local, &device, None),
            None => self.ranks.sum(local),
        }
    }

    fn mean(&self, local: ParamVec, weight: f64) -> Result<ParamVec> {
        match self.gpu_of(&local) {
            Some(device) => self.reduce(&local, &device, Some(weight)),
            None => self.ranks.mean(local, weight),
        }
    }

    fn gather(&self, mine: &[u8]) -> Result<Vec<Vec<u8>>> {
        self.ranks.gather(mine)
    }
}
