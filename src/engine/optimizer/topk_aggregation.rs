//! Groups of which only the first in an order are wanted.
//!
//! DataFusion 55.2 lets an aggregation forget all but the first groups, if they are sorted and limited above
//! it, even where a window function in between has to see them all (apache/datafusion#25066). It also follows
//! the column that is sorted by to the aggregation by its name, which a projection can give to another. This
//! rule stands in its place, and passes only what neither adds nor removes nor looks at other rows.
//!
//! It can go when the rule of DataFusion's does not pass windows, and binds by place.

use std::sync::Arc;

use datafusion::common::DataFusionError;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{
    AggregateExec, AggregateInputMode, AggregateOutputMode, LimitOptions, topk_types_supported,
};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;

type DfResult<T> = Result<T, DataFusionError>;

/// The rule in the place of DataFusion's.
#[derive(Debug)]
pub(super) struct FirstGroups;

impl FirstGroups {
    /// The name of the rule in whose place it stands.
    pub(super) const NAME: &'static str = "LimitAggregation";
}

impl PhysicalOptimizerRule for FirstGroups {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        if !config.optimizer.enable_topk_aggregation {
            return Ok(plan);
        }
        let limit = |plan: Arc<dyn ExecutionPlan>| match limit_groups(&plan)? {
            Some(limited) => Ok(Transformed::yes(limited)),
            None => Ok(Transformed::no(plan)),
        };
        plan.transform_down(limit).data()
    }

    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The first rows that are wanted, by the order of one column.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_field_names, reason = "`nulls_first` is what sorts call it")]
struct First {
    column: usize,
    descending: bool,
    nulls_first: bool,
    rows: usize,
}

/// `plan`, a sort of which only the first rows are wanted, above an aggregation that keeps no more groups.
fn limit_groups(plan: &Arc<dyn ExecutionPlan>) -> DfResult<Option<Arc<dyn ExecutionPlan>>> {
    let Some(sort) = plan.downcast_ref::<SortExec>() else { return Ok(None) };
    let (Some(rows), [key]) = (sort.fetch(), &sort.expr()[..]) else { return Ok(None) };
    let Some(column) = key.expr.downcast_ref::<Column>() else { return Ok(None) };
    let first = First {
        column: column.index(),
        descending: key.options.descending,
        nulls_first: key.options.nulls_first,
        rows,
    };
    let Some(input) = descend(sort.input(), first)? else { return Ok(None) };
    replace_children_if_necessary(Arc::clone(plan), vec![input]).map(Some)
}

/// `plan` with the aggregation under it limited; `None` where there is none that can be.
fn descend(plan: &Arc<dyn ExecutionPlan>, first: First) -> DfResult<Option<Arc<dyn ExecutionPlan>>> {
    if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        let Some(limited) = limited(aggregate, first) else { return Ok(None) };
        let limited = Arc::new(limited) as Arc<dyn ExecutionPlan>;
        // What is aggregated in two steps has the same columns in between.
        let is_second_step = aggregate.mode().input_mode() == AggregateInputMode::Partial;
        let below = if is_second_step { descend_to_partial(aggregate.input(), first)? } else { None };
        return match below {
            Some(below) => replace_children_if_necessary(limited, vec![below]).map(Some),
            None => Ok(Some(limited)),
        };
    }
    if plan.fetch().is_some() {
        return Ok(None);
    }
    let (input, column) = if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let projected = projection.expr().get(first.column);
        let Some(column) = projected.and_then(|projected| projected.expr.downcast_ref::<Column>()) else {
            return Ok(None);
        };
        (projection.input(), column.index())
    } else if let Some(input) = keeps_rows(plan) {
        (input, first.column)
    } else {
        return Ok(None);
    };
    let Some(input) = descend(input, First { column, ..first })? else { return Ok(None) };
    replace_children_if_necessary(Arc::clone(plan), vec![input]).map(Some)
}

fn descend_to_partial(
    plan: &Arc<dyn ExecutionPlan>,
    first: First,
) -> DfResult<Option<Arc<dyn ExecutionPlan>>> {
    if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        let is_first_step = aggregate.mode().output_mode() == AggregateOutputMode::Partial;
        let limited = limited(aggregate, first).filter(|_| is_first_step);
        return Ok(limited.map(|limited| Arc::new(limited) as Arc<dyn ExecutionPlan>));
    }
    let Some(input) = keeps_rows(plan).filter(|_| plan.fetch().is_none()) else { return Ok(None) };
    let Some(input) = descend_to_partial(input, first)? else { return Ok(None) };
    replace_children_if_necessary(Arc::clone(plan), vec![input]).map(Some)
}

/// The input of an operator that gives its rows and columns as they are.
fn keeps_rows(plan: &Arc<dyn ExecutionPlan>) -> Option<&Arc<dyn ExecutionPlan>> {
    let keeps =
        plan.is::<RepartitionExec>() || plan.is::<CoalescePartitionsExec>() || plan.is::<CooperativeExec>();
    match plan.children().as_slice() {
        [input] if keeps => Some(*input),
        _ => None,
    }
}

/// `aggregate` with no more groups than are wanted, if it can tell early which these are: by the one column
/// that it groups by, or by the one minimum or maximum that it computes.
fn limited(aggregate: &AggregateExec, first: First) -> Option<AggregateExec> {
    let [(key, _)] = aggregate.group_expr().expr() else { return None };
    if !aggregate.group_expr().is_single() || aggregate.filter_expr().iter().any(Option::is_some) {
        return None;
    }
    let schema = aggregate.input_schema();
    let key_type = key.data_type(&aggregate.input().schema()).ok()?;
    let value_type = match aggregate.get_minmax_desc() {
        Some((field, descending)) => {
            let [call] = aggregate.aggr_expr() else { return None };
            let arguments = call.expressions();
            let [argument] = arguments.as_slice() else { return None };
            // A group of NULLs comes first until it has a value: it could not be forgotten yet, nor others for it.
            let may_fall_back = first.nulls_first && argument.nullable(&schema).unwrap_or(true);
            if first.column != 1 || descending != first.descending || may_fall_back {
                return None;
            }
            field.data_type().clone()
        }
        None if aggregate.aggr_expr().is_empty() && first.column == 0 => key_type.clone(),
        None => return None,
    };
    if !topk_types_supported(&key_type, &value_type) {
        return None;
    }
    let options = LimitOptions::new_with_order(first.rows, first.descending);
    Some(aggregate.with_new_limit_options(Some(options)))
}
