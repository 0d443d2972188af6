//! `report`: RESULTS.md, the pages and the generated parts of the documents, made from the committed rows and from
//! nothing else.

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use msharp_lab::config::typed;
use msharp_lab::experiments::{ALL, AnyExperiment, estimators};
use msharp_lab::page::{Page, rules};
use msharp_lab::{paths, reproduce, row};
use std::path::{Path, PathBuf};

/// What to show before the flags.
const EXAMPLES: &str = "Examples:
  cargo xtask report           after `reproduce --record`
  cargo xtask report --check   is everything up to date?";

/// Which files to make.
#[derive(Args)]
#[command(before_help = EXAMPLES)]
pub struct ReportArgs {
    /// Change nothing; fail if a page, a table or a plot is not what the rows say
    #[arg(long)]
    check: bool,
}

/// A file of rows: an experiment, a preset, and its pages.
struct Results {
    experiment: &'static dyn AnyExperiment,
    preset: String,
    page: Page,
}

/// The experiment and the preset whose table stands in the README.
const IN_README: (&str, &str) = ("toy", "laptop");

/// The lines of pages that stand in the README: an experiment, and how each line begins, for the last that begins so.
const HEADLINES: [(&str, &[&str]); 3] = [
    (
        "radius",
        &[
            "40 % wrong labels: SAM against SGD: ",
            "40 % wrong labels: m-SAM (m = 16) against SAM: ",
            "40 % wrong labels: m-SAM (m = 4) against SAM: ",
            "40 % wrong labels: RW-SAM (m_eff = 16) against SAM: ",
            "40 % wrong labels, USAM: m-USAM (m = 4) against USAM: ",
        ],
    ),
    (
        "cifar10",
        &[
            "resnet8: SAM against SGD: ",
            "resnet8: m-SGD (m = 16) against SGD: ",
            "resnet20: m-SAM (m = 4) against SAM: ",
            "resnet20: m-SAM (m = 4) against m-SGD (m = 4): ",
            "resnet20: RW-SAM (m_eff = 16) against SAM: ",
        ],
    ),
    ("exit-time", &["m-USAM leaves"]),
];

/// Writes, or checks, every generated file and part.
pub fn report(args: ReportArgs) -> Result<()> {
    let all = results(&paths::results())?;
    let mut files = Vec::new();
    for Results { experiment, preset, page } in &all {
        files.extend(page.files(&paths::results().join(format!("{}-{preset}", experiment.name())))?);
    }
    let root = paths::root();
    files.push((root.join("RESULTS.md"), overview(&all)));
    let of = |name: &str| {
        all.iter().find(|results| (results.experiment.name(), results.preset.as_str()) == (name, "laptop"))
    };
    let toy = all.iter().find(|results| (results.experiment.name(), results.preset.as_str()) == IN_README);
    let Results { page: toy, .. } = toy.context("there are no rows of toy, whose table stands in the README")?;
    let found: String = toy.findings.iter().take(1).map(|finding| format!("- {finding}\n")).collect();
    let toy = format!("{}\n{found}", toy.table);
    let headline = |(name, begins): &(&str, &[&str])| {
        let results = of(name).with_context(|| format!("there are no rows of {name}, which the README quotes"))?;
        let said = begins.iter().map(|begins| {
            let is_it = |line: &&str| line.strip_prefix("- ").is_some_and(|line| line.starts_with(begins));
            let line = results.page.text.lines().rfind(is_it);
            let line = line.with_context(|| format!("the page of {name} has no line that begins with {begins:?}"))?;
            Ok(format!("  {line}\n"))
        });
        let (question, preset) = (results.experiment.question(), &results.preset);
        let question = question.split_inclusive('?').next().unwrap_or(question);
        let said: String = said.collect::<Result<_>>()?;
        Ok(format!("- [{name}](results/{name}-{preset}/README.md). {question}\n{said}"))
    };
    let headlines: String = HEADLINES.iter().map(headline).collect::<Result<_>>()?;
    // The first of its tables, without the heading.
    let radius = of("radius").and_then(|results| results.page.table.split("### ").nth(1)?.split_once("\n\n"));
    let (_, radius) = radius.context("there are no rows of radius, whose table stands in docs/parallel-m-sam.md")?;
    let rows = row::read::<estimators::Comparison>(&paths::results().join("estimators-laptop/rows.jsonl"))?;
    let comparisons: Vec<_> = rows.into_iter().map(|row| row.content).collect();
    for (file, parts) in [
        ("README.md", vec![("toy", toy), ("headlines", headlines)]),
        ("docs/rules.md", vec![("rules", rules::table()?)]),
        ("docs/parallel-m-sam.md", vec![("radius", radius.to_owned())]),
        ("docs/estimators.md", vec![("estimators", estimators::summary(&comparisons))]),
    ] {
        let path = root.join(file);
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let text = parts.iter().try_fold(text, |text, (name, part)| between(name, &path, &text, part))?;
        files.push((path, text));
    }
    files.iter().try_for_each(|(path, contents)| ensure(path, contents, args.check))?;
    strangers(&paths::results(), &files)
}

/// The pages of every folder of rows, in the order of the experiments.
fn results(folder: &Path) -> Result<Vec<Results>> {
    let mut all = Vec::new();
    for experiment in ALL {
        // The largest first.
        for preset in experiment.presets().iter().rev().map(|preset| typed(*preset)) {
            let rows = folder.join(format!("{}-{preset}", experiment.rows_of())).join("rows.jsonl");
            if rows.is_file() {
                all.push(Results { experiment, preset, page: experiment.page_of(&rows)? });
            }
        }
    }
    ensure!(!all.is_empty(), "there are no rows in {}; expected this command in the workspace", folder.display());
    Ok(all)
}

/// RESULTS.md: each page in short.
fn overview(all: &[Results]) -> String {
    let mut text = "# Results\n\nThis file, and every page that it links to, is generated by `cargo xtask report` from the \
                    committed rows; a test fails when they drift apart. A result that contradicts the paper is reported \
                    as such.\n\nDifferences are in points of test accuracy, and × is a ratio, of tr V or of times. In brackets \
                    is the 95 % interval, paired by seed; a page says what a correction for its number of comparisons leaves. \
                    `radius`, `reweighting` and `cifar10` have each rule at its best ρ; `escape`, `noise-trace` and \
                    `m-sharpness` have one ρ for all.\n"
        .to_owned();
    for Results { experiment, preset, page } in all {
        let name = experiment.name();
        let folder = format!("results/{name}-{preset}");
        text.push_str(&format!(
            "\n## [{name} · {preset}]({folder}/README.md)\n\n{} `cargo xtask reproduce {name} --preset {preset}`\n\n",
            experiment.question()
        ));
        page.findings.iter().for_each(|finding| text.push_str(&format!("- {finding}\n")));
        if let Some(picture) = page.pictures.first() {
            text.push_str(&format!("\n![{}]({folder}/{})\n", picture.alt, picture.file));
        }
    }
    text
}

/// Text with the part between the marks of `name` exchanged.
fn between(name: &str, path: &Path, text: &str, part: &str) -> Result<String> {
    let mark = |end: &str| format!("<!-- {name}, generated by `cargo xtask report`: {end} -->");
    let (begin, end) = (mark("begin"), mark("end"));
    let parts = text.split_once(&begin).and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1)));
    let (before, after) = parts.with_context(|| format!("{} has lost the marks {begin} and {end}", path.display()))?;
    Ok(format!("{before}{begin}\n\n{}\n\n{end}{after}", part.trim_end()))
}

fn ensure(path: &Path, contents: &str, check: bool) -> Result<()> {
    let current = std::fs::read_to_string(path).unwrap_or_default();
    if current == contents {
        return Ok(());
    }
    if check {
        bail!("{} is not what the committed rows say; `cargo xtask report` rewrites it", path.display())
    }
    reproduce::write(path, contents)?;
    println!("wrote {}", path.display());
    Ok(())
}

/// # Errors
/// If a page or a picture is in the results that no rows make.
fn strangers(folder: &Path, files: &[(PathBuf, String)]) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        for entry in std::fs::read_dir(&path).with_context(|| format!("cannot read {}", path.display()))? {
            let path = entry?.path();
            let is_known = path.ends_with("rows.jsonl") || files.iter().any(|(known, _)| *known == path);
            ensure!(is_known, "{} is made of no rows; expected only what `report` writes", path.display());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_changes() {
        let path = Path::new("README.md");
        let (begin, end) = (
            "<!-- toy, generated by `cargo xtask report`: begin -->",
            "<!-- toy, generated by `cargo xtask report`: end -->",
        );
        let text = format!("a\n{begin}\nold\n{end}\nb\n");
        let changed = between("toy", path, &text, "new\n").unwrap();
        assert_eq!(changed, format!("a\n{begin}\n\nnew\n\n{end}\nb\n"));
        assert_eq!(between("toy", path, &changed, "new\n").unwrap(), changed);
        assert!(between("toy", path, "no marks", "").unwrap_err().to_string().contains("README.md"));
    }
}
