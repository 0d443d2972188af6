//! The equivalences that specify the rules, to the bit, on real networks: what a rule leaves behind included.

use crate::problems::{Build, Fixed, Link, NETS, Net, Rows, bits, buffers, distance, images, resnet8, weights, wrn10};
use crate::rules::{Named, every_rule};
use candle_core::{DType, Device, Result, Tensor, bail};
use msharp_core::{Batch, BatchLoss, Counted, Key, Objective, ParamVec, Params, Perturbation, Seeded, Temperature};
use msharp_gradnorm::{Exact, FiniteDifference};
use msharp_models::{Linear, Norm, NormLayer};
use msharp_perturb::{Micro, Plain, m_sam, n_sam, rw_sam, sam, usam};
use std::cell::Cell;

const RHO: f64 = 0.05;

/// All that one call of a rule yields and leaves, in bits.
#[derive(PartialEq)]
struct After {
    grads: Vec<u64>,
    losses: Option<Vec<u64>>,
    weights: Vec<u64>,
    buffers: Vec<u64>,
}

fn after(net: &Net, rule: &mut dyn Perturbation, batch: &Batch) -> Result<After> {
    let step = rule.gradient(BatchLoss::new(net, &net.params, batch))?;
    Ok(After {
        grads: bits(step.grads.tensors())?,
        losses: step.losses.map(|losses| bits([&losses])).transpose()?,
        weights: weights(&net.params)?,
        buffers: buffers(&net.params)?,
    })
}

#[track_caller]
fn assert_same(found: &After, expected: &After, what: &str) {
    assert!(found.grads == expected.grads, "{what}: the gradients differ");
    assert!(found.losses == expected.losses, "{what}: the losses differ");
    assert!(found.weights == expected.weights, "{what}: the weights differ");
    assert!(found.buffers == expected.buffers, "{what}: the buffers differ");
}

/// `rule` against `expected`, each on a fresh network, for all of them.
fn assert_equivalent(b: usize, what: &str, rule: &mut dyn Perturbation, expected: &mut dyn Perturbation) -> Result<()> {
    let batch = images(b, 1)?;
    for (net, build) in NETS {
        let found = after(&build(2)?, rule, &batch)?;
        assert_same(&found, &after(&build(2)?, expected, &batch)?, &format!("{what}, {net}"));
    }
    Ok(())
}

#[test]
fn radius_0_is_plain() -> Result<()> {
    assert_equivalent(8, "SAM", &mut sam(0.), &mut Plain)?;
    assert_equivalent(8, "USAM", &mut usam(0.), &mut Plain)?;
    assert_equivalent(8, "m-SAM", &mut m_sam(0., 3), &mut Micro::new(Plain, 3))
}

#[test]
fn one_micro_batch_is_the_inner_rule() -> Result<()> {
    for size in [8, 9, 1000] {
        assert_equivalent(8, "Micro of SAM", &mut m_sam(RHO, size), &mut sam(RHO))?;
    }
    let inner = rw_sam(RHO, Temperature::Relative(2.), FiniteDifference::default());
    assert_equivalent(8, "Micro of RW-SAM", &mut Micro::new(inner.clone(), 8), &mut inner.clone())
}

#[test]
fn lambda_0_is_sam() -> Result<()> {
    // at b = 12, since 1/12 is no power of two
    for temperature in [Temperature::Raw(0.), Temperature::Relative(0.), Temperature::EffectiveSize(12.)] {
        let mut rule = rw_sam(RHO, temperature, FiniteDifference::default());
        assert_equivalent(12, &format!("{temperature:?}"), &mut rule, &mut sam(RHO))?;
    }
    Ok(())
}

#[test]
fn usam_where_the_gradient_has_length_1_is_sam() -> Result<()> {
    let rows = Rows::new(Link::Logistic, 7, 4, 1)?;
    let (net, batch) = (wrn10(Norm::Group(32), 3)?, images(8, 1)?);
    let cases: [(&dyn Objective, &Params, &Batch, f64); 2] =
        [(&rows, &rows.params, &rows.batch, 1e-11), (&net, &net.params, &batch, 1e-4)];
    for (f, params, batch, tolerance) in cases {
        let length = Plain.gradient(BatchLoss::new(f, params, batch))?.grads.norm()?;
        let scaled = |batch: &Batch, train: bool| f.losses(batch, train)?.affine(1. / length, 0.);
        let found = usam(0.1).gradient(BatchLoss::new(&scaled, params, batch))?.grads.to_vec()?;
        let expected = sam(0.1).gradient(BatchLoss::new(&scaled, params, batch))?.grads.to_vec()?;
        assert!(distance(&found, &expected) < tolerance, "{:e}", distance(&found, &expected));
        let doubled = usam(0.2).gradient(BatchLoss::new(&scaled, params, batch))?.grads.to_vec()?;
        assert!(distance(&doubled, &expected) > 30. * tolerance, "the radius has no effect, so this shows nothing");
    }
    Ok(())
}

/// Weights are what they were. Running statistics are what the rule's clean passes make of them: one over the batch,
/// one over each micro-batch, or one over each batch of the set.
#[test]
fn every_rule_leaves_the_weights_and_the_buffers_of_its_clean_passes() -> Result<()> {
    let (batch, rest) = (images(8, 1)?, images(5, 2)?);
    let set = Fixed(vec![batch.clone(), rest.clone()]);
    let wrn10: (&str, Build) = ("wrn-10-1, batch", |seed| wrn10(Norm::Batch, seed));
    for (net, build) in NETS.into_iter().chain([wrn10]) {
        let of_passes = |batches: &[Batch]| -> Result<After> {
            let net = build(4)?;
            let passes: Result<Vec<After>> = batches.iter().map(|b| after(&net, &mut Plain, b)).collect();
            Ok(passes?.pop().expect("at least one pass"))
        };
        let (one, micro) = (of_passes(std::slice::from_ref(&batch))?, of_passes(&batch.chunks(3)?)?);
        let (whole, fresh) = (of_passes(&set.0)?, buffers(&build(4)?.params)?);
        for (name, mut rule) in every_rule(RHO, &set) {
            let expected = match name {
                _ if name.starts_with("m-") => &micro,
                _ if name.starts_with("n-") => &whole,
                _ => &one,
            };
            let found = after(&build(4)?, &mut rule, &batch)?;
            assert!(found.weights == expected.weights, "{name}, {net}: the weights moved");
            if ["rwp, drawn", "r-sam, drawn"].contains(&name) {
                assert!(!net.ends_with("batch") || found.buffers != fresh, "{name}: no pass moved the statistics");
                assert!(found.losses.is_none(), "{name}: no pass was made at x");
                continue;
            }
            assert!(found.buffers == expected.buffers, "{name}, {net}: the running statistics differ");
            // The momentum of a first step is 0.
            assert!(["plain", "msam"].contains(&name) || found.grads != one.grads, "{name} does nothing");
            let clean = found.losses.is_none_or(|losses| losses == one.losses.clone().unwrap_or_default());
            assert!(clean || (name.starts_with("m-") && net.ends_with("batch")), "{name}, {net}: the losses at x");
        }
    }
    Ok(())
}

/// An objective that runs another and then fails, in one of its calls.
struct Fails<'a> {
    inner: &'a Net,
    call: usize,
    panics: bool,
    calls: Cell<usize>,
}

impl Objective for Fails<'_> {
    fn losses(&self, batch: &Batch, train: bool) -> Result<Tensor> {
        let losses = self.inner.losses(batch, train)?;
        self.calls.set(self.calls.get() + 1);
        match (self.calls.get() == self.call, self.panics) {
            (false, _) => Ok(losses),
            (true, false) => bail!("as planned"),
            (true, true) => panic!("as planned"),
        }
    }
}

#[test]
fn weights_are_put_back_whichever_pass_fails() -> Result<()> {
    let batch = images(6, 1)?;
    let set = Fixed(vec![batch.clone()]);
    let net = wrn10(Norm::Batch, 5)?;
    let (before, fresh) = (weights(&net.params)?, buffers(&net.params)?);
    let start: std::collections::BTreeMap<_, _> =
        net.params.named_tensors().into_iter().map(|(name, t)| Ok((name, t.copy()?))).collect::<Result<_>>()?;
    Plain.gradient(BatchLoss::new(&net, &net.params, &batch))?;
    let once = buffers(&net.params)?;

    for (name, mut rule) in every_rule(RHO, &set) {
        for panics in [false, true] {
            let mut failures = 0;
            for call in 1.. {
                net.params.assign(&start)?;
                let f = Fails { inner: &net, call, panics, calls: Cell::new(0) };
                let attempt = || rule.gradient(BatchLoss::new(&f, &net.params, &batch)).map(|_| ());
                let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(attempt));
                assert!(weights(&net.params)? == before, "{name}: displaced after a failure in pass {call}");
                let after = buffers(&net.params)?;
                let elsewhere = matches!(outcome, Ok(Ok(()))) && ["msam", "rwp, drawn", "r-sam, drawn"].contains(&name);
                let clean = after == fresh || after == once || name.starts_with("m-") || elsewhere;
                assert!(clean, "{name}: a displaced pass left its running statistics, call {call}");
                match outcome {
                    Ok(Ok(())) => break,
                    Ok(Err(error)) => assert!(error.to_string().contains("as planned"), "{error}"),
                    Err(_) => assert!(panics),
                }
                failures += 1;
            }
            let single = ["plain", "msam", "rwp, drawn", "every 2nd", "look sam"]; // in the second step, some
            let passes = if single.contains(&name) { 1 } else { 2 };
            assert!(failures >= passes, "{name}: {failures} passes could fail");
        }
    }
    Ok(())
}

#[test]
fn micro_is_the_weighted_mean_of_its_parts() -> Result<()> {
    let batch = images(8, 1)?;
    for (name, build) in NETS {
        let found = m_sam(RHO, 3).gradient(BatchLoss::new(&build(6)?, &build(6)?.params, &batch));
        assert!(found.is_err(), "parameters of another network receive no gradient");
        let net = build(6)?;
        let found = m_sam(RHO, 3).gradient(BatchLoss::new(&net, &net.params, &batch))?.grads.to_vec()?;
        let mut expected = ParamVec::zeros(&net.params)?;
        for part in batch.chunks(3)? {
            let share = part.len() as f64 / 8.;
            expected =
                expected.add_scaled(share, &sam(RHO).gradient(BatchLoss::new(&net, &net.params, &part))?.grads)?;
        }
        let off = distance(&found, &expected.to_vec()?);
        assert!(off < 1e-6, "{name}: {off:e}");
    }
    Ok(())
}

#[test]
fn any_number_of_threads_gives_the_same_bits() -> Result<()> {
    let batch = images(8, 1)?;
    for (name, build) in NETS {
        let step = |threads: usize| -> Result<After> {
            let pool =
                rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(candle_core::Error::wrap)?;
            pool.install(|| after(&build(7)?, &mut sam(RHO), &batch))
        };
        let one = step(1)?;
        for threads in [2, 3] {
            assert_same(&step(threads)?, &one, &format!("{threads} threads, {name}"));
        }
    }
    Ok(())
}

#[test]
fn the_order_of_construction_changes_no_parameter() -> Result<()> {
    let expected = resnet8(Norm::Batch, 8)?.params;
    let init = Seeded::new(8, DType::F32, &Device::Cpu);
    let vb = init.var_builder();
    Linear::new(64, 10, vb.pp("fc"))?;
    NormLayer::new(Norm::Batch, 64, vb.pp("layer3.0.bn2"))?;
    msharp_models::resnet8(Norm::Batch, 10, vb)?;
    let names = |params: &Params| params.iter().map(|p| p.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&init.params()?), names(&expected));
    assert!(weights(&init.params()?)? == weights(&expected)?);
    assert!(weights(&resnet8(Norm::Batch, 9)?.params)? != weights(&expected)?, "the seed has no effect");
    Ok(())
}

#[test]
fn a_rule_costs_the_passes_that_it_promises() -> Result<()> {
    let rows = Rows::new(Link::Squares, 6, 4, 1)?;
    let set = Fixed(Rows::new(Link::Squares, 10, 4, 2)?.batch.chunks(4)?);
    let probes = |probes, central| FiniteDifference { probes, central, ..FiniteDifference::default() };
    let weighed = |probes| rw_sam(RHO, Temperature::Relative(1.), probes);
    let cases: [(Named, (u64, u64)); 9] = [
        (("plain", Box::new(Plain)), (6, 6)),
        (("SAM", Box::new(sam(RHO))), (12, 12)),
        (("USAM", Box::new(usam(RHO))), (12, 12)),
        (("m-SAM", Box::new(m_sam(RHO, 4))), (12, 12)),
        (("n-SAM", Box::new(n_sam(RHO, set))), (10 + 6, 10 + 6)),
        (("RW-SAM, 1 probe", Box::new(weighed(probes(1, false)))), (3 * 6, 2 * 6)),
        (("RW-SAM, 5 probes", Box::new(weighed(probes(5, false)))), ((2 + 5) * 6, 2 * 6)),
        (("RW-SAM, 5 central probes", Box::new(weighed(probes(5, true)))), ((2 + 2 * 5) * 6, 2 * 6)),
        (("RW-SAM, exact", Box::new(rw_sam(RHO, Temperature::Raw(1.), Exact))), (2 * 6, (2 + 6) * 6)),
    ];
    for ((name, mut rule), passes) in cases {
        let counted = Counted::new(&rows);
        rule.gradient(BatchLoss::new(&counted, &rows.params, &rows.batch))?;
        assert_eq!(counted.take(), passes, "{name}: samples forward and backward, of a batch of 6");
    }
    Ok(())
}

#[test]
fn probes_are_functions_of_the_key_of_the_batch() -> Result<()> {
    let (net, batch) = (wrn10(Norm::Group(32), 3)?, images(6, 1)?);
    let mut rule = rw_sam(RHO, Temperature::Relative(2.), FiniteDifference::default());
    let first = after(&net, &mut rule, &batch)?;
    assert_same(&after(&net, &mut rule, &batch)?, &first, "the same key");
    let other = after(&net, &mut rule, &Batch { key: Key::new(99), ..batch })?;
    assert!(other.grads != first.grads, "another key");
    Ok(())
}
