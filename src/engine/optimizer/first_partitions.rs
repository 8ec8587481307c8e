//! The first rows by a partition column: the files that they can lie in.
//!
//! A sort that keeps the first rows finds out while it runs which files it need not read, but by then all of them are opened
//! and planned: with thousands of folders that takes far longer than the rows themselves. Where a partition column is sorted
//! by first, the numbers of rows in the footers tell beforehand how far into its values the first rows reach.

use arrow::compute::{SortOptions, sort_to_indices};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DataFusionError, ScalarValue};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::expr_rewriter::unnormalize_cols;
use datafusion::logical_expr::{Expr, LogicalPlan, Sort, SortExpr, TableScan, lit};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use crate::engine::tables::partition_rows;

type DfResult<T> = Result<T, DataFusionError>;

/// The rule that has scans leave out what is behind the first rows.
#[derive(Debug)]
pub(super) struct FirstPartitions;

impl OptimizerRule for FirstPartitions {
    fn name(&self) -> &'static str {
        "first_partitions"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> DfResult<Transformed<LogicalPlan>> {
        let LogicalPlan::Sort(sort) = &plan else { return Ok(Transformed::no(plan)) };
        match filter_of_first(sort)? {
            Some(filter) => plan.transform_down(|node| Ok(with_filter(node, &filter))),
            None => Ok(Transformed::no(plan)),
        }
    }
}

/// What the rows that a sort keeps have in common, if the values of folders tell.
fn filter_of_first(sort: &Sort) -> DfResult<Option<Expr>> {
    let (Some(rows), Some(SortExpr { expr: Expr::Column(column), asc, nulls_first })) =
        (sort.fetch.filter(|rows| *rows > 0), sort.expr.first())
    else {
        return Ok(None);
    };
    let Some((scan, column)) = scanned(&sort.input, column.clone()) else { return Ok(None) };
    let provider = source_as_provider(&scan.source)?;
    // As a scan is given them.
    let filters = unnormalize_cols(scan.filters.iter().cloned());
    let Some(files) = partition_rows(provider.as_ref(), &column.name, &filters)? else { return Ok(None) };
    let options = SortOptions { descending: !asc, nulls_first: *nulls_first };
    let filter = last_of_first(&files, rows, options)?.and_then(|last| not_behind(column, last, options));
    Ok(filter.filter(|filter| !scan.filters.contains(filter)))
}

/// The column as the scan below `plan` has it, if all rows of that come to `plan`, and nothing else does.
fn scanned(plan: &LogicalPlan, column: Column) -> Option<(&TableScan, Column)> {
    match plan {
        LogicalPlan::TableScan(scan) if scan.fetch.is_none() => Some((scan, column)),
        LogicalPlan::SubqueryAlias(alias) => {
            let place = alias.schema.maybe_index_of_column(&column)?;
            scanned(&alias.input, alias.input.schema().qualified_field(place).into())
        }
        LogicalPlan::Projection(projection) => {
            let place = projection.schema.maybe_index_of_column(&column)?;
            let Expr::Column(inner) = projection.expr[place].clone().unalias() else { return None };
            scanned(&projection.input, inner)
        }
        _ => None,
    }
}

/// The value that the last of the first so many rows has; `None` where there are no more.
fn last_of_first(
    files: &[(ScalarValue, u64)],
    rows: usize,
    options: SortOptions,
) -> DfResult<Option<ScalarValue>> {
    if files.iter().any(|(value, _)| value.data_type().is_floating()) || files.is_empty() {
        // Comparisons and sorts may see the two zeros, and NaN, at different places.
        return Ok(None);
    }
    let values = ScalarValue::iter_to_array(files.iter().map(|(value, _)| value.clone()))?;
    let mut missing = rows as u64;
    for place in sort_to_indices(&values, Some(options), None)?.values() {
        let (value, rows) = &files[*place as usize];
        if *rows >= missing {
            return Ok(Some(value.clone()));
        }
        missing -= rows;
    }
    Ok(None)
}

/// Whether a row comes no later than the last one; `None` where all do.
fn not_behind(column: Column, last: ScalarValue, options: SortOptions) -> Option<Expr> {
    let value = Expr::Column(column);
    let is_null = value.clone().is_null();
    let SortOptions { descending, nulls_first } = options;
    if last.is_null() {
        return nulls_first.then_some(is_null);
    }
    let last = lit(last);
    let within = if descending { value.gt_eq(last) } else { value.lt_eq(last) };
    Some(if nulls_first { within.or(is_null) } else { within })
}

fn with_filter(node: LogicalPlan, filter: &Expr) -> Transformed<LogicalPlan> {
    let LogicalPlan::TableScan(mut scan) = node else { return Transformed::no(node) };
    scan.filters.push(filter.clone());
    Transformed::new(LogicalPlan::TableScan(scan), true, TreeNodeRecursion::Stop)
}
