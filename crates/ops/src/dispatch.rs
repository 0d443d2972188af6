//! The one place where an op is sent to the CPU or to an NVIDIA GPU.

/// Runs a function of the backends on the device of a tensor: `on_device!(x, relu(x))` is `cuda::relu(&gpu, x)` where
/// `x` is on a GPU, and `cpu::relu(x)` elsewhere. For a list of tensors, its first one decides: `on_device!(xs.first(),
/// …)`.
///
/// Both modules have these functions, with the same arguments and results. Without the feature `cuda`, the module of
/// that name is `without_cuda.rs`.
macro_rules! on_device {
    // An op of activations of the type `$activation`, which is compiled in this crate.
    ($tensor:expr, $activation:ident::$op:ident($($argument:expr),* $(,)?)) => {
        match $crate::cuda::Gpu::of($tensor)? {
            Some(gpu) => $crate::cuda::$op(&gpu, $($argument),*),
            None => <$activation as $crate::cpu::Compiled>::$op($($argument),*),
        }
    };
    ($tensor:expr, $op:ident($($argument:expr),* $(,)?)) => {
        match $crate::cuda::Gpu::of($tensor)? {
            Some(gpu) => $crate::cuda::$op(&gpu, $($argument),*),
            None => $crate::cpu::$op($($argument),*),
        }
    };
}
pub(crate) use on_device;
