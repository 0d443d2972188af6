//! Loads what `tests/fixtures/parity.py FOLDER` exported from timm, and compares the logits: the argument is the
//! folder.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::ModuleT;
use msharp_core::Seeded;
use msharp_models::{Norm, RESNET50, vit_tiny};
use std::path::Path;

fn main() -> Result<()> {
    let Some(folder) = std::env::args().nth(1) else { candle_core::bail!("expected a folder that parity.py wrote") };
    for name in ["resnet50", "vit_tiny_patch16_224"] {
        let init = Seeded::new(0, DType::F32, &Device::Cpu);
        let model: Box<dyn ModuleT> = match name {
            "resnet50" => Box::new(RESNET50.imagenet().build(Norm::Batch, 1000, init.var_builder())?),
            _ => Box::new(vit_tiny(1000, init.var_builder())?),
        };
        init.params()?.load(&Path::new(&folder).join(format!("{name}.weights.safetensors")))?;
        let file = Path::new(&folder).join(format!("{name}.image.safetensors"));
        let image = candle_core::safetensors::load(&file, &Device::Cpu)?;
        let x = image["input"].permute((0, 2, 3, 1))?.contiguous()?; // [1, 224, 224, 3]
        let logits = msharp_ops::no_grad(|| model.forward_t(&x, false))?.to_dtype(DType::F64)?;
        for theirs in ["logits.f32", "logits.f64"] {
            let expected = image[theirs].to_dtype(DType::F64)?;
            let largest = |t: &Tensor| t.abs()?.flatten_all()?.max(0)?.to_scalar::<f64>();
            let error = largest(&(&logits - &expected)?)? / largest(&expected)?;
            println!("{name}: {:e} of the largest from timm's {theirs}", error);
        }
    }
    Ok(())
}
