//! Descriptors of cuDNN's backend: objects that take attributes, are finished, and then are what they describe.

use candle_core::cuda_backend::cudarc::cudnn::{result, sys};
use candle_core::{Error, Result};
use std::ffi::{CStr, c_char, c_void};

pub(super) use sys::cudnnBackendAttributeName_t as Name;
use sys::cudnnBackendAttributeType_t as Type;
pub(super) use sys::cudnnBackendDescriptorType_t as Kind;

/// A status of cuDNN as a result; the error has what was tried.
pub(super) fn check(status: sys::cudnnStatus_t, tried: impl FnOnce() -> String) -> Result<()> {
    if status == sys::cudnnStatus_t::CUDNN_STATUS_SUCCESS {
        return Ok(());
    }
    let mut message = [0; 512];
    // SAFETY: the buffer has the length that is passed, and cuDNN ends what it writes with a zero.
    let message = unsafe {
        sys::cudnnGetLastErrorString(message.as_mut_ptr(), message.len());
        CStr::from_ptr(message.as_ptr()).to_string_lossy().into_owned()
    };
    Err(Error::msg(format!("cuDNN cannot {}: {status:?} {message}", tried())))
}

/// A handle of the library, bound to a stream.
pub(super) struct Handle(pub sys::cudnnHandle_t);

impl Handle {
    pub(super) fn new(stream: candle_core::cuda_backend::cudarc::driver::sys::CUstream) -> Result<Self> {
        let handle = Self(result::create_handle().map_err(Error::wrap)?);
        // SAFETY: both exist; the driver's and the runtime's stream are one type under two names.
        unsafe { result::set_stream(handle.0, stream.cast()) }.map_err(Error::wrap)?;
        Ok(handle)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: made by `new`, destroyed once. A failure to destroy cannot be reported from here.
        let _ = unsafe { result::destroy_handle(self.0) };
    }
}

/// Where plans are to run.
pub(super) enum Target<'a> {
    /// On the GPU of a handle.
    Here(&'a Handle),
    /// On a GPU that is described, and need not be in this machine.
    Described(&'a Descriptor),
}

impl Target<'_> {
    /// Tells a descriptor of it: by `handle`, or by `described`, as far as it has such an attribute.
    pub(super) fn tell(
        &self,
        descriptor: Descriptor,
        handle: Option<Name>,
        described: Option<Name>,
    ) -> Result<Descriptor> {
        match (self, handle, described) {
            (Target::Here(here), Some(name), _) => descriptor.set(name, &[here.0]),
            (Target::Described(properties), _, Some(name)) => descriptor.set_descriptors(name, &[properties]),
            _ => Ok(descriptor),
        }
    }
}

/// A value that an attribute can have.
pub(super) trait Attribute: Copy {
    const TYPE: Type;
}

macro_rules! attribute {
    ($($rust:ty: $cudnn:ident),+ $(,)?) => {
        $(impl Attribute for $rust {
            const TYPE: Type = Type::$cudnn;
        })+
    };
}
attribute! {
    i64: CUDNN_TYPE_INT64,
    f32: CUDNN_TYPE_FLOAT,
    c_char: CUDNN_TYPE_CHAR,
    *mut c_void: CUDNN_TYPE_VOID_PTR,
    sys::cudnnHandle_t: CUDNN_TYPE_HANDLE,
    sys::cudnnDataType_t: CUDNN_TYPE_DATA_TYPE,
    sys::cudnnConvolutionMode_t: CUDNN_TYPE_CONVOLUTION_MODE,
    sys::cudnnBackendHeurMode_t: CUDNN_TYPE_HEUR_MODE,
    NoteCode: CUDNN_TYPE_NUMERICAL_NOTE,
}

/// A numerical note of cuDNN, as a number: a newer library may have notes without a name here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(super) struct NoteCode(pub i32);

/// One descriptor.
pub(super) struct Descriptor {
    kind: Kind,
    raw: sys::cudnnBackendDescriptor_t,
}

impl Descriptor {
    pub(super) fn new(kind: Kind) -> Result<Self> {
        let mut raw = std::ptr::null_mut();
        // SAFETY: cuDNN writes the descriptor that it made.
        check(unsafe { sys::cudnnBackendCreateDescriptor(kind, &mut raw) }, || format!("make a {kind:?}"))?;
        Ok(Self { kind, raw })
    }

    /// Sets an attribute, which has as many values as are given.
    pub(super) fn set<T: Attribute>(self, name: Name, values: &[T]) -> Result<Self> {
        // SAFETY: the values have the type and number that are passed; cuDNN copies them.
        let status = unsafe {
            sys::cudnnBackendSetAttribute(self.raw, name, T::TYPE, values.len() as i64, values.as_ptr().cast())
        };
        check(status, || format!("set {name:?} of a {:?}", self.kind))?;
        Ok(self)
    }

    /// Sets an attribute whose values are descriptors, which must outlive what is made of this one.
    pub(super) fn set_descriptors(self, name: Name, values: &[&Descriptor]) -> Result<Self> {
        let raw: Vec<sys::cudnnBackendDescriptor_t> = values.iter().map(|value| value.raw).collect();
        let kind = Type::CUDNN_TYPE_BACKEND_DESCRIPTOR;
        // SAFETY: as in `set`.
        let status =
            unsafe { sys::cudnnBackendSetAttribute(self.raw, name, kind, raw.len() as i64, raw.as_ptr().cast()) };
        check(status, || format!("set {name:?} of a {:?}", self.kind))?;
        Ok(self)
    }

    /// No attribute changes after this. `Err` if what it describes does not exist.
    pub(super) fn finish(self) -> Result<Self> {
        // SAFETY: the descriptor exists.
        check(unsafe { sys::cudnnBackendFinalize(self.raw) }, || format!("finish a {:?}", self.kind))?;
        Ok(self)
    }

    /// The values of an attribute, `most` at most, each `blank` before.
    pub(super) fn get<T: Attribute>(&self, name: Name, most: usize, blank: T) -> Result<Vec<T>> {
        let (mut values, mut found) = (vec![blank; most], 0);
        // SAFETY: there is room for the number of values that is passed.
        let status = unsafe {
            let into = values.as_mut_ptr().cast();
            sys::cudnnBackendGetAttribute(self.raw, name, T::TYPE, most as i64, &mut found, into)
        };
        check(status, || format!("tell {name:?} of a {:?}", self.kind))?;
        values.truncate(found as usize);
        Ok(values)
    }

    /// Fills `values`, made for it, with the descriptors of an attribute; returns those that were filled.
    pub(super) fn get_descriptors(&self, name: Name, mut values: Vec<Descriptor>) -> Result<Vec<Descriptor>> {
        let mut raw: Vec<sys::cudnnBackendDescriptor_t> = values.iter().map(|value| value.raw).collect();
        let (kind, mut found) = (Type::CUDNN_TYPE_BACKEND_DESCRIPTOR, 0);
        // SAFETY: each descriptor exists and is of the kind that the attribute has; cuDNN fills as many as there are.
        let status = unsafe {
            let into = raw.as_mut_ptr().cast();
            sys::cudnnBackendGetAttribute(self.raw, name, kind, raw.len() as i64, &mut found, into)
        };
        check(status, || format!("tell {name:?} of a {:?}", self.kind))?;
        values.truncate(found as usize);
        Ok(values)
    }

    /// Runs an execution plan on the pointers of a variant pack.
    pub(super) fn execute(&self, handle: &Handle, pack: &Descriptor) -> Result<()> {
        // SAFETY: both are finished, and the pack's pointers are to tensors of the sizes that the plan was made for.
        let status = unsafe { sys::cudnnBackendExecute(handle.0, self.raw, pack.raw) };
        check(status, || "run a plan".to_owned())
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: made by `new`, destroyed once.
        unsafe { sys::cudnnBackendDestroyDescriptor(self.raw) };
    }
}
