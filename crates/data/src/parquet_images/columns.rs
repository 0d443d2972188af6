//! The two columns of a picture and its label, read from a file.

use super::cache::Pictures;
use crate::Columns;
use crate::names::Names;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::DataType;
use parquet::file::metadata::FileMetaData;
use parquet::file::reader::RowGroupReader;

impl Columns {
    /// The labels of a row group.
    pub(super) fn labels(&self, group: &dyn RowGroupReader) -> Result<Vec<i64>, String> {
        let column = &self.label;
        let at = find(group, &[column])?;
        let labels = match group.get_column_reader(at).map_err(damaged)? {
            ColumnReader::Int32ColumnReader(reader) => {
                values(reader, group, at)?.into_iter().map(|label| label.map(i64::from)).collect()
            }
            ColumnReader::Int64ColumnReader(reader) => values(reader, group, at)?,
            _ => return Err(format!("the column {column} has no integers, expected those of classes")),
        };
        let missing = |row: usize| format!("row {row} has no {column}, expected the number of a class");
        labels.into_iter().enumerate().map(|(row, label)| label.ok_or_else(|| missing(row))).collect()
    }

    /// The pictures of a row group.
    pub(super) fn pictures(&self, group: &dyn RowGroupReader) -> Pictures {
        let at = self.image_column(group)?;
        match group.get_column_reader(at).map_err(damaged)? {
            ColumnReader::ByteArrayColumnReader(reader) => values(reader, group, at),
            _ => Err(format!("the column {} has no bytes, expected those of picture files", self.image)),
        }
    }

    /// How many bytes the pictures of a row group have.
    pub(super) fn bytes(&self, group: &dyn RowGroupReader) -> Result<u64, String> {
        let at = self.image_column(group)?;
        Ok(group.metadata().column(at).uncompressed_size().max(0).cast_unsigned())
    }

    fn image_column(&self, group: &dyn RowGroupReader) -> Result<usize, String> {
        find(group, &[&format!("{}.bytes", self.image), &self.image])
    }

    /// The names that the hub's tools write beside the schema, as JSON.
    pub(super) fn class_names(&self, metadata: &FileMetaData) -> Option<Names> {
        let entry = metadata.key_value_metadata()?.iter().find(|entry| entry.key == "huggingface")?;
        let json: serde_json::Value = serde_json::from_str(entry.value.as_deref()?).ok()?;
        let names = json.get("info")?.get("features")?.get(&self.label)?.get("names")?.as_array()?;
        names.iter().map(|name| name.as_str()).collect()
    }
}

fn damaged(error: parquet::errors::ParquetError) -> String {
    format!("it is damaged: {error}")
}

/// The number of the first column that has one of `paths`.
fn find(group: &dyn RowGroupReader, paths: &[&str]) -> Result<usize, String> {
    let columns = group.metadata().columns();
    let found: Vec<String> = columns.iter().map(|column| column.column_path().string()).collect();
    let at = paths.iter().find_map(|path| found.iter().position(|found| found == path));
    at.ok_or_else(|| format!("there is no column {}, found {}", paths.join(" or "), found.join(", ")))
}

/// All values of a column, none for a null; as many as the row group has rows.
fn values<T: DataType>(
    mut reader: ColumnReaderImpl<T>,
    group: &dyn RowGroupReader,
    at: usize,
) -> Result<Vec<Option<T::T>>, String> {
    let (rows, column) = (group.metadata().num_rows(), group.metadata().column(at).column_descr());
    let (path, full) = (column.path(), column.max_def_level());
    if column.max_rep_level() > 0 {
        return Err(format!("the column {path} has lists, expected one value a row"));
    }
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    let mut read = 0;
    let expected = usize::try_from(rows).map_err(|_| format!("its header claims {rows} rows"))?;
    while read < expected {
        let (records, ..) =
            reader.read_records(expected - read, Some(&mut levels), None, &mut values).map_err(damaged)?;
        if records == 0 {
            return Err(format!("the column {path} has {read} values, expected {expected}"));
        }
        read += records;
    }
    if full == 0 {
        levels = vec![0; values.len()];
    }
    let mut values = values.into_iter();
    let all: Vec<_> = levels.iter().map(|&level| if level == full { values.next() } else { None }).collect();
    match all.len() == expected {
        true => Ok(all),
        false => Err(format!("the column {path} has {} values, expected {expected}", all.len())),
    }
}
