//! Every op against PyTorch: values and gradients of `fixtures/pytorch.safetensors`, written by the script beside it.

use crate::values;
use candle_core::{DType, Device, Result, Tensor, Var, safetensors};
use msharp_ops::{
    Epilogue, RunningStats, Window2d, avg_pool2d, batch_norm, conv2d, cross_entropy, global_avg_pool2d, group_norm,
    linear, max_pool2d, relu,
};
use std::collections::HashMap;

/// Largest error relative to the largest magnitude of a tensor. f64 differs from PyTorch by the order of its sums only.
/// In f32 each sum of some hundred terms rounds to about 1e-6 of the largest value, in PyTorch's result and in ours.
const TOLERANCE: [(DType, &str, f64); 2] = [(DType::F64, "f64", 1e-10), (DType::F32, "f32", 1e-5)];

struct Fixture(HashMap<String, Tensor>);

impl Fixture {
    fn load() -> Result<Self> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/pytorch.safetensors");
        safetensors::load(path, &Device::Cpu).map(Self)
    }

    fn get(&self, case: &str, key: &str) -> &Tensor {
        self.0.get(&format!("{case}/{key}")).unwrap_or_else(|| panic!("the fixture has no {case}/{key}"))
    }

    /// The settings stored with a case.
    fn plain(&self, case: &str, key: &str) -> Vec<f64> {
        values(self.get(case, key)).expect("f64 settings")
    }

    /// Cases `name.0`, `name.1`, …
    fn cases(&self, name: &str) -> Vec<String> {
        let cases = (0..).map(|i| format!("{name}.{i}")).take_while(|case| self.0.contains_key(&format!("{case}/x")));
        let cases: Vec<String> = cases.collect();
        assert!(cases.len() > 1, "the fixture has {} cases of {name}", cases.len());
        cases
    }

    /// Runs `op(inputs)` and compares y, every gradient of Σ r·y, and the further results that `op` returns.
    fn compare(
        &self,
        case: &str,
        inputs: &[&str],
        op: impl Fn(&[Tensor]) -> Result<(Tensor, Vec<(&'static str, Tensor)>)>,
    ) -> Result<()> {
        for (dtype, suffix, tolerance) in TOLERANCE {
            let vars: Vec<Var> = inputs
                .iter()
                .map(|key| Var::from_tensor(&self.get(case, key).to_dtype(dtype)?))
                .collect::<Result<_>>()?;
            let (y, mut results) = op(&vars.iter().map(|var| var.as_tensor().clone()).collect::<Vec<_>>())?;
            let grads = (&y * self.get(case, "r").to_dtype(dtype)?)?.sum_all()?.backward()?;
            results.push(("y", y));
            let check = |key: &str, ours: &Tensor| -> Result<()> {
                let theirs = self.get(case, &format!("{key}/{suffix}"));
                assert_eq!((ours.dims(), ours.dtype()), (theirs.dims(), dtype), "{case}/{key}");
                let (ours, theirs) = (values(ours)?, values(theirs)?);
                let scale = theirs.iter().fold(0.0f64, |scale, x| scale.max(x.abs()));
                for (i, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
                    let error = (ours - theirs).abs();
                    assert!(error <= tolerance * scale, "{case}/{key}/{suffix}[{i}]: {ours}, PyTorch {theirs}");
                }
                Ok(())
            };
            for (key, ours) in &results {
                check(key, ours)?;
            }
            for (key, var) in inputs.iter().zip(&vars) {
                check(&format!("d{key}"), grads.get(var).expect("a gradient for every input"))?;
            }
        }
        Ok(())
    }
}

/// The three pairs of a stored window.
fn window(plain: &[f64]) -> Vec<(usize, usize)> {
    plain.chunks(2).map(|pair| (pair[0] as usize, pair[1] as usize)).collect()
}

#[test]
fn convolution_and_linear() -> Result<()> {
    let fixture = Fixture::load()?;
    for case in fixture.cases("conv2d") {
        let window = window(&fixture.plain(&case, "window"));
        let bias = fixture.0.contains_key(&format!("{case}/bias"));
        let inputs: &[&str] = if bias { &["x", "weight", "bias"] } else { &["x", "weight"] };
        fixture.compare(&case, inputs, |t| Ok((conv2d(&t[0], &t[1], t.get(2), window[0], window[1])?, vec![])))?;
    }
    fixture.compare("linear", &["x", "weight", "bias"], |t| Ok((linear(&t[0], &t[1], Some(&t[2]))?, vec![])))
}

#[test]
fn pools_and_relu() -> Result<()> {
    let fixture = Fixture::load()?;
    for (name, pool) in [("max_pool2d", max_pool2d as fn(&Tensor, Window2d) -> _), ("avg_pool2d", avg_pool2d)] {
        for case in fixture.cases(name) {
            let window = window(&fixture.plain(&case, "window"));
            let window = Window2d { kernel: window[0], stride: window[1], padding: window[2] };
            fixture.compare(&case, &["x"], |t| Ok((pool(&t[0], window)?, vec![])))?;
        }
    }
    fixture.compare("global_avg_pool2d", &["x"], |t| Ok((global_avg_pool2d(&t[0])?, vec![])))?;
    fixture.compare("relu", &["x"], |t| Ok((relu(&t[0])?, vec![])))
}

/// Inputs of case `i` of a normalisation: the residual is there in cases 2 and 3, the ReLU in 1 and 3.
fn norm_inputs(i: usize) -> &'static [&'static str] {
    if i >= 2 { &["x", "weight", "bias", "residual"] } else { &["x", "weight", "bias"] }
}

/// Two training steps, the second recorded; or two and then one in evaluation. Values, gradients, running statistics.
#[test]
fn batch_normalisation() -> Result<()> {
    let fixture = Fixture::load()?;
    for i in 0..4 {
        for (case, train) in [(format!("batch_norm.{i}.train"), true), (format!("batch_norm.{i}.eval"), false)] {
            let relu = fixture.plain(&case, "relu") == [1.0];
            fixture.compare(&case, norm_inputs(i), |t| {
                let dtype = t[0].dtype();
                let line = |from: f64, to: f64| -> Result<Var> {
                    let values: Vec<f64> = (0..6).map(|j| from + (to - from) * j as f64 / 5.0).collect();
                    Var::from_tensor(&Tensor::new(values, &Device::Cpu)?.to_dtype(dtype)?)
                };
                let (mean, var, batches) = (line(-1.0, 1.0)?, line(0.5, 2.0)?, Var::new(0i64, &Device::Cpu)?);
                let stats = RunningStats { mean: &mean, var: &var, batches: Some(&batches), momentum: 0.1 };
                let forward = |x: &Tensor, train: bool, epilogue: Epilogue| {
                    batch_norm(x, &t[1], &t[2], &stats, train, 1e-5, epilogue)
                };
                forward(&((&t[0] * 3.0)? + 5.0)?, true, Epilogue::default())?;
                if !train {
                    forward(&t[0], true, Epilogue::default())?;
                }
                let y = forward(&t[0], train, Epilogue { residual: t.get(3), relu })?;
                assert_eq!(batches.to_scalar::<i64>()?, 2);
                Ok((y, vec![("mean", mean.as_tensor().copy()?), ("var", var.as_tensor().copy()?)]))
            })?;
        }
    }
    Ok(())
}

#[test]
fn group_normalisation() -> Result<()> {
    let fixture = Fixture::load()?;
    for i in 0..4 {
        for groups in [1, 3] {
            let case = format!("group_norm.{i}.{groups}");
            let relu = fixture.plain(&case, "relu") == [1.0];
            fixture.compare(&case, norm_inputs(i), |t| {
                let epilogue = Epilogue { residual: t.get(3), relu };
                Ok((group_norm(&t[0], groups, &t[1], &t[2], 1e-5, epilogue)?, vec![]))
            })?;
        }
    }
    Ok(())
}

#[test]
fn per_sample_cross_entropy() -> Result<()> {
    let fixture = Fixture::load()?;
    for case in fixture.cases("cross_entropy") {
        let targets: Vec<u32> = fixture.plain(&case, "targets").iter().map(|target| *target as u32).collect();
        let targets = Tensor::new(targets, &Device::Cpu)?;
        let smoothing = fixture.plain(&case, "smoothing")[0];
        fixture.compare(&case, &["x"], |t| Ok((cross_entropy(&t[0], &targets, smoothing)?, vec![])))?;
    }
    Ok(())
}
