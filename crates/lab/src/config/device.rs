//! What a run computes on.

use anyhow::{Result, bail};
use candle_core::Device;
use clap::ValueEnum;
use msharp_ops::Precision;
use serde::{Deserialize, Serialize};

/// The devices by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceName {
    /// The processor, in f32
    #[default]
    Cpu,
    /// The first NVIDIA GPU
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

#[cfg(feature = "cuda")]
fn gpu() -> Result<Device> {
    use anyhow::Context;
    use std::sync::Mutex;
    static GPU: Mutex<Option<Device>> = Mutex::new(None);
    let Ok(mut gpu) = GPU.lock() else { bail!("the GPU could not be opened before") };
    if gpu.is_none() {
        *gpu = Some(msharp_ops::cuda_device(0).context("--device cuda: no NVIDIA GPU can be opened")?);
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
