//! `information_schema`, as SQL has it.
//!
//! DataFusion 55.2 counts `columns.ordinal_position` from 0; the standard, and all who join by it, from 1. This can go
//! when DataFusion does too.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::information_schema::InformationSchemaProvider;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, TableType, ident, lit};

use super::provider::{DfResult, QueryCatalog};
use crate::safeguard::Safeguard;

const COLUMNS: &str = "columns";
const POSITION: &str = "ordinal_position";

/// The schema of SQL's own tables.
#[derive(Debug)]
pub(super) struct InformationSchema {
    datasets: QueryCatalog,
    tables: InformationSchemaProvider,
}

impl InformationSchema {
    /// What `datasets` has, as tables.
    pub(super) fn of(datasets: QueryCatalog) -> Self {
        Self { tables: InformationSchemaProvider::new(Arc::new(datasets.clone())), datasets }
    }
}

#[async_trait]
impl SchemaProvider for InformationSchema {
    fn table_names(&self) -> Vec<String> {
        self.tables.table_names()
    }

    async fn table(&self, name: &str) -> DfResult<Option<Arc<dyn TableProvider>>> {
        self.datasets.list().await?;
        let Some(table) = self.tables.table(name).await? else { return Ok(None) };
        let counts_from_one = name.eq_ignore_ascii_case(COLUMNS) && Safeguard::OrdinalPosition.stands();
        if counts_from_one { from_one(table).map(Some) } else { Ok(Some(table)) }
    }

    async fn table_type(&self, name: &str) -> DfResult<Option<TableType>> {
        self.tables.table_type(name).await
    }

    fn table_exist(&self, name: &str) -> bool {
        self.tables.table_exist(name)
    }
}

/// The table with positions that count from 1.
fn from_one(table: Arc<dyn TableProvider>) -> DfResult<Arc<dyn TableProvider>> {
    let schema = table.schema();
    let column = |name: &str| -> Expr {
        if name == POSITION { (ident(name) + lit(1_u64)).alias(name) } else { ident(name) }
    };
    let columns: Vec<Expr> = schema.fields().iter().map(|field| column(field.name())).collect();
    let plan =
        LogicalPlanBuilder::scan(COLUMNS, provider_as_source(table), None)?.project(columns)?.build()?;
    Ok(Arc::new(ViewTable::new(plan, None)))
}
