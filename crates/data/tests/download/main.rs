//! `fetch` against a small hub on the loopback address: whole, corrupt, cut off, absent.

#![allow(clippy::unwrap_used)] // its helpers are tests, which clippy sees in `#[test]` functions only

mod hub;
mod tiny;

use candle_core::Result;
use hub::Hub;
use msharp_data::{Error, Release, fetch};
use std::path::Path;
use tempfile::{TempDir, tempdir};
use tiny::{hub_files, record, release, samples};

/// A hub that serves the right files, a folder to fetch to, and one for the cache.
fn setting() -> (Hub, TempDir, TempDir) {
    let (train, test) = samples();
    (Hub::new("lab/tiny", hub_files(&train, &test)), tempdir().unwrap(), tempdir().unwrap())
}

/// Fetches from `hub`; what it said, or the error.
fn fetched(release: &Release, dir: &Path, hub: &Hub, cache: &Path) -> Result<Vec<String>> {
    let mut said = Vec::new();
    fetch(release, dir, Some(&hub.endpoint), Some(cache), |line| said.push(line.to_string()))?;
    Ok(said)
}

/// The files under `dir`, their names only.
fn files(dir: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names.extend(files(&path));
        } else {
            names.push(path.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
    names.sort();
    names
}

#[test]
fn the_official_files_come_out_byte_for_byte() -> Result<()> {
    let (hub, dir, cache) = setting();
    let release = release();
    let said = fetched(&release, dir.path(), &hub, cache.path())?;
    assert!(said[0].contains("lab/tiny") && said[0].contains(&hub.endpoint), "{said:?}");

    let (train, test) = samples();
    for (name, samples) in [("a.bin", &train[..2]), ("b.bin", &train[2..]), ("t.bin", &test[..])] {
        let expected: Vec<u8> = samples.iter().flat_map(record).collect();
        assert_eq!(std::fs::read(dir.path().join("tiny-bin").join(name))?, expected, "{name}");
    }
    release.verify(dir.path())?;
    let split = release.load(dir.path())?;
    assert_eq!(split.test.image(1), test[1].image.as_raw().as_slice());
    assert_eq!(split.train.labels, [0, 1, 2, 3]);
    Ok(())
}

#[test]
fn what_is_there_and_verified_is_not_fetched_again() -> Result<()> {
    let (hub, dir, cache) = setting();
    let release = release();
    fetched(&release, dir.path(), &hub, cache.path())?;
    assert_eq!(hub.downloads(), ["tiny/test/0000.parquet", "tiny/train/0000.parquet"]);

    let said = fetched(&release, dir.path(), &hub, cache.path())?;
    assert!(said.len() == 1 && said[0].contains("already"), "{said:?}");

    // as if the first call had been interrupted between two files, and one that it left had been damaged since
    std::fs::remove_file(dir.path().join("tiny-bin/b.bin"))?;
    std::fs::write(dir.path().join("tiny-bin/a.bin"), b"damaged")?;
    let said = fetched(&release, dir.path(), &hub, cache.path())?;
    assert!(said.iter().all(|line| !line.contains("t.bin")), "{said:?}");
    release.verify(dir.path())?;
    assert!(hub.downloads().is_empty(), "the cache has the files");
    Ok(())
}

#[test]
fn wrong_content_is_an_error_and_leaves_nothing() -> Result<()> {
    let (hub, dir, cache) = setting();
    let release = release();
    let (mut train, test) = samples();
    train[2].image.get_pixel_mut(5, 6)[1] ^= 1;
    hub.serve(hub_files(&train, &test));
    let error = fetched(&release, dir.path(), &hub, cache.path()).unwrap_err().to_string();
    let kept = cache.path().join("datasets--lab--tiny");
    for part in ["tiny train", &release.train.digest, &kept.display().to_string()] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(files(dir.path()), [""; 0]);

    // an error page in the place of a file, too
    hub.serve(vec![("tiny/test/0000.parquet".into(), b"<html>out of order</html>".to_vec())]);
    let error = fetched(&release, dir.path(), &hub, &cache.path().join("other")).unwrap_err().to_string();
    assert!(error.contains("lab/tiny") && error.contains("other/datasets--lab--tiny"), "{error}");
    assert_eq!(files(dir.path()), [""; 0]);

    // the advice of the message works
    std::fs::remove_dir_all(kept)?;
    let (train, test) = samples();
    hub.serve(hub_files(&train, &test));
    fetched(&release, dir.path(), &hub, cache.path())?;
    release.verify(dir.path())
}

#[test]
fn a_label_out_of_range_and_a_missing_image_are_named() {
    let release = release();
    let refused = |wrong: fn(&mut Vec<tiny::Sample>)| {
        let (hub, dir, cache) = setting();
        let (train, mut test) = samples();
        wrong(&mut test);
        hub.serve(hub_files(&train, &test));
        let error = fetched(&release, dir.path(), &hub, cache.path()).unwrap_err().to_string();
        assert_eq!(files(dir.path()), [""; 0]);
        error
    };
    let error = refused(|test| test[1].labels[1] = 5);
    assert!(error.contains("record 1 has fine 5, expected below 5"), "{error}");
    let error = refused(|test| test[0].labels[0] = -1);
    assert!(error.contains("image 0") && error.contains("coarse -1, expected below 3"), "{error}");
    let error = refused(|test| test.truncate(1));
    assert!(error.contains("tiny test: expected a file of 2 images") && error.contains("[1, 4]"), "{error}");
    let error = refused(|test| test[1].image = image::RgbImage::new(32, 31));
    assert!(error.contains("image 1") && error.contains("(32, 31)"), "{error}");
}

#[test]
fn a_connection_cut_off_is_an_error_and_a_second_call_goes_on() -> Result<()> {
    let (hub, dir, cache) = setting();
    let release = release();
    hub.cut("tiny/train/0000.parquet");
    let error = fetched(&release, dir.path(), &hub, cache.path()).unwrap_err().to_string();
    assert!(error.contains("lab/tiny") && error.contains(&hub.endpoint), "{error}");
    assert_eq!(files(dir.path()), [""; 0]);
    assert_eq!(hub.downloads(), ["tiny/test/0000.parquet", "tiny/train/0000.parquet"]);

    fetched(&release, dir.path(), &hub, cache.path())?;
    assert_eq!(hub.downloads(), ["tiny/train/0000.parquet"], "the completed file was kept");
    assert_eq!(files(dir.path()), ["a.bin", "b.bin", "t.bin"]);
    release.verify(dir.path())
}

#[test]
fn a_dataset_that_the_hub_does_not_have_is_named() {
    let (hub, dir, cache) = setting();
    let release = Release { hub_id: "lab/absent", ..release() };
    let error = fetched(&release, dir.path(), &hub, cache.path()).unwrap_err();
    assert!(matches!(Error::of(&error), Some(Error::Download(_))), "{error}");
    let error = error.to_string();
    assert!(error.contains("lab/absent") && error.contains("not found"), "{error}");
    assert_eq!(files(dir.path()), [""; 0]);
}
