//! `cuda bundle`: the programs, packed for a machine with a GPU and no Rust.

use super::binaries::{Binaries, asks_for};
use super::parts::split;
use super::steps::{output, run, step};
use super::toolkit::Toolkit;
use anyhow::{Context, Result, ensure};
use clap::Args;
use msharp_data::Release;
use msharp_lab::host::revision;
use msharp_lab::paths;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What to pack, and where to.
#[derive(Args)]
pub struct BundleArgs {
    /// Where the archives go [default: target/cuda-bundle in the workspace]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Also pack CIFAR-10 from here
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// A CUDA 13 toolkit with cuDNN, as of `cuda check`
    #[arg(long, value_name = "DIR")]
    toolkit: Option<PathBuf>,
}

/// What a person does with the programs.
const RUN: &str = include_str!("run.sh");
const PYTORCH_STEP: &str = include_str!("../bench/pytorch_step.py");

const MEGABYTE: u64 = 1_000_000;
/// More than the programs may have.
const TOO_LARGE: u64 = 60 * MEGABYTE;
/// What a part of the data has.
const PART: u64 = 45 * MEGABYTE;

/// The folder in the archive.
const NAME: &str = "msharp-cuda";

/// Runs `cuda bundle`.
pub fn bundle(args: BundleArgs) -> Result<()> {
    for tool in ["tar", "xz", "strip"] {
        output(Command::new(tool).arg("--version")).context("a bundle is made with GNU tar, xz and strip")?;
    }
    let out = std::path::absolute(args.out.unwrap_or_else(|| paths::root().join("target/cuda-bundle")))?;
    let data = args.data_dir.as_deref().map(cifar10).transpose()?;
    let toolkit = step("the CUDA toolkit", || Toolkit::find(args.toolkit.as_deref()))?;
    let binaries = Binaries::build(&toolkit)?;
    let mut files = step("the programs, without symbols", || programs(&out, &binaries))?;
    let archive = out.join(format!("{NAME}.tar.xz"));
    step("the archive of the programs", || {
        // One window over all programs, for most of what they contain is the same.
        pack(&archive, &out, &files, &["--lzma2=preset=6,dict=256MiB"], None)?;
        let size = archive.metadata()?.len();
        ensure!(
            size < TOO_LARGE,
            "{} has {}; expected less than {}",
            archive.display(),
            megabytes(size),
            megabytes(TOO_LARGE)
        );
        Ok(())
    })?;
    let mut made = vec![archive];
    if let Some(folder) = data {
        made.extend(step("CIFAR-10", || images(&out, &folder))?);
    }
    println!();
    files.extend(made);
    for file in files {
        let size = out.join(&file).metadata()?.len();
        println!("{:>9}  {}", megabytes(size), out.join(&file).display());
    }
    Ok(())
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / MEGABYTE as f64)
}

/// Puts the contents of the archive into a folder beside it, and returns their names in the order of the archive.
fn programs(out: &Path, binaries: &Binaries) -> Result<Vec<PathBuf>> {
    let folder = out.join(NAME);
    // Anew, and not into files that somebody may be running.
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut files = Vec::new();
    let all = [
        ("xtask", &binaries.xtask),
        ("msharp", &binaries.msharp),
        ("test-ops", &binaries.ops),
        ("test-runs", &binaries.whole),
        ("test-nccl", &binaries.nccl),
        ("test-gpus", &binaries.gpus),
    ];
    for (name, program) in all {
        ensure!(
            asks_for(program)?.iter().any(|library| library == "libcuda.so.1"),
            "{} does not ask for libcuda.so.1 and would not start beside a driver: the toolkit's libcuda.so has no \
             functions; expected one as NVIDIA's, or that of the toolkit which is made where CUDA_PATH and PATH name \
             none",
            program.display()
        );
        run(Command::new("strip").arg("-o").arg(folder.join(name)).arg(program))?;
        files.push(name);
    }
    for (name, text) in [("run.sh", RUN), ("pytorch_step.py", PYTORCH_STEP), ("REVISION", revision())] {
        let end = if text.ends_with('\n') { "" } else { "\n" };
        std::fs::write(folder.join(name), format!("{text}{end}")).with_context(|| format!("cannot write {name}"))?;
        files.push(name);
    }
    Ok(files.into_iter().map(|name| Path::new(NAME).join(name)).collect())
}

/// Packs files of `folder`, so that the same files always make the same bytes.
fn pack(archive: &Path, folder: &Path, files: &[PathBuf], xz: &[&str], below: Option<&str>) -> Result<()> {
    let unfinished = archive.with_extension("unfinished");
    let mut command = Command::new("tar");
    command.args(["--create", "--format=ustar", "--owner=0", "--group=0", "--numeric-owner"]);
    command.args(["--mtime=@0", "--mode=u+rw,go+r,go-w"]);
    if let Some(below) = below {
        command.arg(format!("--transform=s,^,{below}/,"));
    }
    command.arg(format!("--use-compress-program=xz {}", xz.join(" ")));
    run(command.arg("--file").arg(&unfinished).arg("--directory").arg(folder).args(files))?;
    std::fs::rename(&unfinished, archive).with_context(|| format!("cannot write {}", archive.display()))
}

/// The folder that holds CIFAR-10's files.
fn cifar10(data_dir: &Path) -> Result<PathBuf> {
    let release = Release::cifar10();
    release.verify(data_dir).context("--data-dir")?;
    let inner = data_dir.join(release.folder);
    Ok(if inner.is_dir() { inner } else { data_dir.to_owned() })
}

/// Packs the images in parts. Pixels hardly compress: the difference to the pixel above, 32 bytes before, does best.
fn images(out: &Path, folder: &Path) -> Result<Vec<PathBuf>> {
    let release = Release::cifar10();
    let files: Vec<PathBuf> = release.train.files.iter().chain(release.test.files).map(PathBuf::from).collect();
    let archive = out.join("cifar10.tar.xz");
    // Two threads, whatever the machine has: the blocks, and so the bytes, depend on whether there are several.
    pack(&archive, folder, &files, &["--threads=2", "--delta=dist=32", "--lzma2=preset=6"], Some(release.folder))?;
    let parts = split(&archive, PART)?;
    std::fs::remove_file(&archive)?;
    Ok(parts)
}
