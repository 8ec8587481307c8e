//! Decoded columns of files that queries read again and again.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::Arc;

use arrow::array::{Array, ArrayData, ArrayRef};
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use super::decoders::Decoders;
use super::file::{FileStat, HeldFile};
use super::footer::Footer;
use super::scan::{Projection, SliceScan, row_group_slice};
use super::types::storable;
use crate::error::{Error, Result};

/// Rows of each array that is kept: what queries take at once.
pub const CHUNK_ROWS: usize = 32_768;
/// The most that is decoded at once of one row group, in bytes.
const MAX_DECODED: u64 = 128 << 20;
/// Row groups that are decoded at once, by all queries together; each may take that share of the budget.
const AT_ONCE: NonZeroUsize = NonZeroUsize::new(8).unwrap();
/// Parts of the cache with a lock and a share of the budget each: what is larger than a share is never kept.
const SHARDS: usize = 4;
/// Columns that are remembered for having been read.
const REMEMBERED: usize = 1 << 16;
/// A column gets in when it is read so often. Taking it in costs several times what reading it does.
const READS: u8 = 2;
/// The same while the cache is full: a table that is larger than the cache is not to go through it, again and
/// again, with each of its scans.
const READS_WHEN_FULL: u8 = 8;

/// A column of a row group. An entry of the cache cannot be stale: a file whose bytes changed has another
/// stat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ColumnKey {
    /// The state of the file.
    pub stat: FileStat,
    /// The number of the row group.
    pub row_group: usize,
    /// The place of the column among the file's top-level ones.
    pub column: usize,
}

/// The values of a column of a row group: arrays of [`CHUNK_ROWS`] rows, the last one of the rest.
pub type Chunks = Arc<[ArrayRef]>;

/// What is kept of a column.
#[derive(Debug, Clone)]
struct Kept {
    chunks: Chunks,
    bytes: u64,
}

#[derive(Debug, Clone)]
struct ByMemory;

impl Weighter<ColumnKey, Kept> for ByMemory {
    fn weight(&self, _: &ColumnKey, kept: &Kept) -> u64 {
        kept.bytes + 512
    }
}

/// Decoded columns within a budget of bytes. A column gets in when it was read before.
#[derive(Debug)]
pub struct ColumnCache {
    /// `None` where the budget is 0.
    kept: Option<Cache<ColumnKey, Kept, ByMemory>>,
    /// How often columns were read that are not kept.
    seen: Cache<ColumnKey, u8>,
    decoders: Decoders,
    budget: u64,
}

impl ColumnCache {
    /// A cache of up to `budget` bytes; 0 switches it off.
    pub fn new(budget: u64) -> Result<Self> {
        let estimated = usize::try_from(budget >> 20).unwrap_or(usize::MAX).clamp(1, 1 << 16);
        let mut options = OptionsBuilder::new();
        options.shards(SHARDS).estimated_items_capacity(estimated).weight_capacity(budget);
        let options = options.build().ok().filter(|_| budget > 0);
        let kept = options.map(|options| {
            Cache::with_options(options, ByMemory, DefaultHashBuilder::default(), DefaultLifecycle::default())
        });
        Ok(Self { kept, seen: Cache::new(REMEMBERED), decoders: Decoders::new(AT_ONCE)?, budget })
    }

    /// The most that the columns of one row group may take to be decoded for the cache, in bytes.
    pub fn most_at_once(&self) -> u64 {
        MAX_DECODED.min(self.budget / AT_ONCE.get() as u64)
    }

    /// The threads for a [`read`](Self::read), so that there are not too many at once. A turn that is a thread of theirs ends by
    /// itself; that of a future would not while the query's threads compute.
    pub fn decoders(&self) -> &Decoders {
        &self.decoders
    }

    /// Whether anything is ever kept.
    pub fn is_enabled(&self) -> bool {
        self.kept.is_some()
    }

    /// Gives all memory back.
    pub fn clear(&self) {
        if let Some(kept) = &self.kept {
            kept.clear();
        }
    }

    /// Whether a column is kept.
    pub fn has(&self, key: &ColumnKey) -> bool {
        self.kept.as_ref().is_some_and(|kept| kept.peek(key).is_some())
    }

    /// Notes that a column is read that is not kept. Says whether it is to be, for having been read so often.
    pub fn note(&self, key: &ColumnKey) -> bool {
        let reads = self.seen.get(key).unwrap_or(0).saturating_add(1);
        self.seen.insert(*key, reads);
        let is_full = self.kept.as_ref().is_some_and(|kept| kept.weight() >= kept.capacity() / 4 * 3);
        reads >= if is_full { READS_WHEN_FULL } else { READS }
    }

    /// The `columns` of a row group, ascending: kept ones, and for the rest what the file holds, which is
    /// kept from now on.
    pub fn read(&self, file: &ColumnFile, row_group: usize, columns: &[usize]) -> Result<Vec<Chunks>> {
        let find = |column: &usize| self.kept.as_ref()?.get(&file.key(row_group, *column));
        let mut found: Vec<_> = columns.iter().map(|column| find(column).map(|kept| kept.chunks)).collect();
        let missing = columns.iter().zip(&found).filter(|(_, found)| found.is_none());
        let missing: Vec<_> = missing.map(|(column, _)| *column).collect();
        let decoded = file.decode(row_group, missing.clone())?;
        let places = found.iter_mut().filter(|found| found.is_none());
        for ((place, chunks), column) in places.zip(decoded).zip(missing) {
            let chunks = Chunks::from(chunks);
            if let Some(cache) = &self.kept {
                let kept = Kept { bytes: memory(&chunks), chunks: Arc::clone(&chunks) };
                let key = file.key(row_group, column);
                cache.insert(key, kept);
                // Should it have to go, it has to be read as often again.
                self.seen.remove(&key);
            }
            *place = Some(chunks);
        }
        found.into_iter().map(|chunks| chunks.ok_or_else(|| Error::internal("a column is missing"))).collect()
    }
}

/// A file whose columns are read, in the types that are in it.
#[derive(Debug)]
pub struct ColumnFile {
    file: HeldFile,
    footer: Arc<Footer>,
    schema: SchemaRef,
}

impl ColumnFile {
    /// The columns of `file`, whose footer is `footer`.
    pub fn new(file: HeldFile, footer: Arc<Footer>) -> Self {
        let schema = Arc::new(storable(&footer.schema));
        Self { file, footer, schema }
    }

    /// The columns as they are decoded.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The file's footer.
    pub fn footer(&self) -> &Footer {
        &self.footer
    }

    /// The key of a column.
    pub fn key(&self, row_group: usize, column: usize) -> ColumnKey {
        ColumnKey { stat: *self.file.stat(), row_group, column }
    }

    /// About how many bytes the `columns` of a row group are when they are decoded; `None` where the footer
    /// does not tell.
    pub fn decoded_bytes(&self, row_group: usize, columns: &[usize]) -> Option<u64> {
        let slice = row_group_slice(&self.footer, &self.projection(columns.to_vec()), row_group);
        (slice.most_rows == usize::MAX).then_some(slice.bytes)
    }

    fn projection(&self, columns: Vec<usize>) -> Projection {
        Projection { columns, schema: Arc::clone(&self.schema) }
    }

    /// The chunks of some columns of a row group.
    fn decode(&self, row_group: usize, columns: Vec<usize>) -> Result<Vec<Vec<ArrayRef>>> {
        let mut chunks = vec![Vec::new(); columns.len()];
        if columns.is_empty() {
            return Ok(chunks);
        }
        let projection = self.projection(columns);
        let slice = row_group_slice(&self.footer, &projection, row_group);
        // The reader makes room for as many rows as it is asked for, whether or not they are there.
        let rows = slice.rows.len().clamp(1, CHUNK_ROWS);
        let mut scan = SliceScan::open(self.file.clone(), &self.footer, &projection, &slice, None, rows)?;
        while let Some(batch) = scan.next_batch()? {
            for (chunks, array) in chunks.iter_mut().zip(batch.columns()) {
                chunks.push(Arc::clone(array));
            }
        }
        // Who reads them relies on chunks of one length.
        let lengths =
            || (0..slice.rows.len()).step_by(CHUNK_ROWS).map(|at| (slice.rows.len() - at).min(CHUNK_ROWS));
        if chunks.iter().any(|chunks| !chunks.iter().map(Array::len).eq(lengths())) {
            let path = self.file.path().display();
            return Err(Error::data_loss(format!(
                "the file {path} is damaged: row group {row_group} has fewer rows than its footer says"
            )));
        }
        Ok(chunks)
    }
}

/// Bytes of memory that arrays hold; what several of them share counts once.
fn memory(arrays: &[ArrayRef]) -> u64 {
    fn add(data: &ArrayData, seen: &mut HashSet<*const u8>) -> usize {
        let nulls = data.nulls().map(|nulls| nulls.inner().inner());
        let buffers = data.buffers().iter().chain(nulls);
        let own: usize =
            buffers.filter(|buffer| seen.insert(buffer.data_ptr().as_ptr())).map(Buffer::capacity).sum();
        own + data.child_data().iter().map(|child| add(child, seen)).sum::<usize>()
    }
    let mut seen = HashSet::new();
    arrays.iter().map(|array| add(&array.to_data(), &mut seen) as u64).sum()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use arrow::array::{AsArray, Int64Array, RecordBatch, StringViewArray};
    use arrow::datatypes::Int64Type;
    use parquet::arrow::ArrowWriter;
    use parquet::file::metadata::PageIndexPolicy;
    use parquet::file::properties::WriterProperties;

    use super::*;

    const GROUP: usize = 50_000;

    /// A file of `groups` row groups of `rows` numbers and their texts.
    fn file(groups: usize, rows: usize) -> ColumnFile {
        let numbers = || (0..).take(groups * rows);
        let n: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers()));
        let s: ArrayRef =
            Arc::new(StringViewArray::from_iter_values(numbers().map(|n| format!("number {n}"))));
        let batch = RecordBatch::try_from_iter([("n", n), ("s", s)]).unwrap();
        let properties = WriterProperties::builder().set_max_row_group_row_count(Some(rows));
        let stored = tempfile::tempfile().unwrap();
        let to = stored.try_clone().unwrap();
        let mut writer = ArrowWriter::try_new(to, batch.schema(), Some(properties.build())).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let file = HeldFile::new(stored, Path::new("t.parquet")).unwrap();
        let footer = Arc::new(Footer::read(&file, PageIndexPolicy::Skip).unwrap());
        ColumnFile::new(file, footer)
    }

    #[test]
    fn columns_are_decoded_once_and_are_those_of_the_file() {
        let (cache, file) = (ColumnCache::new(1 << 30).unwrap(), file(2, GROUP));
        let key = file.key(1, 0);
        assert!(!cache.note(&key), "the first time");
        assert!(cache.note(&key), "the second time");
        let first = cache.read(&file, 1, &[0]).unwrap();
        assert!(cache.has(&key) && !cache.has(&file.key(1, 1)) && !cache.has(&file.key(0, 0)));
        let both = cache.read(&file, 1, &[0, 1]).unwrap();
        assert!(Arc::ptr_eq(&first[0], &both[0]), "decoded again");
        let lengths: Vec<_> = both[1].iter().map(Array::len).collect();
        assert_eq!(lengths, [CHUNK_ROWS, GROUP - CHUNK_ROWS]);
        let numbers = both[0].iter().flat_map(|chunk| chunk.as_primitive::<Int64Type>().values());
        assert!(numbers.copied().eq((0..).skip(GROUP).take(GROUP)));
        assert_eq!(both[1][1].as_string_view().value(0), format!("number {}", GROUP + CHUNK_ROWS));
    }

    #[test]
    fn a_table_larger_than_the_cache_does_not_go_through_it_with_each_scan() {
        // Room for the numbers of less than half of the row groups.
        let (cache, file) = (ColumnCache::new(700_000).unwrap(), file(40, 5_000));
        let scan = || {
            let missing = (0..40).filter(|group| !cache.has(&file.key(*group, 0)));
            let due: Vec<_> = missing.filter(|group| cache.note(&file.key(*group, 0))).collect();
            for group in &due {
                cache.read(&file, *group, &[0]).unwrap();
            }
            due.len()
        };
        let decoded: Vec<_> = (0..40).map(|_| scan()).collect();
        assert_eq!(decoded[0], 0);
        // Once to fill it, then of each row group every eighth time.
        assert!(decoded.iter().sum::<usize>() <= 40 + 40 * 40 / 8, "{decoded:?}");
        assert!((0..40).filter(|group| cache.has(&file.key(*group, 0))).count() > 8);
    }

    #[test]
    fn without_a_budget_nothing_is_kept() {
        let (cache, file) = (ColumnCache::new(0).unwrap(), file(1, GROUP));
        assert!(!cache.is_enabled());
        cache.read(&file, 0, &[0]).unwrap();
        assert!(!cache.has(&file.key(0, 0)));
    }
}
