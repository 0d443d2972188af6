//! Folders of pictures: what is found, what is left out, what is refused, and the index that is kept.

use super::*;
use crate::{Error, find_broken};
use std::fs::{File, FileTimes, create_dir_all, write};
use std::time::{Duration, SystemTime};
use tempfile::{TempDir, tempdir};

/// A grey picture of one pixel.
const PIXEL: &[u8] = b"P5 1 1 255\n\x07";

/// A folder with these files.
fn folder(files: &[&str]) -> TempDir {
    let folder = tempdir().unwrap();
    add(folder.path(), files);
    folder
}

fn add(folder: &Path, files: &[&str]) {
    for file in files {
        create_dir_all(folder.join(file).parent().unwrap()).unwrap();
        write(folder.join(file), PIXEL).unwrap();
    }
}

/// As if everything in `folder` had been changed a minute ago, `later` seconds later.
fn settle(folder: &Path, later: u64) {
    let time = SystemTime::now() - Duration::from_secs(60 - later);
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            settle(&path, later);
        }
    }
    File::open(folder).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
}

fn open(folder: &Path) -> Result<ImageFolder> {
    ImageFolder::open(folder, EmptyClasses::Refuse)
}

/// (file, class) of each picture.
fn listed(images: &ImageFolder) -> Vec<(String, String)> {
    let pictures = images.labels().iter().enumerate();
    let file = |index| images.path(index).strip_prefix(&images.folder).unwrap().display().to_string();
    pictures.map(|(index, &label)| (file(index), images.class_name(label as usize))).collect()
}

#[track_caller]
fn refused<T: std::fmt::Debug>(opened: Result<T>, parts: &[&str]) {
    let error = opened.unwrap_err();
    assert!(matches!(Error::of(&error), Some(Error::WrongFolder { .. })), "{error}");
    let text = error.to_string();
    assert!(parts.iter().all(|part| text.contains(part)), "{text}");
}

#[test]
fn classes_and_pictures_are_in_the_order_of_torchvision_and_the_rest_is_told() {
    let files = [
        "b/2.JPG",
        "b/10.jpg",
        "b/x/1.webp",
        "b/x-y/1.Png",
        "b/x.txt",
        "a/z.jpeg",
        "a/Z.jpeg",
        "C/é.ppm",
        "a/._z.jpeg",
        ".git/x.jpg",
        "loose.jpg",
        "README",
        "b/.DS_Store",
        "b/x/a.tar.GZ",
        "a/jpg",
        "a/.jpg",
    ];
    let folder = folder(&files);
    let images = open(folder.path()).unwrap();
    let expected = [
        ("C/é.ppm", "C"),
        ("a/Z.jpeg", "a"),
        ("a/z.jpeg", "a"),
        ("b/10.jpg", "b"),
        ("b/2.JPG", "b"),
        ("b/x/1.webp", "b"),
        ("b/x-y/1.Png", "b"),
    ];
    // the text "x-y" is before "x/", and "x" before both
    let expected = expected.map(|(file, class)| (file.to_owned(), class.to_owned()));
    assert_eq!(listed(&images), expected);
    let found = images.found().to_string();
    assert_eq!(found, "7 pictures in 3 classes; left out: 2 without an ending, 1 .gz, 1 .jpg, 1 .txt, 4 hidden");
    assert_eq!(images.picture(0).unwrap(), Picture { height: 1, width: 1, pixels: vec![7; 3] });
    assert_eq!((images.classes(), images.labels()), (3, &[0, 1, 1, 2, 2, 2, 2][..]));
    assert!(images.origin(6).ends_with("b/x-y/1.Png") && images.name() == folder.path().file_name().unwrap());
}

#[test]
fn the_index_is_used_until_a_folder_changes() {
    let folder = folder(&["a/1.png", "a/x/2.png", "b/3.png"]);
    let path = folder.path();
    assert_eq!(open(path).unwrap().found().index, None, "what was changed a moment ago is not kept");
    settle(path, 0);
    let first = open(path).unwrap();
    let index = path.join(".msharp-index");
    assert_eq!(first.found().index, Some(index.clone()));

    // a file that the index does not have, in a folder with the old time: the index is what is read
    write(path.join("b/4.png"), PIXEL).unwrap();
    let stamps = &first.listing.folders;
    let restore = |name: &str| {
        let (_, changed) = stamps.iter().find(|(path, _)| path == name).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(*changed as u64);
        File::open(path.join(name)).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
    };
    restore("b");
    assert_eq!(listed(&open(path).unwrap()), listed(&first));
    for change in [&["a/x/5.png"][..], &["b/6.png"], &["c/7.png"]] {
        add(path, change);
        let now = open(path).unwrap();
        assert!(listed(&now).iter().any(|(file, _)| file == change[0]), "{change:?}");
        settle(path, 1);
        assert_eq!(open(path).unwrap().found().index, Some(index.clone()));
    }
    std::fs::remove_dir_all(path.join("c")).unwrap();
    assert_eq!(open(path).unwrap().classes(), 2);
}

#[test]
fn an_index_that_is_damaged_or_contradicts_itself_is_not_used() {
    let folder = folder(&["a/1.png", "b/2.png"]);
    settle(folder.path(), 0);
    let first = open(folder.path()).unwrap();
    let places = crate::index::Places::new(folder.path(), listing::INDEX);
    let unsound: [fn(&mut Listing); 3] =
        [|listing| listing.labels[0] = 2, |listing| listing.labels.truncate(1), |listing| listing.classes.push("c")];
    for change in unsound {
        let mut listing = first.listing.clone();
        change(&mut listing);
        places.keep(&listing).unwrap();
        assert_eq!(listed(&open(folder.path()).unwrap()), listed(&first));
    }
    write(folder.path().join(".msharp-index"), b"msharp-index 1 2 00\n{}").unwrap();
    assert_eq!(listed(&open(folder.path()).unwrap()), listed(&first));
}

#[test]
fn a_folder_of_another_layout_is_refused_with_what_it_has() {
    let none = tempdir().unwrap();
    refused(open(&none.path().join("no")), &["no", "cannot read the folder"]);
    refused(open(none.path()), &["expected FOLDER/CLASS/*", "it has no folders"]);
    refused(open(folder(&["1.png", "2.png"]).path()), &["expected FOLDER/CLASS/*", "2 pictures and no folders"]);
    refused(open(folder(&["a/1.txt", "b/2.gif"]).path()), &["expected FOLDER/CLASS/*", "its folders are a, b"]);
    refused(open(folder(&["train/a/1.png", "val/a/1.png"]).path()), &["parts of a split", "name one of the parts"]);
    let file = folder(&["a/1.png"]);
    refused(open(&file.path().join("a/1.png")), &["a/1.png", "cannot read the folder"]);
}

#[test]
fn an_empty_class_is_refused_or_keeps_its_number() {
    let folder = folder(&["a/1.png", "b/2.txt", "c/3.png"]);
    refused(open(folder.path()), &["no pictures of the class b", "left out: 1 .txt"]);
    let images = ImageFolder::open(folder.path(), EmptyClasses::Keep).unwrap();
    assert_eq!((images.labels(), images.classes()), (&[0, 2][..], 3));
    assert_eq!(images.found().empty, ["b"]);
}

#[test]
fn a_split_has_the_same_classes_in_both_parts() {
    let files = ["train/a/1.png", "train/b/2.png", "val/a/3.png", "val/b/4.png", "test/a/5.png"];
    let root = folder(&files);
    let split = |path: &Path| ImageFolder::split(path, EmptyClasses::Refuse);
    let (train, val) = split(root.path()).unwrap();
    assert_eq!((train.labels(), val.labels()), (&[0, 1][..], &[0, 1][..]));
    assert!(train.name().ends_with(" train") && val.name().ends_with(" val"), "{}", val.name());

    add(root.path(), &["val/aa/1.png"]);
    refused(split(root.path()), &["\"aa\" is in val and not in train", "train has 2 classes, val 3"]);
    add(root.path(), &["train/aa/1.png", "train/c/1.png"]);
    refused(split(root.path()), &["\"c\" is in train and not in val"]);
    std::fs::remove_dir_all(root.path().join("val")).unwrap();
    refused(split(root.path()), &["\"aa\" is in train and not in test"]);
    refused(split(&root.path().join("train")), &["expected ROOT/train/CLASS/*", "its folders are a, aa, b, …"]);
    refused(split(&root.path().join("no")), &["expected ROOT/train/CLASS/*", "does not exist"]);
}

#[test]
fn broken_pictures_are_found_by_name() {
    let folder = folder(&["a/1.png", "a/2.png", "b/3.png"]);
    write(folder.path().join("a/2.png"), b"P5 1 1 255\n").unwrap();
    let images = open(folder.path()).unwrap();
    std::fs::remove_file(folder.path().join("b/3.png")).unwrap();
    std::fs::create_dir(folder.path().join("b/3.png")).unwrap();
    let done = std::sync::Mutex::new(Vec::new());
    let broken = find_broken(&images, |n| done.lock().unwrap().push(n));
    assert_eq!(broken.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1, 2]);
    for ((_, error), part) in broken.iter().zip(["a/2.png: it is truncated", "b/3.png: expected a file"]) {
        assert!(
            matches!(Error::of(error), Some(Error::BrokenImage { .. })) && error.to_string().contains(part),
            "{error}"
        );
    }
    let mut done = done.into_inner().unwrap();
    done.sort_unstable();
    assert_eq!(done, [1, 2, 3]);
}

#[test]
#[cfg(unix)]
fn links_are_followed_and_one_that_leads_back_is_an_error() {
    use std::os::unix::fs::symlink;
    let (real, folder) = (folder(&["x/1.png", "2.png"]), folder(&["a/3.png"]));
    symlink(real.path(), folder.path().join("b")).unwrap();
    symlink(real.path().join("2.png"), folder.path().join("a/4.png")).unwrap();
    symlink("gone", folder.path().join("a/5.png")).unwrap();
    let images = open(folder.path()).unwrap();
    let files: Vec<String> = listed(&images).into_iter().map(|(file, _)| file).collect();
    assert_eq!(files, ["a/3.png", "a/4.png", "a/5.png", "b/2.png", "b/x/1.png"]);
    let error = images.picture(2).unwrap_err();
    assert!(matches!(Error::of(&error), Some(Error::BrokenImage { .. })), "{error}");
    assert!(error.to_string().contains("a/5.png: there is no such file"), "{error}");
    symlink(folder.path(), real.path().join("x/up")).unwrap();
    refused(open(folder.path()), &["b/x/up/b", "a link to a folder that contains it"]);
}
