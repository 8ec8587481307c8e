//! Views: their texts are planned where they are used.

use async_trait::async_trait;
use datafusion::common::DataFusionError;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use std::sync::Arc;

use super::gate;
use super::limits::SqlLimits;
use super::sql;
use super::statement::parse;
use super::versions::add_versions;
use crate::catalog::{Catalog, PlanView, QueryCatalog, View};
use crate::error::Error;

/// Plans views with the server's own configuration: a view means the same in every session.
#[derive(Debug)]
pub(super) struct Views {
    base: SessionState,
    catalog: Arc<Catalog>,
    limits: SqlLimits,
}

impl Views {
    pub(super) fn new(base: SessionState, catalog: Arc<Catalog>, limits: SqlLimits) -> Self {
        Self { base, catalog, limits }
    }
}

#[async_trait]
impl PlanView for Views {
    async fn plan(&self, view: &View, datasets: QueryCatalog) -> Result<LogicalPlan, DataFusionError> {
        let external = |error: Error| DataFusionError::External(Box::new(error));
        let statement = parse(&view.sql, &self.limits).map_err(external)?;
        gate::check_query(&statement).map_err(external)?;
        let mut state = self.base.clone();
        view.schema.as_str().clone_into(&mut state.config_mut().options_mut().catalog.default_schema);
        let datasets = Arc::new(datasets);
        state.register_catalog_list(Arc::clone(&datasets) as _);
        add_versions(&mut state, &self.catalog, view.schema.as_str());
        gate::check_tables(&state.resolve_table_references(&statement)?).map_err(external)?;
        // What is wrong with the view is no matter of the statement above, which would be planned again for it: of views on
        // top of each other each twice as often as the next.
        sql::plan(&state, statement).await.map_err(|error| {
            external(datasets.explain_missing(&error.to_string()).unwrap_or_else(|| error.into()))
        })
    }
}
