//! Work on a whole Delta table: its small files, the order of its rows, the way back to an earlier version.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::common::Column;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use futures::FutureExt;
use tokio::time::Instant;

use super::change::turn_of;
use super::sink::Publish;
use crate::catalog::{AtVersion, ChangeTurn, DatasetRef, Rewritten, RowChange, Snapshot, Version};
use crate::engine::Engine;
use crate::engine::functions::z_order_key;
use crate::engine::query::TypeProfile;
use crate::engine::run::{Activity, State};
use crate::engine::session::Environment;
use crate::engine::tables::SnapshotTable;
use crate::error::{Error, Result};
use crate::storage::{BatchSink, Operation, blocking};

/// The name of a table whose rows are put in order, within the one plan that reads it.
const TABLE: &str = "table";

impl Engine {
    /// Makes the small files of each partition of a Delta table one; or, by the columns `z_order` if any are given, lays
    /// all of its rows near those that are like them in these columns.
    pub async fn optimize(
        &self,
        activity: &Arc<Activity>,
        dataset: &DatasetRef,
        z_order: Vec<String>,
        deadline: Instant,
    ) -> Result<Rewritten> {
        let optimize = async {
            if !z_order.is_empty() {
                return self.z_order(activity, dataset, z_order, deadline).await;
            }
            let turn = self.turn(activity, dataset, deadline).await?;
            activity.enter(State::Running);
            let catalog = Arc::clone(self.catalog());
            blocking(move || catalog.compact_dataset(turn)).await
        };
        activity.ends_with(optimize).await
    }

    /// Makes an earlier version of a Delta table the newest one again, as a new version.
    pub async fn restore(
        &self,
        activity: &Arc<Activity>,
        dataset: &DatasetRef,
        at: AtVersion,
        deadline: Instant,
    ) -> Result<Version> {
        let restore = async {
            let turn = self.turn(activity, dataset, deadline).await?;
            activity.enter(State::Running);
            let catalog = Arc::clone(self.catalog());
            blocking(move || catalog.restore_dataset(&turn, at)).await
        };
        activity.ends_with(restore).await
    }

    async fn turn(
        &self,
        activity: &Arc<Activity>,
        dataset: &DatasetRef,
        deadline: Instant,
    ) -> Result<ChangeTurn> {
        let (catalog, wanted) = (Arc::clone(self.catalog()), dataset.clone());
        let log = blocking(move || catalog.delta_table(&wanted)).await?;
        turn_of(dataset.clone(), log, activity, deadline).await
    }

    /// Writes all rows of a table anew, in Z-order of `columns` within each partition. It is a query like others: within
    /// the same memory, one of those that run at once, and it can be stopped.
    async fn z_order(
        &self,
        activity: &Arc<Activity>,
        dataset: &DatasetRef,
        columns: Vec<String>,
        deadline: Instant,
    ) -> Result<Rewritten> {
        // First the place among those that run, then the turn, as statements do: in another order they would wait for each
        // other.
        let permit = self.admit(activity, deadline).await?;
        activity.enter(State::Planning);
        let turn = self.turn(activity, dataset, deadline).await?;
        let catalog = Arc::clone(self.catalog());
        let change = {
            let catalog = Arc::clone(&catalog);
            blocking(move || RowChange::begin(catalog, turn, Operation::Compact)).await?
        };
        check_columns(change.snapshot(), &columns)?;
        let mut environment = Environment::default();
        environment.scope.types = TypeProfile::Native;
        let planner = self.planner(&environment, activity.control().clone())?;
        let snapshot = Arc::clone(change.snapshot());
        let plan = async move {
            let partitions =
                snapshot.dataset.partition_fields.iter().map(|field| field.name().clone()).collect();
            let table = SnapshotTable::new(&catalog, snapshot);
            planner.replannable(vec![in_z_order(table, partitions, columns)?]).await
        };
        let query = activity.unless_stopped(self.planning(deadline, plan.boxed())).await?;
        self.run_into(activity, query, Reordered(change), permit, deadline).await
    }
}

/// Fails where rows cannot be put in order by `columns`.
fn check_columns(snapshot: &Snapshot, columns: &[String]) -> Result<()> {
    let dataset = &snapshot.dataset;
    for column in columns {
        if dataset.schema.index_of(column).is_err() {
            return Err(Error::invalid(format!("there is no column {column:?} to order by")));
        }
        if dataset.partition_fields.iter().any(|field| field.name() == column) {
            return Err(Error::invalid(format!("the table is partitioned by {column:?} already")));
        }
    }
    Ok(())
}

/// The rows of a table, one partition after the other.
fn in_z_order(table: SnapshotTable, partitions: Vec<String>, columns: Vec<String>) -> Result<LogicalPlan> {
    let column = |name: String| Expr::Column(Column::new(Some(TABLE), name));
    let key = z_order_key(columns.into_iter().map(column).collect());
    let order = partitions.into_iter().map(column).chain([key]).map(|by| by.sort(true, true));
    let rows = LogicalPlanBuilder::scan(TABLE, provider_as_source(Arc::new(table)), None)?;
    Ok(rows.sort(order)?.build()?)
}

/// Takes the rows of a table in their new order.
struct Reordered(RowChange);

impl Publish for Reordered {
    type Published = Rewritten;

    fn publish(self) -> Result<Rewritten> {
        self.0.commit_reordered()
    }
}

impl BatchSink for Reordered {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.0.insert(batch)
    }
}
