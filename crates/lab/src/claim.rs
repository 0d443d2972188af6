//! A run's folder belongs to one process at a time.

use anyhow::{Context, Result, bail};
use std::fs::{File, TryLockError};
use std::path::Path;

/// Makes the folder, locks it for as long as the returned file is open, and removes what a process that was killed
/// while it wrote a file left behind.
///
/// # Errors
/// Names the folder: it cannot be written, or another process is at work in it.
pub fn claim(folder: &Path) -> Result<File> {
    let named = || format!("cannot write into {}", folder.display());
    std::fs::create_dir_all(folder).with_context(named)?;
    let lock = File::create(folder.join(".lock")).with_context(named)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            bail!("{} is in use by another process; expected to be alone there, or another --out", folder.display())
        }
        Err(TryLockError::Error(error)) => return Err(error).with_context(named),
    }
    for entry in std::fs::read_dir(folder).with_context(named)? {
        let entry = entry.with_context(named)?;
        if entry.file_name().to_string_lossy().starts_with(".writing-") {
            std::fs::remove_file(entry.path()).with_context(named)?;
        }
    }
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_owner_and_no_leftovers() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("deep/run");
        let first = claim(&run).unwrap();
        std::fs::write(run.join(".writing-x"), b"half").unwrap();
        std::fs::write(run.join("log.jsonl"), b"whole").unwrap();
        assert!(claim(&run).unwrap_err().to_string().contains("in use by another process"));
        drop(first);
        let _second = claim(&run).unwrap();
        assert!(!run.join(".writing-x").exists() && run.join("log.jsonl").exists());
    }
}
