//! Rows on their way into the data files of a Delta table.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{CastOptions, cast_with_options, take_record_batch};
use arrow::datatypes::{DataType, Field, FieldRef, Float32Type, Float64Type, Schema, SchemaRef};
use datafusion::common::stats::Precision;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use uuid::Uuid;

use super::super::describe::statistics_of;
use super::super::store::Catalog;
use super::checks::Checks;
use super::stats::file_stats;
use crate::error::{Error, Result};
use crate::failpoint::Failpoint;
use crate::storage::{
    Changes, Committed, DeltaLog, DeltaVersion, Footer, NewFile, Placing, StagedFile, batch_bytes,
    delta_types, to_stored,
};

/// Files of different partitions that are open at once, and the bytes that were written to them; past either the
/// largest is finished.
const MAX_OPEN: usize = 64;
const MAX_OPEN_BYTES: usize = 512 << 20;
/// Bytes of rows in memory that make one file: readers share the work on a table by its files.
const MAX_FILE_BYTES: usize = 1 << 30;
/// The longest folder name that file systems take, with room to spare.
const MAX_FOLDER: usize = 200;
/// What Hive writes for a NULL in a partition column.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";
/// What Hive escapes in the names of partition folders.
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'\'')
    .add(b'*')
    .add(b'/')
    .add(b':')
    .add(b'=')
    .add(b'?')
    .add(b'\\')
    .add(b'{')
    .add(b'[')
    .add(b']')
    .add(b'^');

/// The values of the partition columns, in their order; `None` is NULL.
type Values = Vec<Option<String>>;

/// Writes rows into files of a table, of each partition one or, where that gets large, more, in the types that Delta has.
pub(in super::super) struct DataWriter {
    catalog: Arc<Catalog>,
    checks: Checks,
    /// All columns, in the types that Delta has.
    stored: SchemaRef,
    /// The same, but for forms of strings and bytes that are the same in a file: those stay what they are.
    written: SchemaRef,
    /// The columns that are in the files, in the types that Delta has.
    in_files: SchemaRef,
    partition_columns: Vec<String>,
    /// Columns of floats that have NaN.
    with_nan: HashSet<String>,
    open: HashMap<Values, Open>,
    finished: Vec<Finished>,
    rows: u64,
}

/// A file that rows are written to.
struct Open {
    staged: StagedFile,
    /// Bytes that were written to it.
    bytes: usize,
}

/// A file that is whole and synced, and lies in staging.
pub(in super::super) struct Finished {
    staged: StagedFile,
    values: Values,
    stats: String,
}

impl DataWriter {
    /// A writer of rows that have the columns `logical`, of which `partition_columns` are not in the files.
    pub(in super::super) fn new(
        catalog: Arc<Catalog>,
        logical: &Schema,
        partition_columns: &[String],
    ) -> Result<Self> {
        let stored = delta_types(logical)?;
        let in_files = stored.fields().iter().filter(|field| !partition_columns.contains(field.name()));
        let in_files = Arc::new(Schema::new(in_files.cloned().collect::<Vec<_>>()));
        if in_files.fields().is_empty() {
            return Err(Error::invalid(
                "a table needs at least one column besides those it is partitioned by",
            ));
        }
        let written = Arc::new(as_written(logical, &stored, partition_columns));
        Ok(Self {
            catalog,
            checks: Checks::default(),
            written,
            stored: Arc::new(stored),
            in_files,
            partition_columns: partition_columns.to_vec(),
            with_nan: HashSet::new(),
            open: HashMap::new(),
            finished: Vec::new(),
            rows: 0,
        })
    }

    /// The same, of rows that must pass the checks of a table.
    pub(in super::super) fn with_checks(self, version: &DeltaVersion) -> Result<Self> {
        let checks = Checks::of(version)?;
        // Checks are made for the types that Delta has.
        let written = if checks.is_empty() { self.written } else { Arc::clone(&self.stored) };
        Ok(Self { checks, written, ..self })
    }

    /// Rows written so far.
    pub(in super::super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Writes the rows of `batch`, which has the table's columns.
    pub(in super::super) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let batch = to_stored(batch, &self.written)?;
        self.checks.check(&batch)?;
        self.note_nan(&batch);
        self.rows += batch.num_rows() as u64;
        if self.partition_columns.is_empty() {
            return self.write_part(Vec::new(), &batch);
        }
        let columns = self.in_files.fields().iter().map(|field| batch.schema().index_of(field.name()));
        let columns: Vec<usize> = columns
            .collect::<Result<_, _>>()
            .map_err(|error| Error::internal(format!("a column of a data file: {error}")))?;
        let in_files = batch
            .project(&columns)
            .map_err(|error| Error::internal(format!("the columns of a data file: {error}")))?;
        for (values, rows) in self.split(&batch)? {
            let part = take_record_batch(&in_files, &UInt32Array::from(rows))
                .map_err(|error| Error::internal(format!("splitting rows by partition: {error}")))?;
            self.write_part(values, &part)?;
        }
        Ok(())
    }

    /// Remembers which columns of floats have NaN.
    fn note_nan(&mut self, batch: &RecordBatch) {
        for (column, field) in batch.columns().iter().zip(self.stored.fields()) {
            let has_nan = match column.data_type() {
                DataType::Float32 => column.as_primitive::<Float32Type>().iter().flatten().any(f32::is_nan),
                DataType::Float64 => column.as_primitive::<Float64Type>().iter().flatten().any(f64::is_nan),
                _ => false,
            };
            if has_nan {
                self.with_nan.insert(field.name().clone());
            }
        }
    }

    /// The rows of each partition, in the order in which the partitions appear.
    fn split(&self, batch: &RecordBatch) -> Result<Vec<(Values, Vec<u32>)>> {
        let columns = self.partition_columns.iter().map(|name| texts(batch, name));
        let columns: Vec<ArrayRef> = columns.collect::<Result<_>>()?;
        let value = |column: &ArrayRef, row: usize| {
            let column = column.as_string::<i32>();
            column.is_valid(row).then(|| column.value(row).to_owned())
        };
        let mut places: HashMap<Values, usize> = HashMap::new();
        let mut parts: Vec<(Values, Vec<u32>)> = Vec::new();
        for row in 0..batch.num_rows() {
            let values: Values = columns.iter().map(|column| value(column, row)).collect();
            let next = parts.len();
            let place = *places.entry(values).or_insert_with_key(|values| {
                parts.push((values.clone(), Vec::new()));
                next
            });
            parts[place].1.push(u32::try_from(row).unwrap_or(u32::MAX));
        }
        Ok(parts)
    }

    fn write_part(&mut self, values: Values, batch: &RecordBatch) -> Result<()> {
        let bytes: usize = self.open.values().map(|open| open.bytes).sum();
        let is_new = !self.open.contains_key(&values);
        if (is_new && self.open.len() >= MAX_OPEN) || (self.open.len() > 1 && bytes > MAX_OPEN_BYTES) {
            self.finish_largest()?;
        }
        let open = match self.open.entry(values) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(new) => {
                let staged = self.catalog.staging.create_as(batch.schema(), Some(&self.in_files))?;
                new.insert(Open { staged, bytes: 0 })
            }
        };
        open.bytes += batch_bytes(batch);
        open.staged.write(batch)?;
        if open.bytes > MAX_FILE_BYTES { self.finish_largest() } else { Ok(()) }
    }

    fn finish_largest(&mut self) -> Result<()> {
        let largest = self.open.iter().max_by_key(|(_, open)| open.bytes).map(|(values, _)| values.clone());
        let Some((values, Open { staged, .. })) = largest.and_then(|values| self.open.remove_entry(&values))
        else {
            return Ok(());
        };
        let finished = self.finish_file(values, staged)?;
        self.finished.push(finished);
        Ok(())
    }

    fn finish_file(&self, values: Values, mut staged: StagedFile) -> Result<Finished> {
        let footer = staged.finish()?;
        let stats = stats_of(&footer, &self.in_files, |name| self.with_nan.contains(name))?;
        Ok(Finished { staged, values, stats })
    }

    /// Finishes and syncs all files. None of them is part of the table yet.
    pub(in super::super) fn finish(mut self) -> Result<Vec<Finished>> {
        let open = std::mem::take(&mut self.open);
        let mut finished = std::mem::take(&mut self.finished);
        for (values, Open { staged, .. }) in open {
            finished.push(self.finish_file(values, staged)?);
        }
        Ok(finished)
    }

    /// The partition columns.
    pub(in super::super) fn partition_columns(&self) -> &[String] {
        &self.partition_columns
    }
}

/// `stored` with the strings and bytes of `logical` in the forms that they have there.
fn as_written(logical: &Schema, stored: &Schema, partition_columns: &[String]) -> Schema {
    use DataType::{BinaryView, LargeBinary, LargeUtf8, Utf8View};
    let field = |(given, stored): (&FieldRef, &FieldRef)| match given.data_type() {
        form @ (Utf8View | LargeUtf8 | BinaryView | LargeBinary)
            if !partition_columns.contains(given.name()) =>
        {
            Arc::new(Field::clone(stored).with_data_type(form.clone()))
        }
        _ => Arc::clone(stored),
    };
    Schema::new(logical.fields().iter().zip(stored.fields()).map(field).collect::<Vec<_>>())
}

impl Finished {
    /// Bytes on disk.
    pub(in super::super) fn bytes(&self) -> Result<u64> {
        Ok(self.staged.stat()?.size())
    }

    /// What a commit says of the file, which is to lie at the path in it.
    pub(in super::super) fn describe(&self, partition_columns: &[String]) -> Result<NewFile> {
        let stat = self.staged.stat()?;
        let modified = stat.modified().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        Ok(NewFile {
            path: path_of(partition_columns, &self.values),
            bytes: stat.size(),
            modified: i64::try_from(modified).unwrap_or(i64::MAX),
            partition: partition_columns.iter().cloned().zip(self.values.iter().cloned()).collect(),
            stats: self.stats.clone(),
        })
    }

    /// Moves the file into the directory of the table.
    pub(in super::super) fn place(self, log: &DeltaLog, to: &Path) -> Result<()> {
        self.staged.place(log, to)
    }
}

/// Files that were moved into a table's directory. Only a commit makes them part of the table: without one they are
/// taken away with this.
pub(in super::super) struct Placed<'a> {
    log: &'a DeltaLog,
    files: Vec<NewFile>,
    is_committed: bool,
    _note: Placing<'a>,
}

impl<'a> Placed<'a> {
    /// Moves files into the directory of the table, for a commit that comes after the version `read`.
    pub(in super::super) fn new(
        files: Vec<Finished>,
        partition_columns: &[String],
        log: &'a DeltaLog,
        read: &DeltaVersion,
    ) -> Result<Self> {
        let described = files.iter().map(|file| file.describe(partition_columns));
        let described = described.collect::<Result<Vec<_>>>()?;
        let paths = described.iter().map(|file| file.path.clone()).collect();
        let note = log.note(paths, read.number())?;
        let mut placed =
            Self { log, files: Vec::with_capacity(files.len()), is_committed: false, _note: note };
        for (file, described) in files.into_iter().zip(described) {
            file.place(log, &described.path)?;
            placed.files.push(described);
        }
        Ok(placed)
    }

    /// The files as a commit describes them.
    pub(in super::super) fn files(&self) -> Vec<NewFile> {
        self.files.clone()
    }

    /// Commits the change that adds the files.
    pub(in super::super) fn commit(mut self, read: &DeltaVersion, changes: &Changes) -> Result<Committed> {
        Failpoint::Placed.pass()?;
        let committed = self.log.commit(read, changes)?;
        self.is_committed = true;
        Failpoint::Committed.pass()?;
        Ok(committed)
    }
}

impl Drop for Placed<'_> {
    fn drop(&mut self) {
        if !self.is_committed {
            let paths: Vec<_> = self.files.iter().map(|file| file.path.clone()).collect();
            self.log.withdraw(&paths);
        }
    }
}

/// The statistics of a file with the columns `in_files`, as a commit has them; `may_have_nan` tells of columns
/// of floats.
pub(super) fn stats_of(
    footer: &Footer,
    in_files: &SchemaRef,
    may_have_nan: impl Fn(&str) -> bool,
) -> Result<String> {
    let mut statistics = statistics_of(footer, Path::new("a data file"), in_files)?;
    for (column, field) in statistics.column_statistics.iter_mut().zip(in_files.fields()) {
        if field.data_type().is_floating() && may_have_nan(field.name()) {
            (column.min_value, column.max_value) = (Precision::Absent, Precision::Absent);
        }
    }
    Ok(file_stats(&statistics, footer.rows(), in_files))
}

/// A name of its own for a data file. Later names sort after earlier ones.
pub(super) fn data_file_name() -> String {
    format!("part-{}.parquet", Uuid::now_v7())
}

/// Where a file of a partition goes: below folders that tell people the values; programs read the log.
fn path_of(columns: &[String], values: &Values) -> PathBuf {
    let folders = columns.iter().zip(values).map(|(column, value)| {
        let value = value.as_deref().unwrap_or(NULL);
        format!("{}={}", utf8_percent_encode(column, ESCAPED), utf8_percent_encode(value, ESCAPED))
    });
    let folders: Vec<String> = folders.collect();
    if folders.iter().any(|folder| folder.len() > MAX_FOLDER) {
        return PathBuf::from(data_file_name());
    }
    folders.into_iter().collect::<PathBuf>().join(data_file_name())
}

/// A partition column as the protocol writes its values.
/// <https://github.com/delta-io/delta/blob/master/PROTOCOL.md#partition-value-serialization>
fn texts(batch: &RecordBatch, name: &str) -> Result<ArrayRef> {
    let column = batch
        .column_by_name(name)
        .ok_or_else(|| Error::internal(format!("the rows lack the partition column {name:?}")))?;
    let refused = |data_type: &DataType| {
        Error::invalid(format!("a table cannot be partitioned by column {name:?} of type {data_type}"))
    };
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    let texts = match column.data_type() {
        DataType::Binary | DataType::List(_) | DataType::Struct(_) | DataType::Map(..) => {
            return Err(refused(column.data_type()));
        }
        data_type => cast_with_options(column, &DataType::Utf8, &strict).map_err(|_| refused(data_type))?,
    };
    let is_timestamp = matches!(column.data_type(), DataType::Timestamp(..));
    let texts = texts.as_string::<i32>();
    if texts.iter().flatten().any(str::is_empty) {
        return Err(Error::invalid(format!(
            "partition column {name:?} holds an empty text, which Delta takes for NULL; use another value"
        )));
    }
    if !is_timestamp {
        return Ok(Arc::new(texts.clone()));
    }
    // 2024-01-31T12:00:00.5Z is written 2024-01-31 12:00:00.5.
    let plain = |text: &str| text.trim_end_matches('Z').replace('T', " ");
    let texts: arrow::array::StringArray = texts.iter().map(|text| text.map(plain)).collect();
    Ok(Arc::new(texts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_escaped_as_hive_does() {
        let columns = ["k".to_owned(), "d".to_owned()];
        let path = path_of(&columns, &vec![Some("a/b=c %".to_owned()), None]);
        let folder = path.parent().unwrap().to_str().unwrap();
        assert_eq!(folder, "k=a%2Fb%3Dc %25/d=__HIVE_DEFAULT_PARTITION__");
        let path = path_of(&columns[..1], &vec![Some("x".repeat(300))]);
        assert_eq!(path.components().count(), 1);
    }

    #[test]
    fn later_names_sort_later() {
        let names: Vec<String> = (0..100).map(|_| data_file_name()).collect();
        assert!(names.is_sorted());
    }
}
