//! The shards that a text names: a folder, a file, or a pattern with braces and a star as bash expands it.

use crate::Error;
use crate::error::wrong;
use candle_core::Result;
use std::path::{Path, PathBuf};

/// More shards than this are taken for a mistake.
const MOST: usize = 1_000_000;

/// The files that end in `.ENDING` at `place`; at least one path, in order.
pub(crate) fn files(place: &str, ending: &str) -> Result<Vec<PathBuf>> {
    let folder = Path::new(place);
    let is_shard = |name: &str| Path::new(name).extension().is_some_and(|found| found.eq_ignore_ascii_case(ending));
    if folder.is_dir() {
        return matching(folder, is_shard).and_then(|paths| match paths.is_empty() {
            false => Ok(paths),
            true => Err(wrong(folder, format!("it has no shards, expected *.{ending}"))),
        });
    }
    let mut paths = Vec::new();
    for path in expand(place).unwrap_or_default().iter().map(Path::new) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        match name.split_once('*') {
            None => paths.push(path.to_path_buf()),
            Some((start, end)) => {
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
                let fits = |n: &str| n.len() + 1 >= name.len() && n.starts_with(start) && n.ends_with(end);
                paths.extend(matching(folder, fits)?);
            }
        }
    }
    match paths.is_empty() {
        false => Ok(paths),
        true => Err(Error::InvalidArgument(format!(
            "{place:?} names no shards, expected a folder with *.{ending}, a file, or a pattern of at most {MOST} files \
             like train-*.{ending} or train-{{000..146}}.{ending}"
        ))
        .into()),
    }
}

/// The entries of `folder` whose names fit and do not begin with a dot, in the order of their names.
fn matching(folder: &Path, fits: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
    let failed = |error: std::io::Error| wrong(folder, format!("cannot read the folder: {error}"));
    let entries = std::fs::read_dir(folder).map_err(failed)?;
    let mut names = entries.map(|entry| Ok(entry?.file_name())).collect::<std::io::Result<Vec<_>>>().map_err(failed)?;
    names.retain(|name| name.to_str().is_some_and(|name| fits(name) && !name.starts_with('.')));
    names.sort_unstable();
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
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
            let error = files(wrong, "tar").unwrap_err();
            assert!(matches!(Error::of(&error), Some(Error::InvalidArgument(_))), "{error}");
            assert!(error.to_string().contains(&format!("{wrong:?} names no shards")), "{error}");
        }
    }

    #[test]
    fn a_folder_and_a_star_have_the_files_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().to_str().unwrap();
        let found = |place: &str| files(place, "tar");
        assert!(found(place).unwrap_err().to_string().contains("expected *.tar"));
        for name in ["b.tar", "a.TAR", "c.txt", "._b.tar", "b-b.tar"] {
            std::fs::write(folder.path().join(name), b"").unwrap();
        }
        let paths = |names: &[&str]| names.iter().map(|name| folder.path().join(name)).collect::<Vec<_>>();
        assert_eq!(found(place).unwrap(), paths(&["a.TAR", "b-b.tar", "b.tar"]));
        assert_eq!(found(&format!("{place}/b*.tar")).unwrap(), paths(&["b-b.tar", "b.tar"]));
        assert_eq!(found(&format!("{place}/b*b.tar")).unwrap(), paths(&["b-b.tar"]), "a star is no letter twice");
        assert_eq!(found(&format!("{place}/{{c,b}}*")).unwrap(), paths(&["c.txt", "b-b.tar", "b.tar"]));
        for none in ["x*.tar", "{x,y}*.tar"] {
            assert!(found(&format!("{place}/{none}")).unwrap_err().to_string().contains("names no shards"));
        }
        assert!(found(&format!("{place}/no/x*.tar")).unwrap_err().to_string().contains("cannot read the folder"));
    }
}
