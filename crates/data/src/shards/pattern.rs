//! The shards that a text names: a folder, a file, or a pattern in braces as bash expands it.

use super::wrong;
use crate::Error;
use candle_core::Result;
use std::path::{Path, PathBuf};

/// More shards than this are taken for a mistake.
const MOST: usize = 1_000_000;

/// At least one path, in order.
pub(super) fn shards(place: &str) -> Result<Vec<PathBuf>> {
    let folder = Path::new(place);
    if !folder.is_dir() {
        let expanded = expand(place).filter(|paths| !paths.is_empty());
        let paths = expanded.ok_or_else(|| {
            let text = format!(
                "{place:?} names no shards, expected a folder, a tar file, or a pattern like train-{{000..146}}.tar of \
                 at most {MOST} files"
            );
            candle_core::Error::from(Error::InvalidArgument(text))
        })?;
        return Ok(paths.into_iter().map(PathBuf::from).collect());
    }
    let failed = |error: std::io::Error| wrong(folder, format!("cannot read the folder: {error}"));
    let entries = std::fs::read_dir(folder).map_err(failed)?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>().map_err(failed)?;
    let hidden = |path: &Path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    paths.retain(|path| path.extension().is_some_and(|e| e.eq_ignore_ascii_case("tar")) && !hidden(path));
    paths.sort_unstable();
    match paths.is_empty() {
        false => Ok(paths),
        true => Err(wrong(folder, "it has no shards, expected *.tar".into())),
    }
}

/// All texts of a pattern, the last braces changing first; none if it is malformed, or there are too many.
fn expand(pattern: &str) -> Option<Vec<String>> {
    let Some((before, rest)) = pattern.split_once('{') else {
        return (!pattern.contains('}')).then(|| vec![pattern.to_owned()]);
    };
    let (inside, after) = rest.split_once('}')?;
    let (choices, after) = (choices(inside)?, expand(after)?);
    if choices.len().checked_mul(after.len())? > MOST {
        return None;
    }
    let each = |choice: &String| after.iter().map(|after| format!("{before}{choice}{after}")).collect::<Vec<_>>();
    Some(choices.iter().flat_map(each).collect())
}

/// What is between braces: `first..last`, padded with zeros if a bound is, or a list with commas.
fn choices(inside: &str) -> Option<Vec<String>> {
    let Some((first, last)) = inside.split_once("..") else {
        let list: Vec<String> = inside.split(',').map(str::to_owned).collect();
        return (list.len() > 1).then_some(list);
    };
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<usize>().ok())?;
    let padded = [first, last].iter().any(|bound| bound.len() > 1 && bound.starts_with('0'));
    let width = if padded { first.len().max(last.len()) } else { 0 };
    let (first, last) = (number(first)?, number(last)?);
    (first <= last && last - first < MOST).then(|| (first..=last).map(|n| format!("{n:0width$}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_expand_as_in_bash() {
        for (pattern, expected) in [
            ("a.tar", &["a.tar"][..]),
            ("x/a-{08..11}.tar", &["x/a-08.tar", "x/a-09.tar", "x/a-10.tar", "x/a-11.tar"]),
            ("{8..10}", &["8", "9", "10"]),
            ("{a,b,}-{0..1}", &["a-0", "a-1", "b-0", "b-1", "-0", "-1"]),
            ("{000..000}.tar", &["000.tar"]),
        ] {
            assert_eq!(expand(pattern).unwrap(), expected, "{pattern}");
        }
        let wrong =
            ["{", "}", "a{b}", "{}", "{2..1}", "{a..b}", "{-1..2}", "{0..99999999}", "{0..9999}{0..9999}", "{..}"];
        for wrong in wrong.into_iter().chain(["{0..99999999999999999999}", "{+1..2}"]) {
            assert_eq!(expand(wrong), None, "{wrong}");
            let error = shards(wrong).unwrap_err();
            assert!(matches!(Error::of(&error), Some(Error::InvalidArgument(_))), "{error}");
            assert!(error.to_string().contains(&format!("{wrong:?} names no shards")), "{error}");
        }
    }

    #[test]
    fn a_folder_has_its_tar_files_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().to_str().unwrap();
        assert!(shards(place).unwrap_err().to_string().contains("expected *.tar"));
        for name in ["b.tar", "a.TAR", "c.txt", "._b.tar"] {
            std::fs::write(folder.path().join(name), b"").unwrap();
        }
        assert_eq!(shards(place).unwrap(), ["a.TAR", "b.tar"].map(|name| folder.path().join(name)));
    }
}
