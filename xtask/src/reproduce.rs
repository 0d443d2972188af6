//! `reproduce`: all runs of an experiment, then its table and its plots.

use crate::config::EstimatorName::{Exact, Ghost};
use crate::config::RunConfig;
use crate::datasets::Datasets;
use crate::device::{DeviceName, PrecisionName};
use crate::experiments::{Experiment, Preset, typed};
use crate::machine::Machine;
use crate::report::{Picture, View};
use crate::row::{self, Row};
use crate::screen::duration;
use crate::theory::{self, Theory};
use crate::{claim, data, datasets, estimate, interrupt, leftovers, paths, report, rows, run, start};
use anyhow::{Context, Result, ensure};
use clap::Args;
use msharp_core::write_aside;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Which experiment, how much of it, and where to.
#[derive(Args)]
pub struct ReproduceArgs {
    /// The experiment
    experiment: Experiment,
    /// How much of it
    #[arg(long, default_value = "laptop")]
    preset: Preset,
    #[command(flatten)]
    machine: Machine,
    /// The folder for rows, checkpoints, logs and plots [default: runs/EXPERIMENT-PRESET in the workspace]
    #[arg(long)]
    out: Option<PathBuf>,
    /// The device
    #[arg(long, default_value = "cpu")]
    device: DeviceName,
    /// What a GPU multiplies [default: f32, and bf16 on cuda]
    #[arg(long, default_value = "f32", default_value_if("device", "cuda", "bf16"), hide_default_value = true)]
    precision: PrecisionName,
    /// Also put the rows among the committed results, from which `report` makes the README's tables
    #[arg(long)]
    record: bool,
}

/// Runs what is not done yet, then prints the table and draws the plots.
pub fn reproduce(args: ReproduceArgs) -> Result<()> {
    let ReproduceArgs { experiment, preset, machine, out, device, precision, record } = args;
    let data_dir = machine.prepare()?;
    if let Some(theory) = Theory::of(experiment) {
        for (flag, is_default, given) in [
            ("device", device == DeviceName::Cpu, typed(device)),
            ("precision", precision == PrecisionName::F32, typed(precision)),
        ] {
            ensure!(is_default, "--{flag} is {given}; {} trains no network, expected none", typed(experiment));
        }
        return theory::reproduce(experiment, theory, preset, out, record);
    }
    let place = if device == DeviceName::Cpu { String::new() } else { format!("-{}", typed(device)) };
    let named = |experiment| format!("{}-{}{place}", typed(experiment), typed(preset));
    let folder = out.unwrap_or_else(|| paths::runs().join(named(experiment.folder())));
    let rows_path = folder.join("rows.jsonl");
    // Ghost norms are for the CPU; elsewhere the same norms are computed one by one.
    let elsewhere = |name| if device == DeviceName::Cpu || name != Ghost { name } else { Exact };
    let on_device = |config: RunConfig| {
        let (estimator, noise_estimator) = (elsewhere(config.estimator), elsewhere(config.noise_estimator));
        RunConfig { device, precision, estimator, noise_estimator, ..config }
    };
    let images = datasets::at_hand(&data_dir);
    let configs: Vec<RunConfig> = experiment.configs(preset, images).into_iter().map(on_device).collect();
    configs.iter().try_for_each(RunConfig::validate)?;
    let done = row::read(&rows_path)?;
    let is_done = |config: &RunConfig| done.iter().any(|row| row.config == *config);
    let missing: Vec<RunConfig> = configs.iter().filter(|config| !is_done(config)).cloned().collect();

    println!("{}: {}", named(experiment), experiment.about(preset, &configs));
    for line in plan(&configs) {
        println!("{line}");
    }
    println!("{} runs, {} done before. Rows: {}", configs.len(), configs.len() - missing.len(), rows_path.display());
    // A folder that cannot be written, or is in use, is found out before anything is downloaded or trained.
    let _claim = claim::claim(&folder)?;
    let lines: Vec<String> = configs.iter().map(RunConfig::json).collect();
    write_aside(&folder.join("plan.jsonl"), |file| Ok(writeln!(file, "{}", lines.join("\n"))?))?;
    data::fetch_if_absent(&missing, &data_dir)?;
    let mut data = Datasets::new(&data_dir);
    check(&missing, &mut data)?;
    for config in &missing {
        let own = folder.join(config.id());
        if !own.join("checkpoint.safetensors").exists() {
            leftovers::check(&own, config)?;
        }
        leftovers::check_writable(&own)?;
    }
    msharp_core::check_writable(&rows_path)?;
    let record_path = paths::results().join(format!("{}.jsonl", named(experiment.rows())));
    if record {
        check_record(&record_path, &configs)?;
    }
    let mut starts = start::all_before(&missing);
    starts.retain(|phase| !folder.join(phase.id()).join("weights.safetensors").exists());
    let expected = estimate::seconds(&[starts, missing.clone()].concat(), &mut data)?;
    if !missing.is_empty() {
        let (longest, runs) = (expected.iter().copied().fold(0., f64::max), missing.len());
        let total = duration(expected.iter().sum());
        println!("expected: {total} for {runs} runs, up to {} each", duration(longest));
    }

    interrupt::listen()?;
    let started = Instant::now();
    for (k, config) in missing.iter().enumerate() {
        let title =
            format!("[{}/{}] {} {} seed {}", k + 1, missing.len(), config.model, config.rule_label(), config.seed);
        let row = match interrupt::requested() {
            true => None,
            false => run::run(&title, config, &folder.join(config.id()), &mut data)?,
        };
        let Some(row) = row else {
            println!("stopped; the same command goes on from here");
            return Ok(());
        };
        let row = Row { experiment: typed(experiment.rows()), preset: typed(preset), ..row };
        if let Some(fault) = row.outcome.fault() {
            eprintln!("{title} diverged: {fault}; recorded as such");
        }
        row::record(&rows_path, &row)?;
    }

    // In the order of the experiment, whichever made them.
    let made = row::read(&rows_path)?;
    let of = |config: &RunConfig| made.iter().find(|row| row.config == *config).cloned();
    let own = |row: Row| Row { experiment: typed(experiment.rows()), ..row };
    let rows: Vec<Row> = configs.iter().filter_map(of).map(own).collect();
    let View { claims, text, pictures, .. } = report::view(experiment, &rows)?;
    println!("\n{text}");
    claims.iter().for_each(|claim| println!("- {}", claim.text));
    for Picture { file, svg, .. } in pictures {
        let path = folder.join(format!("{}-{file}", typed(experiment)));
        write_aside(&path, |file| Ok(file.write_all(svg.as_bytes())?))?;
        println!("plot: {}", path.display());
    }
    if !missing.is_empty() {
        println!("{} runs took {}", missing.len(), duration(started.elapsed().as_secs_f64()));
    }
    if record {
        rows.iter().try_for_each(Row::check)?;
        rows::write(&record_path, &rows)?;
        println!("recorded in {}; `cargo xtask report` rewrites the README", record_path.display());
    }
    Ok(())
}

/// What can be known of all runs before the first: those that differ in their seed alone are checked once.
fn check(configs: &[RunConfig], data: &mut Datasets) -> Result<()> {
    let mut checked: Vec<RunConfig> = Vec::new();
    for config in configs {
        let alike = RunConfig { seed: 0, ..config.clone() };
        if !checked.contains(&alike) {
            run::check(config, data).with_context(|| format!("{} {}", config.model, config.rule_label()))?;
            checked.push(alike);
        }
    }
    Ok(())
}

/// # Errors
/// If the committed rows cannot be written, or are of other images than these runs: where CIFAR-10 is not at hand, an
/// experiment that takes either would replace its rows by those of the synthetic set.
fn check_record(path: &Path, configs: &[RunConfig]) -> Result<()> {
    msharp_core::check_writable(path)?;
    for row in row::read(path)? {
        let data = row.config.data;
        ensure!(
            configs.iter().any(|config| config.data == data),
            "--record would replace rows of {} in {} by rows of other images; expected --data-dir with {}",
            typed(data),
            path.display(),
            typed(data)
        );
    }
    Ok(())
}

/// What will be run: a line for each network and rule, with the number of seeds.
fn plan(configs: &[RunConfig]) -> Vec<String> {
    let mut lines: Vec<(String, usize)> = Vec::new();
    for config in configs {
        let line = format!("  {} ({}) · {} · {} epochs", config.model, config.norm, config.rule_label(), config.epochs);
        match lines.iter_mut().find(|(known, _)| *known == line) {
            Some((_, seeds)) => *seeds += 1,
            None => lines.push((line, 1)),
        }
    }
    lines.into_iter().map(|(line, seeds)| format!("{line} · seeds: {seeds}")).collect()
}
