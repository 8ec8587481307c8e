//! Decoding the rows of one Parquet file, in order.

use std::sync::Arc;

use arrow::array::RecordBatch;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};

use parquet::file::metadata::RowGroupMetaData;

use super::file::HeldFile;
use super::footer::Footer;
use super::types::decodable;
use crate::error::{Error, Result, contain};

/// A batch aims at this many bytes of Arrow data, which is what a message aims at too.
const BATCH_BYTES: u64 = 2 << 20;
const MAX_BATCH_ROWS: u64 = 65_536;

/// The rows of a file, batch after batch, in the types of [`decodable`]: where the stored ones are
/// others, whoever needs them casts at the end.
pub struct PartScan {
    file: HeldFile,
    reader: ParquetRecordBatchReader,
}

impl PartScan {
    /// Prepares to read all rows of `file`.
    pub fn open(file: HeldFile, footer: &Footer) -> Result<Self> {
        let schema = Arc::clone(&footer.schema);
        let decoded = decodable(&schema);
        let build = || {
            let mut options = ArrowReaderOptions::new();
            if decoded != *schema {
                options = options.with_schema(Arc::new(decoded));
            }
            let metadata = ArrowReaderMetadata::try_new(Arc::clone(&footer.metadata), options)?;
            ParquetRecordBatchReaderBuilder::new_with_metadata(file.clone(), metadata)
                .with_batch_size(batch_rows(footer))
                .build()
        };
        let built = contain(build).map_err(|text| damaged(&file, &text))?;
        let reader = built.map_err(|error| scan_error(&file, error))?;
        Ok(Self { file, reader })
    }

    /// The next batch, or `None` after the last. The end is only the end if the file is still what
    /// it was when it was opened.
    pub fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let next = contain(|| self.reader.next()).map_err(|text| damaged(&self.file, &text))?;
        let Some(batch) = next else {
            self.file.check_unchanged()?;
            return Ok(None);
        };
        batch.map(Some).map_err(|error| scan_error(&self.file, error))
    }
}

/// Rows for a batch of the size that is aimed at, judged by the row group with the largest rows.
fn batch_rows(footer: &Footer) -> usize {
    let widest = footer.metadata.row_groups().iter().map(row_bytes).max().unwrap_or(0);
    // Encoded bytes understate decoded ones: take fixed widths as a floor.
    let width = footer.schema.fields().iter().map(|field| field.data_type().primitive_width().unwrap_or(16));
    let row_bytes = widest.max(width.sum::<usize>() as u64).max(1);
    usize::try_from((BATCH_BYTES / row_bytes).clamp(64, MAX_BATCH_ROWS)).unwrap_or(8192)
}

/// Decoded bytes of a row, as far as the footer tells: a dictionary can hide what its values take, but
/// not from the size statistics that newer writers add.
fn row_bytes(group: &RowGroupMetaData) -> u64 {
    let bytes = group
        .columns()
        .iter()
        .map(|column| column.uncompressed_size().max(column.unencoded_byte_array_data_bytes().unwrap_or(0)));
    let bytes = u64::try_from(bytes.sum::<i64>()).unwrap_or(0);
    bytes / u64::try_from(group.num_rows()).unwrap_or(1).max(1)
}

fn damaged(file: &HeldFile, why: &str) -> Error {
    Error::data_loss(format!("the file {} is damaged: {why}", file.path().display()))
}

fn scan_error(file: &HeldFile, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    if let Some(ours) = Error::find_in(&error) {
        return ours.duplicate();
    }
    damaged(file, &error.to_string()).with_source(error)
}
