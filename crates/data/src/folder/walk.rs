//! The search of a folder of classes, in the order of torchvision.

use super::listing::{INDEX, Listing, unreadable};
use crate::decode::ENDINGS;
use crate::error::wrong;
use crate::index::changed;
use crate::names::Names;
use candle_core::Result;
use std::path::{Path, PathBuf};

/// The entries of one folder, each list in the order of names.
#[derive(Debug, Default)]
pub(super) struct Entries {
    pub folders: Vec<String>,
    pub pictures: Vec<String>,
    /// All else that does not begin with a dot.
    pub others: Vec<String>,
    /// How many begin with a dot.
    pub hidden: usize,
}

/// # Errors
/// [`Error::WrongFolder`](crate::Error) if the folder cannot be read, or a name in it is not UTF-8.
pub(super) fn entries(folder: &Path) -> Result<Entries> {
    let failed = |error: std::io::Error| unreadable(folder, &error);
    let mut found = Entries::default();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().into_string().map_err(|name| {
            wrong(folder, format!("the name {:?} in it is not UTF-8, expected UTF-8", name.to_string_lossy()))
        })?;
        let kind = entry.file_type().map_err(failed)?;
        // A link whose target is gone counts as a file, so that reading the picture names it.
        let target = kind.is_symlink().then(|| std::fs::metadata(entry.path()).ok()).flatten();
        let is_folder = kind.is_dir() || target.as_ref().is_some_and(|target| target.is_dir());
        let is_file = kind.is_file() || kind.is_symlink() && target.is_none_or(|target| target.is_file());
        if name.starts_with('.') {
            found.hidden += usize::from(name != INDEX);
        } else if is_folder {
            found.folders.push(name);
        } else if is_file && is_picture(&name) {
            found.pictures.push(name);
        } else {
            found.others.push(name);
        }
    }
    found.folders.sort_unstable();
    found.pictures.sort_unstable();
    Ok(found)
}

fn is_picture(name: &str) -> bool {
    let ending = Path::new(name).extension();
    ending.is_some_and(|ending| ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known)))
}

/// The ending in lower case with its dot; empty where there is none.
fn ending(name: &str) -> String {
    Path::new(name).extension().map_or(String::new(), |ending| format!(".{}", ending.display()).to_lowercase())
}

/// Searches all folders in `folder`, each of which is a class.
///
/// # Errors
/// As [`entries`]; also if a link leads to a folder that contains it.
pub(super) fn walk(folder: &Path) -> Result<Listing> {
    let top = entries(folder)?;
    let mut search = Search { root: folder, listing: Listing::default(), above: Vec::new() };
    search.leave_out(top.others.iter().chain(&top.pictures), top.hidden); // these pictures have no class
    let mut files = Names::default();
    for (label, class) in top.folders.iter().enumerate() {
        let mut found = Vec::new();
        search.descend(class, &mut found)?;
        found.sort_unstable(); // by the text of the path, as torchvision does
        for (path, pictures) in found {
            let inner = path[class.len()..].trim_start_matches('/');
            for picture in pictures {
                files.push(&if inner.is_empty() { picture } else { format!("{inner}/{picture}") });
                search.listing.labels.push(label as u32);
            }
        }
    }
    search.listing.labels.shrink_to_fit();
    Ok(Listing { classes: top.folders.iter().collect(), files: files.shrink(), ..search.listing })
}

struct Search<'a> {
    root: &'a Path,
    listing: Listing,
    /// The folders that contain the present one, without links.
    above: Vec<PathBuf>,
}

impl Search<'_> {
    fn leave_out<'n>(&mut self, others: impl Iterator<Item = &'n String>, hidden: usize) {
        others.for_each(|name| *self.listing.others.entry(ending(name)).or_default() += 1);
        self.listing.hidden += hidden;
    }

    /// Appends each folder at `path` and below it, with its pictures.
    fn descend(&mut self, path: &str, found: &mut Vec<(String, Vec<String>)>) -> Result<()> {
        let folder = self.root.join(path);
        let failed = |error: std::io::Error| unreadable(&folder, &error);
        let real = folder.canonicalize().map_err(failed)?;
        if self.above.contains(&real) {
            return Err(wrong(&folder, "it is a link to a folder that contains it".into()));
        }
        // Read before the entries, so that a change after it is noticed. Without a time the listing is never kept.
        let last = changed(&folder.metadata().map_err(failed)?).unwrap_or(i64::MAX);
        let entries = entries(&folder)?;
        self.listing.folders.push((path.to_owned(), last));
        self.leave_out(entries.others.iter(), entries.hidden);
        self.above.push(real);
        for inner in &entries.folders {
            self.descend(&format!("{path}/{inner}"), found)?;
        }
        self.above.pop();
        found.push((path.to_owned(), entries.pictures));
        Ok(())
    }
}
