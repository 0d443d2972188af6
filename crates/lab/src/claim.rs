//! A folder belongs to one process at a time, or to several that share it.

use anyhow::{Context, Result, bail};
use std::fs::{File, OpenOptions, TryLockError};
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
    remove_unfinished(folder)?;
    Ok(lock)
}

/// Makes the folder and keeps processes out that must be [alone](claim) there, where the file system has locks, for as
/// long as the returned file is open. Those that share a folder do not rely on it.
///
/// # Errors
/// Names the folder: it cannot be written, or a process is alone at work in it.
pub fn share(folder: &Path) -> Result<File> {
    let named = || format!("cannot write into {}", folder.display());
    std::fs::create_dir_all(folder).with_context(named)?;
    let lock = OpenOptions::new().read(true).append(true).create(true).open(folder.join(".lock"));
    let lock = lock.with_context(named)?;
    if let Err(TryLockError::WouldBlock) = lock.try_lock_shared() {
        bail!("{} is in use by a process without --shared; expected none, or another --out", folder.display())
    }
    Ok(lock)
}

/// Removes what a process left behind that ended while it wrote a file in `folder`.
///
/// # Errors
/// Names the folder, which cannot be read or written.
pub fn remove_unfinished(folder: &Path) -> Result<()> {
    let named = || format!("cannot write into {}", folder.display());
    for entry in std::fs::read_dir(folder).with_context(named)? {
        let entry = entry.with_context(named)?;
        if entry.file_name().to_string_lossy().starts_with(".writing-") {
            std::fs::remove_file(entry.path()).with_context(named)?;
        }
    }
    Ok(())
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

    #[test]
    fn a_folder_is_one_processs_or_that_of_several_who_share_it() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (share(folder.path()).unwrap(), share(folder.path()).unwrap());
        drop(first);
        assert!(claim(folder.path()).is_err());
        drop(second);
        let alone = claim(folder.path()).unwrap();
        assert!(share(folder.path()).unwrap_err().to_string().contains("without --shared"));
        drop(alone);
        share(folder.path()).unwrap();
    }
}
