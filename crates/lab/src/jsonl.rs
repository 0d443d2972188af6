//! Files of rows: one JSON value a line, whole at every moment.

use anyhow::{Context, Result};
use msharp_core::write_aside;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{ErrorKind, Write};
use std::path::Path;

/// All rows of a file; none if it does not exist. `of` says in errors what they are rows of.
///
/// # Errors
/// Names the file and the line that is no row.
pub fn read<T: DeserializeOwned>(path: &Path, of: &str) -> Result<Vec<T>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let parse = |(i, line): (usize, &str)| {
        serde_json::from_str(line).with_context(|| format!("{} line {} is no row of {of}", path.display(), i + 1))
    };
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(parse).collect()
}

/// Adds a row to `rows`, replacing the one that is `same`, and makes them the rows of a file.
pub fn record<T: Serialize + DeserializeOwned>(
    path: &Path,
    mut rows: Vec<T>,
    row: T,
    same: impl Fn(&T, &T) -> bool,
) -> Result<()> {
    match rows.iter_mut().find(|known| same(known, &row)) {
        Some(known) => *known = row,
        None => rows.push(row),
    }
    write(path, &rows)
}

/// A value as a line of JSON that can be read again: JSON has no infinity, and a `null` in its place is no number.
///
/// # Errors
/// If what was written would not be read.
pub fn line<T: Serialize + DeserializeOwned>(value: &T) -> Result<String> {
    let line = serde_json::to_string(value)?;
    serde_json::from_str::<T>(&line).with_context(|| {
        format!("a number that is not finite cannot be written, since it could not be read back: {line}")
    })?;
    Ok(line)
}

/// Makes `rows` the rows of a file.
///
/// # Errors
/// As [`line()`]; the file is then as it was.
pub fn write<T: Serialize + DeserializeOwned>(path: &Path, rows: &[T]) -> Result<()> {
    let lines: Vec<String> =
        rows.iter().map(line).collect::<Result<_>>().with_context(|| path.display().to_string())?;
    Ok(write_aside(path, |file| Ok(writeln!(file, "{}", lines.join("\n"))?))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn what_could_not_be_read_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        let row = |value: f64| BTreeMap::from([("x".to_owned(), value)]);
        write(&path, &[row(1.)]).unwrap();
        for bad in [f64::NAN, f64::INFINITY] {
            let error = format!("{:#}", write(&path, &[row(1.), row(bad)]).unwrap_err());
            assert!(error.contains("rows.jsonl") && error.contains("not finite"), "{error}");
        }
        assert_eq!(read::<BTreeMap<String, f64>>(&path, "a test").unwrap(), [row(1.)]);
    }
}
