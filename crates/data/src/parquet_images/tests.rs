//! Parquet files: what is read, in which order, what is refused, and what stays in memory.

use super::*;
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int32Type, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use tempfile::{TempDir, tempdir};

/// The schema of ImageNet on the hub.
const HUB: &str = "message schema {
    optional group image { optional binary bytes; optional binary path (UTF8); }
    optional int64 label;
}";

/// The file of a picture of one pixel of this grey level.
fn pixel(level: usize) -> Vec<u8> {
    [b"P5 1 1 255\n", &[level as u8][..]].concat()
}

/// A Parquet file of row groups of `sizes` rows, where row n has the picture of level n and the label n % 3.
fn write(path: &Path, first: usize, sizes: &[usize], names: Option<&str>) {
    let schema = Arc::new(parse_message_type(HUB).unwrap());
    let names = names.map(|names| {
        let text = format!(r#"{{"info": {{"features": {{"label": {{"names": {names}, "_type": "ClassLabel"}}}}}}}}"#);
        vec![KeyValue::new("huggingface".to_owned(), text)]
    });
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).set_key_value_metadata(names);
    let mut writer =
        SerializedFileWriter::new(File::create(path).unwrap(), schema, Arc::new(properties.build())).unwrap();
    let mut first = first;
    for &size in sizes {
        let rows = first..first + size;
        let pictures: Vec<ByteArray> = rows.clone().map(|n| pixel(n).into()).collect();
        let paths: Vec<ByteArray> = rows.clone().map(|n| format!("{n}.png").into_bytes().into()).collect();
        let labels: Vec<i64> = rows.clone().map(|n| (n % 3) as i64).collect();
        let mut group = writer.next_row_group().unwrap();
        for bytes in [pictures, paths] {
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<ByteArrayType>().write_batch(&bytes, Some(&vec![2; size]), None).unwrap();
            column.close().unwrap();
        }
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<Int64Type>().write_batch(&labels, Some(&vec![1; size]), None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
        first += size;
    }
    writer.close().unwrap();
}

/// Two files, of row groups of four and three rows, and of five.
fn two(names: Option<&str>) -> TempDir {
    let folder = tempdir().unwrap();
    write(&folder.path().join("train-00000-of-00002.parquet"), 0, &[4, 3], names);
    write(&folder.path().join("train-00001-of-00002.parquet"), 7, &[5], names);
    folder
}

fn open(folder: &Path) -> Result<ParquetImages> {
    ParquetImages::open(folder.to_str().unwrap(), Columns::default())
}

#[track_caller]
fn refused(opened: Result<ParquetImages>, parts: &[&str]) {
    let text = opened.unwrap_err().to_string();
    assert!(parts.iter().all(|part| text.contains(part)), "{text}");
}

#[test]
fn every_row_has_its_picture_its_label_and_its_origin() {
    let folder = two(Some(r#"["fox", "owl", "bee", "ant"]"#));
    for place in [folder.path(), &folder.path().join("train-*.parquet")] {
        let images = ParquetImages { cache_bytes: 1, ..open(place).unwrap() };
        assert_eq!(images.labels(), [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2]);
        for n in [0, 11, 3, 4, 7, 6] {
            assert_eq!(images.picture(n).unwrap().pixels, [n as u8; 3]);
        }
        assert!(images.origin(8).ends_with("train-00001-of-00002.parquet: row 1"), "{}", images.origin(8));
        assert!(images.origin(5).ends_with("train-00000-of-00002.parquet: row 5"), "{}", images.origin(5));
        assert_eq!((images.classes(), images.class_name(2)), (4, "bee".to_owned()));
    }
    let unnamed = two(None);
    let images = open(unnamed.path()).unwrap();
    assert_eq!((images.classes(), images.class_name(2)), (3, "2".to_owned()));
}

#[test]
fn the_order_of_an_epoch_keeps_row_groups_together_and_has_every_row_once() {
    let folder = two(None);
    let images = ParquetImages { cache_bytes: 2, ..open(folder.path()).unwrap() };
    for seed in 0..4 {
        let order = images.order(Key::new(seed));
        let groups: Vec<usize> = order.iter().map(|&row| images.group(row)).collect();
        let changes = groups.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert_eq!(changes, 2, "{groups:?}");
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..12).collect::<Vec<_>>());
    }
}

/// A file of one row group, whose columns `write` writes.
fn custom(schema: &str, write: impl FnOnce(&mut parquet::file::writer::SerializedRowGroupWriter<'_, File>)) -> TempDir {
    let folder = tempdir().unwrap();
    let file = File::create(folder.path().join("x.parquet")).unwrap();
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer = SerializedFileWriter::new(file, schema, Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    write(&mut group);
    group.close().unwrap();
    writer.close().unwrap();
    folder
}

#[test]
fn other_names_and_types_of_columns_are_read_and_nulls_are_named() {
    let folder = custom("message schema { optional binary img; required int32 fine; }", |group| {
        let mut column = group.next_column().unwrap().unwrap();
        let pictures = [pixel(5).into(), pixel(6).into()];
        column.typed::<ByteArrayType>().write_batch(&pictures, Some(&[1, 0, 1]), None).unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<Int32Type>().write_batch(&[3, 1, 0], None, None).unwrap();
        column.close().unwrap();
    });
    let place = folder.path().to_str().unwrap();
    let columns = Columns { image: "img".into(), label: "fine".into() };
    let images = ParquetImages::open(place, columns).unwrap();
    assert_eq!((images.labels(), images.classes()), (&[3, 1, 0][..], 4));
    assert_eq!(images.picture(2).unwrap().pixels, [6; 3]);
    let error = images.picture(1).unwrap_err();
    assert!(matches!(Error::of(&error), Some(Error::BrokenImage { .. })), "{error}");
    assert!(error.to_string().contains("x.parquet: row 1: the row has no picture"), "{error}");

    refused(open(folder.path()), &["x.parquet", "row group 0", "no column label, found img, fine"]);
    let swapped = Columns { image: "fine".into(), label: "img".into() };
    refused(ParquetImages::open(place, swapped), &["the column img has no integers"]);
    let only = Columns { image: "x".into(), label: "fine".into() };
    refused(ParquetImages::open(place, only), &["no column x.bytes or x, found img, fine"]);
}

#[test]
fn labels_that_cannot_be_right_are_named() {
    let one = |label: Option<i64>| {
        custom("message schema { required binary image; optional int64 label; }", |group| {
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<ByteArrayType>().write_batch(&[pixel(1).into()], None, None).unwrap();
            column.close().unwrap();
            let (values, level): (Vec<i64>, i16) = (label.into_iter().collect(), label.is_some().into());
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<Int64Type>().write_batch(&values, Some(&[level]), None).unwrap();
            column.close().unwrap();
        })
    };
    refused(open(one(None).path()), &["row 0 has no label"]);
    refused(open(one(Some(-1)).path()), &["row 0 has label -1"]);
    refused(open(one(Some(1 << 40)).path()), &["row 0 has label 1099511627776"]);
    let few = two(Some(r#"["fox", "owl"]"#));
    let error = open(few.path()).unwrap_err();
    assert!(matches!(Error::of(&error), Some(Error::UnknownLabel { label: 2, classes: 2, .. })), "{error}");
}

#[test]
fn a_missing_truncated_or_damaged_file_is_an_error_and_never_a_panic() {
    let folder = tempdir().unwrap();
    refused(open(folder.path()), &["expected *.parquet"]);
    refused(open(&folder.path().join("no.parquet")), &["no.parquet", "cannot read it"]);
    let path = folder.path().join("x.parquet");
    write(&path, 0, &[], None);
    refused(open(folder.path()), &["the files have no rows"]);
    write(&path, 0, &[4, 3], None);
    let whole = std::fs::read(&path).unwrap();
    for length in (0..whole.len()).step_by(13) {
        std::fs::write(&path, &whole[..length]).unwrap();
        refused(open(&path), &["x.parquet"]);
    }
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x15;
        std::fs::write(&path, damaged).unwrap();
        if let Ok(images) = open(&path) {
            (0..images.labels().len()).for_each(|row| drop(images.picture(row)));
        }
    }
}
