//! Views of strings with their strings copied together, for operators that keep batches or count their bytes.
//!
//! The batches of a scan share the pages that were decoded, those of a merge the buffers of all its runs. Who keeps a few
//! such batches keeps all of that, and who counts them counts it for each: a merge of two sorted partitions reserved a hundred
//! megabytes for four batches of half a one.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{BinaryViewType, ByteViewType, DataType, StringViewType};
use arrow::error::ArrowError;
use datafusion::common::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateInputMode};
use datafusion::physical_plan::joins::SortMergeJoinExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;

use crate::engine::operators::{PassThrough, Passing};
use crate::storage::{NEGLIGIBLE_BYTES, held_by_views, is_mostly_used};

/// The batch with strings of its views copied together where their buffers hold much else; `None` where none do.
pub fn dense(batch: &RecordBatch) -> Result<Option<RecordBatch>, ArrowError> {
    let gathered: Vec<_> = batch.columns().iter().map(gathered).collect();
    if gathered.iter().all(Option::is_none) {
        return Ok(None);
    }
    let columns = gathered.into_iter().zip(batch.columns());
    let columns = columns.map(|(gathered, column)| gathered.unwrap_or_else(|| Arc::clone(column))).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(batch.schema(), columns, &options).map(Some)
}

fn gathered(column: &ArrayRef) -> Option<ArrayRef> {
    match column.data_type() {
        DataType::Utf8View => gathered_views::<StringViewType>(column),
        DataType::BinaryView => gathered_views::<BinaryViewType>(column),
        _ => None,
    }
}

fn gathered_views<T: ByteViewType>(column: &ArrayRef) -> Option<ArrayRef> {
    let views = column.as_byte_view::<T>();
    let held = held_by_views(views);
    (held > NEGLIGIBLE_BYTES && !is_mostly_used(held, views.total_buffer_bytes_used()))
        .then(|| Arc::new(views.gc()) as ArrayRef)
}

/// Whether an operator keeps or counts the batches of its inputs.
pub(super) fn keeps_batches(plan: &dyn ExecutionPlan) -> bool {
    plan.is::<SortPreservingMergeExec>()
        || plan.is::<SortMergeJoinExec>()
        || plan.downcast_ref::<AggregateExec>().is_some_and(keeps_values)
}

/// Whether an aggregate gathers the values that it is given, as `array_agg` does: its state has lists.
fn keeps_values(aggregate: &AggregateExec) -> bool {
    let gathers = |fields: Vec<arrow::datatypes::FieldRef>| {
        fields.iter().any(|field| matches!(field.data_type(), DataType::List(_) | DataType::LargeList(_)))
    };
    aggregate.mode().input_mode() == AggregateInputMode::Raw
        && aggregate.aggr_expr().iter().any(|function| function.state_fields().is_ok_and(gathers))
}

/// `input` with dense batches, where it has views.
pub(super) fn densely(input: &Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    let is_view = |data_type: &DataType| matches!(data_type, DataType::Utf8View | DataType::BinaryView);
    let has_views = input.schema().fields().iter().any(|field| is_view(field.data_type()));
    let input = Arc::clone(input);
    if has_views && !input.is::<PassThrough<Dense>>() { PassThrough::over(input, Dense) } else { input }
}

/// Gives the batches of its input with their strings copied together.
#[derive(Debug)]
struct Dense;

impl Passing for Dense {
    const NAME: &'static str = "Dense";

    fn unread(&self) -> Self {
        Self
    }

    fn execute(
        &self,
        input: &Arc<dyn ExecutionPlan>,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream, DataFusionError> {
        let batches = input.execute(partition, context)?.map(|batch| {
            let batch = batch?;
            Ok(dense(&batch)?.unwrap_or(batch))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(input.schema(), batches)))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringViewArray};

    use super::*;

    fn batch(texts: StringViewArray) -> RecordBatch {
        let numbers = Int64Array::from_iter_values(0..i64::try_from(texts.len()).unwrap());
        RecordBatch::try_from_iter([("n", Arc::new(numbers) as ArrayRef), ("t", Arc::new(texts))]).unwrap()
    }

    #[test]
    fn a_few_rows_keep_no_buffers_of_many() {
        let texts = (0..10_000).map(|row| format!("{row} is a text of some length"));
        let all = batch(StringViewArray::from_iter_values(texts));
        assert!(dense(&all).unwrap().is_none(), "nothing is gained");
        let slice = all.slice(5_000, 100);
        let copied = dense(&slice).unwrap().unwrap();
        assert_eq!(copied, slice);
        assert!(copied.get_array_memory_size() < 100_000 && slice.get_array_memory_size() > 200_000);
    }

    #[test]
    fn short_strings_are_in_no_buffer() {
        let short = batch(StringViewArray::from_iter_values((0..10_000).map(|row| row.to_string())));
        assert!(dense(&short.slice(0, 10)).unwrap().is_none());
    }
}
