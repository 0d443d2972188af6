//! A folder of photographs as a data set: `FOLDER/CLASS/**`, in the manner of torchvision's `ImageFolder`.

mod found;
mod listing;
mod walk;

pub use found::Found;
use listing::Listing;

use crate::error::wrong;
use crate::{Images, Picture};
use candle_core::Result;
use std::path::{Path, PathBuf};

/// The files with pictures in folders of classes, which stay on the disk.
///
/// A class is a folder in `FOLDER`; classes are numbered in the order of their names. Its pictures are all files in
/// it and in the folders below it that end in `.jpg`, `.jpeg`, `.png`, `.webp`, `.bmp`, `.ppm`, `.pgm`, `.tif` or
/// `.tiff`, in any case.
/// Links are followed. Order and labels are those of torchvision, except that names that begin with a dot are left out
/// here. [`found`](ImageFolder::found) says what was left out.
///
/// Memory holds a name, a label and eight bytes for each picture.
///
/// # The index
/// The first [`open`](ImageFolder::open) reads the names of all files and keeps them in `FOLDER/.msharp-index`, or in
/// the user's cache (`$XDG_CACHE_HOME` or `~/.cache`, then `msharp/index`) where that cannot be written. A later one
/// takes them from there if the names of the classes and the time of the last change of each folder in `FOLDER` are
/// what they were, so that a set of 1000 classes costs 1000 looks at a folder. What was changed less than two seconds
/// before the search is searched again. A file that is overwritten in place is not noticed and need not be, for
/// pictures are read when they are asked for.
///
/// # Errors
/// [`Error::WrongFolder`] if the folder is missing or has another layout; the text says what was found and what was
/// expected. [`Error::BrokenImage`] from [`picture`](Images::picture) names the file.
///
/// [`Error::WrongFolder`]: crate::Error::WrongFolder
/// [`Error::BrokenImage`]: crate::Error::BrokenImage
#[derive(Clone, Debug)]
pub struct ImageFolder {
    name: String,
    folder: PathBuf,
    listing: Listing,
    found: Found,
}

/// What to do with a folder of a class that has no pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EmptyClasses {
    /// It is an error, as in torchvision: a copy that broke off, most likely.
    #[default]
    Refuse,
    /// It is a class without pictures, and keeps its number.
    Keep,
}

/// The folder for training.
const TRAIN: &str = "train";
/// The folder for testing: the first of these that exists.
const TEST: [&str; 4] = ["val", "valid", "validation", "test"];

impl ImageFolder {
    /// The pictures of `FOLDER/CLASS/**`. Reads names, and decodes nothing.
    ///
    /// # Errors
    /// [`Error::WrongFolder`](crate::Error::WrongFolder); see [`ImageFolder`].
    pub fn open(folder: impl AsRef<Path>, empty: EmptyClasses) -> Result<Self> {
        let folder = folder.as_ref();
        let name = folder.file_name().map_or_else(|| folder.display().to_string(), |n| n.to_string_lossy().into());
        Self::named(name, folder, empty)
    }

    /// The pictures for training in `ROOT/train`, and those for testing in the first of `ROOT/val`, `valid`,
    /// `validation` and `test` that exists.
    ///
    /// # Errors
    /// [`Error::WrongFolder`](crate::Error::WrongFolder) also if a part is missing, or a class is in one part only: the
    /// first such class is named.
    pub fn split(root: impl AsRef<Path>, empty: EmptyClasses) -> Result<(Self, Self)> {
        let root = root.as_ref();
        let part = |names: &[&'static str]| names.iter().copied().find(|name| root.join(name).is_dir());
        let (Some(train), Some(test)) = (part(&[TRAIN]), part(&TEST)) else {
            let reason = format!(
                "expected ROOT/{TRAIN}/CLASS/* and ROOT/{}/CLASS/* with the pictures of each class; {}",
                TEST[0],
                listing::shown(root)
            );
            return Err(wrong(root, reason));
        };
        let open = |part: &str| {
            let root_name = root.file_name().map(|name| name.to_string_lossy().into_owned());
            let name = root_name.map_or(part.to_owned(), |root| format!("{root} {part}"));
            Self::named(name, &root.join(part), empty)
        };
        let parts = (open(train)?, open(test)?);
        match parts.0.listing.difference(&parts.1.listing) {
            None => Ok(parts),
            Some((class, in_train)) => {
                let (has, lacks) = if in_train { (train, test) } else { (test, train) };
                let classes = (parts.0.classes(), parts.1.classes());
                let reason = format!(
                    "the class {class:?} is in {has} and not in {lacks} ({train} has {} classes, {test} {}); expected \
                     the same classes in both",
                    classes.0, classes.1
                );
                Err(wrong(root, reason))
            }
        }
    }

    fn named(name: String, folder: &Path, empty: EmptyClasses) -> Result<Self> {
        let (listing, index) = Listing::of(folder)?;
        let found = listing.found(index);
        if listing.labels.is_empty() || (empty == EmptyClasses::Refuse && !found.empty.is_empty()) {
            return Err(wrong(folder, listing.lack(folder, &found)));
        }
        let is_part = |class: &str| class == TRAIN || TEST.contains(&class);
        if listing.classes.len() > 1 && listing.classes.iter().all(is_part) {
            let reason = "its folders are the parts of a split, expected folders of classes: name one of the parts";
            return Err(wrong(folder, reason.to_owned()));
        }
        Ok(Self { name, folder: folder.to_path_buf(), listing, found })
    }

    /// What was found in the folder and what was left out, for a program to print.
    pub fn found(&self) -> &Found {
        &self.found
    }

    /// The file of picture `index`.
    ///
    /// # Panics
    /// If there is no such picture.
    #[track_caller]
    pub fn path(&self, index: usize) -> PathBuf {
        let class = self.listing.classes.get(self.listing.labels[index] as usize);
        self.folder.join(class).join(self.listing.files.get(index))
    }
}

impl Images for ImageFolder {
    fn name(&self) -> &str {
        &self.name
    }

    fn labels(&self) -> &[u32] {
        &self.listing.labels
    }

    fn classes(&self) -> usize {
        self.listing.classes.len()
    }

    fn class_name(&self, class: usize) -> String {
        self.listing.classes.get(class).to_owned()
    }

    fn origin(&self, index: usize) -> String {
        self.path(index).display().to_string()
    }

    fn picture(&self, index: usize) -> Result<Picture> {
        Picture::read(&self.path(index))
    }
}

#[cfg(test)]
mod tests;
