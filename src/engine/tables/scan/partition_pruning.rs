//! Files that are left out by the values of their partition columns while a query runs.
//!
//! What sorts and joins find out meanwhile comes to a scan as filters. Parquet's reader judges each file by them, for
//! which it builds a predicate over statistics, file by file; but a filter over partition columns alone is
//! simply evaluated: all rows of a file have the same values. With thousands of folders that is most of the work.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::Result as DfResult;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileSource, ParquetSource};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{PhysicalExpr, split_conjunction};
use datafusion::physical_plan::metrics::{Count, MetricBuilder};
use datafusion_datasource::morsel::{MorselPlan, MorselPlanner, Morselizer};

/// A scan's files without those none of whose rows can pass.
#[derive(Debug)]
struct ByPartition {
    inner: Box<dyn Morselizer>,
    /// All of them have to hold; in terms of `schema`.
    filters: Vec<Arc<dyn PhysicalExpr>>,
    /// The partition columns.
    schema: SchemaRef,
    left_out: Count,
}

/// `inner`, the files of `source`, without those that its filters over partition columns leave out.
pub(super) fn by_partition(
    inner: Box<dyn Morselizer>,
    source: &ParquetSource,
) -> DfResult<Box<dyn Morselizer>> {
    let table = source.table_schema();
    let first = table.file_schema().fields().len();
    let places = first..first + table.table_partition_cols().len();
    let Some(predicate) = source.filter().filter(|_| !places.is_empty()) else { return Ok(inner) };
    let is_own = |filter: &Arc<dyn PhysicalExpr>| {
        let columns = collect_columns(filter);
        !columns.is_empty() && columns.iter().all(|column| places.contains(&column.index()))
    };
    let own = split_conjunction(&predicate).into_iter().filter(|filter| is_own(filter));
    let filters = own.map(|filter| moved(filter, first)).collect::<DfResult<Vec<_>>>()?;
    if filters.is_empty() {
        return Ok(inner);
    }
    let schema = Arc::new(Schema::new(table.table_partition_cols().clone()));
    let left_out = MetricBuilder::new(source.metrics()).global_counter("files_left_out_by_partition");
    Ok(Box::new(ByPartition { inner, filters, schema, left_out }))
}

/// `filter` with its columns `first` places before.
fn moved(filter: &Arc<dyn PhysicalExpr>, first: usize) -> DfResult<Arc<dyn PhysicalExpr>> {
    let one = |expr: Arc<dyn PhysicalExpr>| {
        let column = expr.downcast_ref::<Column>();
        let moved = column.map(|column| Column::new(column.name(), column.index().saturating_sub(first)));
        Ok(match moved {
            Some(column) => Transformed::yes(Arc::new(column) as Arc<dyn PhysicalExpr>),
            None => Transformed::no(expr),
        })
    };
    Arc::clone(filter).transform_up(one).data()
}

impl ByPartition {
    /// Whether rows of a file can pass. Where that cannot be told, they can.
    fn can_pass(&self, file: &PartitionedFile) -> DfResult<bool> {
        let values = file.partition_values.iter().map(|value| value.to_array_of_size(1));
        let values = RecordBatch::try_new(Arc::clone(&self.schema), values.collect::<DfResult<_>>()?)?;
        for filter in &self.filters {
            let passed = filter.evaluate(&values)?.into_array(1)?;
            let Some(passed) = passed.as_boolean_opt() else { continue };
            // NULL is not true.
            if passed.true_count() == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Morselizer for ByPartition {
    fn plan_file(&self, file: PartitionedFile) -> DfResult<Box<dyn MorselPlanner>> {
        if self.can_pass(&file).unwrap_or(true) {
            return self.inner.plan_file(file);
        }
        self.left_out.add(1);
        Ok(Box::new(Nothing))
    }
}

/// A file of which nothing is read.
#[derive(Debug)]
struct Nothing;

impl MorselPlanner for Nothing {
    fn plan(self: Box<Self>) -> DfResult<Option<MorselPlan>> {
        Ok(None)
    }
}
