//! Where things are: in the workspace, if there is one, and otherwise in the current folder.

use std::path::{Path, PathBuf};

/// The workspace that the program was called in, or built by, if it is one of msharp's.
pub fn workspace() -> Option<PathBuf> {
    let starts = [std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from), std::env::current_dir().ok()];
    let is_workspace = |folder: &&Path| folder.join("crates/lab/Cargo.toml").is_file();
    starts.iter().flatten().find_map(|start| start.ancestors().find(is_workspace).map(Path::to_owned))
}

/// Its root; the current folder where there is none.
pub fn root() -> PathBuf {
    workspace().unwrap_or_else(|| PathBuf::from("."))
}

/// The committed rows, and the pages and plots that are made of them.
pub fn results() -> PathBuf {
    root().join("results")
}

/// Where CIFAR is looked for and fetched to.
pub fn datasets() -> PathBuf {
    root().join("datasets")
}

/// Where runs keep checkpoints, logs and rows.
pub fn runs() -> PathBuf {
    root().join("runs")
}
