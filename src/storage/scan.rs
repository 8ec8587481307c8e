//! Decoding the rows of one Parquet file, a row group or a part of one at a time.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
    RowSelection, RowSelector,
};
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use roaring::RoaringTreemap;

use super::disk::exhausted_reading;
use super::file::HeldFile;
use super::footer::{Footer, plain_text};
use super::lengths::{decoded_bytes, hides_lengths};
use super::page_headers::{Chunk, find_damage, is_own};
use crate::error::{Error, Result, contain};

/// Rows that are decoded at once of strings of unknown length.
const MAX_UNKNOWN_ROWS: usize = 16_384;

/// Rows of one row group of a file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RowGroupSlice {
    /// The row group's number.
    pub row_group: usize,
    /// The rows, counted from the row group's first.
    pub rows: Range<usize>,
    /// About how many bytes they are when they are decoded.
    pub bytes: u64,
    /// Whether reading may begin at any row: to find a row of a repeated column, all those before it have
    /// to be decoded.
    pub is_divisible: bool,
    /// The most rows to decode at once: fewer where the footer does not tell how long strings are.
    pub most_rows: usize,
}

impl RowGroupSlice {
    /// The first rows, about `bytes` of them, and the rest; `None` where the slice is not much larger, or
    /// is better left whole.
    pub fn split(&self, bytes: u64) -> Option<(Self, Self)> {
        if !self.is_divisible || self.bytes / 2 < bytes {
            return None;
        }
        let length = self.rows.len() as u64;
        let first =
            usize::try_from(u128::from(length) * u128::from(bytes) / u128::from(self.bytes.max(1))).ok()?;
        let middle = self.rows.start + first.max(1);
        let with = |rows: Range<usize>, bytes| Self { rows, bytes, ..self.clone() };
        Some((with(self.rows.start..middle, bytes), with(middle..self.rows.end, self.bytes - bytes)))
    }
}

/// What to read of a file, and as what.
#[derive(Debug, Clone)]
pub struct Projection {
    /// The file's columns (its top-level fields) that are read, ascending.
    pub columns: Vec<usize>,
    /// The types that the file's columns are decoded as.
    pub schema: SchemaRef,
}

impl Projection {
    fn mask(&self, footer: &Footer) -> ProjectionMask {
        let descriptor = footer.metadata.file_metadata().schema_descr();
        ProjectionMask::roots(descriptor, self.columns.iter().copied())
    }
}

/// The rows of a file in slices of about `target` bytes: row groups, and parts of those that are larger
/// and can be entered in the middle.
pub fn slices(footer: &Footer, projection: &Projection, target: u64) -> Vec<RowGroupSlice> {
    let mask = projection.mask(footer);
    let columns = footer.metadata.file_metadata().schema_descr().columns();
    let is_divisible = columns
        .iter()
        .enumerate()
        .all(|(leaf, column)| !mask.leaf_included(leaf) || column.max_rep_level() == 0);
    let mut slices = Vec::new();
    for row_group in 0..footer.metadata.num_row_groups() {
        let whole = RowGroupSlice { is_divisible, ..masked_slice(footer, projection, &mask, row_group) };
        let (rows, bytes) = (whole.rows.len(), whole.bytes);
        // What is a little larger stays whole.
        let pieces = if is_divisible { bytes.div_ceil(target.saturating_add(target / 4).max(1)) } else { 1 };
        let pieces = usize::try_from(pieces).unwrap_or(usize::MAX).clamp(1, rows.max(1));
        let length = rows.div_ceil(pieces);
        let share = bytes / pieces as u64;
        let starts = (0..rows).step_by(length.max(1));
        slices.extend(starts.map(|start| RowGroupSlice {
            rows: start..rows.min(start + length),
            bytes: share,
            ..whole.clone()
        }));
    }
    slices
}

/// All rows of a row group, to be read from its first.
pub(super) fn row_group_slice(footer: &Footer, projection: &Projection, row_group: usize) -> RowGroupSlice {
    masked_slice(footer, projection, &projection.mask(footer), row_group)
}

/// The same for who has the projection's mask already.
fn masked_slice(
    footer: &Footer,
    projection: &Projection,
    mask: &ProjectionMask,
    row_group: usize,
) -> RowGroupSlice {
    let group = footer.metadata.row_group(row_group);
    RowGroupSlice {
        row_group,
        rows: 0..usize::try_from(group.num_rows()).unwrap_or(0),
        bytes: decoded_bytes(group, &projection.schema, mask),
        is_divisible: false,
        most_rows: if hides_lengths(group, mask) { MAX_UNKNOWN_ROWS } else { usize::MAX },
    }
}

/// The rows of a slice, batch after batch.
pub struct SliceScan {
    file: HeldFile,
    metadata: Arc<ParquetMetaData>,
    reader: ParquetRecordBatchReader,
    /// Rows that are still to come.
    left: u64,
}

impl SliceScan {
    /// Prepares to read a slice of `file` in batches of `batch_rows` rows.
    pub fn open(
        file: HeldFile,
        footer: &Footer,
        projection: &Projection,
        slice: &RowGroupSlice,
        deleted: Option<&RoaringTreemap>,
        batch_rows: usize,
    ) -> Result<Self> {
        let mask = projection.mask(footer);
        check_headers(&file, footer, slice.row_group, &mask)?;
        let build = || {
            let mut options = ArrowReaderOptions::new();
            if footer.is_amended || projection.schema != footer.schema {
                options = options.with_schema(SchemaRef::clone(&projection.schema));
            }
            let metadata = ArrowReaderMetadata::try_new(footer.metadata.clone(), options)?;
            let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file.clone(), metadata)
                .with_row_groups(vec![slice.row_group])
                .with_projection(mask.clone())
                .with_batch_size(batch_rows);
            let group_rows = footer.metadata.row_group(slice.row_group).num_rows();
            let chosen = match deleted {
                Some(deleted) => Some(remaining_of(slice, first_row(footer, slice.row_group), deleted)),
                None => selection(slice, group_rows),
            };
            match chosen {
                Some(selection) => builder.with_row_selection(selection).build(),
                None => builder.build(),
            }
        };
        let built = contain(build).map_err(|text| damaged(&file, &text))?;
        let metadata = Arc::clone(&footer.metadata);
        let reader = built.map_err(|error| scan_error(&file, &metadata, error))?;
        let left = slice.rows.len() as u64 - deleted_in(slice, first_row(footer, slice.row_group), deleted);
        Ok(Self { file, metadata, reader, left })
    }

    /// The next batch, or `None` after the last. The end is only the end if all rows have come, and the file is
    /// still what it was when it was opened.
    pub fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let next = contain(|| self.reader.next()).map_err(|text| damaged(&self.file, &text))?;
        let Some(batch) = next else {
            self.file.check_unchanged()?;
            return if self.left == 0 { Ok(None) } else { Err(self.other_rows("fewer")) };
        };
        let batch = batch.map_err(|error| scan_error(&self.file, &self.metadata, error))?;
        let left = self.left.checked_sub(batch.num_rows() as u64);
        self.left = left.ok_or_else(|| self.other_rows("more"))?;
        Ok(Some(batch))
    }

    fn other_rows(&self, how_many: &str) -> Error {
        damaged(&self.file, &format!("a row group has {how_many} rows than the footer says"))
    }
}

/// Fails where the pages of a row group that are to be read are not as they were written. Of files of others nothing
/// is known.
fn check_headers(file: &HeldFile, footer: &Footer, row_group: usize, mask: &ProjectionMask) -> Result<()> {
    if !is_own(&footer.metadata) {
        return Ok(());
    }
    let leaves = 0..footer.metadata.row_group(row_group).num_columns();
    let mut read = leaves.filter(|leaf| mask.leaf_included(*leaf));
    read.try_for_each(|leaf| Chunk::new(file, &footer.metadata, row_group, leaf).check_headers())
}

/// Deleted rows among those of a slice, whose row group begins at `first`.
fn deleted_in(slice: &RowGroupSlice, first: u64, deleted: Option<&RoaringTreemap>) -> u64 {
    let (start, end) = (first + slice.rows.start as u64, first + slice.rows.end as u64);
    // Counted up to and with a row.
    let before = |deleted: &RoaringTreemap, row: u64| row.checked_sub(1).map_or(0, |last| deleted.rank(last));
    deleted.map_or(0, |deleted| before(deleted, end) - before(deleted, start))
}

/// The place of a row group's first row in its file.
pub fn first_row(footer: &Footer, row_group: usize) -> u64 {
    let before: i64 = footer.metadata.row_groups()[..row_group].iter().map(RowGroupMetaData::num_rows).sum();
    u64::try_from(before).unwrap_or(0)
}

/// The selection of the rows of a slice that are not deleted; `first` is the place of its row group.
fn remaining_of(slice: &RowGroupSlice, first: u64, deleted: &RoaringTreemap) -> RowSelection {
    let rows = first + slice.rows.start as u64..first + slice.rows.end as u64;
    let mut selectors = vec![RowSelector::skip(slice.rows.start)];
    selectors.extend(selectors_of(rows, deleted));
    selectors.into()
}

/// The selection of the rows of a file that are not deleted.
pub fn remaining(rows: u64, deleted: &RoaringTreemap) -> RowSelection {
    selectors_of(0..rows, deleted).into()
}

fn selectors_of(rows: Range<u64>, deleted: &RoaringTreemap) -> Vec<RowSelector> {
    let length = |rows: u64| usize::try_from(rows).unwrap_or(usize::MAX);
    let (mut selectors, mut next) = (Vec::new(), rows.start);
    let mut deleted = deleted.iter();
    deleted.advance_to(rows.start);
    for row in deleted.take_while(|row| *row < rows.end) {
        selectors.push(RowSelector::select(length(row - next)));
        selectors.push(RowSelector::skip(1));
        next = row + 1;
    }
    selectors.push(RowSelector::select(length(rows.end - next)));
    selectors
}

/// The selection of a slice's rows; `None` for a whole row group.
fn selection(slice: &RowGroupSlice, group_rows: i64) -> Option<RowSelection> {
    let Range { start, end } = slice.rows;
    if start == 0 && i64::try_from(end) == Ok(group_rows) {
        return None;
    }
    Some(vec![RowSelector::skip(start), RowSelector::select(end - start)].into())
}

/// Rows for a batch of the size that is aimed at: the whole slice where that is about as large.
pub fn batch_rows(slice: &RowGroupSlice, batch_bytes: u64) -> usize {
    let rows = slice.rows.len().clamp(1, slice.most_rows);
    if slice.bytes <= batch_bytes / 4 * 5 {
        return rows;
    }
    let row_bytes = (slice.bytes / slice.rows.len().max(1) as u64).max(1);
    usize::try_from(batch_bytes / row_bytes).unwrap_or(rows).clamp(1, rows)
}

fn damaged(file: &HeldFile, why: &str) -> Error {
    Error::data_loss(format!("the file {} is damaged: {why}", file.path().display()))
}

fn scan_error(
    file: &HeldFile,
    metadata: &ParquetMetaData,
    error: impl std::error::Error + Send + Sync + 'static,
) -> Error {
    if let Some(ours) = Error::find_in(&error) {
        return ours.duplicate();
    }
    if let Some(exhausted) = exhausted_reading(file.path(), &error) {
        return exhausted.with_source(error);
    }
    if let Some(damage) = find_damage(file, metadata) {
        return damage.with_source(error);
    }
    damaged(file, &plain_text(&error)).with_source(error)
}
