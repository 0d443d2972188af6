//! The jobs: each is a network in a state of training, and every estimator on it.

use super::Estimators;
use super::comparison::{Comparison, Setting};
use super::figures::digits;
use super::measure::{Cell, candidates};
use super::state::{Plan, Trained};
use super::truth::Truth;
use crate::config::{DataName, DeviceName};
use crate::experiments::{Job, Place, Preset};
use crate::host::Host;
use crate::row::Row;
use crate::series::file_name;
use crate::{fetch, interrupt, screen};
use anyhow::{Context, Result, ensure};
use msharp_core::quantile;
use msharp_models::{Architecture, Norm};
use std::str::FromStr;
use std::time::Instant;

/// A network and its normalisation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Subject(pub Architecture, pub Norm);

impl FromStr for Subject {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (model, norm) = text.split_once(':').unwrap_or((text, "batch"));
        Ok(Self(model.parse()?, norm.parse()?))
    }
}

/// The default networks.
const SUBJECTS: [&str; 4] = ["resnet8:group", "resnet8:batch", "vit-mini", "resnet18:batch"];

/// More parameters make a network large.
const LARGE: usize = 2_000_000;

/// The states, and after how many steps they are reached.
#[derive(Clone)]
struct Budget {
    images: usize,
    batch: usize,
    batches: usize,
    draws: usize,
    states: [(&'static str, usize); 3],
    probes: usize,
    deltas: &'static [f64],
}

/// Half decades, and beyond them what must be refused.
const SWEEP: [f64; 15] = [1e-9, 1e-8, 1e-7, 3e-7, 1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 1e-1, 1.];

impl Estimators {
    fn budget(&self, preset: Preset, parameters: usize) -> Budget {
        let states = |early, late| [("init", 0), ("early", early), ("late", late)];
        let (images, batch, batches, draws, states, probes, deltas): (_, _, _, _, _, _, &[f64]) =
            match (preset, parameters > LARGE) {
                (Preset::Smoke, _) => (16, 8, 1, 2, states(2, 4), 2, &[1e-9, 1e-5]),
                (_, false) => (256, 64, 4, 12, states(32, 1280), 16, &SWEEP),
                (_, true) => (64, 32, 2, 8, states(16, 160), 16, &SWEEP),
            };
        let batch = self.batch.unwrap_or(batch);
        let (batches, draws) = (self.batches.unwrap_or(batches), self.draws.unwrap_or(draws));
        Budget { images: images.max(batch * batches), batch, batches, draws, states, probes, deltas }
    }

    /// Each network in each of its states, one after the other.
    pub fn jobs_of(&self, preset: Preset) -> Result<Vec<CellJob>> {
        for (flag, value) in [("batch", self.batch), ("batches", self.batches), ("draws", self.draws)] {
            ensure!(value != Some(0), "--{flag} is 0; expected at least 1");
        }
        ensure!(self.batch != Some(1), "--batch is 1; expected at least 2, of which one can be ranked above the other");
        let subjects = match (self.models.is_empty(), preset) {
            (false, _) => self.models.clone(),
            (true, Preset::Smoke) => vec![SUBJECTS[0].parse()?],
            (true, _) => SUBJECTS.into_iter().map(str::parse).collect::<Result<_>>()?,
        };
        let synthetic = preset == Preset::Smoke;
        let data = self.data.clone().unwrap_or(if synthetic { DataName::Synthetic } else { DataName::Cifar10 });
        let mut jobs = Vec::new();
        for subject in subjects {
            let budget = self.budget(preset, parameters(subject)?);
            let &Budget { images, batch, batches, draws, states, .. } = &budget;
            let Subject(model, norm) = subject;
            let plan = Plan { model, norm, data: data.clone(), images, batch, late: states[2].1 };
            for (state, steps) in states {
                let (model, norm, data, state) =
                    (model.to_string(), norm.to_string(), data.to_string(), state.to_owned());
                let setting = Setting { model, norm, data, state, steps, images, batch, batches, draws };
                jobs.push(CellJob { plan: plan.clone(), setting, budget: budget.clone() });
            }
        }
        Ok(jobs)
    }
}

/// A network that is trained to a state, and measured there.
pub struct CellJob {
    plan: Plan,
    setting: Setting,
    budget: Budget,
}

impl Job for CellJob {
    type Content = Comparison;

    fn title(&self) -> String {
        format!("{}, {} steps of training, then every estimator", self.setting.label(), self.setting.steps)
    }

    fn key(&self) -> String {
        file_name(&self.setting.label(), &format!("{:?}", self.setting))
    }

    /// The states of a network are stages of one training.
    fn group(&self) -> String {
        let Plan { model, norm, data, images, batch, late } = &self.plan;
        file_name(&format!("{model} {norm}"), &format!("{data} {images} {batch} {late}"))
    }

    fn is_of(&self, found: &Comparison) -> bool {
        self.setting == found.setting
    }

    fn data(&self) -> Option<DataName> {
        Some(self.plan.data.clone())
    }

    fn prepare(missing: &[&Self], place: &mut Place) -> Result<Option<Vec<f64>>> {
        let needs_files = missing.iter().find(|job| fetch::release(&job.plan.data).is_some());
        if let Some(job) = needs_files {
            fetch::one_if_absent(&job.plan.data, &place.data_dir)?;
        }
        Ok(None)
    }

    fn run(&self, title: &str, place: &mut Place) -> Result<Option<Row<Comparison>>> {
        screen::say(title);
        let started = Instant::now();
        let work = place.folder.join("checkpoints");
        std::fs::create_dir_all(&work).with_context(|| format!("cannot write into {}", work.display()))?;
        let mut trained = Trained::new(&self.plan, &mut place.data, &work, self.setting.steps)?;
        if !trained.train_to(self.setting.steps, place.lease.as_ref())? || interrupt::requested() {
            return Ok(None);
        }
        let training = started.elapsed().as_secs_f64();
        let Some(comparison) = cell(&trained, &self.setting, &self.budget, training)? else { return Ok(None) };
        let seconds = started.elapsed().as_secs_f64();
        Ok(Some(Row::new(Host::this(DeviceName::Cpu), seconds, comparison)))
    }
}

fn parameters(Subject(model, norm): Subject) -> Result<usize> {
    let init = msharp_core::Seeded::new(0, candle_core::DType::F32, &candle_core::Device::Cpu);
    model.build(norm, 10, init.var_builder())?;
    Ok(init.params()?.count())
}

/// Measures a network as it stands; `None` if the user asked to stop.
fn cell(trained: &Trained, setting: &Setting, budget: &Budget, training: f64) -> Result<Option<Comparison>> {
    let started = Instant::now();
    let cell = Cell::new(&trained.classifier, &trained.params, trained.batches(budget.batches)?, budget.draws)?;
    let mut estimators = vec![cell.exact()];
    for mut candidate in candidates(budget.probes) {
        let Some(entry) = cell.entry(&mut candidate)? else { return Ok(None) };
        estimators.push(entry);
    }
    let mut sweep = Vec::new();
    for delta in budget.deltas {
        let Some(point) = cell.point(*delta, budget.draws.min(4))? else { return Ok(None) };
        sweep.push(point);
    }
    let all = |of: fn(&Truth) -> &Vec<f64>| -> Vec<f64> {
        cell.batches.iter().flat_map(|(_, truth)| of(truth)).copied().collect()
    };
    let (norms, losses) = (all(|truth| &truth.norms), all(|truth| &truth.losses));
    let (trace, gradient, m_eff) = cell.noise();
    Ok(Some(Comparison {
        setting: setting.clone(),
        parameters: trained.params.count(),
        length: digits(trained.params.norm()?),
        loss: digits(losses.iter().sum::<f64>() / losses.len() as f64),
        norms: [0.1, 0.5, 0.9].map(|q| digits(quantile(&norms, q))),
        trace: digits(trace),
        noise_scale: (gradient > 0.).then(|| digits(trace / gradient)),
        m_eff: digits(m_eff),
        forward_ms: digits(1e3 * cell.forward),
        plain: cell.plain().context("no batch")?,
        estimators,
        sweep,
        seconds: [started.elapsed().as_secs_f64(), training].map(digits),
    }))
}
