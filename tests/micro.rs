//! m-SAM with all micro-batches together is m-SAM with one after another.

use crate::problems::{
    Link, Mlp, Net, Rows, START, bits, buffers, distance, images, mlp_of, noise, small_vit, weights,
};
use candle_core::{DType, Device, Result, Tensor, bail};
use candle_nn::{ModuleT, VarBuilder};
use msharp_core::{
    Accumulated, Batch, BatchLoss, Counted, Gradient, Objective, Params, Perturbation, Role, Seeded, Select,
};
use msharp_models::{Architecture, Block, Model, Norm, RESNET8, ResNetConfig};
use msharp_perturb::{
    Clipped, During, Every, Grouped, L2, Micro, Path, Plain, Raw, RhoSchedule, Scheduled, Unified, gsam, sam, usam,
    with_offset,
};
use msharp_train::Classifier;
use std::panic::{AssertUnwindSafe, catch_unwind};

const RHO: f64 = 0.1;

/// A network in f64.
fn wide<M>(seed: u64, build: impl FnOnce(VarBuilder) -> Result<M>) -> Result<Net<M>> {
    let init = Seeded::new(seed, DType::F64, &Device::Cpu);
    let classifier = Classifier::new(build(init.var_builder())?);
    Ok(Net { classifier, params: init.params()? })
}

fn double(batch: Batch) -> Result<Batch> {
    Ok(Batch { inputs: batch.inputs.to_dtype(DType::F64)?, ..batch })
}

fn step(f: &dyn Objective, params: &Params, batch: &Batch, rule: &mut dyn Perturbation) -> Result<Gradient> {
    rule.gradient(BatchLoss::new(f, params, batch))
}

/// x − 0.1 g
fn descend(params: &Params, step: &Gradient) -> Result<()> {
    for (param, g) in params.iter().zip(step.grads.tensors()) {
        param.var.set(&(param.var.as_detached_tensor() - (g * 0.1)?)?)?;
    }
    Ok(())
}

fn all(params: &Params) -> Result<Vec<f64>> {
    let values =
        params.named_tensors().into_values().map(|tensor| tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1());
    Ok(values.collect::<Result<Vec<Vec<f64>>>>()?.concat())
}

/// One step, and some steps of gradient descent, on each path: gradients, losses, measures, weights and buffers.
fn assert_same<M: ModuleT>(
    what: &str,
    batch: &Batch,
    steps: usize,
    net: &dyn Fn() -> Result<Net<M>>,
    rule: &dyn Fn(Path) -> Box<dyn Perturbation>,
) -> Result<()> {
    let (together, apart) = (net()?, net()?);
    let (mut parallel, mut sequential) = (rule(Path::Parallel), rule(Path::Sequential));
    for k in 0..steps {
        let found = step(&together, &together.params, batch, &mut *parallel)?;
        let expected = step(&apart, &apart.params, batch, &mut *sequential)?;
        let off = distance(&found.grads.to_vec()?, &expected.grads.to_vec()?);
        let tolerance = if k == 0 { 1e-10 } else { 1e-8 };
        assert!(off < tolerance, "{what}, step {k}: the gradients differ by {off:e}");
        let host = |losses: &Option<Tensor>| losses.as_ref().expect("clean losses").to_vec1::<f64>();
        assert!(distance(&host(&found.losses)?, &host(&expected.losses)?) < tolerance, "{what}: the losses");
        for (name, value) in &expected.measures {
            let (found, value) = (found.measures[name].to_scalar::<f64>()?, value.to_scalar::<f64>()?);
            assert!((found - value).abs() <= tolerance * value.abs(), "{what}: {name} is {found} for {value}");
        }
        assert_eq!(found.measures["together"].to_scalar::<f64>()?, 1.);
        descend(&together.params, &found)?;
        descend(&apart.params, &expected)?;
    }
    let off = distance(&all(&together.params)?, &all(&apart.params)?);
    assert!(off < 1e-8, "{what}: after {steps} steps weights and buffers differ by {off:e}");
    Ok(())
}

fn m_sam(size: usize) -> impl Fn(Path) -> Box<dyn Perturbation> {
    move |path| Box::new(Micro::new(sam(RHO), size).with_path(path))
}

/// Three layers with biases and no norm.
fn wide_mlp() -> Result<Net<Mlp>> {
    wide(1, |vb| mlp_of(12, 20, 5, vb))
}

fn points(b: usize) -> Result<Batch> {
    double(noise(b, 12, 5, 3)?)
}

#[test]
fn an_mlp_takes_the_same_twenty_steps() -> Result<()> {
    let batch = points(9)?;
    for size in [1, 2, 3, 5, 8] {
        assert_same(&format!("m = {size}"), &batch, 20, &wide_mlp, &m_sam(size))?;
    }
    let net = wide_mlp()?;
    let whole = step(&net, &net.params, &batch, &mut Micro::new(sam(RHO), 9).with_path(Path::Parallel))?;
    assert_eq!(bits(whole.grads.tensors())?, bits(step(&net, &net.params, &batch, &mut sam(RHO))?.grads.tensors())?);
    Ok(())
}

#[test]
fn networks_take_the_same_twenty_steps() -> Result<()> {
    let batch = double(images(6, 1)?)?;
    let of = |architecture: Architecture, norm: Norm| move || wide(2, |vb| architecture.build(norm, 10, vb));
    let wrn = Architecture::WideResNet { depth: 10, widen: 1 };
    for size in [1, 2, 3, 5] {
        assert_same(
            &format!("ResNet-8, m = {size}"),
            &batch,
            20,
            &of(Architecture::ResNet8, Norm::Group(8)),
            &m_sam(size),
        )?;
        assert_same(&format!("a transformer, m = {size}"), &batch, 20, &|| wide(5, small_vit), &m_sam(size))?;
        assert_same(&format!("WRN-10-1, m = {size}"), &batch, 1, &of(wrn, Norm::Group(8)), &m_sam(size))?;
    }
    for size in [2, 3, 5] {
        let net = of(Architecture::ResNet8, Norm::Batch);
        assert_same(&format!("ResNet-8 with batch normalisation, m = {size}"), &batch, 20, &net, &m_sam(size))?;
    }
    Ok(())
}

#[test]
fn a_bottleneck_takes_the_same_step() -> Result<()> {
    let batch = double(images(5, 1)?)?;
    let config = ResNetConfig { block: Block::Bottleneck, ..RESNET8 };
    for (norm, sizes) in [(Norm::Group(8), &[1, 2, 4][..]), (Norm::Batch, &[2, 3])] {
        let net = || wide(2, |vb| Ok(Model::ResNet(config.build(norm, 10, vb)?)));
        for size in sizes {
            assert_same(&format!("{norm:?}, m = {size}"), &batch, 2, &net, &m_sam(*size))?;
        }
    }
    Ok(())
}

/// Every offset that is the gradient with a factor for each parameter, and every wrapper of a rule that allows it.
#[test]
fn what_goes_around_sam_goes_together_too() -> Result<()> {
    let batch = points(8)?.at(START);
    let norm = || L2 { rho: RHO };
    let biases = || Select::Role(Role::Bias);
    let rule = |k: usize| -> Box<dyn Perturbation> {
        match k {
            0 => Box::new(usam(0.3)),
            1 => Box::new(with_offset(Unified { rho: RHO, l: 0.3 })),
            2 => Box::new(with_offset(Grouped::only(biases(), norm()))),
            3 => Box::new(with_offset(Grouped::without(biases(), norm()))),
            4 => Box::new(with_offset(Grouped { inner: norm(), groups: vec![(biases(), 3.)] })),
            5 => Box::new(with_offset(Scheduled { inner: norm(), schedule: RhoSchedule::Cosine { end: 0.5 } })),
            6 => Box::new(with_offset(Clipped { inner: Raw { rho: 0.3 }, max_norm: 0.5 })),
            7 => Box::new(Every::new(sam(RHO), 2)),
            8 => Box::new(During { inner: sam(RHO), start: 0., end: 0.5 }),
            9 => Box::new(During { inner: sam(RHO), start: 0.5, end: 1. }),
            10 => Box::new(Plain),
            _ => Box::new(with_offset(Box::new(norm()))),
        }
    };
    for k in 0..12 {
        let micro = |path| -> Box<dyn Perturbation> { Box::new(Micro::new(rule(k), 3).with_path(path)) };
        assert_same(&rule(k).name(), &batch, 3, &wide_mlp, &micro)?;
    }
    Ok(())
}

/// In pieces of whole micro-batches where a pass is limited.
#[test]
fn accumulation_is_in_pieces_of_whole_micro_batches() -> Result<()> {
    let (batch, net) = (points(11)?, wide_mlp()?);
    let counted = Counted::new(&net);
    let pieces = Accumulated { objective: &counted, max_samples: 7 };
    let mut rule = Micro::new(sam(RHO), 3).with_path(Path::Parallel);
    let found = step(&pieces, &net.params, &batch, &mut rule)?;
    assert_eq!(counted.take(), (22, 22));
    let expected = step(&net, &net.params, &batch, &mut Micro::new(sam(RHO), 3).with_path(Path::Sequential))?;
    assert!(distance(&found.grads.to_vec()?, &expected.grads.to_vec()?) < 1e-12);
    let too_few = Accumulated { objective: &net, max_samples: 2 };
    for rule in [&mut rule, &mut Micro::new(sam(RHO), 3).with_path(Path::Parallel)] {
        let error = step(&too_few, &net.params, &batch, rule).unwrap_err().to_string();
        assert!(error.contains("a pass takes 2 samples at most, and a micro-batch has 3"), "{error}");
    }
    Ok(())
}

/// A step costs the passes of SAM, whatever m.
#[test]
fn a_step_makes_two_passes_and_reports_its_path() -> Result<()> {
    let (batch, net) = (points(9)?, wide_mlp()?);
    let counted = Counted::new(&net);
    for size in [1, 4] {
        for path in [Path::Auto, Path::Parallel, Path::Sequential] {
            let mut rule = Micro::new(sam(RHO), size).with_path(path);
            let step = step(&counted, &net.params, &batch, &mut rule)?;
            assert_eq!(counted.take(), (18, 18));
            assert_eq!(step.measures.contains_key("together"), path != Path::Sequential);
            assert_eq!(rule.reason(), None);
        }
    }
    Ok(())
}

#[test]
fn the_mean_norm_of_micro_batches_is_reported() -> Result<()> {
    // The offset of USAM is ρ g, so that its length says what is expected.
    let (f, batch) = (wide_mlp()?, points(6)?);
    let found = step(&f, &f.params, &batch, &mut Micro::new(usam(RHO), 2).with_path(Path::Parallel))?;
    let apart = step(&f, &f.params, &batch, &mut Micro::new(usam(RHO), 2).with_path(Path::Sequential))?;
    let number = |step: &Gradient, name: &str| step.measures[name].to_scalar::<f64>();
    let (norm, length) = (number(&found, "micro_norm")?, number(&apart, "offset_norm")?);
    assert!((RHO * norm - length).abs() < 1e-12 * length, "{norm}, {length}");
    Ok(())
}

#[test]
fn what_cannot_go_together_says_why_and_goes_one_after_another() -> Result<()> {
    let (batch, net, rows) = (points(8)?, wide_mlp()?, Rows::new(Link::Squares, 8, 4, 1)?);
    let mean_of_others = |batch: &Batch, train: bool| {
        let losses = net.losses(batch, train)?;
        losses.broadcast_mul(&losses.mean_all()?)
    };
    let says =
        |f: &dyn Objective, params: &Params, batch: &Batch, inner: &dyn Fn() -> Box<dyn Perturbation>, part: &str| {
            let mut auto = Micro::new(inner(), 3);
            let found = step(f, params, batch, &mut auto)?;
            let expected = step(f, params, batch, &mut Micro::new(inner(), 3).with_path(Path::Sequential))?;
            assert_eq!(bits(found.grads.tensors())?, bits(expected.grads.tensors())?);
            assert!(auto.reason().is_some_and(|reason| reason.contains(part)), "{:?}", auto.reason());
            let error =
                step(f, params, batch, &mut Micro::new(inner(), 3).with_path(Path::Parallel)).unwrap_err().to_string();
            assert!(error.contains("micro-batches cannot go together") && error.contains(part), "{error}");
            Ok::<(), candle_core::Error>(())
        };
    let sam = || -> Box<dyn Perturbation> { Box::new(sam(RHO)) };
    says(&rows, &rows.params, &rows.batch, &sam, "is used by no op")?;
    says(&mean_of_others, &net.params, &batch, &sam, "the losses of samples depend on each other")?;
    says(&net, &net.params, &batch, &|| Box::new(gsam(RHO, 0.4, 0.01)), "has no such form")
}

#[test]
fn radius_0_is_plain_and_a_gradient_of_zero_gives_no_nan() -> Result<()> {
    let (batch, net) = (points(8)?, wide_mlp()?);
    let plain = step(&net, &net.params, &batch, &mut Plain)?;
    let zero = step(&net, &net.params, &batch, &mut Micro::new(sam(0.), 3).with_path(Path::Parallel))?;
    assert_eq!(bits(zero.grads.tensors())?, bits(plain.grads.tensors())?);
    let weights = Tensor::new(&[1f64, 1., 1., 0., 0., 0., 1., 1.], &Device::Cpu)?;
    let partly = |batch: &Batch, train: bool| -> Result<Tensor> {
        let start =
            (0..8).find(|i| same_row(&batch.inputs, &points(8).unwrap().inputs, *i)).expect("a row of the batch");
        net.losses(batch, train)?.mul(&weights.narrow(0, start, batch.len())?)
    };
    let found = step(&partly, &net.params, &batch, &mut Micro::new(sam(RHO), 3).with_path(Path::Parallel))?;
    let expected = step(&partly, &net.params, &batch, &mut Micro::new(sam(RHO), 3).with_path(Path::Sequential))?;
    let found = found.grads.to_vec()?;
    assert!(found.iter().all(|g| g.is_finite()) && distance(&found, &expected.grads.to_vec()?) < 1e-12);
    Ok(())
}

/// Whether the first row of `x` is row i of `all`.
fn same_row(x: &Tensor, all: &Tensor, i: usize) -> bool {
    let row = |x: &Tensor, i| x.get(i).and_then(|row| row.to_vec1::<f64>()).expect("a row in f64");
    row(x, 0) == row(all, i)
}

/// What passes leave behind is what one after another leaves; and where the pass at x + ε fails, what the clean one
/// left.
#[test]
fn weights_and_buffers_are_put_back_after_an_error_and_a_panic() -> Result<()> {
    let batch = double(images(4, 1)?)?;
    let net = wide(2, |vb| Architecture::ResNet8.build(Norm::Batch, 10, vb))?;
    let mut rule = Micro::new(sam(RHO), 2).with_path(Path::Parallel);
    step(&net, &net.params, &batch, &mut rule)?;
    for panics in [false, true] {
        let (passes, after_clean) = (std::cell::Cell::new(0), std::cell::RefCell::new((vec![], vec![])));
        let fails = |batch: &Batch, train: bool| -> Result<Tensor> {
            passes.set(passes.get() + 1);
            if passes.get() == 2 {
                *after_clean.borrow_mut() = (weights(&net.params)?, buffers(&net.params)?);
                net.losses(batch, train)?;
                assert!(!panics, "inside");
                bail!("inside")
            }
            net.losses(batch, train)
        };
        let attempt = catch_unwind(AssertUnwindSafe(|| step(&fails, &net.params, &batch, &mut rule.clone())));
        assert!(!matches!(attempt, Ok(Ok(_))));
        assert_eq!((weights(&net.params)?, buffers(&net.params)?), *after_clean.borrow());
        // and nothing stays displaced
        let (again, fresh) = (net.losses(&batch, false)?, net.losses(&batch, false)?);
        assert_eq!(bits([&again])?, bits([&fresh])?);
    }
    Ok(())
}

#[test]
fn any_number_of_threads_gives_the_same_bits() -> Result<()> {
    let batch = images(7, 1)?;
    for norm in [Norm::Group(32), Norm::Batch] {
        for size in [1, 3, 6] {
            let with = |threads: usize| -> Result<Vec<u64>> {
                let pool =
                    rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(candle_core::Error::wrap)?;
                pool.install(|| {
                    let net = crate::problems::resnet8(norm, 2)?;
                    let mut rule = Micro::new(sam(RHO), size).with_path(Path::Parallel);
                    bits(step(&net, &net.params, &batch, &mut rule)?.grads.tensors())
                })
            };
            let one = with(1)?;
            assert!(with(2)? == one && with(3)? == one, "{norm:?}, m = {size}");
        }
    }
    Ok(())
}
