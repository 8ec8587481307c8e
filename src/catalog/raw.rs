//! The raw stream of a dataset: its rows in order, in exactly the schema that was stored, or some of its
//! columns.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::{Field, Schema, SchemaRef};
use sha2::{Digest, Sha256};

use super::snapshot::Snapshot;
use crate::error::{Error, Result};
use crate::failpoint::Failpoint;
use crate::storage::{
    FileStat, HeldFile, Projection, RowGroupSlice, SliceScan, batch_rows, cast_batch, decodable, first_row,
    is_decodable_as, slices, to_logical, without_views,
};

/// All row groups.
const ALL: Range<u64> = 0..u64::MAX;

/// A snapshot to be read in pieces, which can be decoded apart from each other.
#[derive(Debug)]
pub struct RawScan {
    snapshot: Arc<Snapshot>,
    /// The columns that are read: places among those of the files, with the partition columns behind them.
    columns: Vec<usize>,
    schema: SchemaRef,
    /// The schema of batches as they are decoded; the encoder of messages casts them to `schema`.
    decoded: SchemaRef,
    /// What the file columns of the whole dataset are decoded as.
    file_schema: SchemaRef,
    /// The most rows.
    limit: u64,
    /// The row groups that are read, counted over all parts.
    row_groups: Range<u64>,
    /// Whether batches are cast to `schema` here, and not by the encoder of messages, which knows only
    /// the casts from what Parquet can hold to what was stored.
    is_cast: bool,
}

/// A piece of a [`RawScan`].
#[derive(Debug, Clone)]
pub struct Piece {
    part: usize,
    slice: RowGroupSlice,
}

impl Piece {
    /// About how many bytes it is when it is decoded.
    pub fn bytes(&self) -> u64 {
        self.slice.bytes
    }

    /// The place of its file in the snapshot.
    pub(super) fn part(&self) -> usize {
        self.part
    }

    /// The first rows, about `bytes` of them, and the rest, where that is worth while.
    pub fn split(&self, bytes: u64) -> Option<(Self, Self)> {
        let (first, rest) = self.slice.split(bytes)?;
        Some((Self { part: self.part, slice: first }, Self { part: self.part, slice: rest }))
    }

    /// The rows of their row group.
    pub fn slice(&self) -> &RowGroupSlice {
        &self.slice
    }
}

impl RawScan {
    /// A scan of all columns.
    pub fn new(snapshot: Arc<Snapshot>) -> Self {
        let schema = Arc::clone(&snapshot.dataset.schema);
        let columns = (0..schema.fields().len()).map(|column| snapshot.dataset.place(column)).collect();
        let decoded = Arc::new(decodable(&schema));
        let file_schema = Arc::new(decodable(&snapshot.dataset.file_schema));
        Self {
            snapshot,
            columns,
            schema,
            decoded,
            file_schema,
            limit: u64::MAX,
            row_groups: ALL,
            is_cast: false,
        }
    }

    /// A scan of some columns, of `limit` rows at most, for an output of `schema`: the same columns, in
    /// other types where the rules of the edge want it.
    pub fn of_columns(
        snapshot: Arc<Snapshot>,
        columns: Vec<usize>,
        limit: Option<usize>,
        schema: SchemaRef,
    ) -> Self {
        let dataset = &snapshot.dataset;
        let columns: Vec<usize> = columns.into_iter().map(|column| dataset.place(column)).collect();
        let stored = decodable(&dataset.physical);
        let plain = without_views(&stored);
        let mut stored = stored.fields().to_vec();
        // Strings are decoded as what they are to become; for all else there is a cast.
        for (column, field) in columns.iter().zip(schema.fields()) {
            if field.data_type() == plain.field(*column).data_type() {
                stored[*column] = Arc::clone(&plain.fields()[*column]);
            }
        }
        let output = columns.iter().zip(schema.fields());
        let decoded: Vec<Field> = output
            .map(|(column, field)| Field::clone(field).with_data_type(stored[*column].data_type().clone()))
            .collect();
        let in_files = dataset.file_schema.fields().len();
        let file_schema = Arc::new(Schema::new(stored[..in_files].to_vec()));
        let limit = limit.map_or(u64::MAX, |limit| limit as u64);
        let decoded = Arc::new(Schema::new(decoded));
        let is_cast = decoded != schema;
        Self { snapshot, columns, schema, decoded, file_schema, limit, row_groups: ALL, is_cast }
    }

    /// The same of some row groups only, counted over all parts in order.
    #[must_use]
    pub fn with_row_groups(self, row_groups: Range<u64>) -> Self {
        Self { row_groups, ..self }
    }

    /// The schema of the stream.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Rows, exactly; of some row groups at most so many, where rows of their files are deleted.
    pub fn rows(&self) -> u64 {
        if self.row_groups == ALL {
            return self.snapshot.dataset.rows().min(self.limit);
        }
        let groups = self.snapshot.dataset.parts.iter().flat_map(|part| part.footer.metadata.row_groups());
        let read = (0..).zip(groups).filter(|(group, _)| self.row_groups.contains(group));
        let rows: i64 = read.map(|(_, group)| group.num_rows()).sum();
        u64::try_from(rows).unwrap_or(0).min(self.limit)
    }

    /// The rows in order, in pieces of about `target` bytes.
    pub fn pieces(&self, target: u64) -> Vec<Piece> {
        let parts = self.snapshot.dataset.parts.iter().enumerate();
        let mut before = 0;
        let pieces = parts.flat_map(|(part, file)| {
            let first = before;
            before += file.footer.metadata.num_row_groups() as u64;
            let slices = slices(&file.footer, &self.projection(part), target).into_iter();
            let slices =
                slices.filter(move |slice| self.row_groups.contains(&(first + slice.row_group as u64)));
            slices.map(move |slice| Piece { part, slice })
        });
        let mut left = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let within = pieces.map_while(|mut piece| {
            let rows = &mut piece.slice.rows;
            rows.end = rows.end.min(rows.start.saturating_add(left));
            left -= rows.len();
            (rows.start < rows.end).then_some(piece)
        });
        within.collect()
    }

    /// Prepares to read a piece in batches of about `batch_bytes`.
    pub fn open(self: &Arc<Self>, piece: &Piece, batch_bytes: u64) -> Result<PieceScan> {
        let file = self.snapshot.file(piece.part)?.clone();
        let footer = &self.snapshot.dataset.parts[piece.part].footer;
        let projection = self.projection(piece.part);
        let deleted = self.snapshot.dataset.parts[piece.part].deleted.as_ref().map(|deleted| &deleted.rows);
        let rows = batch_rows(&piece.slice, batch_bytes);
        let scan = SliceScan::open(file, footer, &projection, &piece.slice, deleted, rows)?;
        // A batch holds the columns that are read, in the file's order.
        let place =
            |place: Option<usize>| place.and_then(|place| projection.columns.binary_search(&place).ok());
        let places = self.places(piece.part).into_iter().map(place).collect();
        Ok(PieceScan { raw: Arc::clone(self), part: piece.part, places, scan })
    }

    /// The places in its file of the rows that a piece gives.
    pub(super) fn places_of_rows(&self, piece: &Piece) -> Vec<u64> {
        let part = &self.snapshot.dataset.parts[piece.part];
        let first = first_row(&part.footer, piece.slice.row_group);
        let all = first + piece.slice.rows.start as u64..first + piece.slice.rows.end as u64;
        let deleted = part.deleted.as_ref();
        all.filter(|row| !deleted.is_some_and(|deleted| deleted.rows.contains(*row))).collect()
    }

    /// The state of the file that a piece is read from.
    pub fn stat(&self, piece: &Piece) -> &FileStat {
        &self.snapshot.dataset.parts[piece.part].stat
    }

    /// Tells apart scans that make other batches of the same rows of a file.
    pub fn shape(&self, piece: &Piece) -> [u8; 32] {
        let dataset = &self.snapshot.dataset;
        let stored = self.places(piece.part);
        let values = &dataset.parts[piece.part].partition_values;
        let text = format!("{stored:?} {values:?} {:?} {:?}", self.schema.fields(), self.decoded.fields());
        let deleted = dataset.parts[piece.part].deleted.as_ref().map(|deleted| &deleted.id);
        // Structs of one type can have their fields from other columns of the file.
        let file = self.snapshot.file(piece.part).ok();
        let names = file.and_then(HeldFile::names).map(|names| names.id());
        let columns = format!("{:?} {:?} {deleted:?} {names:?}", self.columns, dataset.partition_fields);
        Sha256::digest(format!("{text} {columns}").as_bytes()).into()
    }

    /// Where the columns of the scan lie in a part's file, `None` for those that it has not: by name, or one
    /// by one where the file's columns are the dataset's (some programs write two of one name).
    fn places(&self, part: usize) -> Vec<Option<usize>> {
        let dataset = &self.snapshot.dataset;
        let stored = dataset.parts[part].footer.schema.fields();
        let all = dataset.file_schema.fields();
        let is_same = stored.iter().map(|field| field.name()).eq(all.iter().map(|field| field.name()));
        let place = |column: &usize| {
            let field = all.get(*column)?;
            if is_same { Some(*column) } else { stored.iter().position(|other| other.name() == field.name()) }
        };
        self.columns.iter().map(place).collect()
    }

    /// What to read of a part.
    fn projection(&self, part: usize) -> Projection {
        let stored = &self.snapshot.dataset.parts[part].footer.schema;
        let places = self.places(part);
        let mut columns: Vec<usize> = places.iter().flatten().copied().collect();
        columns.sort_unstable();
        columns.dedup();
        let own = decodable(stored);
        let mut fields = stored.fields().to_vec();
        for (column, place) in self.columns.iter().zip(places) {
            if let (Some(place), Some(decoded)) = (place, self.file_schema.fields().get(*column)) {
                // Another type than the dataset's, which a Delta table may have in its files, is cast later.
                let own = own.field(place).data_type();
                let data_type =
                    if is_decodable_as(own, decoded.data_type()) { decoded.data_type() } else { own };
                // Whether NULLs may be there is the file's to say.
                fields[place] = Arc::new(Field::clone(&fields[place]).with_data_type(data_type.clone()));
            }
        }
        let schema = Schema::new_with_metadata(fields, stored.metadata().clone());
        Projection { columns, schema: Arc::new(schema) }
    }
}

/// The rows of a piece, batch after batch.
pub struct PieceScan {
    raw: Arc<RawScan>,
    part: usize,
    /// Where the scan's columns are in a batch of the file's.
    places: Vec<Option<usize>>,
    scan: SliceScan,
}

impl PieceScan {
    /// The next batch, or `None` after the last. Blocks while it decodes.
    pub fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        Failpoint::Piece.pass()?;
        loop {
            match self.scan.next_batch()? {
                Some(batch) if batch.num_rows() > 0 => return self.complete(&batch).map(Some),
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }

    /// The columns in the dataset's types, where the file has them in others.
    fn in_dataset_types(&self, columns: Vec<ArrayRef>, rows: usize) -> Result<Vec<ArrayRef>> {
        let wanted = &self.raw.decoded;
        let mut pairs = columns.iter().zip(wanted.fields());
        if pairs.all(|(column, field)| column.data_type() == field.data_type()) {
            return Ok(columns);
        }
        let own = columns.iter().zip(wanted.fields());
        let own: Vec<Field> = own
            .map(|(column, field)| Field::clone(field).with_data_type(column.data_type().clone()))
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::new(Schema::new(own)), columns, &options)
            .map_err(|error| Error::data_loss(format!("the columns of a file do not fit: {error}")))?;
        let converted = to_logical(&batch, wanted).map_err(|error| {
            let path = &self.raw.snapshot.dataset.parts[self.part].path;
            Error::new(error.kind(), format!("{}: {}", path.display(), error.message()))
        });
        Ok(converted?.columns().to_vec())
    }

    /// The batch of one file as the dataset has it, with NULL in columns that this file lacks, and the
    /// partition columns.
    fn complete(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let raw = &self.raw;
        let dataset = &raw.snapshot.dataset;
        let (rows, in_files) = (batch.num_rows(), dataset.file_schema.fields().len());
        let internal =
            |error: &dyn std::fmt::Display| Error::internal(format!("completing a batch: {error}"));
        let column = |((column, place), field): ((&usize, &Option<usize>), &Arc<Field>)| -> Result<ArrayRef> {
            if let Some(partition) = column.checked_sub(in_files) {
                let value = &dataset.parts[self.part].partition_values[partition];
                return value.to_array_of_size(rows).map_err(|error| internal(&error));
            }
            let stored = place.map(|place| Arc::clone(batch.column(place)));
            Ok(stored.unwrap_or_else(|| new_null_array(field.data_type(), rows)))
        };
        let columns = raw.columns.iter().zip(&self.places).zip(raw.decoded.fields());
        let columns: Vec<ArrayRef> = columns.map(column).collect::<Result<_>>()?;
        let columns = self.in_dataset_types(columns, rows)?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&raw.decoded), columns, &options);
        let batch = batch.map_err(|error| internal(&error))?;
        if raw.is_cast {
            cast_batch(&batch, &raw.schema).map_err(|error| internal(&error))
        } else {
            Ok(batch)
        }
    }
}
