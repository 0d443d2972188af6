//! What another run left in a folder: it must not become a part of the one that starts there.

use super::outcome::RunRow;
use crate::config::RunConfig;
use crate::config::record::listed;
use anyhow::{Context, Result, bail, ensure};
use std::path::Path;

/// What a run leaves when it ends.
const RESULTS: [&str; 3] = ["weights.safetensors", "row.json", "rows.jsonl"];

/// What a run leaves on the way.
const ON_THE_WAY: [&str; 2] = ["log.jsonl", "epochs.csv"];

/// Whether `folder`, which has no checkpoint, can be the place of a run of `config` from its first step. Nothing
/// changes.
///
/// # Errors
/// If there are files of another run, or results.
pub fn check(folder: &Path, config: &RunConfig) -> Result<()> {
    let found = |names: &[&'static str]| names.iter().copied().find(|name| folder.join(name).exists());
    let (shown, its) = (folder.display(), folder.join("config.json"));
    if let Some(fault) = fault(folder) {
        bail!("{shown} holds a run that diverged: {fault}; expected other flags, or an empty folder")
    }
    if let Some(name) = found(&RESULTS) {
        bail!("{shown} holds {name} of a run whose checkpoint is gone; expected an empty folder, another --out")
    }
    if its.exists() {
        let text = std::fs::read_to_string(&its).with_context(|| format!("cannot read {}", its.display()))?;
        let other: RunConfig = serde_json::from_str(&text)
            .with_context(|| format!("{} is no configuration; expected an empty folder", its.display()))?;
        let differences = other.differences(config);
        ensure!(
            differences.is_empty(),
            "{shown} holds files of another run: {}; expected the same flags, or another --out",
            listed(&differences)
        );
    } else if let Some(name) = found(&ON_THE_WAY) {
        bail!("{shown} holds {name} of an unknown run; expected an empty folder, another --out")
    }
    Ok(())
}

/// How the run in `folder` diverged, if its row says so.
pub fn fault(folder: &Path) -> Option<String> {
    let text = std::fs::read_to_string(folder.join("row.json")).ok()?;
    serde_json::from_str::<RunRow>(&text).ok()?.content.outcome.fault()
}

/// Makes `folder`, which has no checkpoint, a clean place for a run of `config` from its first step: what the same run
/// left before its first checkpoint is removed.
///
/// # Errors
/// As those of [`check`]; nothing is removed then.
pub fn clear(folder: &Path, config: &RunConfig) -> Result<()> {
    check(folder, config)?;
    for name in ON_THE_WAY {
        let path = folder.join(name);
        if path.exists() {
            std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// Whether every file of a run can be written in `folder`, the last of them too.
///
/// # Errors
/// Names the file that cannot.
pub fn check_writable(folder: &Path) -> Result<()> {
    let all = RESULTS.iter().chain(&ON_THE_WAY).chain(&["config.json", "checkpoint.safetensors"]);
    Ok(all.map(|name| folder.join(name)).try_for_each(|path| msharp_core::check_writable(&path))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::parse;

    #[test]
    fn only_what_the_same_run_left_on_the_way_is_removed() {
        let (config, other) = (parse("--seed 1"), parse("--seed 2"));
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        clear(folder.path(), &config).unwrap();
        write("log.jsonl", "{}");
        let message = |config: &RunConfig| clear(folder.path(), config).unwrap_err().to_string();
        assert!(message(&config).contains("log.jsonl of an unknown run"), "{}", message(&config));
        write("config.json", &config.json());
        assert!(message(&other).contains("--seed was 1 and is 2"), "{}", message(&other));
        assert!(folder.path().join("log.jsonl").exists());
        clear(folder.path(), &config).unwrap();
        assert!(!folder.path().join("log.jsonl").exists());
        write("weights.safetensors", "");
        assert!(message(&config).contains("weights.safetensors of a run whose checkpoint is gone"));
    }

    #[test]
    fn a_file_that_cannot_be_written_at_the_end_is_found_before_the_start() {
        let folder = tempfile::tempdir().unwrap();
        check_writable(folder.path()).unwrap();
        std::fs::create_dir(folder.path().join("weights.safetensors")).unwrap();
        assert!(check_writable(folder.path()).unwrap_err().to_string().contains("weights.safetensors"));
    }
}
