//! Writing a Parquet file that nobody sees until it is whole.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use arrow::array::{RecordBatch, new_null_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::arrow::{ARROW_SCHEMA_META_KEY, ArrowWriter, encode_arrow_schema};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::{KeyValue, PageIndexPolicy};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use serde::Deserialize;

use super::area::io_error;
use super::choice::MAX_DICTIONARY_BYTES;
use super::delta::DeltaLog;
use super::encode::{ParallelWriter, write_error};
use super::encoders::Encoders;
use super::file::{FileStat, HeldFile};
use super::footer::{Footer, FooterCache};
use super::page_headers::WRITER;
use super::pages::PageMemory;
use super::root::{Root, Target};
use super::trash::Label;
use super::types::{cast_batch, decodable, storable};
use super::writeback::{Writeback, sync_file};
use crate::error::{Error, Result, contain};
use crate::failpoint::Failpoint;
use crate::safeguard::Safeguard;

/// The widest value of fixed size: a schema alone must not make the server allocate more.
const MAX_FIXED_WIDTH: u64 = 16 << 20;
/// The most rows in a row group that has Bloom filters: about as many bytes in each.
const MAX_FILTERED_ROWS: usize = 1 << 20;

/// The codec of stored pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// No compression.
    None,
    /// Snappy: what every reader has.
    Snappy,
    /// LZ4_RAW: the fastest to read.
    Lz4,
    /// Zstandard, level 1: the smallest.
    Zstd,
}

impl Codec {
    fn compression(self) -> Compression {
        match self {
            Self::None => Compression::UNCOMPRESSED,
            Self::Snappy => Compression::SNAPPY,
            Self::Lz4 => Compression::LZ4_RAW,
            Self::Zstd => Compression::ZSTD(ZstdLevel::default()),
        }
    }
}

/// Whether uploads get Bloom filters, by which a query for single values skips row groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum BloomFilters {
    /// Of columns that look like keys in no order.
    Auto,
    /// None.
    None,
}

/// How uploads are stored.
#[derive(Debug, Clone, Copy)]
pub struct StagingOptions {
    /// The codec of all pages.
    pub codec: Codec,
    /// The most rows in a row group.
    pub row_group_rows: usize,
    /// The most encoded bytes in a row group.
    pub row_group_bytes: usize,
    /// The most encoded bytes that an upload holds in memory; a file without a name takes the rest.
    pub memory_bytes: usize,
    /// Which columns have Bloom filters.
    pub bloom_filters: BloomFilters,
}

impl StagingOptions {
    fn properties(&self) -> WriterPropertiesBuilder {
        WriterProperties::builder()
            .set_created_by(format!("{WRITER}{}", env!("CARGO_PKG_VERSION")))
            .set_compression(self.codec.compression())
            .set_max_row_group_row_count(Some(self.row_group_rows))
            .set_max_row_group_bytes(Some(self.row_group_bytes))
            .set_dictionary_page_size_limit(MAX_DICTIONARY_BYTES)
    }

    /// A filter takes memory for all rows that may come, and is of little use where the row group has most of them.
    fn has_filters(&self) -> bool {
        self.bloom_filters == BloomFilters::Auto && self.row_group_rows <= MAX_FILTERED_ROWS
    }
}

/// Where uploads become files: the staging directory of a root, and the threads that encode for it.
#[derive(Debug)]
pub struct Staging {
    root: Arc<Root>,
    options: StagingOptions,
    encoders: Encoders,
}

impl Staging {
    /// Staging in `root`.
    pub fn new(root: Arc<Root>, options: StagingOptions) -> Self {
        Self { root, options, encoders: Encoders::new() }
    }

    /// Begins a file for batches of `schema`.
    pub fn create(&self, schema: SchemaRef) -> Result<StagedFile> {
        self.create_as(schema, None)
    }

    /// The same for a file that may be to say that its columns are `declared`: other forms of the same strings.
    pub fn create_as(&self, schema: SchemaRef, declared: Option<&Schema>) -> Result<StagedFile> {
        let (path, file) = self.root.create_staged()?;
        // From here on the drop removes the file.
        let root = Arc::clone(&self.root);
        let mut staged =
            StagedFile { root, path, stored: None, writer: None, rows: 0, stat: None, published: false };
        let (stored, properties) = layout(&schema, declared.unwrap_or(&schema), self.options.properties());
        staged.stored = stored;
        let written = staged.stored.clone().unwrap_or(schema);
        let (root, room) = (Arc::clone(&self.root), Arc::clone(&self.root));
        let memory = PageMemory::with_room(
            self.options.memory_bytes,
            move || root.create_unnamed(),
            move || room.give_room(),
        );
        let file = Writeback::new(file).with_room(Arc::clone(&self.root));
        let writer = ParallelWriter::new(file, written, properties, self.encoders.clone(), memory);
        staged.writer = Some(writer.map_err(write_error)?.with_filters(self.options.has_filters()));
        Ok(staged)
    }
}

/// A Parquet file under construction in the staging directory. Dropped before it is published, it is
/// removed.
pub struct StagedFile {
    root: Arc<Root>,
    path: PathBuf,
    /// The schema that batches are stored in, where it is not their own.
    stored: Option<SchemaRef>,
    /// `None` once the file is finished.
    writer: Option<ParallelWriter<Writeback>>,
    rows: u64,
    stat: Option<FileStat>,
    published: bool,
}

impl StagedFile {
    /// Appends the rows of `batch`, which has the file's schema. They are encoded while the caller goes on:
    /// an error may be that of an earlier batch.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        Failpoint::StagedWrite.pass()?;
        let writer = self.writer.as_mut().ok_or_else(|| Error::internal("the staged file is finished"))?;
        match &self.stored {
            Some(stored) => {
                let cast =
                    contain(|| cast_batch(batch, stored)).and_then(|cast| cast.map_err(|e| e.to_string()));
                let cast = cast.map_err(|text| Error::invalid(format!("cannot store this batch: {text}")))?;
                writer.write(&cast)?;
            }
            None => writer.write(batch)?,
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    /// Writes the footer, syncs the file, reads the footer back and checks it. After this only
    /// [`publish`](Self::publish) is left to do.
    pub fn finish(&mut self) -> Result<Footer> {
        Failpoint::StagedFinish.pass()?;
        let writer = self.writer.take().ok_or_else(|| Error::internal("the staged file is finished"))?;
        let file = writer.finish()?.into_file().map_err(|error| io_error("sync", &self.path, error))?;
        // An mtime of our own, in nanoseconds: the kernel's may be the same for two files written
        // within one tick, and identity (hence version) is told by inode, size and mtime.
        file.set_modified(SystemTime::now()).map_err(|error| io_error("write", &self.path, error))?;
        sync_file(&file, Safeguard::SyncData).map_err(|error| io_error("sync", &self.path, error))?;

        let held = self.root.area().hold(&self.path)?;
        let footer = Footer::read(&held, PageIndexPolicy::Skip)?;
        let stored = footer.rows();
        if stored != self.rows {
            return Err(Error::data_loss(format!("{} rows were written, {stored} came back", self.rows)));
        }
        self.stat = Some(*held.stat());
        Ok(footer)
    }

    /// What the file system says of the finished file.
    pub fn stat(&self) -> Result<FileStat> {
        self.stat.ok_or_else(|| Error::internal("the staged file is not finished"))
    }

    /// Rows written so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Makes the finished file visible at `to`, durably.
    pub fn publish(mut self, to: &Path, target: Target) -> Result<()> {
        if self.writer.is_some() {
            return Err(Error::internal("an unfinished file cannot be published"));
        }
        self.root.publish(&self.path, to, target)?;
        self.published = true;
        Ok(())
    }

    /// The same, and what was at `to` goes to the trash. Says whether it is there; `None` if there was nothing.
    pub fn publish_over(mut self, to: &Path, label: &Label<'_>) -> Result<Option<bool>> {
        if self.writer.is_some() {
            return Err(Error::internal("an unfinished file cannot be published"));
        }
        let trashed = self.root.publish_over(&self.path, to, label)?;
        self.published = true;
        Ok(trashed)
    }

    /// Moves the finished file to `to` in the directory of a Delta table, durably. It becomes part of the
    /// table only by a commit.
    pub fn place(mut self, log: &DeltaLog, to: &Path) -> Result<()> {
        if self.writer.is_some() {
            return Err(Error::internal("an unfinished file cannot be placed"));
        }
        log.place(&self.path, to)?;
        self.published = true;
        Ok(())
    }

    /// The finished file, held open and without a name: it is gone when nobody holds it any more.
    pub fn hold(self) -> Result<HeldFile> {
        if self.writer.is_some() {
            return Err(Error::internal("an unfinished file cannot be held"));
        }
        // The drop at the end takes the name away.
        self.root.area().hold(&self.path)
    }

    /// Puts the footer of the file just published at `path` into `cache`.
    pub fn remember(root: &Root, path: &Path, cache: &FooterCache) -> Result<HeldFile> {
        let held = root.area().hold(path)?;
        cache.of(&held)?;
        Ok(held)
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        if !self.published {
            self.writer = None;
            self.root.discard(&self.path);
        }
    }
}

/// The schema that batches of `schema` are to be cast to, if Parquet cannot hold theirs, and the properties
/// of their file. `ARROW:schema` is what is `declared` either way, mostly the batches' own, so that a reader gives
/// them back as they came.
fn layout(
    schema: &SchemaRef,
    declared: &Schema,
    properties: WriterPropertiesBuilder,
) -> (Option<SchemaRef>, WriterPropertiesBuilder) {
    let own = KeyValue::new(ARROW_SCHEMA_META_KEY.to_owned(), encode_arrow_schema(declared));
    let stored = storable(schema);
    let stored = (stored != **schema).then(|| Arc::new(stored));
    (stored, properties.set_key_value_metadata(Some(vec![own])))
}

/// Fails, naming the column, if Parquet cannot hold a column of `schema` and give it back with the
/// same type. The proof is to write and read each type once: support differs between the two.
pub fn check_storable(schema: &Schema) -> Result<()> {
    if schema.fields().is_empty() {
        return Err(Error::invalid("a dataset needs at least one column"));
    }
    let mut names = HashSet::new();
    for field in schema.fields() {
        if !names.insert(field.name()) {
            return Err(Error::invalid(format!("two columns are named {:?}", field.name())));
        }
        if fixed_width(field.data_type()) > MAX_FIXED_WIDTH {
            return Err(Error::invalid(format!(
                "a value of column {:?} takes more than {MAX_FIXED_WIDTH} bytes",
                field.name()
            )));
        }
        if let Err(why) = survives(field) {
            // A panic's text is of the library's making and helps nobody.
            let why = if why.starts_with("panic") { "it has no such type".to_owned() } else { why };
            return Err(Error::invalid(format!(
                "Parquet cannot hold column {:?} of type {}: {why}; cast it first",
                field.name(),
                field.data_type()
            )));
        }
    }
    Ok(())
}

/// Bytes that a single value takes at least, whatever it holds.
fn fixed_width(data_type: &DataType) -> u64 {
    match data_type {
        DataType::FixedSizeBinary(width) => u64::try_from(*width).unwrap_or(u64::MAX),
        DataType::FixedSizeList(item, size) => {
            let size = u64::try_from(*size).unwrap_or(u64::MAX);
            size.saturating_mul(fixed_width(item.data_type()).max(1))
        }
        DataType::Struct(fields) => {
            fields.iter().fold(0, |sum, field| sum.saturating_add(fixed_width(field.data_type())))
        }
        DataType::Dictionary(_, value) => fixed_width(value),
        DataType::List(item) | DataType::LargeList(item) | DataType::Map(item, _) => {
            fixed_width(item.data_type())
        }
        other => other.primitive_width().unwrap_or(1) as u64,
    }
}

fn survives(field: &Field) -> Result<(), String> {
    let trip = || -> Result<Schema, String> {
        let nullable = field.clone().with_nullable(true);
        let schema = Arc::new(Schema::new(vec![nullable]));
        let column = new_null_array(field.data_type(), 1);
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![column]).map_err(|e| e.to_string())?;
        let mut bytes = Vec::new();
        let (stored, properties) = layout(&schema, &schema, WriterProperties::builder());
        let stored = stored.unwrap_or(schema);
        let batch = cast_batch(&batch, &stored).map_err(|e| e.to_string())?;
        let options = ArrowWriterOptions::new().with_properties(properties.build());
        let options = options.with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(&mut bytes, stored, options);
        let mut writer = writer.map_err(|e| e.to_string())?;
        writer.write(&batch).map_err(|e| e.to_string())?;
        writer.close().map_err(|e| e.to_string())?;
        let bytes = Bytes::from(bytes);
        let stored =
            ArrowReaderMetadata::load(&bytes, ArrowReaderOptions::new()).map_err(|e| e.to_string())?;
        let stored = Arc::clone(stored.schema());
        let options = ArrowReaderOptions::new().with_schema(Arc::new(decodable(&stored)));
        let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes, options);
        let reader = reader.map_err(|e| e.to_string())?.build().map_err(|e| e.to_string())?;
        for batch in reader {
            let batch = batch.map_err(|e| e.to_string())?;
            cast_batch(&batch, &stored).map_err(|e| e.to_string())?;
        }
        Ok(Schema::clone(&stored))
    };
    let stored = contain(trip).and_then(|result| result)?;
    let stored = stored.field(0).data_type();
    if stored == field.data_type() { Ok(()) } else { Err(format!("it would come back as {stored}")) }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{IntervalUnit, UnionFields, UnionMode};

    use super::*;

    #[test]
    fn what_parquet_cannot_hold_is_named() {
        let union = DataType::Union(UnionFields::empty(), UnionMode::Sparse);
        let fields = vec![
            Field::new("fine", DataType::Int32, true),
            Field::new("odd", DataType::Interval(IntervalUnit::MonthDayNano), true),
        ];
        let error = check_storable(&Schema::new(fields)).unwrap_err();
        assert!(error.message().contains("\"odd\""), "{error}");
        let error = check_storable(&Schema::new(vec![Field::new("u", union, true)])).unwrap_err();
        assert!(error.message().contains("\"u\""), "{error}");
        check_storable(&Schema::new(vec![Field::new("v", DataType::Utf8View, false)])).unwrap();
    }

    #[test]
    fn a_schema_alone_cannot_make_anyone_allocate() {
        let inner = DataType::new_fixed_size_list(DataType::Int64, 1 << 20, true);
        for data_type in
            [DataType::new_fixed_size_list(inner, 1 << 20, true), DataType::FixedSizeBinary(i32::MAX)]
        {
            let error = check_storable(&Schema::new(vec![Field::new("w", data_type, true)])).unwrap_err();
            assert!(error.message().contains("\"w\""), "{error}");
        }
    }

    #[test]
    fn two_columns_of_one_name_are_refused() {
        let field = Field::new("a", DataType::Int32, true);
        let error = check_storable(&Schema::new(vec![field.clone(), field])).unwrap_err();
        assert!(error.message().contains("two columns"), "{error}");
    }
}
