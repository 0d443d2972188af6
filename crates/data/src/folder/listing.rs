//! The names of all files in a folder of classes: searched once, then taken from the index while it is fresh.

use super::found::{Found, few};
use super::walk::{entries, walk};
use crate::error::wrong;
use crate::index::{Places, changed, settled};
use crate::names::Names;
use candle_core::Result;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The name of the index.
pub(super) const INDEX: &str = ".msharp-index";

/// What a search of `FOLDER/CLASS/**` finds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Listing {
    /// In the order of their names.
    pub classes: Names,
    /// `[n]`, the class of each file.
    pub labels: Vec<u32>,
    /// `[n]`, from the folder of the class.
    pub files: Names,
    /// Each folder that was searched, from `FOLDER`, and when it was last changed.
    pub folders: Vec<(String, i64)>,
    /// As in [`Found`].
    pub others: BTreeMap<String, usize>,
    /// As in [`Found`].
    pub hidden: usize,
}

impl Listing {
    /// The listing of `folder` and the file in which it is kept.
    pub(super) fn of(folder: &Path) -> Result<(Self, Option<PathBuf>)> {
        let start = SystemTime::now();
        let classes = entries(folder)?.folders;
        let places = Places::new(folder, INDEX);
        let fresh = |listing: &Self| listing.is_sound() && listing.is_fresh(folder, &classes);
        if let Some((listing, path)) = places.find(fresh) {
            return Ok((listing, Some(path)));
        }
        let listing = walk(folder)?;
        let may_be_kept = listing.folders.iter().all(|&(_, changed)| settled(changed, start));
        let index = may_be_kept.then(|| places.keep(&listing)).flatten();
        Ok((listing, index))
    }

    /// Whether each label has a class and each file a label.
    fn is_sound(&self) -> bool {
        self.files.len() == self.labels.len() && self.labels.iter().all(|&label| (label as usize) < self.classes.len())
    }

    /// Whether `folder` has these classes, and no folder in it was changed. `folder` itself is changed by the index.
    fn is_fresh(&self, folder: &Path, classes: &[String]) -> bool {
        let last = |path: &str| changed(&folder.join(path).metadata().ok()?);
        self.classes.iter().eq(classes) && self.folders.iter().all(|(path, changed)| last(path) == Some(*changed))
    }

    pub(super) fn found(&self, index: Option<PathBuf>) -> Found {
        let mut counts = vec![0usize; self.classes.len()];
        self.labels.iter().for_each(|&label| counts[label as usize] += 1);
        let empty = self.classes.iter().zip(&counts).filter(|&(_, &count)| count == 0);
        Found {
            pictures: self.labels.len(),
            classes: self.classes.len(),
            others: self.others.clone(),
            hidden: self.hidden,
            empty: empty.map(|(class, _)| class.to_owned()).collect(),
            index,
        }
    }

    /// What this lacks, if it has no pictures, or none of some class.
    pub(super) fn lack(&self, folder: &Path, found: &Found) -> String {
        let expected = "expected FOLDER/CLASS/* with the pictures of each class";
        match found.empty.len() {
            _ if found.pictures == 0 => format!("{expected}; {}", shown(folder)),
            1 => format!("there are no pictures of the class {} ({found}); {expected}", found.empty[0]),
            n => format!("there are no pictures of {n} classes, {} ({found}); {expected}", few(&found.empty)),
        }
    }

    /// The first class that one of two listings lacks, and whether the first listing has it.
    pub(super) fn difference(&self, other: &Self) -> Option<(String, bool)> {
        let (mut ours, mut theirs) = (self.classes.iter(), other.classes.iter());
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) => return None,
                (Some(ours), Some(theirs)) if ours == theirs => {}
                (Some(ours), theirs) if theirs.is_none_or(|theirs| ours < theirs) => return Some((ours.into(), true)),
                (_, theirs) => return theirs.map(|theirs| (theirs.into(), false)),
            }
        }
    }
}

/// What is in a folder, for an error that says what was found.
pub(super) fn shown(folder: &Path) -> String {
    let entries = match entries(folder) {
        Ok(entries) => entries,
        Err(_) if folder.exists() => return "it cannot be read".into(),
        Err(_) => return "it does not exist".into(),
    };
    match (entries.folders.len(), entries.pictures.len()) {
        (0, 0) => "it has no folders".into(),
        (0, pictures) => format!("it has {pictures} pictures and no folders"),
        _ => format!("its folders are {}", few(&entries.folders)),
    }
}

/// What is wrong with a folder that cannot be read.
pub(super) fn unreadable(folder: &Path, error: &std::io::Error) -> candle_core::Error {
    wrong(folder, format!("cannot read the folder: {error}"))
}
