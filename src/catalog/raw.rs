//! The raw stream of a dataset: its rows in order, in exactly the schema that was stored.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::SchemaRef;

use super::dataset::Snapshot;
use crate::error::{Error, Result};
use crate::storage::{PartScan, decodable};

/// Reads a snapshot to its end, part after part. Each call decodes one batch and blocks meanwhile.
///
/// Batches come in the types of [`decodable`]; the encoder of messages casts them to the stored ones.
pub struct RawScan {
    snapshot: Arc<Snapshot>,
    /// The dataset's schema in those types.
    plain: SchemaRef,
    part: usize,
    scan: Option<PartScan>,
}

impl RawScan {
    /// A scan that stands before the first row.
    pub fn new(snapshot: Arc<Snapshot>) -> Self {
        let plain = Arc::new(decodable(&snapshot.dataset.schema));
        Self { snapshot, plain, part: 0, scan: None }
    }

    /// The schema that was stored.
    pub fn schema(&self) -> &SchemaRef {
        &self.snapshot.dataset.schema
    }

    /// The next batch, or `None` after the last.
    pub fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let Some(file) = self.snapshot.files.get(self.part) else { return Ok(None) };
            let scan = if let Some(scan) = &mut self.scan {
                scan
            } else {
                let footer = &self.snapshot.dataset.parts[self.part].footer;
                self.scan.insert(PartScan::open(file.clone(), footer)?)
            };
            match scan.next_batch()? {
                Some(batch) if batch.num_rows() > 0 => return self.complete(&batch).map(Some),
                Some(_) => {}
                None => {
                    self.scan = None;
                    self.part += 1;
                }
            }
        }
    }

    /// The batch of one file as the dataset has it: columns by name, NULL for those that this file
    /// lacks, and the partition columns.
    fn complete(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let dataset = &self.snapshot.dataset;
        let rows = batch.num_rows();
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.plain.fields().len());
        let file_fields = &self.plain.fields()[..dataset.file_schema.fields().len()];
        if batch.schema().fields()[..] == *file_fields {
            columns.extend_from_slice(batch.columns());
        } else {
            columns.extend(file_fields.iter().map(|field| {
                batch
                    .column_by_name(field.name())
                    .map_or_else(|| new_null_array(field.data_type(), rows), Arc::clone)
            }));
        }
        let internal =
            |error: &dyn std::fmt::Display| Error::internal(format!("completing a batch: {error}"));
        for value in &dataset.parts[self.part].partition_values {
            columns.push(value.to_array_of_size(rows).map_err(|error| internal(&error))?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.plain), columns, &options)
            .map_err(|error| internal(&error))
    }
}
