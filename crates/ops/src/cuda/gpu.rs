//! One GPU as the ops use it: its stream, its kernels, its libraries, and what they share.

use super::convolution::Convolutions;
use super::launch::Pointer;
use super::memory::Fresh;
use super::product::Products;
use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::{CudaDevice, DeviceId, WrapErr, cudarc};
use candle_core::{DType, Device, Result, Storage, Tensor, bail};
use cudarc::driver::sys::CUmemPool_attribute;
use cudarc::driver::{CudaContext, CudaFunction, CudaModule, CudaSlice, CudaStream, result};
use cudarc::nvrtc::Ptx;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The kernels of `kernels/`, compiled when the crate was: an image for each file.
const IMAGES: &[&[u8]] = &include!(concat!(env!("OUT_DIR"), "/kernels.rs"));

/// Counters of blocks that are done, for kernels whose last block does more: 0 between launches.
pub(super) const COUNTERS: usize = 1 << 16;

/// A GPU that training is to run on: the `ordinal`-th of the machine.
///
/// Unlike `Device::new_cuda`, everything happens on one stream for all threads, which needs no events; and
/// memory once taken from the driver is kept for the next tensor.
///
/// `Err` if there is no such GPU.
pub fn cuda_device(ordinal: usize) -> Result<Device> {
    let device = Device::new_cuda_with_stream(ordinal)?;
    let Device::Cuda(cuda) = &device else { bail!("expected a GPU, got {device:?}") };
    // SAFETY: all tensors of this device are used on its one stream, in the order of the program.
    unsafe { cuda.disable_event_tracking() };
    let context = cuda.cuda_stream().context().clone();
    context.bind_to_thread().w()?;
    let mut keep = u64::MAX;
    // SAFETY: the pool belongs to a device that exists, and the attribute is a u64.
    unsafe {
        let pool = result::device::get_default_mem_pool(context.cu_device()).w()?;
        let attribute = CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        result::mem_pool::set_attribute(pool, attribute, (&raw mut keep).cast()).w()?;
    }
    Ok(device)
}

/// How many GPUs this process sees.
///
/// `Err` if there is no driver.
pub fn gpu_count() -> Result<usize> {
    Ok(CudaContext::device_count().w()?.max(0) as usize)
}

/// The name of a GPU; `None` for another device.
pub fn gpu_name(device: &Device) -> Option<String> {
    match device {
        Device::Cuda(cuda) => cuda.cuda_stream().context().name().ok(),
        _ => None,
    }
}

/// The most bytes that tensors on a GPU took since the last call, or since the start; 0 for another device.
pub fn gpu_memory_peak(device: &Device) -> Result<u64> {
    let Device::Cuda(cuda) = device else { return Ok(0) };
    let context = cuda.cuda_stream().context().clone();
    context.bind_to_thread().w()?;
    let attribute = CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH;
    let (mut peak, mut zero) = (0u64, 0u64);
    // SAFETY: the pool belongs to a device that exists, and the attribute is a u64; 0 is what it may be set to.
    unsafe {
        let pool = result::device::get_default_mem_pool(context.cu_device()).w()?;
        result::mem_pool::get_attribute(pool, attribute, (&raw mut peak).cast()).w()?;
        result::mem_pool::set_attribute(pool, attribute, (&raw mut zero).cast()).w()?;
    }
    Ok(peak)
}

/// The state that the ops share on a GPU, created by the first op there.
pub(crate) struct Gpu {
    device: CudaDevice,
    stream: Arc<CudaStream>,
    modules: Vec<Arc<CudaModule>>,
    functions: Mutex<BTreeMap<&'static str, CudaFunction>>,
    zero: Tensor,
    counters: CudaSlice<u32>,
    workspace: Mutex<Option<CudaSlice<u8>>>,
    pub(super) convolutions: Mutex<Convolutions>,
    pub(super) products: Mutex<Products>,
}

static GPUS: Mutex<Vec<(DeviceId, Arc<Gpu>)>> = Mutex::new(Vec::new());

/// The contents of a lock that guards no half-finished state.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gpu {
    /// The GPU on which `x` is, if it is on one.
    pub(crate) fn of<'a>(x: impl Into<Option<&'a Tensor>>) -> Result<Option<Arc<Self>>> {
        x.into().map_or(Ok(None), |x| Self::of_device(x.device()))
    }

    /// That of a device, if it is one.
    pub(super) fn of_device(device: &Device) -> Result<Option<Arc<Self>>> {
        match device {
            Device::Cuda(device) => Ok(Some(Self::named(device)?)),
            _ => Ok(None),
        }
    }

    fn named(device: &CudaDevice) -> Result<Arc<Self>> {
        let mut gpus = locked(&GPUS);
        if let Some((_, gpu)) = gpus.iter().find(|(id, _)| *id == device.id()) {
            return Ok(gpu.clone());
        }
        let gpu = Arc::new(Self::new(device)?);
        gpus.push((device.id(), gpu.clone()));
        Ok(gpu)
    }

    fn new(device: &CudaDevice) -> Result<Self> {
        let stream = device.cuda_stream();
        let load = |image: &&[u8]| stream.context().load_module(Ptx::from_binary(image.to_vec())).w();
        let zeros = |len| stream.alloc_zeros::<u32>(len).w();
        Ok(Self {
            modules: IMAGES.iter().map(load).collect::<Result<_>>()?,
            functions: Mutex::default(),
            zero: Tensor::zeros((), DType::F32, &Device::Cuda(device.clone()))?,
            counters: zeros(COUNTERS)?,
            workspace: Mutex::default(),
            convolutions: Mutex::new(Convolutions::new(&stream)?),
            products: Mutex::new(Products::new()?),
            device: device.clone(),
            stream,
        })
    }

    /// The stream on which everything happens.
    pub(super) fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }

    /// The number 0, untracked: what stands for an activation in candle's graph.
    pub(crate) fn zero(&self) -> &Tensor {
        &self.zero
    }

    /// [`COUNTERS`] counters.
    pub(super) fn counters(&self) -> Pointer {
        Pointer::of_slice(&self.counters, &self.stream)
    }

    /// Memory for `len` elements, whose contents are arbitrary.
    pub(crate) fn empty(&self, dtype: DType, len: usize) -> Result<Fresh> {
        Fresh::new(&self.device, &self.stream, dtype, len)
    }

    /// `bytes` of memory for one call of a library, the same for all: they run one after the other. Grows, and stays.
    pub(super) fn workspace(&self, bytes: usize) -> Result<Pointer> {
        let mut workspace = locked(&self.workspace);
        if workspace.as_ref().is_none_or(|workspace| workspace.len() < bytes) {
            // SAFETY: libraries write their workspace before they read it.
            *workspace = Some(unsafe { self.stream.alloc::<u8>(bytes.max(1)) }.w()?);
        }
        match workspace.as_ref() {
            Some(workspace) => Ok(Pointer::of_slice(workspace, &self.stream)),
            None => bail!("no workspace of {bytes} bytes"),
        }
    }

    /// The kernel called `name`.
    pub(super) fn function(&self, name: &'static str) -> Result<CudaFunction> {
        let mut functions = locked(&self.functions);
        if let Some(function) = functions.get(name) {
            return Ok(function.clone());
        }
        match self.modules.iter().find_map(|module| module.load_function(name).ok()) {
            Some(function) => {
                functions.insert(name, function.clone());
                Ok(function)
            }
            None => bail!("no kernel is called {name}"),
        }
    }
}

/// What a raw storage is on, and its elements' place in memory.
pub(super) fn pointer_of(storage: &Storage, offset: usize) -> Result<Pointer> {
    match storage {
        Storage::Cuda(storage) => Ok(Pointer::of_storage(storage)?.plus(offset * storage.dtype().size_in_bytes())),
        other => bail!("expected a tensor on a GPU, got {:?}", other.device()),
    }
}
