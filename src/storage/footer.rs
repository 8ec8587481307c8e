//! Parquet footers: parsed once, cached under the identity of their file.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use arrow::datatypes::{Fields, Schema, SchemaRef};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::basic::{LogicalType, Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    ColumnChunkMetaData, PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData,
};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::area::Area;
use super::disk::exhausted_reading;
use super::file::{FileIdentity, FileStat, HeldFile};
use super::lengths::widths;
use super::logical::amended;
use super::names::{ColumnNames, numbered, without_arrow_schema};
use super::trust::{hides_nulls, trusted, with_some_nulls};
use super::types::ipc_schema;
use crate::error::{Error, Result, contain};
use crate::failpoint::Failpoint;
use crate::safeguard::Safeguard;

/// A file's footer and the Arrow schema that it stores.
#[derive(Debug, Clone)]
pub struct Footer {
    /// The footer as Parquet has it.
    pub metadata: Arc<ParquetMetaData>,
    /// The Arrow schema as it was stored (`ARROW:schema`), or as it follows from the Parquet types.
    pub schema: SchemaRef,
    /// Whether the schema is another one than Parquet's reader makes of the footer by itself.
    pub is_amended: bool,
    /// Tells apart schemas that differ, but for very few: made when it is first asked for.
    schema_hash: OnceLock<u64>,
    /// The schema as FlightInfo has it, made when it is first asked for: listings ask every time.
    encoded: OnceLock<Bytes>,
    /// See [`for_queries`](Self::for_queries).
    queried: OnceLock<Arc<ParquetMetaData>>,
    /// See [`widths`](Self::widths).
    widths: OnceLock<Arc<[u64]>>,
}

impl Footer {
    /// The schema as an encapsulated IPC message.
    pub fn ipc_schema(&self) -> Bytes {
        self.encoded.get_or_init(|| ipc_schema(&self.schema).into()).clone()
    }

    /// The footer as DataFusion may rely on it: without the bounds of floats. Those leave NaN out, which is larger
    /// than all numbers to a query, so what is skipped by them could hold rows that it asks for. Nor their Bloom
    /// filters, to which 0 and -0 are two values. And where NULLs are not counted, which it takes for none, with
    /// some: the counts are not for anything else.
    pub fn for_queries(&self) -> Result<Arc<ParquetMetaData>> {
        if let Some(made) = self.queried.get() {
            return Ok(Arc::clone(made));
        }
        let made = for_queries(&self.metadata)
            .map_err(|error| Error::internal(format!("a footer without bounds: {error}")))?;
        Ok(Arc::clone(self.queried.get_or_init(|| made)))
    }

    /// The footer with columns that are called by their places: `0`, `1`, …
    pub fn numbered(&self) -> Result<ParquetMetaData> {
        numbered(&self.metadata).map_err(|error| Error::internal(format!("a footer of numbers: {error}")))
    }

    /// About how many bytes each top-level column has in a row when it is decoded, where its rows are widest.
    pub fn widths(&self) -> Arc<[u64]> {
        Arc::clone(self.widths.get_or_init(|| widths(&self.metadata, &self.schema).into()))
    }

    /// A hash of the columns of the schema.
    pub fn schema_hash(&self) -> u64 {
        let hash = || BuildHasherDefault::<DefaultHasher>::default().hash_one(self.schema.fields());
        *self.schema_hash.get_or_init(hash)
    }

    /// Rows in the file.
    pub fn rows(&self) -> u64 {
        u64::try_from(self.metadata.file_metadata().num_rows()).unwrap_or(0)
    }

    /// Reads the footer of `file`, in the names that its columns are called by; damage is [`DataLoss`](crate::error::ErrorKind::DataLoss).
    pub fn read(file: &HeldFile, page_index: PageIndexPolicy) -> Result<Self> {
        Failpoint::Footer.pass()?;
        let read = || {
            let metadata =
                ParquetMetaDataReader::new().with_page_index_policy(page_index).parse_and_finish(file)?;
            let metadata = match file.names() {
                Some(names) => names.rename(&metadata)?,
                None => metadata,
            };
            with_schema(if Safeguard::TrustedFooters.stands() { trusted(metadata)? } else { metadata })
        };
        let loaded = contain(read).map_err(|text| damaged(file.path(), &text))?;
        let loaded = loaded.map_err(|error| unreadable(file, error))?;
        let metadata = Arc::clone(loaded.metadata());
        let amended = amended(metadata.file_metadata(), loaded.schema());
        let is_amended = amended.is_some();
        let footer = Self {
            metadata,
            schema: amended.unwrap_or_else(|| Arc::clone(loaded.schema())),
            is_amended,
            schema_hash: OnceLock::new(),
            encoded: OnceLock::new(),
            queried: OnceLock::new(),
            widths: OnceLock::new(),
        };
        footer.check(file.path())?;
        Ok(footer)
    }

    /// Row counts that contradict each other would make FlightInfo lie.
    fn check(&self, path: &Path) -> Result<()> {
        let in_groups: i64 = self.metadata.row_groups().iter().map(RowGroupMetaData::num_rows).sum();
        let in_file = self.metadata.file_metadata().num_rows();
        if in_file < 0 || in_file != in_groups {
            return Err(damaged(path, &format!("it claims {in_file} rows, its row groups {in_groups}")));
        }
        Ok(())
    }
}

/// `metadata` with its Arrow schema. What the writer noted of it is a hint, no more: where it cannot be read (Polars
/// notes integers of 128 bits, at which the reader panics: pola-rs/polars#25965) or is that of other columns, the schema
/// is what follows from the Parquet types. Then the note is left out, so that whoever gets the footer sees the same.
fn with_schema(metadata: ParquetMetaData) -> Result<ArrowReaderMetadata, ParquetError> {
    let schema_of = |metadata| ArrowReaderMetadata::try_new(metadata, ArrowReaderOptions::new());
    let metadata = Arc::new(metadata);
    if let Ok(Ok(loaded)) = contain(|| schema_of(Arc::clone(&metadata))) {
        return Ok(loaded);
    }
    if !Safeguard::NotedSchema.stands() {
        return schema_of(metadata);
    }
    schema_of(Arc::new(without_arrow_schema(&metadata)?))
}

fn for_queries(metadata: &Arc<ParquetMetaData>) -> Result<Arc<ParquetMetaData>, ParquetError> {
    let is_float = |column: &ColumnChunkMetaData| {
        matches!(column.column_type(), Type::FLOAT | Type::DOUBLE)
            || column.column_descr().logical_type_ref() == Some(&LogicalType::Float16)
    };
    let is_changed = |column: &ColumnChunkMetaData| is_float(column) || hides_nulls(column);
    if !metadata.row_groups().iter().any(|group| group.columns().iter().any(is_changed)) {
        return Ok(Arc::clone(metadata));
    }
    let strip = |group: &RowGroupMetaData| {
        let column = |column: &ColumnChunkMetaData| {
            if !is_float(column) {
                return if hides_nulls(column) {
                    with_some_nulls(column, group.num_rows())
                } else {
                    Ok(column.clone())
                };
            }
            let builder = column.clone().into_builder().clear_statistics();
            // Who has no index of the pages' bounds yet is not to load it either.
            let builder = builder.set_column_index_offset(None).set_column_index_length(None);
            builder.set_bloom_filter_offset(None).set_bloom_filter_length(None).build()
        };
        let columns = group.columns().iter().map(column).collect::<Result<_, _>>()?;
        group.clone().into_builder().set_column_metadata(columns).build()
    };
    let groups = metadata.row_groups().iter().map(strip).collect::<Result<_, _>>()?;
    let mut index = metadata.column_index().cloned();
    for (group, columns) in metadata.row_groups().iter().zip(index.iter_mut().flatten()) {
        for (column, index) in group.columns().iter().zip(columns) {
            if is_float(column) {
                *index = ColumnIndexMetaData::NONE;
            }
        }
    }
    let builder = ParquetMetaData::clone(metadata).into_builder();
    Ok(Arc::new(builder.set_row_groups(groups).set_column_index(index).build()))
}

/// What the first bytes of a file say that is none of Parquet's.
const OTHER_KINDS: [(&[u8], &str); 9] = [
    (b"ORC", "an ORC file"),
    (b"Obj\x01", "an Avro file"),
    (b"ARROW1", "an Arrow IPC file"),
    (b"FEA1", "a Feather file"),
    (b"\x1f\x8b", "compressed with gzip"),
    (b"\x28\xb5\x2f\xfd", "compressed with Zstandard"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"SQLite format 3", "an SQLite database"),
    (b"version https://git-lfs", "a pointer to a file in Git LFS"),
];

/// The error for a file whose footer cannot be read: what it is instead, where that can be told.
fn unreadable(file: &HeldFile, error: ParquetError) -> Error {
    const MAGIC: usize = 4;
    const LONGEST: usize = 24;
    if let Some(exhausted) = exhausted_reading(file.path(), &error) {
        return exhausted.with_source(error);
    }
    let size = file.stat().size();
    let read = |offset: u64, length: usize| file.read(offset, length).unwrap_or_default();
    let head = read(0, LONGEST.min(usize::try_from(size).unwrap_or(LONGEST)));
    let tail = read(size.saturating_sub(MAGIC as u64), MAGIC.min(usize::try_from(size).unwrap_or(MAGIC)));
    let path = file.path().display();
    if *tail == *b"PARE" {
        return Error::unimplemented(format!(
            "the file {path} is encrypted (its footer too), which is not supported; write it without encryption"
        ))
        .with_source(error);
    }
    if let Some((_, kind)) = OTHER_KINDS.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Error::data_loss(format!("the file {path} is no Parquet file, it is {kind}"))
            .with_source(error);
    }
    if let ParquetError::NYI(what) = &error {
        return Error::unimplemented(format!("the file {path} has what is not supported: {what}"))
            .with_source(error);
    }
    damaged(file.path(), &plain_text(&error)).with_source(error)
}

/// What an error of the Parquet library says, without what it calls itself.
pub(super) fn plain_text(error: &impl std::fmt::Display) -> String {
    const CALLED: [&str; 4] = ["Parquet argument error: ", "Parquet error: ", "External: ", "Arrow: "];
    let mut text = error.to_string();
    while let Some(rest) = CALLED.iter().find_map(|called| text.strip_prefix(called)) {
        text = rest.to_owned();
    }
    text
}

fn damaged(path: &Path, why: &str) -> Error {
    Error::data_loss(format!("the file {} is damaged or is not Parquet: {why}", path.display()))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    identity: FileIdentity,
    changed_nanos: i128,
    page_index: bool,
    names: Option<[u8; 32]>,
}

impl Key {
    fn new(stat: &FileStat, page_index: PageIndexPolicy, names: Option<&Arc<ColumnNames>>) -> Self {
        let page_index = page_index != PageIndexPolicy::Skip;
        let names = names.map(|names| *names.id());
        Self { identity: stat.identity, changed_nanos: stat.changed_nanos, page_index, names }
    }
}

#[derive(Debug, Clone)]
struct ByMemory;

impl Weighter<Key, Arc<Footer>> for ByMemory {
    fn weight(&self, _: &Key, footer: &Arc<Footer>) -> u64 {
        // A flat sum covers the schema, its encoded form and the entry.
        footer.metadata.memory_size() as u64 + 384 * footer.schema.flattened_fields().len() as u64 + 512
    }
}

/// Footers by file identity, within a budget of bytes. An entry cannot be stale: a file whose bytes
/// changed has another identity.
#[derive(Debug)]
pub struct FooterCache {
    entries: Cache<Key, Arc<Footer>, ByMemory>,
    /// The columns of files by their hash. Files of one writer share theirs, so that many are compared quickly.
    columns: Cache<u64, Fields>,
}

/// How many lists of columns are shared.
const SHARED: usize = 1 << 10;

impl FooterCache {
    /// A cache that holds up to `budget` bytes of footers.
    pub fn new(budget: u64) -> Self {
        let estimated = usize::try_from(budget / 4096).unwrap_or(usize::MAX).clamp(64, 1 << 20);
        Self { entries: Cache::with_weighter(estimated, budget, ByMemory), columns: Cache::new(SHARED) }
    }

    /// The footer of a file that is held open.
    pub fn of(&self, file: &HeldFile) -> Result<Arc<Footer>> {
        self.load(file, PageIndexPolicy::Skip)
    }

    /// The same with the page indexes that the file has.
    pub fn with_page_index(&self, file: &HeldFile) -> Result<Arc<Footer>> {
        self.load(file, PageIndexPolicy::Optional)
    }

    /// Stat and footer of the file at `path`, whose columns are called by `names`. It is opened only if the cache does not
    /// know a file of this `stat`.
    pub fn at(
        &self,
        area: &Area,
        path: &Path,
        stat: FileStat,
        names: Option<&Arc<ColumnNames>>,
    ) -> Result<(FileStat, Arc<Footer>)> {
        if let Some(footer) = self.entries.get(&Key::new(&stat, PageIndexPolicy::Skip, names)) {
            return Ok((stat, footer));
        }
        let file = area.hold_to_read(path)?.with_names(names.cloned());
        Ok((*file.stat(), self.of(&file)?))
    }

    fn load(&self, file: &HeldFile, page_index: PageIndexPolicy) -> Result<Arc<Footer>> {
        let key = Key::new(file.stat(), page_index, file.names());
        if let Some(footer) = self.entries.get(&key) {
            return Ok(footer);
        }
        let footer = Arc::new(self.sharing(Footer::read(file, page_index)?));
        self.entries.insert(key, Arc::clone(&footer));
        Ok(footer)
    }

    /// `footer` with the columns of an earlier one that has the same.
    fn sharing(&self, mut footer: Footer) -> Footer {
        // Fields are equal whether the values of their dictionaries are in order or not.
        let fields = footer.schema.flattened_fields();
        if fields.iter().any(|field| field.dict_is_ordered() == Some(true)) {
            return footer;
        }
        let hash = footer.schema_hash();
        match self.columns.get(&hash) {
            Some(known) if known == *footer.schema.fields() => {
                let metadata = footer.schema.metadata().clone();
                footer.schema = Arc::new(Schema::new_with_metadata(known, metadata));
            }
            Some(_) => {}
            None => self.columns.insert(hash, footer.schema.fields().clone()),
        }
        footer
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use arrow::datatypes::{DataType, Field};
    use parquet::arrow::arrow_writer::ArrowWriterOptions;
    use parquet::arrow::{ArrowWriter, encode_arrow_schema};
    use parquet::file::metadata::KeyValue;
    use parquet::file::properties::WriterProperties;

    use super::super::names::ARROW_SCHEMA;
    use super::*;

    /// A file of a column of numbers, whose writer noted that of its schema.
    fn noted(note: &str) -> File {
        let n: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let batch = RecordBatch::try_from_iter([("n", n)]).unwrap();
        let note = KeyValue::new(ARROW_SCHEMA.to_owned(), note.to_owned());
        let properties = WriterProperties::builder().set_key_value_metadata(Some(vec![note])).build();
        let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
        let file = tempfile::tempfile().unwrap();
        let to = file.try_clone().unwrap();
        let mut writer = ArrowWriter::try_new_with_options(to, batch.schema(), options).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        file
    }

    /// The types of a file's columns, which are the same to all who are given its footer.
    fn types(file: File) -> Vec<DataType> {
        let held = HeldFile::new(file, Path::new("t.parquet")).unwrap();
        let footer = Footer::read(&held, PageIndexPolicy::Optional).unwrap();
        for given in [Arc::clone(&footer.metadata), footer.for_queries().unwrap()] {
            let seen = ArrowReaderMetadata::try_new(given, ArrowReaderOptions::new()).unwrap();
            assert_eq!(seen.schema().fields(), footer.schema.fields());
        }
        footer.schema.fields().iter().map(|field| field.data_type().clone()).collect()
    }

    #[test]
    fn a_noted_schema_is_taken_where_it_can_be() {
        let dated = Schema::new(vec![Field::new("n", DataType::Date64, false)]);
        assert_eq!(types(noted(&encode_arrow_schema(&dated))), [DataType::Date64]);
        let other = Schema::new(vec![
            Field::new("n", DataType::Int64, false),
            Field::new("m", DataType::Int64, false),
        ]);
        for note in ["", "none", "AAAA", &encode_arrow_schema(&other)] {
            assert_eq!(types(noted(note)), [DataType::Int64], "{note}");
        }
    }

    #[test]
    fn integers_that_arrow_lacks_are_bytes() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tables/polars/int128.parquet");
        let types = types(File::open(path).unwrap());
        assert_eq!(types, [DataType::FixedSizeBinary(16), DataType::Int64]);
    }
}
