//! The CUDA toolkit that is built with: the user's, or one made of NVIDIA's wheels.

use super::steps;
use anyhow::{Context, Result, bail, ensure};
use msharp_lab::paths;
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Makes a toolkit of wheels.
const ASSEMBLE: &str = include_str!("toolkit.sh");

/// A folder with bin/nvcc, include and lib.
pub struct Toolkit {
    path: PathBuf,
    /// --toolkit, which overrules the user's variables.
    is_given: bool,
}

impl Toolkit {
    /// `given` by --toolkit, else that of $CUDA_PATH, else that of the nvcc in $PATH, else target/cuda-toolkit, which
    /// is made if it is not there.
    ///
    /// # Errors
    /// If it lacks something, or cannot be made.
    pub fn find(given: Option<&Path>) -> Result<Self> {
        let (path, from) = match (given, env::var_os("CUDA_PATH"), nvcc_in_path()) {
            (Some(path), ..) => (path.to_owned(), "--toolkit"),
            (None, Some(path), _) => (PathBuf::from(path), "CUDA_PATH"),
            (None, None, Some(path)) => (path, "the nvcc in PATH"),
            (None, None, None) => (assembled()?, "put together of NVIDIA's wheels"),
        };
        let toolkit = Self { path: std::path::absolute(&path)?, is_given: given.is_some() };
        let version = toolkit.version().with_context(|| format!("{} ({from}) is no toolkit", path.display()))?;
        println!("CUDA {version} in {} ({from})", toolkit.path.display());
        ensure!(
            version.starts_with("13."),
            "{} ({from}) is CUDA {version}; expected 13, which is put together where CUDA_PATH and PATH name none",
            path.display()
        );
        let headers = [toolkit.path.join("include"), PathBuf::from("/usr/include")];
        ensure!(
            headers.iter().any(|folder| folder.join("cudnn.h").is_file()),
            "{} ({from}) has no include/cudnn.h; expected a toolkit with cuDNN 9",
            path.display()
        );
        Ok(toolkit)
    }

    /// The toolkit for a command of its own; a variable that the user set stays as it is.
    pub fn set<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let wins = |name: &str| env::var_os(name).is_some() && !self.is_given;
        if !wins("CUDA_PATH") {
            command.env("CUDA_PATH", &self.path);
        }
        if !wins("NVCC") {
            command.env("NVCC", self.path.join("bin/nvcc"));
        }
        if env::var_os("CUDA_COMPUTE_CAP").is_none() {
            command.env("CUDA_COMPUTE_CAP", "90");
        }
        command.env("PATH", joined([self.path.join("bin")], "PATH"))
    }

    /// LD_LIBRARY_PATH for programs that are to find the libraries in `first`, and what is not there in the toolkit.
    pub fn libraries(&self, first: &Path) -> OsString {
        joined([first.to_owned(), self.path.join("lib"), self.path.join("lib64")], "LD_LIBRARY_PATH")
    }

    /// Where cuDNN is, which need not lie among the other libraries; none if the loader is to find it.
    pub fn cudnn(&self) -> Option<PathBuf> {
        let link = |folder: &str| self.path.join(folder).join("libcudnn.so").canonicalize().ok();
        Some(["lib", "lib64"].into_iter().find_map(link)?.parent()?.to_owned())
    }

    /// The driver's library that programs are linked with, all of whose functions fail.
    pub fn driver(&self) -> Result<PathBuf> {
        let folders = ["lib", "lib64/stubs", "lib/stubs", "targets/x86_64-linux/lib/stubs"];
        let mut places = folders.map(|folder| self.path.join(folder).join("libcuda.so")).into_iter();
        places.find(|place| place.exists()).with_context(|| {
            format!("{} has no libcuda.so; expected it in one of {}", self.path.display(), folders.join(", "))
        })
    }

    /// `13.0`
    fn version(&self) -> Result<String> {
        let said = steps::output(Command::new(self.path.join("bin/nvcc")).arg("--version"))?;
        let release = said.split_once("release ").and_then(|(_, rest)| rest.split(',').next());
        release.map(str::to_owned).with_context(|| format!("nvcc --version says {said:?}"))
    }
}

/// Folders before those of a variable.
fn joined(folders: impl IntoIterator<Item = PathBuf>, variable: &str) -> OsString {
    let rest = env::var_os(variable).unwrap_or_default();
    let all: Vec<PathBuf> = folders.into_iter().chain(env::split_paths(&rest)).collect();
    env::join_paths(all).unwrap_or(rest)
}

/// The toolkit to which the nvcc in $PATH belongs.
fn nvcc_in_path() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let nvcc = env::split_paths(&path).map(|folder| folder.join("nvcc")).find(|nvcc| nvcc.is_file())?;
    Some(nvcc.canonicalize().ok()?.parent()?.parent()?.to_owned())
}

/// target/cuda-toolkit.
fn assembled() -> Result<PathBuf> {
    let folder = std::path::absolute(paths::root().join("target/cuda-toolkit"))?;
    if !folder.join("env").is_file() {
        println!("no CUDA toolkit here: {} is put together of NVIDIA's wheels, 2 GB", folder.display());
        let made = steps::run(Command::new("bash").args(["-c", ASSEMBLE, "toolkit.sh"]).arg(&folder));
        if let Err(error) = made {
            bail!("{error}: expected --toolkit or CUDA_PATH to name a CUDA 13 toolkit with cuDNN, or PyPI in reach")
        }
    }
    Ok(folder)
}
