//! Writing Parquet with the columns encoded at once.
//!
//! ```text
//! write ─▶ units of rows ─▶ one queue for each column ─▶ encoders ─▶ chunks ─▶ the file, group by group
//!             │                                              │
//!             └── waits while too many bytes are queued ◀────┘
//! ```
//!
//! A column's units are encoded one after the other, different columns at the same time. When a row group
//! is full the next one is begun while the last columns of the first are still being encoded: memory holds
//! the queued units and the encoded pages of two row groups, and of these no more than [`PageMemory`] allows.

use std::collections::VecDeque;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use arrow::array::{Array, ArrayData, RecordBatch};
use arrow::buffer::Buffer;
use arrow::datatypes::{FieldRef, SchemaRef};
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves,
};
use parquet::basic::{Compression, Encoding};
use parquet::errors::ParquetError;
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{ColumnPath, TypePtr};

use super::area::io_error;
use super::choice::{self, Choice, choose};
use super::encoders::Encoders;
use super::file_writer::FileWriter;
use super::pages::{GroupPages, PageMemory};
use crate::error::{Error, Result, contain};

/// The most rows and bytes of a unit.
const UNIT_ROWS: usize = 65_536;
const UNIT_BYTES: usize = 16 << 20;
/// A unit of so many rows, bytes or batches is not kept waiting for more.
const ENOUGH_ROWS: usize = 8192;
const ENOUGH_BYTES: usize = 1 << 20;
const ENOUGH_BATCHES: usize = 64;
/// The most bytes of units that wait or are being encoded.
const QUEUED_BYTES: usize = 32 << 20;
/// Row groups that are encoded alike before the columns are looked at again.
const ALIKE: usize = 8;
/// Columns that have Bloom filters where they may: each takes memory and time.
const FILTERS: usize = 8;

/// Writes batches to a Parquet file. Dropped, it ends what is still queued.
pub(super) struct ParallelWriter<W: Write + Send> {
    file: FileWriter<W>,
    schema: SchemaRef,
    properties: WriterPropertiesBuilder,
    /// Makes the columns of row groups, with what was found out about them.
    factory: Option<ArrowRowGroupWriterFactory>,
    row_group_rows: usize,
    row_group_bytes: usize,
    encoders: Encoders,
    memory: PageMemory,
    /// Columns that may have Bloom filters.
    filters: usize,
    progress: StopOnDrop,
    gathered: Gathered,
    /// The row group that is being filled.
    filling: Option<RowGroup>,
    /// The full one before it.
    closing: Option<Closing>,
    /// Row groups begun.
    begun: usize,
}

impl<W: Write + Send> ParallelWriter<W> {
    /// Begins a file for batches of `schema`, to be encoded by `encoders`. Finished pages wait in `memory`.
    pub(super) fn new(
        sink: W,
        schema: SchemaRef,
        properties: WriterPropertiesBuilder,
        encoders: Encoders,
        memory: PageMemory,
    ) -> Result<Self, ParquetError> {
        let built = Arc::new(properties.clone().build());
        let parquet = ArrowSchemaConverter::new().with_coerce_types(built.coerce_types()).convert(&schema)?;
        let file = FileWriter::new(sink, parquet.root_schema_ptr(), Arc::clone(&built))?;
        Ok(Self {
            file,
            schema,
            properties,
            factory: None,
            row_group_rows: built.max_row_group_row_count().unwrap_or(usize::MAX),
            row_group_bytes: built.max_row_group_bytes().unwrap_or(usize::MAX),
            encoders,
            memory,
            filters: 0,
            progress: StopOnDrop::default(),
            gathered: Gathered::default(),
            filling: None,
            closing: None,
            begun: 0,
        })
    }

    /// The same with Bloom filters of keys, or without any.
    pub(super) fn with_filters(self, filters: bool) -> Self {
        Self { filters: if filters { FILTERS } else { 0 }, ..self }
    }

    /// Appends the rows of `batch`. An error may be that of an earlier batch. Waits while there is much
    /// to be encoded already.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let rows = batch.num_rows();
        let row_bytes = buffer_bytes(batch).checked_div(rows).unwrap_or(0).max(1);
        let mut offset = 0;
        while offset < rows {
            let filled = self.filling.as_ref().map_or(0, |group| group.rows) + self.gathered.rows;
            let room = self.gathered.room(row_bytes).min(self.row_group_rows - filled).max(1);
            let length = room.min(rows - offset);
            self.gathered.push(batch.slice(offset, length), length * row_bytes);
            offset += length;
            if self.gathered.is_enough() || filled + length >= self.row_group_rows {
                self.dispatch()?;
            }
        }
        Ok(())
    }

    /// Encodes what is left, writes the footer and gives back where it was written to.
    pub(super) fn finish(mut self) -> Result<W> {
        if self.gathered.rows > 0 {
            self.dispatch()?;
        }
        self.close_group()?;
        self.append_closed()?;
        self.file.finish().map_err(write_error)
    }

    /// Queues what was gathered.
    fn dispatch(&mut self) -> Result<()> {
        let Gathered { batches, rows, bytes } = std::mem::take(&mut self.gathered);
        // What is queued is not in the size of its row group yet, so it must not be more than one.
        let charge = self.progress.charge(bytes, QUEUED_BYTES.min(self.row_group_bytes))?;
        let mut group = match self.filling.take() {
            Some(group) => group,
            None => self.begin_group(&batches)?,
        };
        group.rows += rows;
        let unit = Arc::new(Unit { batches, _charge: charge });
        for column in &group.columns {
            column.queue(Work::Encode(Arc::clone(&unit)), &self.encoders);
        }
        let is_full = group.rows >= self.row_group_rows || group.encoded_bytes() >= self.row_group_bytes;
        self.filling = Some(group);
        if is_full { self.close_group() } else { Ok(()) }
    }

    fn begin_group(&mut self, first: &[RecordBatch]) -> Result<RowGroup> {
        if self.begun.is_multiple_of(ALIKE) {
            self.factory = None;
        }
        let factory = match self.factory.take() {
            Some(factory) => factory,
            None => contain(|| self.column_factory(first))
                .map_err(|text| panicked(&text))?
                .map_err(write_error)?,
        };
        let pages = self.memory.of_row_group();
        let factory = factory.with_page_store_factory(Arc::new(pages.clone()));
        let writers = factory.create_column_writers(self.begun).map_err(write_error)?;
        self.factory = Some(factory);
        self.begun += 1;
        let fields = self.schema.fields();
        let mut leaves: Vec<_> = fields.iter().map(|_| Vec::new()).collect();
        for (leaf, writer) in writers.into_iter().enumerate() {
            leaves[self.file.schema_descr().get_column_root_idx(leaf)].push(writer);
        }
        let columns = fields.iter().zip(leaves).enumerate().map(|(index, (field, leaves))| {
            Arc::new(Column::new(index, Arc::clone(field), leaves, Arc::clone(&self.progress.0)))
        });
        Ok(RowGroup { columns: columns.collect(), pages, rows: 0 })
    }

    /// What makes the columns of row groups that begin with the batches `first`.
    fn column_factory(&self, first: &[RecordBatch]) -> Result<ArrowRowGroupWriterFactory, ParquetError> {
        let mut properties = self.properties.clone();
        let parquet = self.file.schema_descr();
        if let Some(batch) = first.iter().max_by_key(|batch| batch.num_rows()) {
            let mut filters = self.filters;
            for (leaf, column) in parquet.columns().iter().enumerate() {
                let values = batch.column(parquet.get_column_root_idx(leaf));
                let mut choice = choose(values, column.physical_type(), self.row_group_rows);
                choice.is_key &= filters > 0;
                filters -= usize::from(choice.is_key);
                properties = encoded(properties, column.path(), choice);
            }
        }
        factory(parquet.root_schema_ptr(), &self.schema, properties.build())
    }

    /// Ends the row group that is being filled. The one before it is written out first.
    fn close_group(&mut self) -> Result<()> {
        let Some(group) = self.filling.take() else { return Ok(()) };
        self.append_closed()?;
        let (done, chunks) = mpsc::channel();
        for column in &group.columns {
            column.queue(Work::Close(done.clone()), &self.encoders);
        }
        self.closing = Some(Closing { columns: group.columns.len(), pages: group.pages, chunks });
        Ok(())
    }

    /// Waits for the closed row group and appends it to the file.
    fn append_closed(&mut self) -> Result<()> {
        let Some(closing) = self.closing.take() else { return Ok(()) };
        let mut columns: Vec<(usize, Vec<ArrowColumnChunk>)> = closing.chunks.iter().collect();
        self.progress.check()?;
        if columns.len() != closing.columns {
            return Err(Error::internal("a column was lost on its way into a row group"));
        }
        columns.sort_unstable_by_key(|(index, _)| *index);
        let chunks = columns.into_iter().flat_map(|(_, chunks)| chunks);
        let append = || self.file.append_group(chunks, &closing.pages);
        contain(append).map_err(|text| panicked(&text))?.map_err(write_error)
    }
}

/// `properties` with the encoding of a column, and with a Bloom filter of it if it is a key.
fn encoded(
    properties: WriterPropertiesBuilder,
    path: &ColumnPath,
    choice: Choice,
) -> WriterPropertiesBuilder {
    let properties = properties.set_column_bloom_filter_enabled(path.clone(), choice.is_key);
    match choice.encoding {
        choice::Encoding::Dictionary => properties,
        choice::Encoding::Plain => properties.set_column_dictionary_enabled(path.clone(), false),
        choice::Encoding::Delta => properties
            .set_column_dictionary_enabled(path.clone(), false)
            .set_column_encoding(path.clone(), Encoding::DELTA_BINARY_PACKED)
            .set_column_compression(path.clone(), Compression::UNCOMPRESSED),
    }
}

/// A factory of columns with properties of their own: it takes them from a file, so there is one that is
/// never written.
fn factory(
    parquet: TypePtr,
    schema: &SchemaRef,
    properties: WriterProperties,
) -> Result<ArrowRowGroupWriterFactory, ParquetError> {
    let file = SerializedFileWriter::new(std::io::sink(), parquet, Arc::new(properties))?;
    Ok(ArrowRowGroupWriterFactory::new(&file, Arc::clone(schema)))
}

/// Bytes that the values of `batch` lie in. What several columns share is counted for each.
fn buffer_bytes(batch: &RecordBatch) -> usize {
    fn bytes(data: &ArrayData) -> usize {
        let nulls = data.nulls().map_or(0, |nulls| nulls.len() / 8);
        let own: usize = data.buffers().iter().map(Buffer::len).sum();
        data.child_data().iter().fold(nulls + own, |sum, child| sum.saturating_add(bytes(child)))
    }
    batch.columns().iter().fold(0, |sum, column| sum.saturating_add(bytes(&column.to_data())))
}

/// Batches that are to become a unit.
#[derive(Default)]
struct Gathered {
    batches: Vec<RecordBatch>,
    rows: usize,
    bytes: usize,
}

impl Gathered {
    /// Rows of so many bytes that fit.
    fn room(&self, row_bytes: usize) -> usize {
        (UNIT_ROWS.saturating_sub(self.rows)).min(UNIT_BYTES.saturating_sub(self.bytes) / row_bytes)
    }

    fn push(&mut self, batch: RecordBatch, bytes: usize) {
        self.rows += batch.num_rows();
        self.bytes += bytes;
        self.batches.push(batch);
    }

    fn is_enough(&self) -> bool {
        self.rows >= ENOUGH_ROWS || self.bytes >= ENOUGH_BYTES || self.batches.len() >= ENOUGH_BATCHES
    }
}

/// Rows that every column encodes at once.
struct Unit {
    batches: Vec<RecordBatch>,
    _charge: Charge,
}

/// A row group that is being filled.
struct RowGroup {
    columns: Vec<Arc<Column>>,
    pages: GroupPages,
    rows: usize,
}

impl RowGroup {
    /// Bytes that it has by now, as far as the encoders have come.
    fn encoded_bytes(&self) -> usize {
        self.columns.iter().map(|column| column.encoded_bytes.load(Ordering::Relaxed)).sum()
    }
}

/// A full row group, whose columns come in as they are ready.
struct Closing {
    columns: usize,
    pages: GroupPages,
    chunks: Receiver<(usize, Vec<ArrowColumnChunk>)>,
}

enum Work {
    Encode(Arc<Unit>),
    Close(Sender<(usize, Vec<ArrowColumnChunk>)>),
}

/// A column of a row group: its encoder, and what it is to encode.
struct Column {
    index: usize,
    field: FieldRef,
    progress: Arc<Progress>,
    encoded_bytes: AtomicUsize,
    state: Mutex<ColumnState>,
}

struct ColumnState {
    /// One for each leaf; none while a thread has them.
    leaves: Vec<ArrowColumnWriter>,
    work: VecDeque<Work>,
    /// Whether a job for this column runs or is about to.
    scheduled: bool,
}

impl Column {
    fn new(index: usize, field: FieldRef, leaves: Vec<ArrowColumnWriter>, progress: Arc<Progress>) -> Self {
        let state = ColumnState { leaves, work: VecDeque::new(), scheduled: false };
        Self { index, field, progress, encoded_bytes: AtomicUsize::new(0), state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, ColumnState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(self: &Arc<Self>, work: Work, encoders: &Encoders) {
        let mut state = self.lock();
        state.work.push_back(work);
        if !state.scheduled {
            state.scheduled = true;
            drop(state);
            self.schedule(encoders);
        }
    }

    fn schedule(self: &Arc<Self>, encoders: &Encoders) {
        let (column, again) = (Arc::clone(self), encoders.clone());
        encoders.run(move || {
            if column.step() {
                column.schedule(&again);
            }
        });
    }

    /// Does one piece of work, and says whether there is more.
    fn step(&self) -> bool {
        let (work, mut leaves) = {
            let mut state = self.lock();
            (state.work.pop_front(), std::mem::take(&mut state.leaves))
        };
        if let Some(work) = work
            && !self.progress.is_stopped()
        {
            match contain(|| self.perform(work, &mut leaves)) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => self.progress.fail(write_error(error)),
                Err(text) => self.progress.fail(panicked(&text)),
            }
        }
        let mut state = self.lock();
        state.leaves = leaves;
        state.scheduled = !state.work.is_empty();
        state.scheduled
    }

    fn perform(&self, work: Work, leaves: &mut Vec<ArrowColumnWriter>) -> Result<(), ParquetError> {
        match work {
            Work::Encode(unit) => {
                for batch in &unit.batches {
                    let values = compute_leaves(&self.field, batch.column(self.index))?;
                    for (leaf, values) in leaves.iter_mut().zip(&values) {
                        leaf.write(values)?;
                    }
                }
                let bytes = leaves.iter().map(ArrowColumnWriter::get_estimated_total_bytes).sum();
                self.encoded_bytes.store(bytes, Ordering::Relaxed);
            }
            Work::Close(done) => {
                let chunks = leaves.drain(..).map(ArrowColumnWriter::close).collect::<Result<_, _>>()?;
                // Nobody waits for it where the upload was dropped.
                let _ = done.send((self.index, chunks));
            }
        }
        Ok(())
    }
}

/// What the jobs of one file share.
#[derive(Default)]
struct Progress {
    queued_bytes: Mutex<usize>,
    freed: Condvar,
    stopped: AtomicBool,
    failure: Mutex<Option<Error>>,
}

/// Bytes of a unit that is not encoded yet.
struct Charge {
    progress: Arc<Progress>,
    bytes: usize,
}

impl Progress {
    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Keeps the first error and ends the rest of the work.
    fn fail(&self, error: Error) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.stopped.store(true, Ordering::Release);
    }

    /// Fails if any work has failed.
    fn check(&self) -> Result<()> {
        if !self.is_stopped() {
            return Ok(());
        }
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        Err(failure.unwrap_or_else(|| Error::internal("writing went on after it had failed")))
    }
}

/// The progress of a file as its writer sees it.
#[derive(Default)]
struct StopOnDrop(Arc<Progress>);

impl StopOnDrop {
    fn check(&self) -> Result<()> {
        self.0.check()
    }

    /// Waits until `bytes` more may be queued, with `most` in all; a single unit may be larger.
    fn charge(&self, bytes: usize, most: usize) -> Result<Charge> {
        let mut queued = self.0.queued_bytes.lock().unwrap_or_else(PoisonError::into_inner);
        while *queued > 0 && queued.saturating_add(bytes) > most {
            queued = self.0.freed.wait(queued).unwrap_or_else(PoisonError::into_inner);
        }
        *queued += bytes;
        drop(queued);
        let charge = Charge { progress: Arc::clone(&self.0), bytes };
        self.check()?;
        Ok(charge)
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stopped.store(true, Ordering::Release);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let mut queued = self.progress.queued_bytes.lock().unwrap_or_else(PoisonError::into_inner);
        *queued = queued.saturating_sub(self.bytes);
        self.progress.freed.notify_all();
    }
}

fn panicked(text: &str) -> Error {
    Error::invalid(format!("cannot store this batch: {text}"))
}

/// An error of the Parquet writer: ours or the disk's if it carries one, else the data's.
pub(super) fn write_error(error: ParquetError) -> Error {
    let error = match error {
        ParquetError::External(carried) => match carried.downcast::<Error>() {
            Ok(ours) => return *ours,
            Err(carried) => ParquetError::External(carried),
        },
        error => error,
    };
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(current) = source {
        if let Some(io) = current.downcast_ref::<std::io::Error>() {
            let copy = io.raw_os_error().map_or_else(|| io.kind().into(), std::io::Error::from_raw_os_error);
            return io_error("write", Path::new("the upload"), copy);
        }
        source = current.source();
    }
    Error::invalid(format!("cannot store this batch: {error}")).with_source(error)
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        ArrayRef, Float64Array, Int64Array, ListArray, RecordBatch, StringViewArray, StructArray,
    };
    use arrow::compute::concat_batches;
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};
    use bytes::Bytes;
    use parquet::arrow::arrow_reader::{
        ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
    };
    use parquet::file::metadata::RowGroupMetaData;

    use super::*;
    use crate::error::ErrorKind;

    /// Rows from `start` on: a key, a text, and nested columns of two and of one leaf.
    fn rows(start: i64, count: i64) -> RecordBatch {
        let numbers = start..start + count;
        let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers.clone()));
        let text = numbers.clone().map(|key| (key % 7 != 0).then(|| format!("the text of row {key}")));
        let text: ArrayRef = Arc::new(text.collect::<StringViewArray>());
        let field =
            |name: &str, values: &ArrayRef| Arc::new(Field::new(name, values.data_type().clone(), true));
        let pair = vec![(field("a", &keys), Arc::clone(&keys)), (field("b", &text), Arc::clone(&text))];
        let pair: ArrayRef = Arc::new(StructArray::from(pair));
        let lists = numbers.map(|key| (key % 5 != 0).then(|| (0..key % 4).map(Some).collect::<Vec<_>>()));
        let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists));
        let columns = [("key", keys), ("text", text), ("pair", pair), ("list", lists)];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, values)| (name, values, true))).unwrap()
    }

    fn properties(rows: usize, bytes: usize) -> WriterPropertiesBuilder {
        WriterProperties::builder()
            .set_max_row_group_row_count(Some(rows))
            .set_max_row_group_bytes(Some(bytes))
    }

    /// Memory that nothing is too much for.
    fn memory() -> PageMemory {
        PageMemory::new(usize::MAX, || unreachable!("there is room for all pages"))
    }

    fn writer<W: Write + Send>(
        sink: W,
        schema: SchemaRef,
        properties: WriterPropertiesBuilder,
    ) -> ParallelWriter<W> {
        ParallelWriter::new(sink, schema, properties, Encoders::new(), memory()).unwrap()
    }

    fn written(batches: &[RecordBatch], properties: WriterPropertiesBuilder) -> Bytes {
        written_within(batches, properties, memory())
    }

    fn written_within(
        batches: &[RecordBatch],
        properties: WriterPropertiesBuilder,
        memory: PageMemory,
    ) -> Bytes {
        let schema = batches[0].schema();
        let writer = ParallelWriter::new(Vec::new(), schema, properties, Encoders::new(), memory);
        let mut writer = writer.unwrap();
        for batch in batches {
            writer.write(batch).unwrap();
        }
        writer.finish().unwrap().into()
    }

    fn group_rows(file: &Bytes) -> Vec<i64> {
        let metadata = ArrowReaderMetadata::load(file, ArrowReaderOptions::new());
        metadata.unwrap().metadata().row_groups().iter().map(RowGroupMetaData::num_rows).collect()
    }

    #[test]
    fn what_is_written_comes_back_in_order_whatever_its_batches() {
        for (batches, length) in [(1, 10_000), (10, 1000), (4000, 3), (2, 70_000)] {
            let batches: Vec<_> = (0..batches).map(|index| rows(index * length, length)).collect();
            let expected = concat_batches(&batches[0].schema(), &batches).unwrap();
            let file = written(&batches, properties(3000, 1 << 20));
            let groups = group_rows(&file);
            let (last, full) = groups.split_last().unwrap();
            assert!(full.iter().all(|rows| *rows == 3000) && *last <= 3000, "{groups:?}");
            let options = ArrowReaderOptions::new().with_schema(expected.schema());
            let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options).unwrap();
            let read: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
            assert_eq!(concat_batches(&expected.schema(), &read).unwrap(), expected);
        }
    }

    #[test]
    fn row_groups_are_limited_in_bytes() {
        let batches: Vec<_> = (0..64).map(|index| rows(index * 8192, 8192)).collect();
        let file = written(&batches, properties(usize::MAX, 1 << 20));
        assert!(group_rows(&file).len() > 4, "{:?}", group_rows(&file));
    }

    #[test]
    fn no_rows_make_a_file_without_row_groups() {
        assert!(group_rows(&written(&[rows(0, 0)], properties(1000, 1 << 20))).is_empty());
    }

    #[test]
    fn a_batch_that_cannot_be_encoded_is_the_clients_error() {
        let schema = Arc::new(Schema::new(vec![Field::new("key", DataType::Int64, false)]));
        let mut writer = writer(Vec::new(), schema, properties(100_000, 1 << 20));
        let texts: ArrayRef = Arc::new(StringViewArray::from_iter_values(vec!["x"; 10_000]));
        let wrong = RecordBatch::try_from_iter([("key", texts)]).unwrap();
        let written = writer.write(&wrong).and_then(|()| writer.finish());
        assert_eq!(written.unwrap_err().kind(), ErrorKind::InvalidArgument);
    }

    #[test]
    fn a_full_disk_is_told_as_such() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error()))
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let batch = rows(0, 50_000);
        let mut writer = writer(Full, batch.schema(), properties(1000, 1 << 20));
        let written = writer.write(&batch).and_then(|()| writer.finish().map(|_| ()));
        assert_eq!(written.unwrap_err().kind(), ErrorKind::ResourceExhausted);
    }

    #[test]
    fn keys_have_filters_and_nothing_else_has() {
        let scattered = |key: i64| key.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64.cast_signed());
        let keys = || (0..20_000).map(scattered);
        let columns: [(&str, ArrayRef); 4] = [
            ("key", Arc::new(Int64Array::from_iter_values(keys()))),
            ("text", Arc::new(StringViewArray::from_iter_values(keys().map(|key| format!("{key:x}"))))),
            ("number", Arc::new(Int64Array::from_iter_values(0..20_000))),
            (
                "float",
                Arc::new(Float64Array::from_iter_values(
                    keys().map(|key| f64::from_bits(key.cast_unsigned() >> 2)),
                )),
            ),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        for (filters, expected) in [(true, [true, true, false, false]), (false, [false; 4])] {
            let mut writer =
                writer(Vec::new(), batch.schema(), properties(9000, 1 << 20)).with_filters(filters);
            writer.write(&batch).unwrap();
            let file = Bytes::from(writer.finish().unwrap());
            let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).unwrap();
            for group in metadata.metadata().row_groups() {
                let has: Vec<_> =
                    group.columns().iter().map(|column| column.bloom_filter_offset().is_some()).collect();
                assert_eq!(has, expected);
            }
        }
    }

    #[test]
    fn pages_that_wait_on_disk_make_the_same_file() {
        let batches: Vec<_> = (0..8).map(|index| rows(index * 50_000, 50_000)).collect();
        let properties = || properties(130_000, 1 << 30);
        let expected = written(&batches, properties());
        for most_bytes in [0, 100_000] {
            let created = Arc::new(AtomicUsize::new(0));
            let counter = Arc::clone(&created);
            let memory = PageMemory::new(most_bytes, move || {
                counter.fetch_add(1, Ordering::Relaxed);
                Ok(tempfile::tempfile().unwrap())
            });
            assert!(written_within(&batches, properties(), memory) == expected);
            let created = created.load(Ordering::Relaxed);
            assert!(created >= group_rows(&expected).len(), "{created} files for pages");
        }
    }

    #[test]
    fn a_disk_that_is_full_of_pages_is_told_as_such() {
        let full = || Err(Error::exhausted("the disk is full"));
        let read_only = || Ok(std::fs::File::open(std::env::current_exe().unwrap()).unwrap());
        let batch = rows(0, 50_000);
        for (memory, kind) in [
            (PageMemory::new(0, full), ErrorKind::ResourceExhausted),
            (PageMemory::new(0, read_only), ErrorKind::Internal),
        ] {
            let properties = properties(1000, 1 << 20);
            let writer = ParallelWriter::new(Vec::new(), batch.schema(), properties, Encoders::new(), memory);
            let mut writer = writer.unwrap();
            let written = writer.write(&batch).and_then(|()| writer.finish().map(|_| ()));
            assert_eq!(written.unwrap_err().kind(), kind);
        }
    }

    #[test]
    fn a_writer_that_is_dropped_stops_its_columns() {
        let batch = rows(0, 200_000);
        let mut writer = writer(Vec::new(), batch.schema(), properties(50_000, 1 << 30));
        writer.write(&batch).unwrap();
        let progress = Arc::downgrade(&writer.progress.0);
        drop(writer);
        // Nobody holds units, columns or threads for it any more.
        while progress.upgrade().is_some() {
            std::thread::yield_now();
        }
    }
}
