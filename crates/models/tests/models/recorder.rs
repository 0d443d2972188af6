//! A source of variables that notes what a network asks for, and hands out zeros.

use candle_core::{DType, Device, Result, Shape, Tensor, bail};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};
use std::sync::{Arc, Mutex};

/// A tensor that was asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    pub name: String,
    pub dtype: DType,
    pub shape: Shape,
    pub init: Init,
}

#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<Asked>>>);

impl SimpleBackend for Recorder {
    fn get(&self, shape: Shape, name: &str, init: Init, dtype: DType, device: &Device) -> Result<Tensor> {
        self.0.lock().unwrap().push(Asked { name: name.to_owned(), dtype, shape: shape.clone(), init });
        Tensor::zeros(shape, dtype, device)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
        bail!("{name:?} was asked for without a shape")
    }

    fn contains_tensor(&self, _: &str) -> bool {
        true
    }
}

/// Everything that `build` asks for, in name order.
pub fn asked<M>(build: impl FnOnce(VarBuilder) -> Result<M>) -> Vec<Asked> {
    let recorder = Recorder::default();
    build(VarBuilder::from_backend(Box::new(recorder.clone()), DType::F32, Device::Cpu)).unwrap();
    let mut asked = recorder.0.lock().unwrap().clone();
    asked.sort_by(|a, b| a.name.cmp(&b.name));
    asked
}

/// Trainable scalars, by the names of the buffers.
pub fn count(asked: &[Asked]) -> usize {
    let is_buffer = |a: &&Asked| !a.name.contains("running_") && !a.name.ends_with("num_batches_tracked");
    asked.iter().filter(is_buffer).map(|a| a.shape.elem_count()).sum()
}
