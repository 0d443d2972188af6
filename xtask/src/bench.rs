//! `bench`: how long a training step takes.

use crate::config::{DataName, RuleName, RunConfig};
use crate::experiments::standard;
use crate::machine::set_threads;
use crate::rule::rule;
use crate::run;
use anyhow::{Result, ensure};
use candle_core::{DType, Device, Tensor};
use clap::{Args, Subcommand};
use msharp_core::{Batch, Key, Objective, Optimizer, Seeded};
use msharp_data::{Loader, synthetic};
use msharp_models::{Architecture, Norm};
use msharp_train::Classifier;
use std::sync::Arc;
use std::time::Instant;

/// What to time.
#[derive(Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    command: BenchCommand,
}

#[derive(Subcommand)]
enum BenchCommand {
    /// A no-grad forward and a step of SGD, SAM, m-SAM (m = 32) and RW-SAM (one probe), as one line of JSON
    Step(StepArgs),
}

/// The step: 3×32×32 inputs of noise, 10 classes, momentum 0.9, weight decay 5e-4.
#[derive(Args)]
struct StepArgs {
    /// The network
    #[arg(long, default_value = "resnet18")]
    model: Architecture,
    /// Its normalisation
    #[arg(long, default_value = "batch")]
    norm: Norm,
    /// Samples in a batch
    #[arg(long, default_value_t = 128)]
    batch: usize,
    /// Timed repetitions, after two to warm up
    #[arg(long, default_value_t = 5)]
    steps: usize,
    /// Threads that compute [default: all cores]
    #[arg(long)]
    threads: Option<usize>,
    /// Time one kind of step alone: forward, sgd, sam, m_sam or rw_sam
    #[arg(long, value_parser = ["forward", "sgd", "sam", "m_sam", "rw_sam"])]
    only: Option<String>,
}

/// Runs a benchmark.
pub fn bench(args: BenchArgs) -> Result<()> {
    match args.command {
        BenchCommand::Step(args) => step(args),
    }
}

fn step(args: StepArgs) -> Result<()> {
    let StepArgs { model, norm, batch, steps, threads, only } = args;
    ensure!(batch > 0 && steps > 0, "--batch is {batch} and --steps is {steps}; expected at least 1 of each");
    set_threads(threads)?;
    let config = RunConfig { rho: 0.1, ..standard(model, norm, DataName::Synthetic) };
    let (network, params) = run::build(&config, 10)?;
    let classifier = Classifier { model: network, label_smoothing: 0. };
    let noise = Seeded::new(1, DType::F32, &Device::Cpu).var_builder();
    let images = candle_nn::Init::Randn { mean: 0., stdev: 1. };
    let inputs = noise.get_with_hints((batch, 32, 32, 3), "images", images)?.detach();
    let targets = Tensor::from_iter((0..batch).map(|i| (i % 10) as u32), &Device::Cpu)?;
    let batch_of_noise = Batch { inputs, targets, key: Key::new(0) };

    let mut figures = vec![
        ("model".to_owned(), serde_json::json!(model.to_string())),
        ("norm".to_owned(), serde_json::json!(norm.to_string())),
        ("batch".to_owned(), serde_json::json!(batch)),
        ("threads".to_owned(), serde_json::json!(rayon::current_num_threads())),
        ("params".to_owned(), serde_json::json!(params.count())),
    ];
    let kinds = [
        ("forward", None),
        ("sgd", Some((RuleName::Sgd, None))),
        ("sam", Some((RuleName::Sam, None))),
        ("m_sam", Some((RuleName::Sam, Some(32.min(batch))))),
        ("rw_sam", Some((RuleName::RwSam, None))),
    ];
    for (name, kind) in kinds {
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        let mut optimizer = run::optimizer(&config);
        let mut times = Vec::with_capacity(steps);
        let mut rule = kind.map(|(rule_name, micro_batch)| {
            let config = RunConfig { rule: rule_name, micro_batch, ..config.clone() };
            rule(&config, Loader::eval(Arc::new(synthetic(1, 0, 0).train), 1))
        });
        for repetition in 0..steps + 2 {
            let started = Instant::now();
            if repetition == steps + 1 && std::env::var("PROFILE").is_ok() {
                let (_, timings) = msharp_ops::profile(|| {
                    if let Some(rule) = &mut rule {
                        let gradient = rule.gradient(&classifier, &params, &batch_of_noise).unwrap();
                        optimizer.step(&params, &gradient.grads, 0.1).unwrap();
                    }
                });
                let total = started.elapsed();
                let mut t: Vec<_> = timings.into_iter().collect();
                t.sort_by_key(|t| std::cmp::Reverse(t.1.time));
                let ours: std::time::Duration = t.iter().map(|t| t.1.time).sum();
                eprintln!("total {total:?} ours {ours:?}");
                for (n, t) in t {
                    eprintln!(
                        "{:8.2} ms {:4} calls {:6.0} GFLOP/s {n}",
                        t.time.as_secs_f64() * 1e3,
                        t.calls,
                        t.flop / t.time.as_secs_f64() / 1e9
                    );
                }
                continue;
            }
            match &mut rule {
                None => drop(msharp_ops::no_grad(|| classifier.losses(&batch_of_noise, true))?),
                Some(rule) => {
                    let gradient = rule.gradient(&classifier, &params, &batch_of_noise)?;
                    optimizer.step(&params, &gradient.grads, 0.1)?;
                }
            }
            if repetition >= 2 {
                times.push(1e3 * started.elapsed().as_secs_f64());
            }
        }
        times.sort_by(f64::total_cmp);
        let round = |ms: f64| serde_json::json!((ms * 100.).round() / 100.);
        figures.push((format!("{name}_ms"), round(times[times.len() / 2])));
        figures.push((format!("{name}_min_ms"), round(times[0])));
    }
    println!("{}", serde_json::Value::Object(figures.into_iter().collect()));
    Ok(())
}
