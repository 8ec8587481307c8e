//! Aggregates that are answered from statistics are those of the columns themselves.
//!
//! DataFusion 55.2 carries the bounds of a column through a cast: the smallest text of '1', '100' and '2' as an
//! integer is not the smallest integer of them all (apache/datafusion#25221). And a cast that fails for a row
//! would go unnoticed. This rule asks DataFusion's only where no cast that loses something, or can fail, is
//! between the aggregates and the columns.
//!
//! It can go when bounds are carried through such casts no more.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::DataFusionError;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{CastExpr, Column, Literal};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateInputMode};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::placeholder_row::PlaceholderRowExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::union::UnionExec;

use super::PhysicalRule;
use super::opaque::is_faithful;

/// DataFusion's rule of this name, where it is right.
#[derive(Debug)]
pub(super) struct FaithfulStatistics {
    inner: PhysicalRule,
}

impl FaithfulStatistics {
    /// The name of the rule that is guarded.
    pub(super) const NAME: &'static str = "aggregate_statistics";

    /// Guards `inner`.
    pub(super) fn new(inner: PhysicalRule) -> Self {
        Self { inner }
    }
}

impl PhysicalOptimizerRule for FaithfulStatistics {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let answer = |node: Arc<dyn ExecutionPlan>| {
            if !of_columns(&node) {
                return Ok(Transformed::no(node));
            }
            // It goes on below what it cannot answer: that is for this rule to judge.
            let answered = self.inner.optimize(Arc::clone(&node), config)?;
            Ok(if is_answer(&answered) { Transformed::yes(answered) } else { Transformed::no(node) })
        };
        plan.transform_down(answer).data()
    }

    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn schema_check(&self) -> bool {
        self.inner.schema_check()
    }
}

fn is_answer(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.downcast_ref::<ProjectionExec>().is_some_and(|values| values.input().is::<PlaceholderRowExec>())
}

/// Whether `plan` is an aggregation without groups whose arguments are columns of tables.
fn of_columns(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let Some(mut aggregate) = plan.downcast_ref::<AggregateExec>() else { return false };
    if !aggregate.group_expr().is_empty() {
        return false;
    }
    let mut below = aggregate.input();
    while aggregate.mode().input_mode() == AggregateInputMode::Partial {
        if let Some(partial) = below.downcast_ref::<AggregateExec>() {
            (aggregate, below) = (partial, partial.input());
            continue;
        }
        match below.children().as_slice() {
            [child] => below = *child,
            _ => return false,
        }
    }
    let arguments = aggregate.aggr_expr().iter().flat_map(|call| call.expressions());
    arguments.into_iter().all(|argument| {
        argument.is::<Literal>()
            || argument.downcast_ref::<Column>().is_some_and(|column| is_stored(below, column.index()))
    })
}

/// Whether a column of `plan` has the values of a table's column.
fn is_stored(plan: &Arc<dyn ExecutionPlan>, place: usize) -> bool {
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let input = projection.input();
        let stored = |column: usize| is_stored(input, column);
        return projection.expr().get(place).is_some_and(|projected| {
            keeps_values(&projected.expr, &stored, &|expr: &Arc<dyn PhysicalExpr>| {
                expr.data_type(&input.schema()).ok()
            })
        });
    }
    if let Some(scan) = plan.downcast_ref::<DataSourceExec>() {
        let Some(files) = scan.data_source().downcast_ref::<FileScanConfig>() else { return true };
        let Some(projection) = files.file_source().projection() else { return true };
        let schema = files.file_source().table_schema().table_schema();
        let projected = projection.expr_iter().nth(place);
        return projected.is_some_and(|expr| {
            keeps_values(&expr, &|_| true, &|expr: &Arc<dyn PhysicalExpr>| expr.data_type(schema).ok())
        });
    }
    if plan.fetch().is_some() {
        return false;
    }
    let keeps_rows = plan.is::<RepartitionExec>()
        || plan.is::<CoalescePartitionsExec>()
        || plan.is::<CooperativeExec>()
        || plan.is::<UnionExec>();
    keeps_rows && plan.children().into_iter().all(|child| is_stored(child, place))
}

fn keeps_values(
    expr: &Arc<dyn PhysicalExpr>,
    stored: &dyn Fn(usize) -> bool,
    type_of: &dyn Fn(&Arc<dyn PhysicalExpr>) -> Option<DataType>,
) -> bool {
    if let Some(column) = expr.downcast_ref::<Column>() {
        return stored(column.index());
    }
    let Some(cast) = expr.downcast_ref::<CastExpr>() else { return false };
    type_of(cast.expr()).is_some_and(|from| never_fails(&from, cast.cast_type()))
        && keeps_values(cast.expr(), stored, type_of)
}

/// Whether a cast has each value in the same order, and a value for each.
fn never_fails(from: &DataType, to: &DataType) -> bool {
    let is_wider = match (from.primitive_width(), to.primitive_width()) {
        (Some(from), Some(to)) => from < to,
        _ => true,
    };
    let keeps_sign = from.is_unsigned_integer() || !to.is_unsigned_integer();
    is_faithful(from, to) && (from == to || (is_wider && keeps_sign && !from.is_temporal()))
}
