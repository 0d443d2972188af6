//! Batch normalisation over the samples of all ranks: whole runs on threads, in f64, and what they send.

use crate::ranks::{End, InF64, MakeRule, Watched, assert_near, on_ranks, resnet8};
use candle_core::{DType, Result, Tensor, bail};
use msharp_core::{
    Accumulated, Alone, BatchLoss, Communicator, DataSource, Estimate, GradNormEstimator, Params, Perturbation,
    SyncBatchNorm, Temperature,
};
use msharp_dist::{Metered, Ranks, Threads};
use msharp_gradnorm::{Exact, FiniteDifference, Ghost};
use msharp_models::Norm;
use msharp_perturb::{Plain, esam, gsam, m_sam, rw_sam, sam};
use msharp_train::{Progress, Schedule, Sgd, Task, evaluate_over, fit};

/// ResNet-8 with batch normalisation over `epochs` epochs of 4 steps. Its weights end with the running statistics.
fn train(ranks: &dyn Communicator, rule: MakeRule, epochs: usize) -> Result<End> {
    let ((classifier, params), mut rule, data) = (resnet8(Norm::Batch)?, rule(), InF64::new());
    let (mut sgd, mut observer) = (Sgd { momentum: 0.9, ..Sgd::default() }, Watched(Vec::new(), usize::MAX));
    let task = Task::new(&classifier, &params, &mut rule, &mut sgd, &data, epochs, Schedule::cosine(0.05));
    let (_, progress) = fit(Task { ranks, ..task }, Progress::default(), &mut observer)?;
    observer.0.push(evaluate_over(ranks, &classifier, &data)?.loss);
    Ok(End { weights: numbers(&params)?, losses: observer.0, samples: progress.whole_run.samples })
}

/// Parameters and running statistics.
fn numbers(params: &Params) -> Result<Vec<f64>> {
    let buffers = params.buffers().iter().map(|(_, var)| var.as_detached_tensor());
    let all: Vec<Tensor> = params.iter().map(|param| param.var.as_detached_tensor()).chain(buffers).collect();
    let floats = all.iter().filter(|tensor| tensor.dtype() == DType::F64);
    Ok(floats.map(|tensor| tensor.flatten_all()?.to_vec1::<f64>()).collect::<Result<Vec<_>>>()?.concat())
}

/// The one end of all ranks.
fn end(size: usize, rule: MakeRule, epochs: usize) -> Result<End> {
    let ends = on_ranks(size, |ranks| train(&SyncBatchNorm(ranks), rule, epochs));
    let mut ends = ends.into_iter().collect::<Result<Vec<End>>>()?;
    let last = ends.pop().expect("at least one rank");
    assert!(ends.iter().all(|end| *end == last), "the ranks end differently");
    Ok(last)
}

/// SAM over 20 steps; the 16 samples of a batch are 6, 6 and 4 on 3 ranks.
#[test]
fn any_number_of_ranks_trains_as_one_process_and_repeats_to_the_bit() -> Result<()> {
    let rule: MakeRule = || Box::new(sam(0.05));
    let alone = train(&Alone, rule, 5)?;
    assert_eq!(alone.losses.len(), 21);
    assert!(end(1, rule, 5)? == alone, "one rank: other bits");
    for size in [2, 3, 4] {
        let found = end(size, rule, 5)?;
        assert_near(&found, &alone, 1e-9, &format!("{size} ranks"));
        if size == 4 {
            assert!(end(size, rule, 5)? == found, "other bits when repeated");
        }
    }
    let unsynced = on_ranks(2, |ranks| train(ranks, rule, 1));
    let off = crate::problems::distance(
        &unsynced.into_iter().collect::<Result<Vec<_>>>()?[0].weights,
        &train(&Alone, rule, 1)?.weights,
    );
    assert!(off > 1e-4, "each rank normalises its own samples otherwise: {off:e}");
    Ok(())
}

/// Weights and selections of samples, losses at x + ε, and probes without a graph: 4 steps on 3 ranks.
#[test]
fn every_kind_of_pass_is_normalised_as_in_one_process() -> Result<()> {
    let rules: [(&str, MakeRule); 4] = [
        ("plain", || Box::new(Plain)),
        ("GSAM", || Box::new(gsam(0.05, 0.3, 0.))),
        ("ESAM", || Box::new(esam(0.05, 0.6, 0.5))),
        ("RW-SAM", || Box::new(rw_sam(0.05, Temperature::EffectiveSize(6.), FiniteDifference::default()))),
    ];
    for (name, rule) in rules {
        assert_near(&end(3, rule, 1)?, &train(&Alone, rule, 1)?, 1e-8, name);
    }
    Ok(())
}

/// What `f` makes of the loss of the first batch on each of `size` ranks, and the bytes that rank 0 sends for it.
fn of_first_batch<T: Send>(size: usize, f: impl Fn(BatchLoss) -> Result<T> + Sync) -> Result<(Vec<Result<T>>, usize)> {
    let found = on_ranks(size, |ranks: &Ranks<Metered<Threads>>| {
        let (classifier, params) = resnet8(Norm::Batch)?;
        let Some(batch) = InF64::new().slices_from(0, 0, ranks.share()).next() else { bail!("no batch") };
        let (batch, synced) = (batch?, SyncBatchNorm(ranks));
        let result = f(BatchLoss::new(&classifier, &params, &batch).over(&synced));
        Ok((result, ranks.0.traffic().bytes))
    });
    let (results, bytes): (Vec<_>, Vec<_>) = found.into_iter().collect::<Result<Vec<_>>>()?.into_iter().unzip();
    Ok((results, bytes[0]))
}

/// 2c + 1 numbers a layer in the forward, 2c in the backward, and each time a length and a weight, to each other rank.
#[test]
fn statistics_cost_two_gathers_a_layer_and_micro_batches_none() -> Result<()> {
    let (_, params) = resnet8(Norm::Batch)?;
    let means = params.buffers().iter().filter(|(name, _)| name.ends_with("running_mean"));
    let layers: Vec<usize> = means.map(|(_, var)| var.elem_count()).collect();
    assert!(layers.len() > 6);
    let statistics: usize = layers.iter().map(|c| 3 * 8 * ((2 + 2 * c + 1) + (2 + 2 * c))).sum();
    let chunk = 8 * params.count().div_ceil(4);
    let plain = 3 * (8 + chunk) + 3 * chunk;
    let bytes =
        |rule: MakeRule| Ok::<_, candle_core::Error>(of_first_batch(4, |loss| rule().gradient(loss).map(drop))?.1);
    assert_eq!(bytes(|| Box::new(Plain))?, plain + statistics);
    assert_eq!(bytes(|| Box::new(sam(0.05)))?, 2 * (plain + statistics));
    assert_eq!(bytes(|| Box::new(m_sam(0.05, 2)))?, plain);
    Ok(())
}

/// Pieces would be normalised by themselves, and gradients of single samples are not made by all ranks at once.
#[test]
fn passes_that_ranks_do_not_share_are_refused_and_do_not_hang() -> Result<()> {
    let says = |part: &str, f: fn(BatchLoss) -> Result<()>| -> Result<()> {
        for result in of_first_batch(3, f)?.0 {
            let error = result.expect_err("refused on every rank").to_string();
            assert!(error.contains(part) || error.contains("has ended"), "{error}");
        }
        Ok(())
    };
    says("in 2 pieces", |loss| {
        let objective = Accumulated { objective: loss.objective, max_samples: 3 };
        sam(0.05).gradient(BatchLoss { objective: &objective, ..loss }).map(drop)
    })?;
    let exact = |loss: BatchLoss| Exact.estimate(loss).map(|Estimate { .. }| ());
    says("outside of `batch_statistics_over`", exact)?;
    says("outside of `batch_statistics_over`", |loss| Ghost::default().estimate(loss).map(drop))
}
