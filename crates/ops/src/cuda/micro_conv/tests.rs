//! Runs of micro-batches, on a GPU.

use super::*;
use crate::cuda::{cuda_device, device_of};
use crate::graph::stored;
use crate::layers::Geometry;
use candle_core::Device;

/// 3 × 3 of 5 samples.
fn geometry((height, width): (usize, usize), c_in: usize, c_out: usize) -> Geometry {
    let (out_height, out_width) = (height, width);
    let (kernel, stride, padding) = ((3, 3), (1, 1), (1, 1));
    Geometry { batch: 5, height, width, c_in, out_height, out_width, c_out, kernel, stride, padding }
}

fn numbers(shape: &[usize], by: usize, device: &Device) -> Result<Tensor> {
    let n = shape.iter().product();
    Tensor::from_iter((0..n).map(|i: usize| (i * by % 1009) as f32 / 504.5 - 1.), device)?.reshape(shape)
}

/// What is made of all micro-batches at once and of one after another is the same up to rounding, whether gradients are
/// kept, formed again or stay factors.
#[test]
fn how_many_go_at_once_is_no_matter() -> Result<()> {
    let device = cuda_device(0)?;
    let mut ways = Vec::new();
    for (image, c_in, c_out, size) in [((3, 2), 40, 24, 1), ((3, 2), 40, 24, 4), ((5, 4), 8, 6, 1), ((5, 4), 8, 6, 2)] {
        let g = geometry(image, c_in, c_out);
        let x = numbers(&[5, g.height, g.width, c_in], 7919, &device)?;
        let dy = numbers(&[5, g.height, g.width, c_out], 6007, &device)?;
        let (a, filters) = (numbers(x.dims(), 101, &device)?, numbers(&[c_out, c_in, 3, 3], 331, &device)?);
        let gpu = &*device_of(&x)?;
        let groups = Groups { samples: 5, size };
        let layer = Layer { g, precision: Precision::F32, dtype: DType::F32 };
        let run = |most: usize| -> Result<(usize, &'static str, Vec<Vec<f64>>)> {
            let batch = MicroBatches { most, ..MicroBatches::new(layer, groups) };
            let runs = batch.runs(0);
            let all: Vec<usize> = runs.iter().flat_map(|run| run.groups.clone()).collect();
            assert_eq!(all, (0..groups.count()).collect::<Vec<_>>());
            let terms = batch.weight_terms(gpu, true, [&a, &dy])?;
            let norms = batch.weight_terms(gpu, false, [&a, &dy])?.squares;
            let gradients = terms.gradients.expect("they are kept");
            let way = match &gradients {
                Gradients::Formed(_) => "kept",
                Gradients::Factors(_) if batch.is_thin() => "low rank",
                Gradients::Factors(_) => "formed again",
            };
            let scales = Tensor::from_iter((0..groups.count()).map(|j| 0.01 * j as f64), &device)?;
            let moved = Displacement { scales, gradients: std::sync::Arc::new(gradients), groups };
            let y = stored(batch.forward(gpu, &x, &filters, &moved)?.into_storage(), dy.shape());
            let dx = batch.grad_input(gpu, &x, &filters, &dy, &moved)?;
            let host = |x: &Tensor| x.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>();
            Ok((runs.len(), way, vec![terms.squares.to_vec1()?, norms.to_vec1()?, host(&y)?, host(&dx)?]))
        };
        let ((few, way, expected), (many, _, found)) = (run(MOST)?, run(1)?);
        assert!(few <= 2 && many == groups.count(), "{way}, m = {size}: {few} and {many} runs");
        for (found, expected) in found.iter().zip(&expected) {
            let square: f64 = found.iter().zip(expected).map(|(a, b)| (a - b).powi(2)).sum();
            let size_of: f64 = expected.iter().map(|b| b * b).sum();
            assert!(square <= 1e-12 * size_of, "{way}, m = {size}: off by {:e}", (square / size_of).sqrt());
        }
        ways.push(way);
    }
    assert_eq!(ways, ["low rank", "formed again", "formed again", "kept"]);
    Ok(())
}
