use super::*;
use std::io::Write;
use tar::{Builder, EntryType, Header};
use tempfile::{TempDir, tempdir};

/// A picture of one pixel of this grey level.
fn pixel(level: u8) -> Vec<u8> {
    [b"P5 1 1 255\n", &[level][..]].concat()
}

/// The name and the content of a file.
type Named<'a> = (&'a str, &'a [u8]);

/// A tar file of these entries.
fn tar(entries: &[Named<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, content) in entries {
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_entry_type(if name.ends_with('/') { EntryType::Directory } else { EntryType::Regular });
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Writes a shard of the samples `range`, whose pictures have the level and the class of their number.
fn shard(path: &Path, range: std::ops::Range<u8>) {
    let mut entries = Vec::new();
    for n in range {
        entries.push((format!("x/{n:03}.ppm"), pixel(n)));
        entries.push((format!("x/{n:03}.cls"), n.to_string().into_bytes()));
        entries.push((format!("x/{n:03}.json"), b"{}".to_vec()));
    }
    let entries: Vec<Named<'_>> = entries.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
    std::fs::write(path, tar(&entries)).unwrap();
}

/// Two shards of five and three samples, in a folder.
fn two() -> TempDir {
    let folder = tempdir().unwrap();
    shard(&folder.path().join("a-0.tar"), 0..5);
    shard(&folder.path().join("a-1.tar"), 5..8);
    folder
}

fn open(folder: &Path) -> Result<TarShards> {
    TarShards::open(folder.to_str().unwrap())
}

/// The shard of these bytes, opened.
fn of(bytes: &[u8]) -> Result<TarShards> {
    let folder = tempdir().unwrap();
    let path = folder.path().join("shard.tar");
    std::fs::write(&path, bytes).unwrap();
    TarShards::open(path.to_str().unwrap())
}

#[track_caller]
fn refused(opened: Result<TarShards>, parts: &[&str]) {
    let error = opened.unwrap_err();
    assert!(matches!(Error::of(&error), Some(Error::WrongFolder { .. })), "{error}");
    let text = error.to_string();
    assert!(parts.iter().all(|part| text.contains(part)), "{text}");
}

#[test]
fn every_sample_has_its_picture_its_class_and_its_origin() {
    let folder = two();
    let pattern = folder.path().join("a-{0..1}.tar");
    for place in [folder.path(), &pattern] {
        let shards = open(place).unwrap();
        assert_eq!((shards.labels(), shards.classes()), (&[0, 1, 2, 3, 4, 5, 6, 7][..], 8));
        for n in 0..8 {
            assert_eq!(shards.picture(n).unwrap().pixels, [n as u8; 3]);
        }
        assert!(shards.origin(5).ends_with("a-1.tar: x/005"), "{}", shards.origin(5));
        assert_eq!(shards.class_name(3), "3");
    }
}

#[test]
fn the_order_of_an_epoch_keeps_shards_together_and_has_every_sample_once() {
    let folder = two();
    let shards = TarShards { window: 5, ..open(folder.path()).unwrap() };
    let first = |key| shards.order(key)[0];
    for seed in 0..4 {
        let order = shards.order(Key::new(seed));
        let first = if order[0] < 5 { 5 } else { 3 };
        assert!(order[..first].iter().all(|&sample| (sample < 5) == (first == 5)), "{order:?}");
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, [0, 1, 2, 3, 4, 5, 6, 7]);
    }
    assert!((0..8).any(|seed| first(Key::new(seed)) < 5) && (0..8).any(|seed| first(Key::new(seed)) >= 5));
}

#[test]
fn classes_have_the_names_of_classes_txt_which_must_have_enough() {
    let folder = two();
    std::fs::write(folder.path().join("classes.txt"), "a\nb\nc\nd\ne\nf\ng\nh\ni\n").unwrap();
    let shards = open(folder.path()).unwrap();
    assert_eq!((shards.classes(), shards.class_name(2)), (9, "c".to_owned()));
    std::fs::write(folder.path().join("classes.txt"), "a\nb\n").unwrap();
    let error = open(folder.path()).unwrap_err();
    assert!(matches!(Error::of(&error), Some(Error::UnknownLabel { label: 7, classes: 2, .. })), "{error}");
}

#[test]
fn the_index_is_used_until_a_shard_changes() {
    let folder = two();
    let path = folder.path().join("a-1.tar");
    let indices = || std::fs::read_dir(folder.path()).unwrap().count() - 2;
    open(folder.path()).unwrap();
    assert_eq!(indices(), 0, "what was changed a moment ago is not kept");
    let set = |path: &Path, seconds: u64| {
        let time = SystemTime::now() - std::time::Duration::from_secs(seconds);
        File::options().append(true).open(path).unwrap().set_modified(time).unwrap();
    };
    set(&folder.path().join("a-0.tar"), 100);
    set(&path, 100);
    open(folder.path()).unwrap();
    assert_eq!(indices(), 1);

    // another shard of the same length and time: the index is what is read
    let time = path.metadata().unwrap().modified().unwrap();
    shard(&path, 6..9);
    File::options().append(true).open(&path).unwrap().set_modified(time).unwrap();
    assert_eq!(open(folder.path()).unwrap().labels(), [0, 1, 2, 3, 4, 5, 6, 7]);
    set(&path, 90);
    assert_eq!(open(folder.path()).unwrap().labels(), [0, 1, 2, 3, 4, 6, 7, 8]);
}

#[test]
fn an_index_that_contradicts_itself_is_not_sound() {
    let folder = two();
    let index = open(folder.path()).unwrap().index;
    assert!(index.is_sound(2) && !index.is_sound(1));
    let changes: [fn(&mut Index); 7] = [
        |index| index.samples.labels.truncate(7),
        |index| index.samples.offsets.truncate(7),
        |index| index.samples.lengths.truncate(7),
        |index| index.samples.keys.push("x"),
        |index| index.ends[0] = 9,
        |index| index.samples.offsets[7] = u64::MAX,
        |index| index.samples.lengths[7] = u32::MAX,
    ];
    for (i, change) in changes.into_iter().enumerate() {
        let mut changed = index.clone();
        change(&mut changed);
        assert!(!changed.is_sound(2), "change {i}");
    }
}

#[test]
fn keys_are_those_of_webdataset_and_entries_that_are_no_samples_are_passed_over() {
    let long = format!("{}/{}", "d".repeat(120), "k".repeat(150));
    let (picture, class) = (format!("{long}.JPG"), format!("{long}.Cls"));
    let pixel = pixel(9);
    let shards = of(&tar(&[
        ("x/", b""),
        ("x.y/a.ppm", &pixel),
        ("x.y/a.seg.png", b"another"),
        ("x.y/a.cls", b" 2\n"),
        ("README", b"text"),
        (".hidden.jpg", b""),
        ("__index__", b""),
        (&picture, &pixel),
        (&class, b"0"),
    ]));
    let shards = shards.unwrap();
    assert_eq!(shards.labels(), [2, 0]);
    assert!(shards.origin(0).ends_with("shard.tar: x.y/a") && shards.origin(1).ends_with(&long));
}

#[test]
fn samples_that_cannot_be_right_are_refused_with_shard_and_key() {
    let pixel = pixel(1);
    let cases: [(&[Named<'_>], &str); 10] = [
        (&[("a.jpg", &pixel)], "\"a\" has no class, expected a.cls"),
        (&[("a.cls", b"1")], "\"a\" has no picture"),
        (&[("a.jpg", &pixel), ("b.jpg", &pixel), ("a.cls", b"1"), ("b.cls", b"1")], "\"a\" has no class"),
        (&[("a.jpg", &pixel), ("a.png", &pixel), ("a.cls", b"1")], "\"a\" has two pictures"),
        (&[("a.jpg", &pixel), ("a.cls", b"1"), ("a.cls", b"1")], "\"a\" has two classes"),
        (&[("a.jpg", &pixel), ("a.cls", b"1"), ("b.jpg", b""), ("b.cls", b"1"), ("a.jpg", b"")], "\"a\" occurs twice"),
        (&[("a.jpg", &pixel), ("a.cls", b"cat")], "a.cls is \"cat\", expected the number of a class"),
        (&[("a.jpg", &pixel), ("a.cls", b"-1")], "a.cls is \"-1\""),
        (&[("a.jpg", &pixel), ("a.cls", b"")], "a.cls is \"\""),
        (&[("a.txt", b"")], "\"a\" has no picture"),
    ];
    for (entries, part) in cases {
        refused(of(&tar(entries)), &["shard.tar", part]);
    }
    refused(of(&tar(&[])), &["shard.tar", "the shards have no samples"]);
    refused(TarShards::open("no/such.tar"), &["no/such.tar", "cannot read it"]);

    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::GNUSparse);
    header.set_path("a.jpg").unwrap();
    header.set_size(0);
    header.as_gnu_mut().unwrap().realsize = *b"00000000000\0";
    header.set_cksum();
    refused(of(&[header.as_bytes(), &[0; 1024][..]].concat()), &["shard.tar", "sparse"]);
}

#[test]
fn a_truncated_shard_is_refused_at_every_length_and_damage_never_panics() {
    let pixel = pixel(1);
    let whole = tar(&[("a.jpg", &pixel), ("a.cls", b"1"), ("b.jpg", &pixel), ("b.cls", b"0")]);
    let content = whole.len() - 1024; // two blocks of zeros at the end, of which one is enough
    for length in (0..content + 512).step_by(37) {
        assert!(of(&whole[..length]).is_err(), "{length} of {} bytes", whole.len());
    }
    assert!(of(&whole[..content + 512]).is_ok());
    for at in 0..content {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x15;
        if let Ok(shards) = of(&damaged) {
            (0..shards.labels().len()).for_each(|index| drop(shards.picture(index)));
        }
    }
}

#[test]
fn a_shard_that_shrinks_later_is_an_error_that_names_the_picture() {
    let folder = two();
    let shards = open(folder.path()).unwrap();
    File::create(folder.path().join("a-0.tar")).unwrap().write_all(b"short").unwrap();
    let error = shards.picture(3).unwrap_err().to_string();
    assert!(error.contains("a-0.tar: x/003"), "{error}");
}
