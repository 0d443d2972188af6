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
pub fn record<T: Serialize>(path: &Path, mut rows: Vec<T>, row: T, same: impl Fn(&T, &T) -> bool) -> Result<()> {
    match rows.iter_mut().find(|known| same(known, &row)) {
        Some(known) => *known = row,
        None => rows.push(row),
    }
    write(path, &rows)
}

/// Makes `rows` the rows of a file.
pub fn write<T: Serialize>(path: &Path, rows: &[T]) -> Result<()> {
    let lines: Vec<String> = rows.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
    Ok(write_aside(path, |file| Ok(writeln!(file, "{}", lines.join("\n"))?))?)
}
