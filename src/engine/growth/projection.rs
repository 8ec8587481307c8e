//! A projection that gives batches of a size, however few rows that is.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Statistics};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::{CardinalityEffect, replace_children_if_necessary};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{Stream, StreamExt};

use super::Sizes;
use super::expressions::Growth;
use super::function::TooLarge;
use crate::engine::run::Control;
use crate::error::Error;
use crate::storage::array_bytes;

type DfResult<T> = Result<T, DataFusionError>;

/// Fewer expressions that put texts together are not worth a thought.
const FEW_JOINED: usize = 4;

/// A projection whose batches are of about a size. Where the rows of a batch make more, it is computed again of fewer.
#[derive(Debug)]
pub(super) struct SizedProjection {
    projection: Arc<ProjectionExec>,
    sizes: Sizes,
    control: Control,
    metrics: ExecutionPlanMetricsSet,
}

impl SizedProjection {
    pub(super) fn new(projection: Arc<ProjectionExec>, sizes: Sizes, control: Control) -> Self {
        Self { projection, sizes, control, metrics: ExecutionPlanMetricsSet::new() }
    }
}

impl DisplayAs for SizedProjection {
    fn fmt_as(&self, form: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.projection.fmt_as(form, f)
    }
}

impl ExecutionPlan for SizedProjection {
    fn name(&self) -> &'static str {
        "SizedProjection"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.projection.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![self.projection.input()]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        self.projection.apply_expressions(f)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let inner = replace_children_if_necessary(Arc::clone(&self.projection) as _, children)?;
        match inner.downcast_ref::<ProjectionExec>() {
            Some(inner) => Ok(Arc::new(Self::new(Arc::new(inner.clone()), self.sizes, self.control.clone()))),
            None => Ok(inner),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let exprs: Vec<_> =
            self.projection.expr().iter().map(|projected| Arc::clone(&projected.expr)).collect();
        let growth = Growth::of_all(&exprs);
        let mut rows = self.sizes.batch / growth.constant.max(1);
        if growth.joined > FEW_JOINED {
            rows = rows.min(context.session_config().batch_size() / growth.joined);
        }
        Ok(Box::pin(SizedRows {
            input: self.projection.input().execute(partition, context)?,
            exprs,
            schema: self.projection.schema(),
            sizes: self.sizes,
            rows: rows.max(1),
            pending: None,
            control: self.control.clone(),
            metrics: BaselineMetrics::new(&self.metrics, partition),
        }))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        self.projection.child_stats_requests(partition)
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> DfResult<Arc<Statistics>> {
        self.projection.statistics_from_inputs(inputs, args)
    }

    fn supports_limit_pushdown(&self) -> bool {
        true
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }
}

/// The stream of a [`SizedProjection`].
struct SizedRows {
    input: SendableRecordBatchStream,
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
    sizes: Sizes,
    /// Rows that are tried at once.
    rows: usize,
    /// A batch, and its first row that is still to be computed.
    pending: Option<(RecordBatch, usize)>,
    control: Control,
    metrics: BaselineMetrics,
}

impl SizedRows {
    /// What the next rows of a batch come to, and how many they are.
    fn next_rows(&mut self, batch: &RecordBatch, from: usize) -> DfResult<(RecordBatch, usize)> {
        loop {
            self.control.check()?;
            let length = self.rows.min(batch.num_rows() - from).max(1);
            match self.compute(&batch.slice(from, length)) {
                Ok((computed, bytes)) => {
                    // Twice as much next time at the most: rows can be very different.
                    let fitting = length.saturating_mul(self.sizes.batch) / bytes.max(1);
                    self.rows = fitting.clamp(1, self.rows.saturating_mul(2).max(1));
                    return Ok((computed, length));
                }
                Err(error) if length > 1 && TooLarge::is(&error) => self.rows = length / 4,
                Err(error) => return Err(error),
            }
            self.rows = self.rows.max(1);
        }
    }

    /// Fails for rows that come to too much, and when the query is stopped. Several can be tried as fewer.
    fn check(&self, rows: usize, bytes: usize) -> DfResult<()> {
        if rows > 1 && bytes > self.sizes.call {
            return Err(TooLarge::rows(rows, bytes));
        }
        let most = self.sizes.value.saturating_mul(2);
        if rows == 1 && bytes > most {
            return Err(Error::exhausted(format!(
                "the statement makes a row of more than {most} bytes (twice the setting max-value-size)"
            ))
            .into());
        }
        self.control.check()
    }

    /// The columns of some rows, and their bytes; an error for rows that come to too much.
    fn compute(&self, batch: &RecordBatch) -> DfResult<(RecordBatch, usize)> {
        let rows = batch.num_rows();
        let (mut columns, mut bytes) = (Vec::with_capacity(self.exprs.len()), 0);
        for expr in &self.exprs {
            let column = expr.evaluate(batch)?.into_array(rows)?;
            bytes += array_bytes(&column);
            self.check(rows, bytes)?;
            columns.push(column);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok((RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?, bytes))
    }
}

impl Stream for SizedRows {
    type Item = DfResult<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = loop {
            if let Some((batch, from)) = self.pending.take() {
                let time = self.metrics.elapsed_compute().clone();
                let timer = time.timer();
                let computed = self.next_rows(&batch, from);
                timer.done();
                break Poll::Ready(Some(computed.map(|(computed, length)| {
                    if from + length < batch.num_rows() {
                        self.pending = Some((batch, from + length));
                    }
                    computed
                })));
            }
            match ready!(self.input.poll_next_unpin(cx)) {
                Some(Ok(batch)) if batch.num_rows() == 0 => {}
                Some(Ok(batch)) => self.pending = Some((batch, 0)),
                end => break Poll::Ready(end),
            }
        };
        self.metrics.record_poll(polled)
    }
}

impl RecordBatchStream for SizedRows {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}
