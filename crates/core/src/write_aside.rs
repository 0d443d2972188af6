//! Files that are either whole or not there.

use candle_core::{Error, Result};
use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use tempfile::NamedTempFile;

/// Writes a file beside its final place, flushes it to the disk and renames it; the folder is made if it is missing.
///
/// Whatever happens in between, `path` holds either what it held before or all of what `write` wrote.
///
/// # Errors
/// Names the file.
pub fn write_aside(path: &Path, write: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
    let io = |error: std::io::Error| cannot_write(path, error.into());
    written(path, write)?.persist(path).map_err(|e| io(e.error))?;
    sync_folder(path).map_err(io)
}

/// As [`write_aside`], unless there is a file at `path`, which is kept; whether it was written. Of several processes on
/// any number of machines that write one path, one does.
///
/// # Errors
/// Names the file.
pub fn write_once(path: &Path, write: impl FnOnce(&mut File) -> Result<()>) -> Result<bool> {
    let io = |error: std::io::Error| cannot_write(path, error.into());
    match written(path, write)?.persist_noclobber(path) {
        Ok(_) => sync_folder(path).map(|()| true).map_err(io),
        Err(kept) if kept.error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(failed) => Err(io(failed.error)),
    }
}

/// The file beside `path`, on the disk.
fn written(path: &Path, write: impl FnOnce(&mut File) -> Result<()>) -> Result<NamedTempFile> {
    let io = |error: std::io::Error| cannot_write(path, error.into());
    let mut aside = beside(path).map_err(io)?;
    write(aside.as_file_mut()).map_err(|error| cannot_write(path, error))?;
    aside.as_file().sync_all().map_err(io)?;
    Ok(aside)
}

/// A rename reaches the disk with its folder.
fn sync_folder(path: &Path) -> std::io::Result<()> {
    if cfg!(unix) { File::open(folder_of(path))?.sync_all() } else { Ok(()) }
}

fn cannot_write(path: &Path, error: Error) -> Error {
    error.context(format!("cannot write {}", path.display()))
}

/// Tries whether [`write_aside`] can write `path`: what would fail after hours of work fails before it. `path` is left
/// as it is, and never there for a moment, when another process may look for it; its folder is made.
///
/// # Errors
/// Names the file: its folder cannot be made or written, or there is a folder in its place.
pub fn check_writable(path: &Path) -> Result<()> {
    let named = |error: std::io::Error| cannot_write(path, error.into());
    beside(path).map(drop).map_err(named)?; // the temporary file is removed again
    // And the name itself: too long, empty, or that of something which is no file.
    let is_folders = path.as_os_str().to_string_lossy().ends_with(std::path::is_separator);
    match path.symlink_metadata() {
        Ok(_) if path.is_file() => Ok(()),
        Ok(_) if path.is_dir() => {
            Err(named(std::io::Error::new(ErrorKind::IsADirectory, "there is a folder in its place")))
        }
        Ok(_) => Err(named(std::io::Error::new(ErrorKind::AlreadyExists, "there is something else in its place"))),
        Err(error) if error.kind() != ErrorKind::NotFound => Err(named(error)),
        Err(_) if is_folders || path.file_name().is_none() => {
            Err(named(std::io::Error::new(ErrorKind::InvalidInput, "that is no name of a file")))
        }
        Err(_) => Ok(()),
    }
}

/// A new file in the folder of `path`, which is made if it is missing.
fn beside(path: &Path) -> std::io::Result<NamedTempFile> {
    let folder = folder_of(path);
    std::fs::create_dir_all(folder)?;
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)] // what any new file has, less the umask; a temporary file is its owner's alone otherwise
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.prefix(".writing-").tempfile_in(folder)
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/x");
        write_aside(&path, |f| Ok(f.write_all(b"old")?)).unwrap();
        let failed = write_aside(&path, |f| {
            f.write_all(b"ne")?;
            candle_core::bail!("power cut")
        });
        assert!(failed.unwrap_err().to_string().contains("deep/x"));
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(folder.path().join("deep")).unwrap().count(), 1);
    }

    #[test]
    fn of_all_who_write_a_path_once_one_does_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/x");
        let text = |k: usize| k.to_string().repeat(10_000);
        let written: Vec<usize> = std::thread::scope(|scope| {
            let write = |k| write_once(&path, |f| Ok(f.write_all(text(k).as_bytes())?)).unwrap().then_some(k);
            let all: Vec<_> = (0..8).map(|k| scope.spawn(move || write(k))).collect();
            all.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(written.len(), 1);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text(written[0]));
        assert_eq!(std::fs::read_dir(folder.path().join("deep")).unwrap().count(), 1);
    }

    #[test]
    #[cfg(unix)]
    fn others_may_read_it_as_any_new_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let mode = |name: &str| folder.path().join(name).metadata().unwrap().permissions().mode();
        std::fs::write(folder.path().join("plain"), b"").unwrap();
        write_aside(&folder.path().join("aside"), |_| Ok(())).unwrap();
        assert_eq!(mode("aside"), mode("plain"));
    }

    #[test]
    fn what_cannot_be_written_is_found_before_it_is_and_nothing_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("file"), b"old").unwrap();
        check_writable(&path("file")).unwrap();
        check_writable(&path("new/deep/x")).unwrap();
        assert_eq!(std::fs::read(path("file")).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(path("new/deep")).unwrap().count(), 0);
        let long = "x".repeat(300);
        for wrong in ["file/x", "new/deep", "new/none/", &long, "a\0b"] {
            let error = check_writable(&path(wrong)).unwrap_err().to_string();
            assert!(error.contains(wrong), "{error}");
        }
        assert!(check_writable(Path::new("")).is_err() && check_writable(Path::new("/dev/null")).is_err());
    }

    /// Ranks of a run look for its checkpoint while rank 0 tries whether it can be written.
    #[test]
    fn a_file_that_is_tried_is_never_there() {
        use std::sync::atomic::{AtomicBool, Ordering};
        let folder = tempfile::tempdir().unwrap();
        let (path, is_over) = (folder.path().join("checkpoint"), AtomicBool::new(false));
        let seen = std::thread::scope(|scope| {
            let looks = scope.spawn(|| {
                let look = || path.exists();
                std::iter::repeat_with(look).take_while(|_| !is_over.load(Ordering::Relaxed)).any(|is_there| is_there)
            });
            (0..2000).for_each(|_| check_writable(&path).unwrap());
            is_over.store(true, Ordering::Relaxed);
            looks.join().unwrap()
        });
        assert!(!seen);
    }

    #[test]
    fn a_folder_that_cannot_be_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), b"").unwrap();
        let error = write_aside(&folder.path().join("file/x"), |_| Ok(())).unwrap_err();
        assert!(error.to_string().contains("file/x"), "{error}");
    }
}
