//! `bench estimators`: the estimators of ‖∇ℓᵢ‖ against the truth, on networks at the beginning, early and late in
//! training.

mod figures;
mod measure;
pub mod row;
mod state;
mod truth;

pub use figures::{Mean, digits};
pub use measure::{EXACT, RADEMACHER};

use crate::claim::claim;
use crate::config::DataName;
use crate::datasets::Datasets;
use crate::device::DeviceName;
use crate::experiments::typed;
use crate::host::{Host, revision};
use crate::machine::Machine;
use crate::report;
use crate::screen::duration;
use crate::{interrupt, paths};
use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use measure::{Cell, candidates};
use msharp_core::{quantile, write_aside};
use msharp_models::{Architecture, Norm};
use row::{Row, Setting};
use state::{Plan, Trained};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Instant;

/// What to measure, on what.
#[derive(Args)]
pub struct EstimatorsArgs {
    /// How much: smoke is seconds and means nothing, full is what the page is made of
    #[arg(long, default_value = "full")]
    preset: Size,
    /// The networks, each NETWORK or NETWORK:NORM [default: resnet8:group,resnet8:batch,vit-mini,resnet18:batch; smoke:
    /// the first]
    #[arg(long, value_delimiter = ',')]
    models: Vec<Subject>,
    /// The images [default: cifar10, and synthetic in smoke size]
    #[arg(long)]
    data: Option<DataName>,
    /// Samples in a batch [default: 64; 32 for networks of more than 2 million parameters; 8 in smoke size]
    #[arg(long)]
    batch: Option<usize>,
    /// Batches that are measured [default: 4; 2 for the large networks; 1 in smoke size]
    #[arg(long)]
    batches: Option<usize>,
    /// Draws of the probes on each batch [default: 12; 8 for the large networks; 2 in smoke size]
    #[arg(long)]
    draws: Option<usize>,
    #[command(flatten)]
    machine: Machine,
    /// The folder for rows, plots and page [default: xtask/results/estimators]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Measure again what the rows already have
    #[arg(long)]
    again: bool,
}

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Size {
    /// Seconds: does everything work?
    Smoke,
    /// Under half an hour on two cores
    Full,
}

/// A network and its normalisation.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Subject(Architecture, Norm);

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

impl EstimatorsArgs {
    fn budget(&self, parameters: usize) -> Budget {
        let states = |early, late| [("init", 0), ("early", early), ("late", late)];
        let (images, batch, batches, draws, states, probes, deltas): (_, _, _, _, _, _, &[f64]) =
            match (self.preset, parameters > LARGE) {
                (Size::Smoke, _) => (16, 8, 1, 2, states(2, 4), 2, &[1e-9, 1e-5]),
                (Size::Full, false) => (256, 64, 4, 12, states(32, 1280), 16, &SWEEP),
                (Size::Full, true) => (64, 32, 2, 8, states(16, 160), 16, &SWEEP),
            };
        let batch = self.batch.unwrap_or(batch);
        let (batches, draws) = (self.batches.unwrap_or(batches), self.draws.unwrap_or(draws));
        Budget { images: images.max(batch * batches), batch, batches, draws, states, probes, deltas }
    }
}

/// Runs `bench estimators`.
pub fn estimators(args: EstimatorsArgs) -> Result<()> {
    for (flag, value) in [("batch", args.batch), ("batches", args.batches), ("draws", args.draws)] {
        ensure!(value != Some(0), "--{flag} is 0; expected at least 1");
    }
    ensure!(args.batch != Some(1), "--batch is 1; expected at least 2, of which one can be ranked above the other");
    let subjects = match (args.models.is_empty(), args.preset) {
        (false, _) => args.models.clone(),
        (true, Size::Full) => SUBJECTS.into_iter().map(str::parse).collect::<Result<_>>()?,
        (true, Size::Smoke) => vec![SUBJECTS[0].parse()?],
    };
    let name = args.data.unwrap_or(if args.preset == Size::Full { DataName::Cifar10 } else { DataName::Synthetic });
    let committed = paths::results().join(report::ESTIMATORS);
    let (folder, work) = match &args.out {
        Some(out) => (out.clone(), out.join("checkpoints")),
        None => (committed, paths::runs().join("bench-estimators")),
    };
    let (budgets, again, preset) = (
        subjects.iter().map(|subject| Ok(args.budget(parameters(*subject)?))).collect::<Result<Vec<_>>>()?,
        args.again,
        typed(args.preset),
    );
    let mut data = Datasets::new(&args.machine.prepare()?);
    interrupt::listen()?;
    let _claim = claim(&work)?; // and with it the folder, which is committed: no lock belongs there
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot write into {}", folder.display()))?;
    let mut clock = Clock { started: Instant::now(), done: 0, of: 3 * subjects.len() };
    for (subject, budget) in subjects.into_iter().zip(&budgets) {
        let done = network(subject, budget, name, &preset, &mut data, &folder, &work, again, &mut clock)?;
        if !done {
            eprintln!("stopped; the same command goes on with the cell that was not finished");
            return Ok(());
        }
    }
    for (path, contents) in report::estimators(&folder)? {
        write_aside(&path, |file| Ok(file.write_all(contents.as_bytes())?))?;
    }
    println!("rows, plots and page are in {}", folder.display());
    Ok(())
}

fn parameters(Subject(model, norm): Subject) -> Result<usize> {
    let init = msharp_core::Seeded::new(0, candle_core::DType::F32, &candle_core::Device::Cpu);
    model.build(norm, 10, init.var_builder())?;
    Ok(init.params()?.count())
}

/// How far the command is.
struct Clock {
    started: Instant,
    done: usize,
    of: usize,
}

impl Clock {
    /// Says what is next; what is left is guessed from the cells so far.
    fn say(&self, what: &str) {
        let gone = self.started.elapsed().as_secs_f64();
        let left = match self.done {
            0 => String::new(),
            done => format!(", about {} to go", duration(gone / done as f64 * (self.of - done) as f64)),
        };
        eprintln!("cell {} of {}: {what} · {} gone{left}", self.done + 1, self.of, duration(gone));
    }
}

/// The three cells of a network; whether all are done, for the user may have stopped it.
#[allow(clippy::too_many_arguments, reason = "called once; a struct would only rename them")]
fn network(
    Subject(model, norm): Subject,
    budget: &Budget,
    name: DataName,
    preset: &str,
    data: &mut Datasets,
    folder: &Path,
    work: &Path,
    again: bool,
    clock: &mut Clock,
) -> Result<bool> {
    let rows = folder.join("rows.jsonl");
    let &Budget { images, batch, batches, draws, states, .. } = budget;
    let setting = |(state, steps): (&str, usize)| Setting {
        model: model.to_string(),
        norm: norm.to_string(),
        data: typed(name),
        state: state.to_owned(),
        steps,
        images,
        batch,
        batches,
        draws,
    };
    let known: Vec<Setting> = row::read(&rows)?.into_iter().map(|row| row.setting).collect();
    let due: Vec<Setting> = states.map(setting).into_iter().filter(|s| again || !known.contains(s)).collect();
    if due.len() < states.len() {
        eprintln!("{model} ({norm}): {} of {} cells done before", states.len() - due.len(), states.len());
    }
    (clock.of, clock.started) = (clock.of + due.len() - states.len(), clock.started);
    let Some(first) = due.first() else { return Ok(true) };
    let plan = Plan { model, norm, data: name, images, batch, late: states[2].1 };
    let mut trained = Trained::new(plan, data, work, first.steps)?;
    for setting in due {
        clock.say(&format!("{}, {} steps of training, then every estimator", setting.label(), setting.steps));
        let started = Instant::now();
        if !trained.train_to(setting.steps)? {
            return Ok(false);
        }
        let training = started.elapsed().as_secs_f64();
        let Some(row) = cell(&trained, &setting, budget, preset, training)? else { return Ok(false) };
        row::record(&rows, &row)?;
        clock.done += 1;
    }
    Ok(true)
}

/// Measures a network as it stands; `None` if the user asked to stop.
fn cell(trained: &Trained, setting: &Setting, budget: &Budget, preset: &str, training: f64) -> Result<Option<Row>> {
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
    let all = |of: fn(&truth::Truth) -> &Vec<f64>| -> Vec<f64> {
        cell.batches.iter().flat_map(|(_, truth)| of(truth)).copied().collect()
    };
    let (norms, losses) = (all(|truth| &truth.norms), all(|truth| &truth.losses));
    let (trace, gradient, m_eff) = cell.noise();
    Ok(Some(Row {
        preset: preset.to_owned(),
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
        host: Host::this(DeviceName::Cpu),
        revision: revision().to_owned(),
    }))
}
