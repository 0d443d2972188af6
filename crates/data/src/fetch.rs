//! A release from the Hugging Face hub: Parquet files of PNGs, turned into the official binary files.

use crate::records::{IMAGE_BYTES, check_labels};
use crate::{Error, Release, ReleasePart};
use candle_core::{Error as CandleError, Result, bail};
use candle_datasets::hub::{Error as DownloadError, FileReader, from_hub};
use hf_hub::{HFClient, HFClientSync};
use image::ImageFormat;
use msharp_core::write_aside;
use parquet::file::reader::SerializedFileReader;
use parquet::record::{Field, Row};
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// Downloads `release` from the Hugging Face hub to `dest_dir`, unless its files are there already and verified.
/// Needs the feature `hub`.
///
/// `endpoint` is the address of the hub; by default `$HF_ENDPOINT`, or the public one. `cache_dir` stores the
/// downloads, so that a second call does not repeat completed ones; by default the cache of the hub's own tools
/// (`$HF_HUB_CACHE`, `$HF_HOME/hub`, `~/.cache/huggingface/hub`). `on_progress` receives a line of text per step.
///
/// Only content with the right digest is written: training and test part are checked before the first file, and each
/// file is renamed into place when it is complete. A call after an interruption continues where the first one stopped.
///
/// # Errors
/// [`Error::Download`] if the hub fails or has no such data set. [`Error::WrongDigest`], [`Error::UnknownLabel`] or a
/// message if its files are not those of the release, with the part, what was found and what was expected. An I/O error
/// if writing fails.
pub fn fetch(
    release: &Release,
    dest_dir: &Path,
    endpoint: Option<&str>,
    cache_dir: Option<&Path>,
    mut on_progress: impl FnMut(&str),
) -> Result<()> {
    let Release { name, hub_id, .. } = release;
    let missing: Vec<&ReleasePart> = [&release.train, &release.test]
        .into_iter()
        .filter(|part| release.verify_part(dest_dir, part).is_err())
        .collect();
    if missing.is_empty() {
        on_progress(&format!("{name} is in {} already, verified", dest_dir.display()));
        return Ok(());
    }

    let hub = client(endpoint, cache_dir)?;
    on_progress(&format!("downloading {hub_id} from {}", hub.endpoint()));
    let sync = HFClientSync::from_inner(hub.clone()).map_err(|error| cause(hub_id, &hub, &error))?;
    // The cache does not check its files, so one with wrong content stays until it is removed.
    let cached = hub.cache_dir().join(format!("datasets--{}", hub_id.replace('/', "--")));
    let advice = |error: CandleError| error.context(format!("to download again, remove {}", cached.display()));
    let files = from_hub(&sync, hub_id.to_string()).map_err(|error| match error {
        DownloadError::ParquetError(_) => advice(cause(hub_id, &hub, &error)),
        _ => cause(hub_id, &hub, &error),
    })?;

    let mut parts = Vec::with_capacity(missing.len());
    for part in missing {
        on_progress(&format!("checking the {} images of {name} {}", part.len(), part.name));
        let records = convert(release, part, &files).map_err(advice)?;
        release.check_digest(part, &records).map_err(advice)?;
        parts.push((part, records));
    }
    for (part, records) in parts {
        for (path, records) in
            release.paths(dest_dir, part).iter().zip(records.chunks(part.records * release.record_len()))
        {
            write_aside(path, |file| Ok(file.write_all(records)?))?;
            on_progress(&format!("wrote {}", path.display()));
        }
    }
    Ok(())
}

fn client(endpoint: Option<&str>, cache_dir: Option<&Path>) -> Result<HFClient> {
    let mut builder = HFClient::builder();
    if let Some(endpoint) = endpoint {
        builder = builder.endpoint(endpoint);
    }
    if let Some(cache_dir) = cache_dir {
        builder = builder.cache_dir(cache_dir);
    }
    builder.build().map_err(|error| Error::Download(format!("cannot reach the hub {endpoint:?}: {error}")).into())
}

/// The error with all its causes; hf-hub's own text stops at "error sending request".
fn cause(hub_id: &str, hub: &HFClient, error: &dyn std::error::Error) -> CandleError {
    let causes = std::iter::successors(Some(error), |error| error.source()).map(|error| error.to_string());
    let causes: Vec<String> = causes.collect();
    Error::Download(format!("cannot download {hub_id} from {}: {}", hub.endpoint(), causes.join(": "))).into()
}

/// The official records of `part`, in the hub's order.
fn convert(release: &Release, part: &ReleasePart, files: &[SerializedFileReader<File>]) -> Result<Vec<u8>> {
    // `from_hub` hands out readers without their names; the halves differ in length, which identifies them.
    let rows = |file: &SerializedFileReader<File>| file.metadata().file_metadata().num_rows();
    let Some(file) = files.iter().find(|file| rows(file) == part.len() as i64) else {
        let found: Vec<i64> = files.iter().map(rows).collect();
        bail!(
            "{} {}: expected a file of {} images on the hub, found files of {found:?}",
            release.name,
            part.name,
            part.len()
        );
    };
    let mut records = Vec::with_capacity(part.len() * release.record_len());
    for (i, row) in file.get_row_iter(None).map_err(CandleError::wrap)?.enumerate() {
        let appended = row.map_err(CandleError::wrap).and_then(|row| append(release, &row, &mut records));
        appended.map_err(|error| error.context(format!("{} {}: image {i} on the hub", release.name, part.name)))?;
    }
    check_labels(&records, release).map_err(|error| error.context(format!("{} {}", release.name, part.name)))?;
    Ok(records)
}

/// Appends the record of `row`, which has a column for each label and `img`, a struct with the PNG in `bytes`.
fn append(release: &Release, row: &Row, records: &mut Vec<u8>) -> Result<()> {
    for label in release.labels {
        let value = match field(row, label.column)? {
            Field::Long(value) => *value,
            Field::Int(value) => (*value).into(),
            other => bail!("column {} is {other}, expected an integer", label.column),
        };
        match u8::try_from(value) {
            Ok(value) => records.push(value),
            Err(_) => {
                let which = label.column.to_owned();
                return Err(Error::UnknownLabel { which, label: value, classes: label.classes }.into());
            }
        }
    }
    let Field::Group(image) = field(row, "img")? else { bail!("column img is not a struct") };
    let Field::Bytes(png) = field(image, "bytes")? else { bail!("img.bytes is not binary") };
    let image =
        image::load_from_memory_with_format(png.data(), ImageFormat::Png).map_err(CandleError::wrap)?.into_rgb8();
    if image.dimensions() != (32, 32) {
        bail!("{:?} pixels, expected 32 by 32", image.dimensions());
    }
    let pixels = image.as_raw(); // [h, w, 3], rows from the top; a record is [3, h, w]
    records.extend((0..IMAGE_BYTES).map(|at| pixels[at % 1024 * 3 + at / 1024]));
    Ok(())
}

fn field<'a>(row: &'a Row, column: &str) -> Result<&'a Field> {
    match row.get_column_iter().find(|(name, _)| *name == column) {
        Some((_, field)) => Ok(field),
        None => bail!("there is no column {column}"),
    }
}
