//! Views: their texts are planned where they are used.

use std::sync::Arc;

use datafusion::catalog::CatalogProviderList;
use datafusion::common::Result as DfResult;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;

use super::time_travel::add_versions;
use crate::catalog::{Catalog, View};
use crate::engine::sql;
use crate::engine::statement::{SqlLimits, gate, parse};

/// Plans views with the server's own configuration: a view means the same in every session.
#[derive(Debug)]
pub(in crate::engine) struct ViewPlanner {
    base: SessionState,
    catalog: Arc<Catalog>,
    limits: SqlLimits,
}

impl ViewPlanner {
    pub(in crate::engine) fn new(base: SessionState, catalog: Arc<Catalog>, limits: SqlLimits) -> Self {
        Self { base, catalog, limits }
    }

    /// The plan of `view`, whose tables are looked up in `datasets`.
    pub(super) async fn plan(
        &self,
        view: &View,
        datasets: Arc<dyn CatalogProviderList>,
    ) -> DfResult<LogicalPlan> {
        let statement = parse(&view.sql, &self.limits)?;
        gate::check_query(&statement)?;
        let mut state = self.base.clone();
        view.schema.as_str().clone_into(&mut state.config_mut().options_mut().catalog.default_schema);
        state.register_catalog_list(datasets);
        add_versions(&mut state, &self.catalog, view.schema.as_str());
        gate::check_tables(&state.resolve_table_references(&statement)?)?;
        sql::plan(&state, statement).await
    }
}
