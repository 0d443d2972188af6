//! Where things are in the workspace.

use std::path::PathBuf;

/// The root of the workspace that `cargo xtask` was called in; the current folder if the binary is run by itself.
pub fn root() -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    manifest.and_then(|folder| Some(folder.parent()?.to_owned())).unwrap_or_else(|| PathBuf::from("."))
}

/// The committed rows, and the plots made of them.
pub fn results() -> PathBuf {
    root().join("xtask/results")
}

/// Where CIFAR is looked for and fetched to.
pub fn datasets() -> PathBuf {
    root().join("datasets")
}

/// Where runs keep checkpoints, logs and rows.
pub fn runs() -> PathBuf {
    root().join("runs")
}
