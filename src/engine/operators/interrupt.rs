//! Stopping a query inside an operator that does not come back to its caller for long.
//!
//! Streams are cancelled by not being polled any more, which helps only where a poll returns. A join gives many batches for
//! one that it reads, and what is above it (an aggregate, say) asks for all of them in one poll: minutes. So joins take their
//! part in tokio's cooperative scheduling, as DataFusion's scans do. One with a filter may not even give a batch: it evaluates
//! its filter on every pair of rows of one input batch and the other side before it returns, which takes hours in a nested
//! loop. So filters are wrapped, and fail once the query is cancelled. What is left are joins that look for a match without
//! a filter (`IN`, `EXISTS`) among rows that are all alike: they go through the pairs of 128 batches before they return.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::engine::run::Control;
use arrow::array::RecordBatch;
use arrow::datatypes::{FieldRef, Schema};
use datafusion::common::DataFusionError;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, HashJoinExecBuilder, NestedLoopJoinExec, NestedLoopJoinExecBuilder,
    SortMergeJoinExec,
};

type DfResult<T> = Result<T, DataFusionError>;

/// `plan` with joins that let others have their turn, and whose filters fail when the query is stopped.
pub(in crate::engine) fn interruptible(
    plan: Arc<dyn ExecutionPlan>,
    control: &Control,
) -> DfResult<Arc<dyn ExecutionPlan>> {
    let until = |filter: &JoinFilter| filter_until(filter, control);
    let wrap = |plan: Arc<dyn ExecutionPlan>| {
        let join: Arc<dyn ExecutionPlan> = if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() {
            Arc::new(NestedLoopJoinExecBuilder::from(join).with_filter(join.filter().map(until)).build()?)
        } else if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
            HashJoinExecBuilder::from(join).with_filter(join.filter().map(until)).build_exec()?
        } else if let Some(join) = plan.downcast_ref::<SortMergeJoinExec>() {
            Arc::new(SortMergeJoinExec::try_new(
                Arc::clone(join.left()),
                Arc::clone(join.right()),
                join.on().to_vec(),
                join.filter().as_ref().map(until),
                join.join_type(),
                join.sort_options().to_vec(),
                join.null_equality(),
            )?)
        } else if plan.is::<CrossJoinExec>() {
            plan
        } else {
            return Ok(Transformed::no(plan));
        };
        Ok(Transformed::yes(Arc::new(CooperativeExec::new(join)) as Arc<dyn ExecutionPlan>))
    };
    Ok(plan.transform_up(wrap)?.data)
}

/// A join's filter that fails when the query is stopped.
fn filter_until(filter: &JoinFilter, control: &Control) -> JoinFilter {
    let expression = Interruptible { inner: Arc::clone(filter.expression()), control: control.clone() };
    JoinFilter::new(Arc::new(expression), filter.column_indices().to_vec(), Arc::clone(filter.schema()))
}

/// An expression that fails once its query is cancelled.
#[derive(Debug)]
struct Interruptible {
    inner: Arc<dyn PhysicalExpr>,
    control: Control,
}

impl PhysicalExpr for Interruptible {
    fn evaluate(&self, batch: &RecordBatch) -> DfResult<ColumnarValue> {
        self.control.check()?;
        self.inner.evaluate(batch)
    }

    fn return_field(&self, schema: &Schema) -> DfResult<FieldRef> {
        self.inner.return_field(schema)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.inner]
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> DfResult<Arc<dyn PhysicalExpr>> {
        let inner = children.into_iter().next().unwrap_or_else(|| Arc::clone(&self.inner));
        Ok(Arc::new(Self { inner, control: self.control.clone() }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_sql(f)
    }
}

impl fmt::Display for Interruptible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl PartialEq for Interruptible {
    fn eq(&self, other: &Self) -> bool {
        self.inner.eq(&other.inner)
    }
}

impl Eq for Interruptible {}

impl Hash for Interruptible {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}
