//! Position embeddings on another grid, against PyTorch's and timm's numbers.

use crate::fixture;
use candle_core::{Device, Result, Tensor};
use msharp_models::{Bicubic, resample_positions};
use serde_json::Value;

/// The grid of fixtures/positions.py.
fn grid(h: usize, w: usize) -> Result<Tensor> {
    let d = 2;
    Tensor::from_iter((0..h * w * d).map(|i| (0.7 * i as f64).sin() as f32), &Device::Cpu)?.reshape((h, w, d))
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

#[test]
fn both_bicubics_are_pytorchs_and_the_antialiased_one_timms() -> Result<()> {
    let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(fixture("positions.json"))?).unwrap();
    let mut of_timm = 0;
    for case in &cases {
        let pair = |name: &str| [0, 1].map(|i| case[name][i].as_u64().unwrap() as usize);
        let ([h, w], to) = (pair("from"), pair("to"));
        let bicubic = if case["antialias"] == true { Bicubic::Antialiased } else { Bicubic::FourPoints };
        let found = resample_positions(&grid(h, w)?, to, bicubic)?;
        assert_eq!(found.dims(), [to[0], to[1], 2]);
        let found: Vec<f32> = found.flatten_all()?.to_vec1()?;
        for (library, tolerance) in [("torch", 1e-6), ("timm", 4e-6)] {
            if case.get(library).is_none() {
                continue;
            }
            let expected = numbers(&case[library]);
            assert_eq!(found.len(), expected.len());
            for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
                let error = (f64::from(*found) - expected).abs();
                assert!(
                    error < tolerance,
                    "{h}×{w} to {to:?}, {bicubic:?}, element {i}: {found}, {library}'s {expected}"
                );
            }
            of_timm += usize::from(library == "timm");
        }
    }
    assert_eq!((cases.len(), of_timm), (12, 4));
    Ok(())
}
