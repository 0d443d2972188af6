//! The training loop. It is meant to be read, and forked.

use crate::over_ranks::{Numbers, check_same, first_fault, share_buffers};
use crate::{Checkpoint, CheckpointPolicy, Control, Extent, Observer, Progress, Schedule, StepReport, Tally};
use candle_core::{Result, bail};
use msharp_core::{
    Alone, BatchLoss, Communicator, Counted, DataSource, Objective, Optimizer, Params, Perturbation, at_least_1,
    check_writable,
};
use std::path::Path;
use std::time::Instant;

/// What to train, on what, with what. All parts are yours to replace.
pub struct Task<'a> {
    /// The per-sample losses.
    pub objective: &'a dyn Objective,
    /// The variables that it depends on.
    pub params: &'a Params,
    /// How a gradient is computed.
    pub rule: &'a mut dyn Perturbation,
    /// How it is stepped with.
    pub optimizer: &'a mut dyn Optimizer,
    /// The training set.
    pub data: &'a dyn DataSource,
    /// How often it is gone through.
    pub epochs: usize,
    /// The learning rate of each step.
    pub schedule: Schedule,
    /// Where checkpoints go, if anywhere.
    pub checkpoint: Option<CheckpointPolicy>,
    /// Every so many steps the loss, the norm of the gradient and the measures are read; at least 1. Between readings
    /// there is no host-device synchronisation, and a run that diverges is found at the next one. On the CPU 1 costs
    /// nothing.
    pub read_every: usize,
    /// The processes that train together: this one has its share of each batch of `data`.
    pub ranks: &'a dyn Communicator,
}

impl<'a> Task<'a> {
    /// One process, without checkpoints, and with numbers that are read in each step.
    pub fn new(
        objective: &'a dyn Objective,
        params: &'a Params,
        rule: &'a mut dyn Perturbation,
        optimizer: &'a mut dyn Optimizer,
        data: &'a dyn DataSource,
        epochs: usize,
        schedule: Schedule,
    ) -> Self {
        Self {
            objective,
            params,
            rule,
            optimizer,
            data,
            epochs,
            schedule,
            checkpoint: None,
            read_every: 1,
            ranks: &Alone,
        }
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All epochs are done.
    Finished,
    /// An observer asked to stop; a checkpoint is written, if there is a policy.
    Stopped,
    /// The loss, the gradient, or a parameter or buffer after the step was not finite. The last checkpoint stays.
    Diverged {
        /// Its epoch, from 0.
        epoch: usize,
        /// Its place in the epoch, from 0.
        step: usize,
        /// What was not finite: `the loss`, `the gradient`, or the name of a parameter or buffer.
        what: String,
    },
}

/// Trains from where `progress` stands ([`Progress::default`], or what [`Checkpoint::restore`] returned) to the end.
///
/// Before the first step it [checks](BatchLoss::check) the objective.
///
/// # Errors
/// Before the first step: constants out of their ranges, selections that select nothing, a learning rate below 0, a
/// checkpoint that cannot be written, a `progress` that is not one of this run on these data, losses that are not one
/// for each sample or not a function of the batch and its key, a parameter without gradient. After it: those of the
/// parts, with the epoch and the step.
///
/// # Ranks
/// Each rank calls it with the same task and its own communicator. Gradients are those of the whole batch; numbers in
/// reports are those of all ranks, measures of the rule means over them. Rank 0 writes checkpoints, with the running
/// statistics of its own batches, which all ranks have when an observer is called after an epoch. Weights and states
/// are the same on all ranks, to the bit: they are compared after the first step and after each epoch. What one rank
/// decides, as to stop, all do. An error is one of its rank: the program has to end the others.
///
/// # Resuming
/// A run that may be interrupted begins with [`Checkpoint::resume_or_start`]:
///
/// ```
/// # use candle_core::{DType, Device, Result, Tensor};
/// # use msharp_core::{Batch, Batches, DataSource, Key, Seeded};
/// # use msharp_train::{Checkpoint, CheckpointPolicy, Classifier, Schedule, Sgd, Task, fit};
/// # struct Two;
/// # impl DataSource for Two {
/// #     fn steps(&self) -> usize { 1 }
/// #     fn samples(&self) -> usize { 2 }
/// #     fn epoch_from(&self, epoch: usize, step: usize) -> Batches<'_> {
/// #         let batch = move || Ok(Batch::new(
/// #             Tensor::new(&[[1f32, 0.], [0., 1.]], &Device::Cpu)?,
/// #             Tensor::new(&[0u32, 1], &Device::Cpu)?,
/// #             Key::new(0).fold(epoch as u64),
/// #         ));
/// #         Box::new((step..1).map(move |_| batch()))
/// #     }
/// # }
/// # struct Plain;
/// # impl msharp_core::Component for Plain {}
/// # impl msharp_core::Perturbation for Plain {
/// #     fn gradient(&mut self, loss: msharp_core::BatchLoss) -> Result<msharp_core::Gradient> { loss.gradient() }
/// # }
/// # let folder = std::env::temp_dir().join(format!("msharp-resume-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder)?;
/// let path = folder.join("run.safetensors");
/// let train = |epochs: usize| -> Result<usize> {
///     let init = Seeded::new(0, DType::F32, &Device::Cpu);
///     let classifier = Classifier::new(candle_nn::linear(2, 2, init.var_builder())?);
///     let params = init.params()?;
///     let (mut rule, mut sgd) = (Plain, Sgd { momentum: 0.9, ..Sgd::default() });
///     let progress = Checkpoint::resume_or_start(&path, "seed 0", &params, &mut sgd, &mut rule)?;
///     let started_at = progress.epoch;
///     let checkpoint = Some(CheckpointPolicy::new(&path, "seed 0"));
///     let schedule = Schedule::constant(0.1);
///     let task = Task::new(&classifier, &params, &mut rule, &mut sgd, &Two, epochs, schedule);
///     fit(Task { checkpoint, ..task }, progress, &mut ())?;
///     Ok(started_at)
/// };
/// assert_eq!(train(3)?, 0);
/// assert_eq!(train(5)?, 3); // goes on where the first one stopped
/// # std::fs::remove_dir_all(&folder)?;
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn fit(task: Task, mut progress: Progress, observer: &mut dyn Observer) -> Result<(Outcome, Progress)> {
    check(&task, &progress, observer)?;
    let Task { objective, params, rule, optimizer, data, epochs, schedule, checkpoint, read_every, ranks } = task;
    let (steps, uncounted, objective) = (data.steps(), objective, Counted::new(objective));
    progress.of = Some(Extent { steps, samples: data.samples() });
    // To the policy's own path, or to another one beside it.
    let save = |other: Option<&Path>,
                progress: &Progress,
                notes: String,
                rule: &mut dyn Perturbation,
                optimizer: &mut dyn Optimizer| {
        let Some(policy) = checkpoint.as_ref().filter(|_| ranks.rank() == 0) else { return Ok(()) };
        let mut checkpoint = Checkpoint::of(params, optimizer, rule, progress, &policy.config)?;
        checkpoint.notes = notes;
        checkpoint.write(other.unwrap_or(&policy.path))
    };
    if let Some(policy) = &checkpoint {
        // What cannot be saved says so now, and not after hours.
        Checkpoint::of(params, optimizer, rule, &progress, &policy.config)?.check_progress()?;
    }
    let (mut saved, mut is_checked) = (Instant::now(), false);

    while progress.epoch < epochs {
        let epoch = progress.epoch;
        let mut batches = data.slices_from(epoch, progress.step, ranks.share());
        while progress.step < steps {
            let (step, mut started) = (progress.step, Instant::now());
            let located = |e: candle_core::Error| e.context(format!("epoch {epoch}, step {step}"));
            let Some(batch) = batches.next() else {
                bail!("the data source promised {steps} batches an epoch and ended before step {step} of epoch {epoch}")
            };
            let done = epoch * steps + step;
            let point = schedule.at(done, epochs * steps);
            let batch = batch.map_err(located)?.at(point);
            if batch.is_empty() && ranks.size() > 1 {
                let text = format!("none of the samples is for rank {}; expected at least one each", ranks.rank());
                return Err(located(candle_core::Error::msg(text)));
            }
            let is_first = !is_checked;
            if is_first {
                BatchLoss::new(uncounted, params, &batch).check().map_err(located)?;
                (is_checked, started) = (true, Instant::now());
            }

            let measuring = Instant::now();
            let observed = observer.before_step(BatchLoss::new(uncounted, params, &batch), done).map_err(located)?;
            let measuring = measuring.elapsed();

            let gradient = rule.gradient(BatchLoss::new(&objective, params, &batch).over(ranks)).map_err(located)?;
            let lr = point.lr;
            let read = step.is_multiple_of(read_every) || step + 1 == steps;
            let is_due = checkpoint.as_ref().is_some_and(|policy| saved.elapsed() >= policy.every);
            let mut own = Numbers { samples: batch.len(), passes: objective.take(), is_due, ..Numbers::default() };
            if read {
                own.loss = gradient.mean_loss()?.map(|mean| mean.to_scalar::<f64>()).transpose()?.map(Into::into);
                for (name, value) in &gradient.measures {
                    let number = value.to_scalar::<f64>();
                    let number = number.map_err(|e| located(e.context(format!("the measure {name}"))))?;
                    own.measures.insert((*name).to_owned(), number.into());
                }
            }
            let (numbers, bad_rank) = own.over(ranks)?;
            let (due, loss, mut grad_norm) = (numbers.is_due, numbers.loss.map(|loss| loss.value()), None);
            if read {
                let norm = gradient.grads.norm()?;
                let of_rank = bad_rank.map_or(String::new(), |rank| format!(" on rank {rank}"));
                for (what, value) in [("the loss", loss.unwrap_or(0.)), ("the gradient", norm)] {
                    if !value.is_finite() {
                        return Ok((Outcome::Diverged { epoch, step, what: format!("{what}{of_rank}") }, progress));
                    }
                }
                grad_norm = Some(norm);
            }
            optimizer.step(params, &gradient.grads, lr).map_err(located)?;
            if (read || due)
                && let Some(what) = first_fault(ranks, params.not_finite()?)?
            {
                return Ok((Outcome::Diverged { epoch, step, what }, progress));
            }

            progress.step += 1;
            let (samples, passes) = (numbers.samples, numbers.passes);
            let seconds = (started.elapsed() - measuring).as_secs_f64();
            if is_first {
                check_same(ranks, params, optimizer, rule).map_err(located)?;
            }
            let of_name = |name: &&'static str| Some((*name, numbers.measures.get(*name)?.value()));
            let measures = gradient.measures.keys().filter_map(of_name).collect();
            let report = StepReport {
                epoch,
                step,
                steps,
                epochs,
                read,
                loss,
                grad_norm,
                lr,
                samples,
                passes,
                seconds,
                measures,
                observed,
            };
            progress.this_epoch.add(&report);
            progress.whole_run.add(&report);
            if ranks.any(observer.step(&report)? == Control::Stop)? {
                if let Some(what) = first_fault(ranks, params.not_finite()?)? {
                    return Ok((Outcome::Diverged { epoch, step, what }, progress));
                }
                save(None, &progress, observer.notes()?, rule, optimizer)?;
                return Ok((Outcome::Stopped, progress));
            }
            if due {
                save(None, &progress, observer.notes()?, rule, optimizer)?;
                saved = Instant::now();
            }
        }
        (progress.epoch, progress.step) = (epoch + 1, 0);
        check_same(ranks, params, optimizer, rule)?;
        share_buffers(ranks, params)?;
        let stops = ranks.any(observer.epoch(&progress)? == Control::Stop)?;
        progress.this_epoch = Tally::default();
        if let Some(policy) = &checkpoint {
            let is_best = policy.best && is_better(observer.score(), &mut progress.best)?;
            let also = [(policy.each_epoch, policy.path_of_epoch(epoch + 1)), (is_best, policy.path_of_best())];
            for (_, path) in also.into_iter().filter(|(is_due, _)| *is_due) {
                save(Some(&path), &progress, observer.notes()?, rule, optimizer)?;
            }
        }
        if stops && progress.epoch < epochs {
            save(None, &progress, observer.notes()?, rule, optimizer)?;
            return Ok((Outcome::Stopped, progress));
        }
    }
    save(None, &progress, observer.notes()?, rule, optimizer)?;
    Ok((Outcome::Finished, progress))
}

/// What can be known before the first step.
fn check(task: &Task, progress: &Progress, observer: &dyn Observer) -> Result<()> {
    let Task { params, rule, optimizer, data, epochs, schedule, checkpoint, read_every, ranks, .. } = task;
    let extent = Extent { steps: data.steps(), samples: data.samples() };
    if extent.steps == 0 {
        bail!("the training set has no batch: {} samples", extent.samples)
    }
    if let Some(saved) = progress.of.filter(|saved| *saved != extent) {
        bail!(
            "the progress is that of a run on {} samples in {} batches an epoch; these data have {} in {}",
            saved.samples,
            saved.steps,
            extent.samples,
            extent.steps
        )
    }
    let Progress { epoch, step, .. } = *progress;
    if step > extent.steps || epoch > *epochs || (epoch == *epochs && step > 0) {
        bail!(
            "the progress is at step {step} of epoch {epoch} (both from 0); this run has {epochs} epochs of {} steps",
            extent.steps
        )
    }
    at_least_1("read_every", *read_every)?;
    schedule.check()?;
    optimizer.check(params)?;
    rule.check(params)?;
    match checkpoint.as_ref().filter(|_| ranks.rank() == 0) {
        Some(policy) if policy.best => {
            is_better(observer.score(), &mut None)?;
            check_writable(&policy.path_of_best())?;
            check_writable(&policy.path)
        }
        Some(policy) => check_writable(&policy.path),
        None => Ok(()),
    }
}

/// Whether `score` exceeds the best so far, which then is replaced.
fn is_better(score: Option<f64>, best: &mut Option<f64>) -> Result<bool> {
    let Some(score) = score else {
        bail!("a checkpoint of the best epoch needs a score, and the observer has none; expected `Observer::score`")
    };
    let is_better = score.is_finite() && best.is_none_or(|best| score > best);
    if is_better {
        *best = Some(score);
    }
    Ok(is_better)
}
