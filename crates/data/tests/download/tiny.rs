//! A release of five images in three forms: what is in it, its Parquet files, its official records.

use image::{ImageFormat, RgbImage};
use msharp_data::{Label, Release, ReleasePart};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use sha2::{Digest, Sha256};
use std::io::Cursor;
use std::sync::Arc;

/// An image and its labels: coarse below 3, fine below 5.
#[derive(Clone)]
pub struct Sample {
    pub image: RgbImage,
    pub labels: [i64; 2],
}

/// Image `i`: noise-like, so that no transposed, mirrored or channel-swapped version equals it.
pub fn sample(i: u32) -> Sample {
    let byte = |x: u32, y: u32, c: u32| ((x * 7 + y * 131 + c * 59 + i * 17) * (x + 3 * y + 1) % 251) as u8;
    let image = RgbImage::from_fn(32, 32, |x, y| image::Rgb([byte(x, y, 0), byte(x, y, 1), byte(x, y, 2)]));
    Sample { image, labels: [(i % 3) as i64, (i % 5) as i64] }
}

/// The training and the test samples.
pub fn samples() -> (Vec<Sample>, Vec<Sample>) {
    ((0..4).map(sample).collect(), (4..6).map(sample).collect())
}

/// The official record: labels, then each channel row by row.
pub fn record(sample: &Sample) -> Vec<u8> {
    let mut record = sample.labels.map(|label| label as u8).to_vec();
    for c in 0..3 {
        for y in 0..32 {
            for x in 0..32 {
                record.push(sample.image.get_pixel(x, y)[c]);
            }
        }
    }
    record
}

/// Describes [`samples`], the training half in two files.
pub fn release() -> Release {
    let (train, test) = samples();
    let part = |name, files, samples: &[Sample], records| {
        let mut digests: Vec<_> = samples.iter().map(|sample| Sha256::digest(record(sample))).collect();
        digests.sort();
        let digest = Sha256::digest(digests.concat()).iter().map(|byte| format!("{byte:02x}")).collect();
        ReleasePart { name, files, records, digest }
    };
    Release {
        name: "tiny",
        hub_id: "lab/tiny",
        folder: "tiny-bin",
        labels: &[Label { column: "coarse", classes: 3 }, Label { column: "fine", classes: 5 }],
        train: part("train", &["a.bin", "b.bin"], &train, 2),
        test: part("test", &["t.bin"], &test, 2),
        mean: [0.5; 3],
        std: [0.25; 3],
    }
}

/// The hub's files of these halves.
pub fn hub_files(train: &[Sample], test: &[Sample]) -> Vec<(String, Vec<u8>)> {
    vec![
        ("README.md".into(), b"not Parquet".to_vec()),
        ("tiny/test/0000.parquet".into(), parquet(test)),
        ("tiny/train/0000.parquet".into(), parquet(train)),
    ]
}

/// A Parquet file in the layout of the hub: the image as a struct of PNG bytes and a path, then the labels, fine first.
fn parquet(samples: &[Sample]) -> Vec<u8> {
    let schema = "message schema {
        optional group img { optional binary bytes; optional binary path (UTF8); }
        optional int64 fine;
        optional int64 coarse;
    }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Default::default()).unwrap();
    let mut rows = writer.next_row_group().unwrap();
    let png = |sample: &Sample| {
        let mut bytes = Cursor::new(Vec::new());
        sample.image.write_to(&mut bytes, ImageFormat::Png).unwrap();
        ByteArray::from(bytes.into_inner())
    };
    write::<ByteArrayType>(&mut rows, 2, samples.iter().map(png).collect());
    write::<ByteArrayType>(&mut rows, 2, samples.iter().map(|_| ByteArray::from("x.png")).collect());
    write::<Int64Type>(&mut rows, 1, samples.iter().map(|sample| sample.labels[1]).collect());
    write::<Int64Type>(&mut rows, 1, samples.iter().map(|sample| sample.labels[0]).collect());
    rows.close().unwrap();
    writer.into_inner().unwrap()
}

/// Writes the next column, no value of which is null: each is present at the depth `level`.
fn write<T: parquet::data_type::DataType>(
    rows: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    level: i16,
    values: Vec<T::T>,
) {
    let mut column = rows.next_column().unwrap().unwrap();
    let levels = vec![level; values.len()];
    column.typed::<T>().write_batch(&values, Some(&levels), None).unwrap();
    column.close().unwrap();
}
