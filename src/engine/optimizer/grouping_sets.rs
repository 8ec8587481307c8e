//! Grouping sets whose columns are constant or sorted below.
//!
//! In a result of `GROUPING SETS`, `ROLLUP` and `CUBE` a column is NULL where its set has it not. DataFusion 55.2
//! carries what it knows of the column below, that it is constant or in order, through the first stage of the
//! aggregation; the second one then gives out groups too early, and so twice (apache/datafusion#16965). The columns of
//! grouping sets are hidden from such knowledge here. It costs a grouping set its streaming over sorted input, which
//! could not be right. Can go when DataFusion does not carry it.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion::common::config::ConfigOptions;
use datafusion::common::internal_err;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::UnKnownColumn;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy};

/// Hides the columns of grouping sets. To be applied before orders are looked at.
#[derive(Debug)]
pub(super) struct HideGroupingColumns;

impl PhysicalOptimizerRule for HideGroupingColumns {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> DfResult<Arc<dyn ExecutionPlan>> {
        let hidden = plan.transform_up(|plan| {
            let Some(aggregate) = plan.downcast_ref::<AggregateExec>() else {
                return Ok(Transformed::no(plan));
            };
            let expands = matches!(
                aggregate.mode(),
                AggregateMode::Partial | AggregateMode::Single | AggregateMode::SinglePartitioned
            );
            if !expands || !aggregate.group_expr().has_grouping_set() {
                return Ok(Transformed::no(plan));
            }
            Ok(Transformed::yes(Arc::new(hide(aggregate)?) as _))
        });
        Ok(hidden?.data)
    }

    fn name(&self) -> &'static str {
        "hide_grouping_columns"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn hide(aggregate: &AggregateExec) -> DfResult<AggregateExec> {
    let groups = aggregate.group_expr();
    let hidden = groups.expr().iter().map(|(expr, name)| {
        let hidden = Hidden { inner: Arc::clone(expr), unknown: Arc::new(UnKnownColumn::new(name)) };
        (Arc::new(hidden) as Arc<dyn PhysicalExpr>, name.clone())
    });
    let groups =
        PhysicalGroupBy::new(hidden.collect(), groups.null_expr().to_vec(), groups.groups().to_vec(), true);
    AggregateExec::try_new(
        *aggregate.mode(),
        groups,
        aggregate.aggr_expr().to_vec(),
        aggregate.filter_expr().to_vec(),
        Arc::clone(aggregate.input()),
        aggregate.input_schema(),
    )
}

/// The value of an expression, of which nothing is known.
#[derive(Debug, Eq)]
struct Hidden {
    inner: Arc<dyn PhysicalExpr>,
    /// Never evaluated. An expression is taken for a constant when all below it are; this is none.
    unknown: Arc<dyn PhysicalExpr>,
}

impl PartialEq for Hidden {
    fn eq(&self, other: &Self) -> bool {
        self.inner.eq(&other.inner)
    }
}

impl Hash for Hidden {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl fmt::Display for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl PhysicalExpr for Hidden {
    fn data_type(&self, schema: &Schema) -> DfResult<DataType> {
        self.inner.data_type(schema)
    }

    fn nullable(&self, schema: &Schema) -> DfResult<bool> {
        self.inner.nullable(schema)
    }

    fn return_field(&self, schema: &Schema) -> DfResult<FieldRef> {
        self.inner.return_field(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> DfResult<ColumnarValue> {
        self.inner.evaluate(batch)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.inner, &self.unknown]
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> DfResult<Arc<dyn PhysicalExpr>> {
        let [inner, unknown] = children.as_slice() else {
            return internal_err!("a hidden expression has two children");
        };
        Ok(Arc::new(Self { inner: Arc::clone(inner), unknown: Arc::clone(unknown) }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_sql(f)
    }
}
