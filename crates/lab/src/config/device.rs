//! What a run computes on.

use anyhow::{Result, bail};
use candle_core::Device;
use clap::ValueEnum;
use msharp_dist::Launch;
use msharp_ops::Precision;
use serde::{Deserialize, Serialize};
use std::sync::OnceLock;

/// The devices by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceName {
    /// The processor, in f32
    #[default]
    Cpu,
    /// The first NVIDIA GPU; of several ranks on a machine, each takes the one of its local rank
    Cuda,
}

/// What a GPU multiplies, by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PrecisionName {
    /// f32, as the CPU does
    #[default]
    F32,
    /// f32 rounded to 11 bits, on the tensor cores
    Tf32,
    /// bfloat16, on the tensor cores; weights, statistics and losses stay f32
    Bf16,
}

impl PrecisionName {
    /// For the ops.
    pub fn precision(self) -> Precision {
        match self {
            PrecisionName::F32 => Precision::F32,
            PrecisionName::Tf32 => Precision::Tf32,
            PrecisionName::Bf16 => Precision::Bf16,
        }
    }
}

impl DeviceName {
    /// The device, opened once.
    pub fn open(self) -> Result<Device> {
        match self {
            DeviceName::Cpu => Ok(Device::Cpu),
            DeviceName::Cuda => gpu(),
        }
    }

    /// Every so many steps the loss is read: on a GPU to read is to wait for it.
    pub fn read_every(self) -> usize {
        match self {
            DeviceName::Cpu => 1,
            DeviceName::Cuda => 50,
        }
    }
}

/// How this rank was started, where it is one of several.
static RANK: OnceLock<Launch> = OnceLock::new();

/// From now on `--device cuda` is the GPU of this rank.
pub(crate) fn of_rank(launch: &Launch) {
    let _ = RANK.set(launch.clone());
}

/// Which of the `gpus` of its machine a process takes: the first, or that of its rank on the machine.
#[cfg(any(feature = "cuda", test))]
fn ordinal(rank: Option<&Launch>, gpus: usize) -> Result<usize> {
    let Some(launch) = rank else { return Ok(0) };
    let (size, variable) = (launch.size, launch.local_rank_variable());
    match launch.local_rank {
        Some(local) if local < gpus => Ok(local),
        Some(local) => bail!(
            "--device cuda: {variable} is {local}, so there are {} ranks or more on this machine, and it has {gpus} GPUs \
             for this process; expected a GPU for each rank, and CUDA_VISIBLE_DEVICES the same on all",
            local + 1
        ),
        None => bail!(
            "--device cuda on {size} ranks: {variable} is not set, which says which GPU of its machine a rank takes; \
             expected a number from 0, as torchrun sets it"
        ),
    }
}

#[cfg(feature = "cuda")]
fn gpu() -> Result<Device> {
    use anyhow::Context;
    use std::sync::Mutex;
    const NONE: &str = "--device cuda: no NVIDIA GPU can be opened";
    static GPU: Mutex<Option<Device>> = Mutex::new(None);
    let Ok(mut gpu) = GPU.lock() else { bail!("the GPU could not be opened before") };
    if gpu.is_none() {
        let of_machine = || {
            let gpus = msharp_ops::gpu_count().context(NONE)?;
            msharp_ops::cuda_device(ordinal(RANK.get(), gpus)?).context(NONE)
        };
        *gpu = Some(of_machine()?);
    }
    gpu.clone().context("no GPU")
}

#[cfg(not(feature = "cuda"))]
fn gpu() -> Result<Device> {
    bail!(
        "--device cuda: this program was built without CUDA; expected `cargo xtask cuda check` once, which says how, \
         or a bundle made by `cargo xtask cuda bundle`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_takes_the_gpu_of_its_rank_on_the_machine() {
        let launch = |local_rank| Launch { variable: "WORLD_SIZE", rank: 5, size: 6, local_rank, place: None };
        assert_eq!(ordinal(None, 1).unwrap(), 0);
        assert_eq!(ordinal(Some(&launch(Some(1))), 2).unwrap(), 1);
        let error = |local_rank| ordinal(Some(&launch(local_rank)), 2).unwrap_err().to_string();
        assert!(error(Some(2)).contains("LOCAL_RANK is 2, so there are 3 ranks or more"), "{}", error(Some(2)));
        assert!(error(Some(2)).contains("it has 2 GPUs"), "{}", error(Some(2)));
        assert!(error(None).contains("on 6 ranks: LOCAL_RANK is not set"), "{}", error(None));
    }
}
