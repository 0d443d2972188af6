//! `bench data`: how fast photographs in a folder become batches, also beside torchvision.

use super::{child, print_table, rounded};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use msharp_core::DataSource;
use msharp_data::{EmptyClasses, ImageFolder, ImageLoader, Images, Picture, Transform};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

/// What to show before the flags.
const EXAMPLES: &str = "Examples:
  cargo xtask bench data --folder ~/imagenet/val                              pictures per second
  cargo xtask bench data --folder ~/imagenet/val --against-pytorch python3    beside torchvision";

/// The script, which prints a line of JSON for each recipe.
const SCRIPT: &str = include_str!("pytorch_data.py");

/// The pictures, and how they are loaded.
#[derive(Args)]
#[command(before_help = EXAMPLES)]
pub struct DataArgs {
    /// A folder of photographs, FOLDER/CLASS/*
    #[arg(long)]
    folder: PathBuf,
    /// Side of the results in pixels
    #[arg(long, default_value_t = 224)]
    size: usize,
    /// Pictures in a batch
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// Threads of ours, and processes of torch's `DataLoader` [default: all cores]
    #[arg(long)]
    workers: Option<usize>,
    /// How many times an epoch goes through the folder
    #[arg(long, default_value_t = 4)]
    repeat: usize,
    /// Epochs measured of each program, in turn
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Measure torchvision's `ImageFolder` in torch's `DataLoader` too, with this Python interpreter, which needs both
    #[arg(long, value_name = "PYTHON")]
    against_pytorch: Option<PathBuf>,
    /// Print one line of JSON for each recipe
    #[arg(long)]
    json: bool,
}

/// A line of the result. A rate is that of all workers, by their number.
#[derive(Serialize)]
struct Line {
    recipe: &'static str,
    size: usize,
    batch: usize,
    workers: usize,
    pictures: usize,
    /// Medians of the rounds.
    per_s_per_core: f64,
    pytorch_per_s_per_core: Option<f64>,
    /// Ours by theirs: the median of the rounds, the least and the largest.
    ratio: Option<[f64; 3]>,
    /// What was compared with.
    versions: Option<String>,
}

/// What torchvision needs for a recipe.
#[derive(Deserialize)]
struct Theirs {
    recipe: String,
    per_s: f64,
    versions: String,
}

/// The pictures of a folder, several times in a row.
#[derive(Debug)]
struct Repeated {
    folder: ImageFolder,
    labels: Vec<u32>,
}

impl Images for Repeated {
    fn name(&self) -> &str {
        self.folder.name()
    }

    fn labels(&self) -> &[u32] {
        &self.labels
    }

    fn classes(&self) -> usize {
        self.folder.classes()
    }

    fn picture(&self, index: usize) -> candle_core::Result<Picture> {
        self.folder.picture(index % self.folder.labels().len())
    }
}

/// The recipes, under the names of the script.
fn recipes(size: usize) -> [(&'static str, Transform); 2] {
    [("train", Transform::imagenet_train(size)), ("eval", Transform::imagenet_eval(size, 0.875))]
}

/// Runs `bench data`.
pub fn data(args: DataArgs) -> Result<()> {
    ensure!(args.repeat > 0 && args.rounds > 0, "--repeat and --rounds are at least 1");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = args.workers.unwrap_or(cores);
    let folder = ImageFolder::open(&args.folder, EmptyClasses::Refuse)?;
    let labels = folder.labels().repeat(args.repeat);
    let images = Arc::new(Repeated { folder, labels });
    let (mut ours, mut theirs, mut versions) = ([vec![], vec![]], [vec![], vec![]], None);
    for round in 0..args.rounds {
        eprintln!("round {} of {} …", round + 1, args.rounds);
        for ((name, transform), rates) in recipes(args.size).into_iter().zip(&mut ours) {
            let loader = ImageLoader { workers, ..ImageLoader::train(images.clone(), transform, args.batch, 0) };
            rates.push(rate(&ImageLoader { shuffle: name == "train", ..loader })?);
        }
        if let Some(python) = &args.against_pytorch {
            for (rates, found) in theirs.iter_mut().zip(torchvision(python, &args, workers)?) {
                rates.push(found.per_s);
                versions = Some(found.versions);
            }
        }
    }
    let lines: Vec<Line> = recipes(args.size)
        .into_iter()
        .zip(ours.iter().zip(&theirs))
        .map(|((recipe, _), (ours, theirs))| {
            let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
            let per_core = |rates: &[f64]| median(rates).map(|rate| rounded(rate / workers.max(1) as f64));
            Line {
                recipe,
                size: args.size,
                batch: args.batch,
                workers,
                pictures: images.labels.len(),
                per_s_per_core: per_core(ours).unwrap_or(0.),
                pytorch_per_s_per_core: per_core(theirs),
                ratio: spread(&ratios).map(|ratios| ratios.map(rounded)),
                versions: versions.clone(),
            }
        })
        .collect();
    if args.json {
        for line in &lines {
            println!("{}", serde_json::to_string(line)?);
        }
    } else {
        print(&lines);
    }
    Ok(())
}

/// Pictures per second of the second epoch; the first reads the files once.
fn rate(loader: &ImageLoader) -> Result<f64> {
    let epoch = |epoch| -> Result<usize> {
        let mut seen = 0;
        for batch in loader.epoch(epoch) {
            seen += batch?.len();
        }
        Ok(seen)
    };
    epoch(0)?;
    let start = Instant::now();
    Ok(epoch(1)? as f64 / start.elapsed().as_secs_f64())
}

/// Measures torchvision in a process of its own: the recipes in their order.
fn torchvision(python: &Path, args: &DataArgs, workers: usize) -> Result<Vec<Theirs>> {
    let mut command = Command::new(python);
    command.arg("-").arg("--folder").arg(&args.folder);
    for (flag, value) in
        [("--size", args.size), ("--batch", args.batch), ("--workers", workers), ("--repeat", args.repeat)]
    {
        command.args([flag, &value.to_string()]);
    }
    let mut found: Vec<Theirs> = Vec::new();
    child::run(&mut command, SCRIPT, None, |line| {
        found.push(serde_json::from_str(line).with_context(|| format!("Python printed {line:?}"))?);
        Ok(())
    })
    .context("--against-pytorch, which needs torch and torchvision")?;
    if found.iter().map(|line| &line.recipe[..]).ne(recipes(args.size).map(|(name, _)| name)) {
        bail!("--against-pytorch: Python measured {} recipes, expected train and eval", found.len())
    }
    Ok(found)
}

/// The median, the least and the largest.
fn spread(values: &[f64]) -> Option<[f64; 3]> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    Some([*sorted.get(sorted.len() / 2)?, *sorted.first()?, *sorted.last()?])
}

fn median(values: &[f64]) -> Option<f64> {
    spread(values).map(|[median, ..]| median)
}

fn print(lines: &[Line]) {
    let Some(first) = lines.first() else { return };
    let Line { pictures, size, batch, workers, .. } = first;
    println!("{pictures} pictures an epoch to {size} pixels, batches of {batch}, {workers} workers\n");
    let mut head = vec!["recipe", "img/s/core"];
    if first.ratio.is_some() {
        head.extend(["torchvision", "ratio", "from", "to"]);
    }
    let row = |line: &Line| {
        let mut cells = vec![line.recipe.to_owned(), format!("{:.0}", line.per_s_per_core)];
        if let (Some(theirs), Some(ratio)) = (line.pytorch_per_s_per_core, line.ratio) {
            cells.push(format!("{theirs:.0}"));
            cells.extend(ratio.map(|ratio| format!("{ratio:.2}")));
        }
        cells
    };
    print_table(&head, &lines.iter().map(row).collect::<Vec<_>>());
    if let Some(versions) = &first.versions {
        println!("\n{versions}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_median_and_the_ends() {
        assert_eq!(spread(&[3., 1., 2.]), Some([2., 1., 3.]));
        assert_eq!(spread(&[]), None);
    }
}
