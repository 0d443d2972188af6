//! The training loop. It is meant to be read, and forked.

use crate::{Checkpoint, CheckpointPolicy, Control, Extent, Observer, Progress, Schedule, StepReport, Tally};
use candle_core::{DType, Result, Tensor, bail};
use msharp_core::{
    Counted, DataSource, Gradient, Moment, Objective, Optimizer, Params, Perturbation, Range, at_least_1,
    check_repeatable, check_writable,
};
use std::collections::BTreeMap;
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
    /// The base learning rate.
    pub lr: f64,
    /// A factor on it for each step.
    pub schedule: Schedule,
    /// Where checkpoints go, if anywhere.
    pub checkpoint: Option<CheckpointPolicy>,
    /// Every so many steps the loss, the norm of the gradient and the measures are read; at least 1. Between them
    /// nobody waits for a GPU, and a run that diverges is found at the next reading. On the CPU 1 costs nothing.
    pub read_every: usize,
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
/// Before the first step it evaluates the objective twice at one point, two forward passes: a rule compares losses at
/// two points, and where two at one point differ it compares nothing.
///
/// # Errors
/// Before the first step: constants out of their ranges, selections that select nothing, a learning rate below 0, a
/// checkpoint that cannot be written, a `progress` that is not one of this run on these data, losses that are not a
/// function of the batch and its key. After it: those of the parts, with the epoch and the step.
pub fn fit(task: Task, mut progress: Progress, observer: &mut dyn Observer) -> Result<(Outcome, Progress)> {
    check(&task, &progress)?;
    let Task { objective, params, rule, optimizer, data, epochs, lr, schedule, checkpoint, read_every } = task;
    let (steps, uncounted, objective) = (data.steps(), objective, Counted::new(objective));
    progress.of = Some(Extent { steps, samples: data.samples() });
    let save = |progress: &Progress, notes: String, rule: &mut dyn Perturbation, optimizer: &mut dyn Optimizer| {
        let Some(policy) = &checkpoint else { return Ok(()) };
        let mut checkpoint = Checkpoint::of(params, optimizer, rule, progress, &policy.config)?;
        checkpoint.notes = notes;
        checkpoint.write(&policy.path)
    };
    if let Some(policy) = &checkpoint {
        // What cannot be saved says so now, and not after hours.
        Checkpoint::of(params, optimizer, rule, &progress, &policy.config)?.check_progress()?;
    }
    let (mut saved, mut is_repeatable) = (Instant::now(), false);

    while progress.epoch < epochs {
        let epoch = progress.epoch;
        let mut batches = data.epoch_from(epoch, progress.step);
        while progress.step < steps {
            let (step, mut started) = (progress.step, Instant::now());
            let located = |e: candle_core::Error| e.context(format!("epoch {epoch}, step {step}"));
            let Some(batch) = batches.next() else {
                bail!("the data source promised {steps} batches an epoch and ended before step {step} of epoch {epoch}")
            };
            let mut batch = batch.map_err(located)?;
            let (done, all) = (epoch * steps + step, epochs * steps);
            let factor = schedule.factor(done, all);
            batch.moment = Moment { progress: done as f64 / all as f64, lr: factor };
            if !is_repeatable {
                check_repeatable(uncounted, params, &batch).map_err(located)?;
                (is_repeatable, started) = (true, Instant::now());
            }

            let measuring = Instant::now();
            let observed = observer.before_step(uncounted, params, &batch, done).map_err(located)?;
            let measuring = measuring.elapsed();

            let Gradient { losses, grads, measures } = rule.gradient(&objective, params, &batch).map_err(located)?;
            let lr = lr * factor;
            let read = step.is_multiple_of(read_every) || step + 1 == steps;
            let (mut loss, mut grad_norm, mut numbers) = (None, None, BTreeMap::new());
            if read {
                loss = losses.as_ref().map(mean).transpose()?;
                let norm = grads.norm()?;
                for (what, value) in [("the loss", loss.unwrap_or(0.)), ("the gradient", norm)] {
                    if !value.is_finite() {
                        return Ok((Outcome::Diverged { epoch, step, what: what.to_owned() }, progress));
                    }
                }
                grad_norm = Some(norm);
                for (name, value) in &measures {
                    numbers.insert(*name, value.to_scalar::<f64>()?);
                }
            }
            optimizer.step(params, &grads, lr).map_err(located)?;
            let due = checkpoint.as_ref().is_some_and(|policy| saved.elapsed() >= policy.every);
            if (read || due)
                && let Some(what) = params.not_finite()?
            {
                return Ok((Outcome::Diverged { epoch, step, what }, progress));
            }

            progress.step += 1;
            let (passes, seconds) = (objective.take(), (started.elapsed() - measuring).as_secs_f64());
            let samples = batch.len();
            let measures = numbers;
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
            if observer.step(&report)? == Control::Stop {
                if let Some(what) = params.not_finite()? {
                    return Ok((Outcome::Diverged { epoch, step, what }, progress));
                }
                save(&progress, observer.notes()?, rule, optimizer)?;
                return Ok((Outcome::Stopped, progress));
            }
            if due {
                save(&progress, observer.notes()?, rule, optimizer)?;
                saved = Instant::now();
            }
        }
        (progress.epoch, progress.step) = (epoch + 1, 0);
        let control = observer.epoch(&progress)?;
        progress.this_epoch = Tally::default();
        if control == Control::Stop && progress.epoch < epochs {
            save(&progress, observer.notes()?, rule, optimizer)?;
            return Ok((Outcome::Stopped, progress));
        }
    }
    save(&progress, observer.notes()?, rule, optimizer)?;
    Ok((Outcome::Finished, progress))
}

/// What can be known before the first step.
fn check(task: &Task, progress: &Progress) -> Result<()> {
    let Task { params, rule, optimizer, data, epochs, lr, schedule, checkpoint, read_every, .. } = task;
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
    Range::AT_LEAST_0.check("the learning rate", *lr)?;
    at_least_1("read_every", *read_every)?;
    schedule.check()?;
    optimizer.check(params)?;
    rule.check(params)?;
    match checkpoint {
        Some(policy) => check_writable(&policy.path),
        None => Ok(()),
    }
}

fn mean(losses: &Tensor) -> Result<f64> {
    msharp_ops::no_grad(|| msharp_ops::weighted_sum(losses, None))?.to_dtype(DType::F64)?.to_scalar()
}
