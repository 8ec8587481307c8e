//! Operators whose work on a batch is kept to a size.

use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::common::DataFusionError;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateInputMode, PhysicalGroupBy};
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};

use super::Sizes;
use super::dense::{densely, keeps_batches};
use super::expressions::Growth;
use super::projection::SizedProjection;
use super::slices::Slices;
use crate::engine::operators::PassThrough;
use crate::engine::run::Control;

type DfResult<T> = Result<T, DataFusionError>;

/// Rows at once for operators that compute by themselves what can be many times as large as their input.
const FEW_ROWS: usize = 1024;

/// What a value of unknown size is taken for, and what a group takes besides its values, in bytes.
const VALUE: usize = 32;
const GROUP: usize = 32;

/// The name of the column that tells which rows pass a filter.
const PASSES: &str = "__airstrip_passes";

/// `plan` with operators that make batches of about the size that is aimed at, and can be stopped between two of them.
pub(in crate::engine) fn by_size(
    plan: Arc<dyn ExecutionPlan>,
    sizes: Sizes,
    control: &Control,
) -> DfResult<Arc<dyn ExecutionPlan>> {
    let sized = |plan: Arc<dyn ExecutionPlan>| {
        if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
            let grows =
                Growth::of_all(projection.expr().iter().map(|projected| &projected.expr)).makes_values;
            if grows {
                return Ok(Transformed::yes(sized_projection(projection.clone(), sizes, control)));
            }
        } else if let Some(filter) = plan.downcast_ref::<FilterExec>() {
            if Growth::of(filter.predicate()).multiplies {
                return Ok(Transformed::yes(sized_filter(filter, sizes, control)?));
            }
        } else if let Some((rows, tried)) = rows_of(&plan, sizes)? {
            let slices = |input: &Arc<dyn ExecutionPlan>| {
                let slices = Slices::of(rows, control.clone()).trying(tried.clone());
                PassThrough::over(Arc::clone(input), slices)
            };
            let inputs: Vec<_> = plan.children().into_iter().map(slices).collect();
            return Ok(Transformed::yes(replace_children_if_necessary(plan, inputs)?));
        } else if keeps_batches(plan.as_ref()) {
            let inputs: Vec<_> = plan.children().into_iter().map(densely).collect();
            return Ok(Transformed::yes(replace_children_if_necessary(plan, inputs)?));
        }
        Ok(Transformed::no(plan))
    };
    Ok(plan.transform_up(sized)?.data)
}

fn sized_projection(projection: ProjectionExec, sizes: Sizes, control: &Control) -> Arc<dyn ExecutionPlan> {
    Arc::new(SizedProjection::new(Arc::new(projection), sizes, control.clone()))
}

/// A filter whose predicate is computed before it, a few rows at a time.
fn sized_filter(filter: &FilterExec, sizes: Sizes, control: &Control) -> DfResult<Arc<dyn ExecutionPlan>> {
    let input = filter.input();
    let schema = input.schema();
    let columns = schema.fields().iter().enumerate().map(|(place, field)| {
        ProjectionExpr::new(Arc::new(Column::new(field.name(), place)), field.name().clone())
    });
    let passes = ProjectionExpr::new(Arc::clone(filter.predicate()), PASSES.to_owned());
    let computed = ProjectionExec::try_new_with_schema_metadata(
        columns.chain([passes]),
        Arc::clone(input),
        &with_passes(&schema),
    )?;
    let width = schema.fields().len();
    let kept = filter.projection().as_ref().map_or_else(|| (0..width).collect(), |kept| kept.to_vec());
    let passes = Arc::new(Column::new(PASSES, width));
    let filter = FilterExecBuilder::new(passes, sized_projection(computed, sizes, control))
        .apply_projection(Some(kept))?
        .with_default_selectivity(filter.default_selectivity())
        .with_batch_size(filter.batch_size())
        .with_fetch(filter.fetch())
        .build()?;
    Ok(Arc::new(filter))
}

/// A schema with the column of what passes, for the metadata of the others.
fn with_passes(schema: &Schema) -> Schema {
    let passes = arrow::datatypes::Field::new(PASSES, arrow::datatypes::DataType::Boolean, true);
    let fields: Vec<_> = schema.fields().iter().cloned().chain([Arc::new(passes)]).collect();
    Schema::new_with_metadata(fields, schema.metadata().clone())
}

/// The rows that an operator may be given at once, and what it makes of them.
type Few = (usize, Vec<Arc<dyn PhysicalExpr>>);

/// How many rows an operator may be given at once, where it makes so much of each that it matters, and what it makes.
fn rows_of(plan: &Arc<dyn ExecutionPlan>, sizes: Sizes) -> DfResult<Option<Few>> {
    let aggregate = plan.downcast_ref::<AggregateExec>();
    let is_merging =
        aggregate.is_some_and(|aggregate| aggregate.mode().input_mode() != AggregateInputMode::Raw);
    if plan.is::<DataSourceExec>() || plan.children().is_empty() || is_merging {
        return Ok(None);
    }
    let (mut multiplies, mut tried) = (false, Vec::new());
    plan.apply_expressions(&mut |expr| {
        let growth = Growth::of(expr);
        multiplies |= growth.multiplies;
        if growth.is_asked_for {
            tried.push(Arc::clone(expr));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    // Those of a join are of one of its sides, or of both.
    if plan.children().len() > 1 {
        tried.clear();
    }
    let few = multiplies.then_some(FEW_ROWS);
    let of_sets = aggregate
        .and_then(|aggregate| rows_of_sets(aggregate.group_expr(), &aggregate.input_schema(), sizes));
    Ok(few.into_iter().chain(of_sets).min().map(|rows| (rows, tried)))
}

/// Rows whose groups, one in each grouping set, are of a batch's size.
fn rows_of_sets(group: &PhysicalGroupBy, input: &Schema, sizes: Sizes) -> Option<usize> {
    let sets = group.groups().len();
    if sets < 2 {
        return None;
    }
    let value = |expr: &Arc<dyn PhysicalExpr>| {
        expr.data_type(input).ok().and_then(|data_type| data_type.primitive_width()).unwrap_or(VALUE)
    };
    let key: usize = group.expr().iter().map(|(expr, _)| value(expr)).sum();
    Some((sizes.batch / (sets * (key + GROUP)).max(1)).max(1))
}
