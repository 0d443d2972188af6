//! A file in parts: bytes one after the other, `name.00`, `name.01`, …; `cat` joins them.

use anyhow::{Context, Result};
use std::fs::File;
use std::io::{BufReader, Read, copy};
use std::path::{Path, PathBuf};

/// Writes the parts of `file`, each of at most `size` bytes, beside it, and returns their names. Old parts are removed.
pub fn split(file: &Path, size: u64) -> Result<Vec<PathBuf>> {
    for old in (0..100).map(|k| part(file, k)).filter(|old| old.exists()) {
        std::fs::remove_file(&old).with_context(|| format!("cannot remove {}", old.display()))?;
    }
    let total = file.metadata().with_context(|| format!("cannot read {}", file.display()))?.len();
    let mut source = BufReader::new(File::open(file).with_context(|| format!("cannot read {}", file.display()))?);
    let mut parts = Vec::new();
    while parts.is_empty() || (parts.len() as u64) * size < total {
        let path = part(file, parts.len());
        let mut out = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        copy(&mut source.by_ref().take(size), &mut out).with_context(|| format!("cannot write {}", path.display()))?;
        parts.push(path);
    }
    Ok(parts)
}

fn part(file: &Path, k: usize) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{k:02}"));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_joined_in_the_order_of_their_names_are_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("data.tar.xz");
        for (len, size, count) in [(1000, 300, 4), (900, 300, 3), (10, 300, 1), (0, 300, 1)] {
            let bytes: Vec<u8> = (0..len).map(|i| (i * 7 % 251) as u8).collect();
            std::fs::write(&file, &bytes).unwrap();
            let parts = split(&file, size).unwrap();
            assert_eq!(parts.len(), count);
            let mut names: Vec<PathBuf> =
                std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().path()).collect();
            names.sort();
            names.retain(|name| *name != file);
            assert_eq!(names, parts, "those of a longer file are gone");
            let joined: Vec<u8> = names.iter().flat_map(|name| std::fs::read(name).unwrap()).collect();
            assert_eq!(joined, bytes);
            assert!(parts.iter().all(|part| part.metadata().unwrap().len() <= size));
        }
        assert_eq!(part(&file, 3).file_name().unwrap(), "data.tar.xz.03");
    }
}
