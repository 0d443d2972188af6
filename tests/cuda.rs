//! Rules, runs and batches on a GPU, against the CPU.
//!
//! They run on an NVIDIA GPU, or on the software GPU (`cargo xtask cuda check`); where there is neither they fail.

#[allow(dead_code)] // the other binary uses the rest
mod problems;
#[allow(dead_code)] // the other binary uses the rest
mod rules;

use candle_core::cuda_backend::cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};
use candle_core::{Device, Result, Tensor};
use msharp_core::{Alone, Batch, BatchLoss, DataSource, Optimizer, ParamVec, Perturbation, Temperature};
use msharp_data::{Augment, Dataset, Loader, Placement, synthetic};
use msharp_gradnorm::{Ghost, LastLayer};
use msharp_models::{Architecture, Model, Norm};
use msharp_ops::{Precision, cuda_device};
use msharp_perturb::{Micro, Path, rw_sam, sam};
use msharp_train::{
    AdamW, Checkpoint, CheckpointPolicy, Control, Observer, Outcome, Progress, Schedule, Sgd, StepReport, Task,
    evaluate, fit,
};
use problems::{Fixed, Net, built_on, distance, images, small_vit, weights};
use rules::{Named, every_rule};
use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

fn gpu() -> &'static Device {
    static GPU: OnceLock<Device> = OnceLock::new();
    GPU.get_or_init(|| cuda_device(0).expect("a GPU, or the software GPU in LD_LIBRARY_PATH"))
}

fn resnet8(device: &Device, norm: Norm) -> Result<Net> {
    built_on(device, 2, |vb| Architecture::ResNet8.build(norm, 10, vb))
}

/// A network on a device.
type Build = fn(&Device) -> Result<Net>;

/// Batch normalisation, group normalisation, and a vision transformer.
const NETS: [(&str, Build); 3] = [
    ("batch", |device| resnet8(device, Norm::Batch)),
    ("group-32", |device| resnet8(device, Norm::Group(32))),
    ("a vision transformer", |device| built_on(device, 2, small_vit)),
];

fn on(device: &Device, batch: &Batch) -> Result<Batch> {
    Ok(Batch { inputs: batch.inputs.to_device(device)?, targets: batch.targets.to_device(device)?, ..batch.clone() })
}

/// The parameters' and the buffers' change in three steps.
fn three_steps(
    device: &Device,
    build: Build,
    rule: &mut dyn Perturbation,
    optimizer: &mut dyn Optimizer,
) -> Result<Vec<f64>> {
    let net = build(device)?;
    let host = |net: &Net| -> Result<Vec<f64>> {
        let mut all = Vec::new();
        for (name, tensor) in net.params.named_tensors() {
            if !name.ends_with("num_batches_tracked") {
                let tensor = tensor.to_device(&Device::Cpu)?.to_dtype(candle_core::DType::F64)?;
                all.extend(tensor.flatten_all()?.to_vec1::<f64>()?);
            }
        }
        Ok(all)
    };
    let before = host(&net)?;
    for k in 0..3 {
        let batch = on(device, &images(4, k)?)?;
        let step = rule.gradient(BatchLoss::new(&net, &net.params, &batch))?;
        optimizer.step(&net.params, &step.grads, 0.05)?;
    }
    Ok(host(&net)?.iter().zip(before).map(|(after, before)| after - before).collect())
}

/// All rules take three steps in f32 from the same weights on the same images, and arrive at the same place: rounding
/// differs in the seventh digit, and what a network makes of it stays below a ten-thousandth of the way.
#[test]
fn rules_take_the_same_steps_as_on_the_cpu() -> Result<()> {
    let (mut far, mut all) = (Vec::new(), Vec::new());
    for (net, build) in NETS {
        let set = |device: &Device| -> Result<Fixed> { Ok(Fixed(vec![on(device, &images(4, 9)?)?])) };
        let rules = |device: &Device| -> Result<Vec<Named>> {
            let last_layer = rw_sam(0.05, Temperature::Relative(1.), LastLayer::default());
            let mut rules = every_rule(0.05, &set(device)?);
            rules.push(("rw-sam, exact last layer", Box::new(last_layer)));
            let ghost = rw_sam(0.05, Temperature::Relative(1.), Ghost::default());
            rules.push(("rw-sam, exact from factors", Box::new(ghost)));
            Ok(rules)
        };
        let rules = rules(&Device::Cpu)?.into_iter().zip(rules(gpu())?);
        for ((name, mut on_cpu), (_, mut on_gpu)) in rules {
            let sgd = || Sgd { momentum: 0.9, weight_decay: 5e-4, ..Sgd::default() };
            let expected = three_steps(&Device::Cpu, build, on_cpu.as_mut(), &mut sgd())?;
            let found = three_steps(gpu(), build, on_gpu.as_mut(), &mut sgd())?;
            let apart = distance(&found, &expected);
            // A finite difference divides the rounding of a loss by δ; 5e-3 to 3e-2 were seen. A sign forgets how close
            // to 0 a gradient was. A ReLU whose input is within rounding of 0 may be on here and off there: most rules
            // are 8e-7 apart, and 2e-2 was seen. The transformer has no such kinks, and there all are within 6e-7.
            let rounds = ["linf", "eigen"].iter().any(|word| name.contains(word));
            let kinks = if net.contains("transformer") { 1e-5 } else { 5e-2 };
            let limit = if rounds || name.contains("rw-") && !name.contains("exact") { 0.1 } else { kinks };
            println!("{name}, {net}: {apart:.1e} of the way apart");
            if apart >= limit {
                far.push(format!("{name}, {net}: {apart:e} of the way apart"));
            }
            all.push(apart);
        }
    }
    assert!(far.is_empty(), "{far:#?}");
    all.sort_by(f64::total_cmp);
    assert!(all[all.len() / 2] < 2e-6, "half of the rules are {:e} apart or more", all[all.len() / 2]);
    Ok(())
}

#[test]
fn adamw_takes_the_same_steps_as_on_the_cpu() -> Result<()> {
    let step = |device: &Device| three_steps(device, NETS[1].1, &mut sam(0.05), &mut AdamW::default());
    // Where a gradient nearly vanishes its sign is rounding, and Adam follows the sign.
    assert!(distance(&step(gpu())?, &step(&Device::Cpu)?) < 5e-2);
    Ok(())
}

/// In bfloat16 a gradient has another rounding, and the same direction; with micro-batches together as with one after
/// another.
#[test]
fn reduced_precision_keeps_the_direction() -> Result<()> {
    let batch = images(4, 1)?;
    let gradient = |device: &Device, build: Build, rule: &mut dyn Perturbation, precision| -> Result<Vec<f64>> {
        let mut net = build(device)?;
        net.classifier.precision = precision;
        let grads: ParamVec = rule.gradient(BatchLoss::new(&net, &net.params, &on(device, &batch)?))?.grads;
        let on_cpu =
            grads.tensors().iter().map(|tensor| tensor.to_device(&Device::Cpu)).collect::<Result<Vec<Tensor>>>()?;
        let mut all = Vec::new();
        for tensor in on_cpu {
            all.extend(tensor.flatten_all()?.to_vec1::<f32>()?.iter().map(|g| *g as f64));
        }
        Ok(all)
    };
    let m_sam = |m, path| Micro::new(sam(0.05), m).with_path(path);
    for (net, build) in &NETS {
        let one_by_one = |m| gradient(&Device::Cpu, *build, &mut m_sam(m, Path::Sequential), Precision::F32);
        for (m, exact) in [(1, one_by_one(1)?), (3, one_by_one(3)?), (4, one_by_one(4)?)] {
            for (precision, limit) in [(Precision::F32, 1e-4), (Precision::Tf32, 0.1), (Precision::Bf16, 0.5)] {
                let apart = |path| -> Result<f64> {
                    Ok(distance(&gradient(gpu(), *build, &mut m_sam(m, path), precision)?, &exact))
                };
                let (together, sequential) = (apart(Path::Parallel)?, apart(Path::Sequential)?);
                println!("{net}, m = {m}, {precision:?}: {together:.1e} off together, {sequential:.1e} one by one");
                assert!(together < limit && sequential < limit, "{precision:?}: {together:e}, {sequential:e}");
            }
        }
    }
    Ok(())
}

/// Rules that read from the GPU or copy to it in a step: they draw their noise on the host, decide by a norm, take the
/// factors of micro-batches from their norms, or use operations of candle that send it shapes.
const WAITING: [&str; 8] =
    ["ae-sam, read", "esam, drawn", "layer sam", "m-sam", "m-usam", "r-sam, drawn", "rw-sam, ghost", "rwp, drawn"];

/// While a stream is being captured, whoever waits for it, or reads from the GPU, gets an error. Nothing that is
/// captured may outlive the capture, for on a GPU it never happened.
#[test]
fn a_step_has_no_host_device_synchronisation() -> Result<()> {
    let here = cuda_device(0)?; // a stream of its own, which no other test uses
    let Device::Cuda(device) = &here else { panic!("a GPU") };
    let stream = device.cuda_stream();
    let batch = on(&here, &images(4, 1)?)?;
    let mut waiting = BTreeSet::new();
    for (kind, build) in NETS {
        let set = Fixed(vec![batch.clone()]);
        // The exact norms are read, one by one.
        let mut rules = every_rule(0.05, &set);
        rules.push(("rw-sam, last layer", Box::new(rw_sam(0.05, Temperature::Relative(1.), LastLayer::default()))));
        rules.push(("rw-sam, ghost", Box::new(rw_sam(0.05, Temperature::Relative(1.), Ghost::default()))));
        for (name, mut rule) in rules.into_iter().filter(|(name, _)| !name.contains("exact")) {
            let mut net = build(&here)?;
            net.classifier.precision = Precision::Bf16;
            let mut sgd = Sgd { momentum: 0.9, ..Sgd::default() };
            let mut step = || -> Result<()> {
                let gradient = rule.gradient(BatchLoss::new(&net, &net.params, &batch))?;
                sgd.step(&net.params, &gradient.grads, 0.05)
            };
            step()?; // plans, kernels and the velocity exist from here on
            let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
            stream.begin_capture(mode).map_err(candle_core::Error::wrap)?;
            let captured = step();
            let flags = CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
            let ended = stream.end_capture(flags);
            if let Err(error) = captured {
                println!("{name}, {kind}: {}", error.to_string().lines().next().unwrap_or_default());
                waiting.insert(name);
                continue;
            }
            drop(ended.map_err(candle_core::Error::wrap)?);
        }
    }
    assert_eq!(waiting, BTreeSet::from(WAITING));
    // The test itself can fail: to read is to wait.
    stream.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).map_err(candle_core::Error::wrap)?;
    let read = batch.targets.to_vec1::<u32>();
    let _ = stream.end_capture(CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH);
    assert!(read.is_err(), "a read inside a capture went through");
    Ok(())
}

#[test]
fn batches_are_the_same_to_the_bit() -> Result<()> {
    let set = Arc::new(synthetic(40, 0, 3).train);
    for augment in [Augment::none(), Augment::standard(), Augment { cutout: Some(9), ..Augment::standard() }] {
        let host = Loader { augment, prefetch: 0, ..Loader::train(set.clone(), 16, 5) };
        let there = Loader { placement: Placement::of(&set, gpu())?, prefetch: 2, ..host.clone() };
        assert_eq!(host.steps(), there.steps());
        for (found, expected) in there.epoch(1).zip(host.epoch(1)) {
            let (found, expected) = (found?, expected?);
            let numbers = |x: &Tensor| x.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>();
            assert_eq!(numbers(&found.inputs)?, numbers(&expected.inputs)?, "{augment:?}");
            assert_eq!(found.targets.to_vec1::<u32>()?, expected.targets.to_vec1::<u32>()?);
            assert_eq!(found.key, expected.key);
        }
    }
    Ok(())
}

const EPOCHS: usize = 2;

/// A run of SAM in bfloat16 that reads its loss every third step.
fn go(
    set: &Arc<Dataset>,
    path: &std::path::Path,
    epochs: usize,
    observer: &mut dyn Observer,
    resume: bool,
) -> Result<(Outcome, Net)> {
    let mut net = resnet8(gpu(), Norm::Batch)?;
    net.classifier.precision = Precision::Bf16;
    let (mut rule, mut sgd) = (sam(0.05), Sgd { momentum: 0.9, ..Sgd::default() });
    let progress = match resume {
        true => Checkpoint::read(path)?.restore(&net.params, &mut sgd, &mut rule)?,
        false => Progress::default(),
    };
    let task = Task {
        objective: &net,
        params: &net.params,
        rule: &mut rule,
        optimizer: &mut sgd,
        data: &Loader { placement: Placement::of(set, gpu())?, ..Loader::train(set.clone(), 8, 5) },
        epochs,
        schedule: Schedule::cosine(0.05),
        checkpoint: Some(CheckpointPolicy::new(path, String::new())),
        read_every: 3,
        ranks: &Alone,
    };
    let (outcome, _) = fit(task, progress, observer)?;
    Ok((outcome, net))
}

struct StopAt(usize, usize);

impl Observer for StopAt {
    fn step(&mut self, report: &StepReport) -> Result<Control> {
        Ok(if (report.epoch, report.step) == (self.0, self.1) { Control::Stop } else { Control::Continue })
    }
}

#[test]
fn a_resumed_run_ends_as_if_it_had_never_stopped() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("run.safetensors");
    let set = Arc::new(synthetic(20, 0, 4).train);
    let host = |net: &Net| -> Result<Vec<u64>> {
        let cpu = resnet8(&Device::Cpu, Norm::Batch)?;
        cpu.params.assign(&net.params.named_tensors())?;
        weights(&cpu.params)
    };
    let straight = host(&go(&set, &path, EPOCHS, &mut (), false)?.1)?;
    for (epoch, step) in [(0, 0), (1, 1)] {
        let (outcome, _) = go(&set, &path, EPOCHS, &mut StopAt(epoch, step), false)?;
        assert_eq!(outcome, Outcome::Stopped);
        assert!(host(&go(&set, &path, EPOCHS, &mut (), true)?.1)? == straight, "stopped after {epoch} {step}");
    }
    Ok(())
}

/// What is read is what every step of a run on the CPU reports.
struct Losses(Vec<(usize, f64)>);

impl Observer for Losses {
    fn step(&mut self, report: &StepReport) -> Result<Control> {
        assert_eq!(report.read, report.step.is_multiple_of(3) || report.step + 1 == report.steps);
        assert_eq!((report.loss.is_some(), report.grad_norm.is_some()), (report.read, report.read));
        if let Some(loss) = report.loss {
            self.0.push((report.epoch * report.steps + report.step, loss));
        }
        Ok(Control::Continue)
    }
}

#[test]
fn a_network_learns_and_is_evaluated() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let set = Arc::new(synthetic(16, 0, 4).train);
    let mut losses = Losses(Vec::new());
    let (outcome, net) = go(&set, &folder.path().join("run.safetensors"), 12, &mut losses, false)?;
    assert_eq!(outcome, Outcome::Finished);
    let (first, last) = (losses.0[0].1, losses.0[losses.0.len() - 1].1);
    println!("the loss fell from {first:.3} to {last:.3}");
    assert!(last < 0.5 * first, "the loss went from {first} to {last}");

    let there = Loader { placement: Placement::of(&set, gpu())?, ..Loader::eval(set.clone(), 8) };
    let mut cpu: Net<Model> = resnet8(&Device::Cpu, Norm::Batch)?;
    cpu.params.assign(&net.params.named_tensors())?;
    let expected = evaluate(&cpu.classifier, &Loader::eval(set.clone(), 8))?;
    let mut net = net;
    for (precision, limit) in [(Precision::F32, 1e-4), (Precision::Bf16, 0.1)] {
        net.classifier.precision = precision;
        let found = evaluate(&net.classifier, &there)?;
        assert_eq!(found.samples, expected.samples);
        assert!((found.loss - expected.loss).abs() < limit, "{precision:?}: {found:?} for {expected:?}");
    }
    cpu.classifier.precision = Precision::F32;
    Ok(())
}
