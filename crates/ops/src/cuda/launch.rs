//! How a kernel is started.

use super::gpu::{Gpu, pointer_of};
use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::{CudaStorage, CudaStorageSlice, WrapErr, cudarc};
use candle_core::{Result, Tensor, bail};
use cudarc::driver::{CudaSlice, CudaStream, DevicePtr, DeviceRepr, LaunchConfig, PushKernelArg};

/// Threads of a block, unless a kernel needs another number.
pub(super) const THREADS: u32 = 256;

/// An address in the memory of a GPU; 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pointer(pub u64);

impl Pointer {
    pub(super) const NONE: Pointer = Pointer(0);

    pub(super) fn of_slice<T>(slice: &CudaSlice<T>, stream: &CudaStream) -> Self {
        Self(slice.device_ptr(stream).0)
    }

    pub(super) fn of_storage(storage: &CudaStorage) -> Result<Self> {
        let stream = storage.device.cuda_stream();
        Ok(match &storage.slice {
            CudaStorageSlice::U8(slice) => Self::of_slice(slice, &stream),
            CudaStorageSlice::U32(slice) => Self::of_slice(slice, &stream),
            CudaStorageSlice::I64(slice) => Self::of_slice(slice, &stream),
            CudaStorageSlice::BF16(slice) => Self::of_slice(slice, &stream),
            CudaStorageSlice::F32(slice) => Self::of_slice(slice, &stream),
            CudaStorageSlice::F64(slice) => Self::of_slice(slice, &stream),
            _ => bail!("expected u8, u32, i64, bf16, f32 or f64 on a GPU, got {:?}", storage.dtype()),
        })
    }

    /// Where the elements of a contiguous tensor begin.
    pub(crate) fn of(x: &Tensor) -> Result<Self> {
        let (storage, layout) = x.storage_and_layout();
        match layout.contiguous_offsets() {
            Some((start, _)) => pointer_of(&storage, start),
            None => bail!("expected a contiguous tensor, got {:?} with strides {:?}", x.shape(), layout.stride()),
        }
    }

    /// That of a tensor that need not be.
    pub(super) fn of_optional(x: Option<&Tensor>) -> Result<Self> {
        x.map_or(Ok(Self::NONE), Self::of)
    }

    pub(super) fn plus(self, bytes: usize) -> Self {
        Self(self.0 + bytes as u64)
    }

    /// Whether a vector of 16 bytes can be read here.
    pub(super) fn is_aligned(self) -> bool {
        self.0.is_multiple_of(16)
    }
}

/// Bytes that a kernel gets by value; its `struct` of the same layout.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(super) struct Bytes<const N: usize>(pub [u8; N]);

// SAFETY: plain bytes.
unsafe impl<const N: usize> DeviceRepr for Bytes<N> {}

/// The largest of them: with the other arguments below the 4 KB that a launch can take on every GPU.
pub(super) const TABLE: usize = 3840;

/// An argument of a kernel. Whatever has fewer than eight bytes lies in the first ones, as on every GPU's host.
pub(super) enum Argument<'a> {
    Word(u64),
    Table(&'a Bytes<TABLE>),
}

macro_rules! argument {
    ($($type:ty: $value:ident => $word:expr),+ $(,)?) => {
        $(impl From<$type> for Argument<'_> {
            fn from($value: $type) -> Self {
                Argument::Word($word)
            }
        })+
    };
}
argument! {
    Pointer: p => p.0,
    u64: n => n,
    i64: n => n as u64,
    usize: n => n as u64,
    i32: n => n as u32 as u64,
    u32: n => n as u64,
    bool: b => b as u64,
    f32: x => x.to_bits() as u64,
    f64: x => x.to_bits(),
}

impl<'a> From<&'a Bytes<TABLE>> for Argument<'a> {
    fn from(table: &'a Bytes<TABLE>) -> Self {
        Argument::Table(table)
    }
}

/// The arguments of a kernel, in order, each as what it is.
macro_rules! arguments {
    ($($argument:expr),+ $(,)?) => { &[$($crate::cuda::launch::Argument::from($argument)),+] };
}
pub(super) use arguments;

/// Blocks and their threads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    pub blocks: (u32, u32, u32),
    pub threads: (u32, u32),
}

impl Grid {
    /// A thread for each of `n` elements, as far as that is sensible; kernels then loop.
    pub(super) fn over(n: usize) -> Self {
        Self { blocks: ((n.div_ceil(THREADS as usize)).clamp(1, 4096) as u32, 1, 1), threads: (THREADS, 1) }
    }

    /// So many blocks of [`THREADS`].
    pub(super) fn of(blocks: usize) -> Self {
        Self { blocks: (blocks.max(1) as u32, 1, 1), threads: (THREADS, 1) }
    }
}

/// Blocks below or behind each other, one for each of so many `of` something, of which a GPU has 65535 at most.
pub(super) fn in_grid(count: usize, of: &str) -> Result<u32> {
    match u16::try_from(count) {
        Ok(count) => Ok(u32::from(count)),
        Err(_) => bail!("{count} {of} are too many for a GPU; expected 65535 at most"),
    }
}

impl Gpu {
    /// Starts `kernel`. Its arguments must be those that it declares: each op is tested with the same sources on the
    /// CPU, where every access is checked.
    pub(super) fn launch(&self, kernel: &'static str, grid: Grid, arguments: &[Argument]) -> Result<()> {
        let function = self.function(kernel)?;
        let stream = self.stream();
        let mut launch = stream.launch_builder(&function);
        for argument in arguments {
            match argument {
                Argument::Word(word) => launch.arg(word),
                Argument::Table(table) => launch.arg(*table),
            };
        }
        let Grid { blocks, threads: (x, y) } = grid;
        let config = LaunchConfig { grid_dim: blocks, block_dim: (x, y, 1), shared_mem_bytes: 0 };
        // SAFETY: the arguments are those of the kernel, and point to tensors that are alive here; memory is given back
        // on the same stream, so after the kernel.
        match unsafe { launch.launch(config) }.w() {
            Ok(_) => Ok(()),
            Err(error) => Err(error.context(format!("kernel {kernel} with {grid:?}"))),
        }
    }
}
