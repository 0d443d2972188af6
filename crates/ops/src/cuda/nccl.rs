//! The GPUs of several ranks, connected by NVIDIA's NCCL.
//!
//! libnccl.so.2 is looked for when it is first needed, where the loader looks for libraries: a program starts without
//! it.

use super::gpu::Gpu;
use super::memory::Fresh;
use super::parameters::{packed, unpacked};
use super::ranks::add_up;
use crate::parameters::plain;
use candle_core::cuda_backend::{WrapErr, cudarc};
use candle_core::{DType, Device, Result, Tensor, bail};
use cudarc::driver::sys::CUstream;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};

/// `ncclComm_t`
type Handle = *mut c_void;

/// `ncclUniqueId`
#[derive(Clone, Copy)]
#[repr(C)]
struct UniqueId([u8; NCCL_ID]);

/// Bytes of the name of a group of GPUs.
pub const NCCL_ID: usize = 128;

/// `ncclFloat32`
const FLOAT: c_int = 7;

/// The functions of NCCL that are called here, as nccl.h declares them; each but two returns an `ncclResult_t`.
macro_rules! functions {
    ($($name:ident = $symbol:literal: ($($argument:ty),*) -> $result:ty;)+) => {
        struct Functions {
            // SAFETY: these are the declarations of nccl.h, which are the same since NCCL 2.13.
            $($name: unsafe extern "C" fn($($argument),*) -> $result,)+
        }

        impl Functions {
            fn of(library: *mut c_void) -> Result<Self> {
                Ok(Self {
                    $($name: {
                        let at = symbol(library, $symbol)?;
                        // SAFETY: the library stays open, and its functions have the types of nccl.h.
                        unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($argument),*) -> $result>(at) }
                    },)+
                })
            }
        }
    };
}

functions! {
    get_version = c"ncclGetVersion": (*mut c_int) -> c_int;
    get_unique_id = c"ncclGetUniqueId": (*mut UniqueId) -> c_int;
    comm_init_rank = c"ncclCommInitRank": (*mut Handle, c_int, UniqueId, c_int) -> c_int;
    comm_destroy = c"ncclCommDestroy": (Handle) -> c_int;
    comm_abort = c"ncclCommAbort": (Handle) -> c_int;
    group_start = c"ncclGroupStart": () -> c_int;
    group_end = c"ncclGroupEnd": () -> c_int;
    send = c"ncclSend": (*const c_void, usize, c_int, c_int, Handle, CUstream) -> c_int;
    recv = c"ncclRecv": (*mut c_void, usize, c_int, c_int, Handle, CUstream) -> c_int;
    all_gather = c"ncclAllGather": (*const c_void, *mut c_void, usize, c_int, Handle, CUstream) -> c_int;
    get_error_string = c"ncclGetErrorString": (c_int) -> *const c_char;
    get_last_error = c"ncclGetLastError": (Handle) -> *const c_char;
}

fn symbol(library: *mut c_void, name: &CStr) -> Result<*mut c_void> {
    // SAFETY: the library was opened and stays open, and the name ends with 0.
    let found = unsafe { libc::dlsym(library, name.as_ptr()) };
    match found.is_null() {
        true => bail!("libnccl.so.2 has no {name:?}; expected NCCL 2.13 or newer"),
        false => Ok(found),
    }
}

impl Functions {
    /// Those of the library, opened once.
    fn open() -> Result<&'static Self> {
        static OPENED: OnceLock<std::result::Result<Functions, String>> = OnceLock::new();
        let open = || {
            // SAFETY: the name ends with 0; the library's own initialisers are those that every CUDA program runs.
            let library = unsafe { libc::dlopen(c"libnccl.so.2".as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
            if library.is_null() {
                // SAFETY: after a failure this is a text that ends with 0, or null.
                return Err(format!("NCCL cannot be loaded: {}", unsafe { text(libc::dlerror()) }));
            }
            Self::of(library).map_err(|error| error.to_string())
        };
        match OPENED.get_or_init(open) {
            Ok(functions) => Ok(functions),
            Err(error) => bail!(
                "{error}; expected libnccl.so.2, of NCCL 2.13 or newer, in a folder of LD_LIBRARY_PATH: pip install \
                 nvidia-nccl-cu13 has it, and so has PyTorch"
            ),
        }
    }

    /// # Errors
    /// If a call of `function` answered something else than success.
    fn check(&self, function: &str, code: c_int) -> Result<()> {
        if code == 0 {
            return Ok(());
        }
        // SAFETY: for any number this is a text that ends with 0; NCCL ignores the communicator.
        let (what, more) =
            unsafe { (text((self.get_error_string)(code)), text((self.get_last_error)(std::ptr::null_mut()))) };
        let more = if more.is_empty() { more } else { format!(": {}", more.trim()) };
        bail!("{function}: {what}{more}")
    }
}

/// The text at an address, which may be null.
///
/// # Safety
/// It must end with 0.
unsafe fn text(at: *const c_char) -> String {
    match at.is_null() {
        true => String::new(),
        // SAFETY: as above.
        false => unsafe { CStr::from_ptr(at) }.to_string_lossy().into_owned(),
    }
}

/// The version of NCCL that is loaded: 10000 · major + 100 · minor + patch.
///
/// `Err` if it cannot be loaded.
pub fn nccl_version() -> Result<i32> {
    let (functions, mut version) = (Functions::open()?, 0);
    // SAFETY: it writes one number.
    functions.check("ncclGetVersion", unsafe { (functions.get_version)(&mut version) })?;
    Ok(version)
}

/// A new name for a group of GPUs: one rank makes it, and all give it to [`NcclRank::new`].
///
/// `Err` if NCCL cannot be loaded, or finds no network.
pub fn nccl_id() -> Result<[u8; NCCL_ID]> {
    let functions = Functions::open()?;
    let mut id = UniqueId([0; NCCL_ID]);
    // SAFETY: it writes as many bytes.
    functions.check("ncclGetUniqueId", unsafe { (functions.get_unique_id)(&mut id) })?;
    Ok(id.0)
}

/// The GPU of one of several ranks, each in a process or thread of its own. What it sends goes from GPU to GPU, on the
/// stream of candle's device and without a host-device synchronisation.
pub struct NcclRank {
    functions: &'static Functions,
    handle: Mutex<Handle>,
    gpu: Arc<Gpu>,
    rank: usize,
    size: usize,
}

// SAFETY: NCCL's communicators belong to no thread, and one thread at a time uses this one, by its lock.
unsafe impl Send for NcclRank {}
// SAFETY: as above.
unsafe impl Sync for NcclRank {}

impl fmt::Debug for NcclRank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NcclRank").field("rank", &self.rank).field("size", &self.size).finish_non_exhaustive()
    }
}

impl NcclRank {
    /// Meets the GPUs of the other ranks: all ranks, 0 to `size` − 1, call it at the same time with the same `id`, each
    /// with a GPU of its own.
    ///
    /// `Err` if NCCL cannot be loaded or refuses; if `device` is no GPU.
    pub fn new(device: &Device, id: &[u8; NCCL_ID], rank: usize, size: usize) -> Result<Self> {
        let functions = Functions::open()?;
        let Some(gpu) = Gpu::of_device(device)? else { bail!("NCCL connects GPUs, got {device:?}") };
        gpu.stream().context().bind_to_thread().w()?;
        let mut handle = std::ptr::null_mut();
        // SAFETY: the handle is written; the id has its 128 bytes; the context of the device is that of this thread.
        let code = unsafe { (functions.comm_init_rank)(&mut handle, size as c_int, UniqueId(*id), rank as c_int) };
        functions.check("ncclCommInitRank", code)?;
        Ok(Self { functions, handle: Mutex::new(handle), gpu, rank, size })
    }

    /// Σᵣ wᵣ xᵣ / `divisor` for the f32 tensors `x` of each rank r, which have the same shapes on all: each entry is
    /// summed in f64, in the order of the ranks, and rounded once, so that every rank gets the same bits. Each rank
    /// sends 2(n − 1)/n of its numbers, with n ranks. Memory: three times that of `x`, the result included.
    ///
    /// `Err` if `x` is not on this GPU or not f32, there are not as many `weights` as ranks, or NCCL fails.
    pub fn sum(&self, x: &[&Tensor], weights: &[f64], divisor: f64) -> Result<Vec<Tensor>> {
        if weights.len() != self.size {
            bail!("{} weights for {} ranks; expected as many", weights.len(), self.size)
        }
        let Some(device) = x.first().map(|x| x.device().clone()) else { return Ok(Vec::new()) };
        let gpu = super::device_of(x[0])?;
        if !Arc::ptr_eq(&gpu, &self.gpu) {
            bail!("a vector on {device:?} cannot be summed by a communicator of another GPU")
        }
        let x = plain(x)?;
        let count: usize = x.iter().map(Tensor::elem_count).sum();
        let each = count.div_ceil(self.size).next_multiple_of(4); // 16 bytes
        let weights = Tensor::from_slice(weights, self.size, &device)?;
        // The last numbers, after those of the tensors, are whatever is there, and nobody reads their sums.
        let [mine, chunks] = [(); 2].map(|()| gpu.empty(DType::F32, self.size * each));
        let (mine, chunks) = (mine?, chunks?);
        packed(&gpu, &x, mine.pointer()?)?;
        self.all_to_all(&mine, &chunks, each)?;
        let own = self.rank * each;
        add_up(&gpu, chunks.pointer()?, &weights, divisor, &mine, own, each)?;
        self.all_gather(&mine, own, each)?;
        unpacked(&gpu, mine.pointer()?, &x)
    }

    /// Sends chunk k of `from`, of `each` numbers, to each rank k, this one included, and puts what rank k sends to
    /// place k of `to`.
    fn all_to_all(&self, from: &Fresh, to: &Fresh, each: usize) -> Result<()> {
        let (from, to) = (from.pointer()?, to.pointer()?);
        self.call(|functions, handle, stream| {
            // SAFETY: both have `each` numbers for each rank, are used on this stream alone, and a group ends as it
            // begins.
            functions.check("ncclGroupStart", unsafe { (functions.group_start)() })?;
            let mut result = Ok(());
            for rank in 0..self.size {
                let [from, to] =
                    [from, to].map(|pointer| pointer.plus(rank * each * size_of::<f32>()).0 as *mut c_void);
                let peer = rank as c_int;
                // SAFETY: as above.
                let codes = unsafe {
                    [
                        ("ncclSend", (functions.send)(from, each, FLOAT, peer, handle, stream)),
                        ("ncclRecv", (functions.recv)(to, each, FLOAT, peer, handle, stream)),
                    ]
                };
                for (function, code) in codes {
                    result = result.and_then(|()| functions.check(function, code));
                }
            }
            // SAFETY: as above.
            let ended = functions.check("ncclGroupEnd", unsafe { (functions.group_end)() });
            result.and(ended)
        })
    }

    /// Fills `all` with the `each` numbers of each rank; those of this one are there, from `own` on.
    fn all_gather(&self, all: &Fresh, own: usize, each: usize) -> Result<()> {
        let to = all.pointer()?;
        let from = to.plus(own * size_of::<f32>());
        self.call(|functions, handle, stream| {
            let (from, to) = (from.0 as *const c_void, to.0 as *mut c_void);
            // SAFETY: there are `each` numbers for each rank, used on this stream alone; NCCL knows this as in place.
            let code = unsafe { (functions.all_gather)(from, to, each, FLOAT, handle, stream) };
            functions.check("ncclAllGather", code)
        })
    }

    /// Calls NCCL in the context of the GPU.
    fn call(&self, f: impl FnOnce(&Functions, Handle, CUstream) -> Result<()>) -> Result<()> {
        let handle = super::locked(&self.handle);
        let stream = self.gpu.stream();
        stream.context().bind_to_thread().w()?;
        f(self.functions, *handle, stream.cu_stream())
    }
}

impl Drop for NcclRank {
    /// Waits for what was sent; while a thread panics, for nothing.
    fn drop(&mut self) {
        let is_panicking = std::thread::panicking();
        let _ = self.call(|functions, handle, _| {
            let is_done = !is_panicking && self.gpu.stream().synchronize().is_ok();
            let end = if is_done { functions.comm_destroy } else { functions.comm_abort };
            // SAFETY: the handle is used no more.
            functions.check("the end of a communicator", unsafe { end(handle) })
        });
    }
}

/// Ends this process at once, with this status: what the driver has begun is not waited for, as a kernel of NCCL would
/// wait for a rank that has ended.
pub fn exit_at_once(status: i32) -> ! {
    // SAFETY: nothing of this process runs afterwards.
    unsafe { libc::_exit(status) }
}
