//! The numbers of leases, each a file `NAME.N` that one process creates and that says who it is.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Who has a lease: the content of its file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Holder {
    /// The machine.
    pub host: String,
    /// The process there.
    pub process: u32,
    /// Without a renewal for so many seconds, the lease is over.
    pub seconds: f64,
    /// Whether it was given back.
    pub is_free: bool,
}

impl Holder {
    /// This process.
    pub fn this(time: Duration) -> Self {
        let host = sysinfo::System::host_name().unwrap_or_else(|_| "an unknown machine".to_owned());
        Self { host, process: std::process::id(), seconds: time.as_secs_f64(), is_free: false }
    }
}

impl Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} on {}", self.process, self.host)
    }
}

/// Creates the file of the number after `number`, unless it or a higher one is there; whether it did.
pub fn advance(folder: &Path, name: &str, number: u64, holder: &Holder) -> Result<bool> {
    let path = file(folder, name, number + 1);
    let named = || format!("cannot write {}", path.display());
    let text = serde_json::to_string(holder)?;
    let written = match File::create_new(&path) {
        Ok(mut file) => file.write_all(text.as_bytes()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => Err(error),
    };
    if written.is_err() {
        let _ = std::fs::remove_file(&path); // the number is not taken, and the next renewal tries it again
    }
    written.with_context(named)?;
    let all = numbers(folder)?.remove(name).unwrap_or_default();
    let remove = |number: u64| match std::fs::remove_file(file(folder, name, number)) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", file(folder, name, number).display()))
        }
        _ => Ok(()),
    };
    // Numbers far below the highest are gone, so that one of them can be created again: it is no lease.
    if all.last().is_some_and(|highest| *highest > number + 1) {
        remove(number + 1)?;
        return Ok(false);
    }
    // The one before stays: a folder that is read while a file is created may show it or not.
    all.into_iter().filter(|old| *old < number).try_for_each(remove)?;
    Ok(true)
}

/// The file of a number.
pub fn file(folder: &Path, name: &str, number: u64) -> PathBuf {
    folder.join(format!("{name}.{number}"))
}

/// The numbers of each lease in a folder, in ascending order.
pub fn numbers(folder: &Path) -> Result<BTreeMap<String, Vec<u64>>> {
    let named = || format!("cannot read the folder {}", folder.display());
    let mut all: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for entry in std::fs::read_dir(folder).with_context(named)? {
        let file = entry.with_context(named)?.file_name();
        let parts = file.to_str().and_then(|file| file.rsplit_once('.'));
        if let Some((name, number)) = parts.and_then(|(name, number)| Some((name, number.parse().ok()?))) {
            all.entry(name.to_owned()).or_default().push(number);
        }
    }
    all.values_mut().for_each(|numbers| numbers.sort_unstable());
    Ok(all)
}

/// The highest number of a lease.
pub fn highest(folder: &Path, name: &str) -> Result<Option<u64>> {
    Ok(numbers(folder)?.remove(name).and_then(|all| all.last().copied()))
}

/// Who wrote the file of a number; none while it is being written, or if it is gone because there is a higher one.
pub fn read(path: &Path) -> Result<Option<Holder>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(serde_json::from_str(&text).ok()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Who has the lease of `name` in `folder`, by its highest number, which may be one that ran out; none if it is free or
/// there is no such folder.
///
/// # Errors
/// Names the folder or the file that cannot be read.
pub fn holder_of(folder: &Path, name: &str) -> Result<Option<Holder>> {
    if !folder.exists() {
        return Ok(None);
    }
    let holder = highest(folder, name)?.map_or(Ok(None), |number| read(&file(folder, name, number)))?;
    Ok(holder.filter(|holder| !holder.is_free))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(60);

    #[test]
    fn a_number_is_created_once_and_never_below_the_highest() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let own = Holder::this(TIME);
        let all = || numbers(folder).unwrap().remove("a.run").unwrap();
        let up = |number| advance(folder, "a.run", number, &own).unwrap();
        assert!(up(0) && !up(0) && up(1));
        assert_eq!(all(), [1, 2], "the one before stays");
        assert!((2..11).all(up));
        assert_eq!((all(), highest(folder, "a.run").unwrap()), (vec![10, 11], Some(11)));
        assert!(!up(4) && !up(9), "5 is gone, and 10 is there");
        assert_eq!(all(), [10, 11], "5 is gone again");
        assert_eq!(read(&file(folder, "a.run", 11)).unwrap(), Some(own));
    }

    #[test]
    fn the_holder_is_who_wrote_the_highest_number() {
        let folder = tempfile::tempdir().unwrap();
        let (folder, own) = (folder.path(), Holder::this(TIME));
        assert_eq!(holder_of(&folder.join("none"), "run").unwrap(), None);
        assert_eq!(holder_of(folder, "run").unwrap(), None);
        std::fs::write(folder.join("a file of something else"), "").unwrap();
        assert!(advance(folder, "run", 9, &own).unwrap());
        assert_eq!(holder_of(folder, "run").unwrap(), Some(own.clone()));
        assert!(advance(folder, "run", 10, &Holder { is_free: true, ..own }).unwrap());
        assert_eq!(holder_of(folder, "run").unwrap(), None);
    }

    #[test]
    fn a_folder_that_is_gone_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let gone = folder.path().join("gone");
        let error = advance(&gone, "run", 0, &Holder::this(TIME)).unwrap_err();
        assert!(error.to_string().contains("gone") && error.to_string().contains("run.1"), "{error}");
        assert!(numbers(&gone).unwrap_err().to_string().contains("gone"));
    }
}
