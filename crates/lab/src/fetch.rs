//! Images and weights that are not there yet: the downloader is a program of its own, built and started only when it is
//! needed.

use crate::config::{DataName, RunConfig, typed};
use crate::{paths, screen};
use anyhow::{Context, Result, bail, ensure};
use msharp_data::Release;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Stdio};

/// The published files of a data set, if it has any.
pub fn release(name: DataName) -> Option<Release> {
    match name {
        DataName::Synthetic | DataName::Thumbnails => None,
        DataName::Cifar10 => Some(Release::cifar10()),
        DataName::Cifar100 => Some(Release::cifar100()),
    }
}

/// Downloads what the runs need and `folder` does not hold, and checks what it does hold.
///
/// # Errors
/// If files are there and are not the published ones: nothing of the user's is overwritten.
pub fn if_absent(configs: &[&RunConfig], folder: &Path) -> Result<()> {
    let needed = |name: &DataName| configs.iter().any(|config| config.data.set == *name);
    [DataName::Cifar10, DataName::Cifar100].into_iter().filter(needed).try_for_each(|name| one_if_absent(name, folder))
}

/// As [`if_absent`], of one data set.
///
/// # Errors
/// As those.
pub fn one_if_absent(name: DataName, folder: &Path) -> Result<()> {
    match release(name) {
        None => Ok(()),
        Some(release) if release.is_complete(folder) => Ok(release.verify(folder)?),
        Some(_) => download(name, folder),
    }
}

/// Downloads a data set into `folder`, with the downloader of the workspace, or the one that is installed.
///
/// # Errors
/// If there is no downloader, or it fails.
pub fn download(name: DataName, folder: &Path) -> Result<()> {
    let release = release(name).with_context(|| format!("{} is drawn, and not downloaded", typed(name)))?;
    let name = typed(name);
    let instead = release.found_instead(folder).map_or(String::new(), |instead| format!(" ({instead})"));
    let advice = format!("--data-dir names a folder that has {} already{instead}", release.folder);
    let folder = std::path::absolute(folder)?;
    run(&[name.as_ref(), "--data-dir".as_ref(), folder.as_os_str()], &name, &advice)
}

/// Runs the downloader with `arguments`, for `what`; the workspace's is built first.
///
/// # Errors
/// If there is none, or it fails: with `advice`, what to do without it.
pub(crate) fn run(arguments: &[&OsStr], what: &str, advice: &str) -> Result<()> {
    let root = paths::workspace();
    let mut command = match &root {
        Some(root) => {
            screen::say("building the downloader, once; it takes some minutes …");
            let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
            cargo.args(["run", "--quiet", "--package", "msharp-fetch", "--"]).current_dir(root);
            cargo
        }
        None => Command::new("msharp-fetch"),
    };
    match command.args(arguments).stdout(Stdio::null()).status() {
        Err(error) if error.kind() == ErrorKind::NotFound && root.is_none() => bail!(
            "cannot get {what}: outside of the workspace it is downloaded by msharp-fetch, which is not installed \
             (`cargo install --path datasets/fetch` in the workspace); {advice}"
        ),
        status => ensure!(status.context("cannot run the downloader")?.success(), "cannot get {what}; {advice}"),
    }
    Ok(())
}
