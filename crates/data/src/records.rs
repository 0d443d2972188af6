//! Reads, checks and hashes the bytes of CIFAR's binary files.

use crate::{Error, Release, ReleasePart};
use candle_core::Result;
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

/// Three channels of 32×32 pixels.
pub(crate) const IMAGE_BYTES: usize = 3 * 32 * 32;

/// All records of the file at `path`, which must contain as many as `part` states and nothing else. Never reads
/// further.
pub(crate) fn read_records(path: &Path, release: &Release, part: &ReleasePart) -> Result<Vec<u8>> {
    let shown = path.display();
    let Release { name, folder, .. } = release;
    let named = |error: std::io::Error| candle_core::Error::from(error).context(format!("cannot read {shown}"));
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => {
            let inner = path.parent().unwrap_or(Path::new(""));
            let dir = if inner.ends_with(folder) { inner.parent().unwrap_or(Path::new("")) } else { inner };
            let instead = release.found_instead(dir).filter(|_| !inner.is_dir() || dir == inner);
            let advice = format!(
                "{}: `msharp data fetch {name} --data-dir {}` downloads it, or name the folder that holds {folder} \
                 with --data-dir",
                instead.map_or(String::new(), |instead| format!(" ({instead})")),
                dir.display()
            );
            return Err(Error::MissingFile { path: path.to_path_buf(), advice }.into());
        }
        Err(error) => return Err(named(error)),
    };
    let expected = part.records * release.record_len();
    let found = file.metadata().map_err(named)?.len();
    if found != expected as u64 {
        let advice = format!(
            ", {} records of {}: `msharp data fetch {name}` downloads it again",
            part.records,
            release.record_len()
        );
        let expected = expected as u64;
        return Err(Error::WrongLength { path: path.to_path_buf(), found, expected, advice }.into());
    }
    let mut records = vec![0; expected];
    file.read_exact(&mut records).map_err(named)?;
    check_labels(&records, release).map_err(|error| error.context(format!("in {shown}")))?;
    Ok(records)
}

/// # Errors
/// If a label is out of its range; names it and its record.
pub(crate) fn check_labels(records: &[u8], release: &Release) -> Result<()> {
    for (i, record) in records.chunks_exact(release.record_len()).enumerate() {
        for (&value, label) in record.iter().zip(release.labels) {
            if value as usize >= label.classes {
                let which = format!("record {i} has {}", label.column);
                return Err(Error::UnknownLabel { which, label: value.into(), classes: label.classes }.into());
            }
        }
    }
    Ok(())
}

/// SHA-256 of the sorted SHA-256 of the records, in hexadecimal: the same for the same records in any order.
pub(crate) fn content_digest(records: &[u8], record_len: usize) -> String {
    let mut digests: Vec<[u8; 32]> = records.par_chunks(record_len).map(|r| Sha256::digest(r).into()).collect();
    digests.sort_unstable();
    Sha256::digest(digests.as_flattened()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Record `i` of a made-up part: every pixel differs from its neighbours, each label is 10·(its position) + i.
    pub(crate) fn record(release: &Release, i: usize) -> Vec<u8> {
        let labels = (0..release.labels.len()).map(|l| (10 * l + i) as u8);
        labels.chain((0..IMAGE_BYTES).map(|p| (p * 7 + p / 32 * 5 + i * 31) as u8)).collect()
    }

    /// Writes a release of a few records in the place of `release`'s, and returns its description.
    pub(crate) fn write_small(dir: &Path, release: Release) -> Release {
        let mut small = release;
        let inner = dir.join(small.folder);
        std::fs::create_dir_all(&inner).unwrap();
        (small.train.records, small.test.records) = (3, 2);
        for mut part in [small.train.clone(), small.test.clone()] {
            let file: Vec<u8> = (0..part.records).flat_map(|i| record(&small, i)).collect();
            for name in part.files {
                std::fs::write(inner.join(name), &file).unwrap();
            }
            part.digest = content_digest(&file.repeat(part.files.len()), small.record_len());
            if part.name == "train" { small.train = part } else { small.test = part }
        }
        small
    }

    #[test]
    fn the_digest_is_that_of_the_sorted_digests() {
        // printf a | sha256sum and so on: ca97…, 3e23…; then the two as bytes, in order
        let (a, b) = (Sha256::digest(b"a"), Sha256::digest(b"b"));
        assert!(b < a);
        let expected: String = Sha256::digest([b, a].concat()).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(content_digest(b"ab", 1), expected);
        assert_eq!(content_digest(b"ba", 1), expected);
        assert_ne!(content_digest(b"aa", 1), expected);
    }
}
