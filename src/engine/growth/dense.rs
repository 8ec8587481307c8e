//! Views of strings with their strings copied together, for operators that keep batches or count their bytes.
//!
//! The batches of a scan share the pages that were decoded, those of a merge the buffers of all its runs. Who keeps a few
//! such batches keeps all of that, and who counts them counts it for each: a merge of two sorted partitions reserved a hundred
//! megabytes for four batches of half a one.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::buffer::Buffer;
use arrow::datatypes::{BinaryViewType, ByteViewType, DataType, SchemaRef, StringViewType};
use arrow::error::ArrowError;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Statistics};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateInputMode};
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::joins::SortMergeJoinExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::StreamExt;

type DfResult<T> = Result<T, DataFusionError>;

/// Buffers that hold no more than this together stay as they are.
const NEGLIGIBLE_BYTES: usize = 16 << 10;

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
    let held: usize = views.data_buffers().iter().map(Buffer::len).sum();
    if held <= NEGLIGIBLE_BYTES {
        return None;
    }
    let used = views.total_buffer_bytes_used();
    (held > used + used / 4).then(|| Arc::new(views.gc()) as ArrayRef)
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
    if has_views && !input.is::<Dense>() { Arc::new(Dense { input }) } else { input }
}

/// Gives the batches of its input with their strings copied together.
#[derive(Debug)]
struct Dense {
    input: Arc<dyn ExecutionPlan>,
}

impl DisplayAs for Dense {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dense")
    }
}

impl ExecutionPlan for Dense {
    fn name(&self) -> &'static str {
        "Dense"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let input = children.into_iter().next().unwrap_or_else(|| Arc::clone(&self.input));
        Ok(Arc::new(Self { input }))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let schema: SchemaRef = input.schema();
        let batches = input.map(|batch| {
            let batch = batch?;
            Ok(dense(&batch)?.unwrap_or(batch))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> DfResult<Arc<Statistics>> {
        Ok(Arc::clone(&inputs[0]))
    }

    fn supports_limit_pushdown(&self) -> bool {
        true
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
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
