//! Every op on a GPU against the same op on the CPU in f64, forward and backward, in f32, TF32 and bfloat16.
//!
//! They run on an NVIDIA GPU, or on the software GPU (`cargo xtask cuda check`); where there is neither they fail.

mod activations;
mod losses;
mod micro;
mod parameters;
mod ranks;
mod transformer;

use candle_core::{DType, Device, Result, Tensor, Var};
use msharp_ops::{FeatureMap, Precision, cuda_device, with_precision};
use std::sync::OnceLock;

/// The GPU, opened once.
fn gpu() -> &'static Device {
    static GPU: OnceLock<Device> = OnceLock::new();
    GPU.get_or_init(|| cuda_device(0).expect("a GPU, or the software GPU in LD_LIBRARY_PATH"))
}

/// Numbers in (-1, 1) without structure, the same on every machine.
fn noise(shape: &[usize], seed: u64) -> Result<Tensor> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    };
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| next()).collect();
    Tensor::from_vec(values, shape, &Device::Cpu)
}

fn values(x: &Tensor) -> Result<Vec<f64>> {
    x.detach().to_device(&Device::Cpu)?.flatten_all()?.to_dtype(DType::F64)?.to_vec1()
}

/// ‖found − expected‖ / ‖expected‖; an element that is NaN or missing counts as infinite.
fn error(found: &Tensor, expected: &Tensor) -> Result<f64> {
    assert_eq!(found.dims(), expected.dims());
    let (found, expected) = (values(found)?, values(expected)?);
    let square: f64 = found.iter().zip(&expected).map(|(a, b)| (a - b).powi(2)).sum();
    let size: f64 = expected.iter().map(|b| b * b).sum();
    Ok(if square.is_nan() { f64::INFINITY } else { (square / size.max(1e-30)).sqrt() })
}

/// What a result may be off by, of its size. bfloat16 has 8 bits, so each rounding is off by up to 2⁻⁹ = 0.002, TF32's
/// 11 bits make 2⁻¹²; f32 leaves sums of some thousand products at 1e-6.
fn tolerance(precision: Precision) -> f64 {
    match precision {
        Precision::F32 => 5e-6,
        Precision::Tf32 => 1e-3,
        Precision::Bf16 => 1.2e-2,
    }
}

const ALL: [Precision; 3] = [Precision::F32, Precision::Tf32, Precision::Bf16];

/// A network of activations (the first `maps` inputs) and parameters (the others).
trait Network: Fn(&[FeatureMap], &[Tensor]) -> Result<FeatureMap> {}
impl<F: Fn(&[FeatureMap], &[Tensor]) -> Result<FeatureMap>> Network for F {}

/// The result, the gradients of Σ r·result for a fixed r, and once more the gradients, from the same graph.
fn run(
    inputs: &[Tensor],
    maps: usize,
    device: &Device,
    dtype: DType,
    network: &impl Network,
) -> Result<[Vec<Tensor>; 3]> {
    let vars: Vec<Var> =
        inputs.iter().map(|x| Var::from_tensor(&x.to_dtype(dtype)?.to_device(device)?)).collect::<Result<_>>()?;
    let (activations, params) = vars.split_at(maps);
    let activations = activations.iter().map(|var| FeatureMap::enter(var)).collect::<Result<Vec<_>>>()?;
    let params: Vec<Tensor> = params.iter().map(|var| var.as_tensor().clone()).collect();
    let y = network(&activations, &params)?.leave()?;
    let r = noise(y.dims(), 77)?.to_dtype(dtype)?.to_device(device)?;
    let loss = (&y * r)?.sum_all()?;
    let mut gradients = [Vec::new(), Vec::new()];
    for all in &mut gradients {
        let grads = loss.backward()?;
        for (i, var) in vars.iter().enumerate() {
            let grad = grads.get(var).unwrap_or_else(|| panic!("input {i} got no gradient"));
            assert!(!grad.track_op(), "the gradient of input {i} has a graph");
            all.push(grad.clone());
        }
    }
    let [first, second] = gradients;
    Ok([vec![y.detach()], first, second])
}

/// Compares `network` on the GPU with the CPU in f64, in all precisions; and one run on the GPU with another, to the
/// bit.
fn check(name: &str, inputs: &[Tensor], maps: usize, slack: f64, network: impl Network) -> Result<()> {
    for precision in ALL {
        // What bfloat16 cannot hold is no error of the op.
        let round = |x: &Tensor| match precision {
            Precision::Bf16 => x.to_dtype(DType::BF16)?.to_dtype(DType::F32),
            _ => Ok(x.clone()),
        };
        let inputs: Vec<Tensor> = inputs.iter().map(round).collect::<Result<_>>()?;
        let [y, expected, _] = run(&inputs, maps, &Device::Cpu, DType::F64, &network)?;
        let on_gpu = || with_precision(precision, || run(&inputs, maps, gpu(), DType::F32, &network));
        let [found, gradients, again] = on_gpu()?;
        let [repeated, gradients_repeated, _] = on_gpu()?;
        let limit = slack * tolerance(precision);
        let all = || found.iter().chain(&gradients);
        for (i, (found, expected)) in all().zip(y.iter().chain(&expected)).enumerate() {
            let error = error(found, expected)?;
            let what = if i == 0 { "the result".to_owned() } else { format!("the gradient of input {}", i - 1) };
            assert!(error < limit, "{name} in {precision:?}: {what} is off by {error:e}, more than {limit:e}");
        }
        for (a, b) in all().zip(repeated.iter().chain(&gradients_repeated)) {
            assert_eq!(values(a)?, values(b)?, "{name} in {precision:?}: two runs differ");
        }
        for (a, b) in gradients.iter().zip(&again) {
            assert_eq!(values(a)?, values(b)?, "{name} in {precision:?}: two backward passes of one graph differ");
        }
    }
    Ok(())
}
