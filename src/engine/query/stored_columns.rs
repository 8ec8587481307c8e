//! Queries without computation: some columns of one dataset as they are stored.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::Column;
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{Expr, FetchType, LogicalPlan, SkipType};

use crate::catalog::Snapshot;
use crate::engine::tables::snapshot_behind;

/// Columns of a snapshot.
#[derive(Debug, Clone)]
pub(in crate::engine) struct StoredColumns {
    pub(in crate::engine) snapshot: Arc<Snapshot>,
    /// By their place in the dataset's schema.
    pub(in crate::engine) columns: Vec<usize>,
    /// The most rows.
    pub(in crate::engine) limit: Option<usize>,
}

impl StoredColumns {
    /// What an optimised plan gives, if it is no more than that.
    pub(in crate::engine) fn of(plan: &LogicalPlan) -> Option<Self> {
        match plan {
            LogicalPlan::Projection(projection) => {
                let inner = Self::of(&projection.input)?;
                let schema = projection.input.schema();
                // A look through all columns for each of them takes long where they are thousands.
                let places: HashMap<Column, usize> = schema.columns().into_iter().zip(0..).collect();
                let column = |expr: &Expr| {
                    let Expr::Column(column) = expr.clone().unalias() else { return None };
                    let place = places.get(&column).copied();
                    inner.columns.get(place.or_else(|| schema.maybe_index_of_column(&column))?).copied()
                };
                let columns = projection.expr.iter().map(column).collect::<Option<_>>()?;
                Some(Self { columns, ..inner })
            }
            LogicalPlan::SubqueryAlias(alias) => Self::of(&alias.input),
            LogicalPlan::Limit(limit) => {
                let inner = Self::of(&limit.input)?;
                let (Ok(SkipType::Literal(0)), Ok(FetchType::Literal(fetch))) =
                    (limit.get_skip_type(), limit.get_fetch_type())
                else {
                    return None;
                };
                inner.limited(fetch)
            }
            LogicalPlan::TableScan(scan) if scan.filters.is_empty() => {
                let provider = source_as_provider(&scan.source).ok()?;
                let snapshot = snapshot_behind(provider.as_ref() as &dyn Any)?;
                let all = || (0..snapshot.dataset.schema.fields().len()).collect();
                let columns = scan.projection.clone().unwrap_or_else(all);
                Self { snapshot, columns, limit: None }.limited(scan.fetch)
            }
            _ => None,
        }
    }

    /// How many rows there are.
    pub(in crate::engine) fn rows(&self) -> u64 {
        let all = self.snapshot.dataset.rows();
        self.limit.map_or(all, |limit| all.min(limit as u64))
    }

    /// `None` where the first so many rows are not to be told without reading them.
    fn limited(self, fetch: Option<usize>) -> Option<Self> {
        let limit = self.limit.into_iter().chain(fetch).min();
        (limit.is_none() || !self.snapshot.dataset.has_deletions()).then_some(Self { limit, ..self })
    }
}
