//! The tables that SQL sees, for metadata.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::{CatalogProvider, SchemaProvider};
use datafusion::logical_expr::TableType;

use super::{INFORMATION_SCHEMA, SYSTEM_SCHEMA};
use crate::engine::Engine;
use crate::engine::query::Output;
use crate::engine::session::Environment;
use crate::error::Result;

/// A table, a view, or a table that only this session sees.
#[derive(Debug, Clone)]
pub struct Table {
    /// The schema that holds it.
    pub schema: String,
    /// Its name there.
    pub name: String,
    /// `TABLE`, `VIEW`, `LOCAL TEMPORARY` or `SYSTEM TABLE`.
    pub table_type: &'static str,
    /// Its columns as a query of all of them has them; `None` if they were not asked for.
    pub columns: Option<SchemaRef>,
}

impl Table {
    /// Every value that `table_type` can have.
    pub const TYPES: [&'static str; 4] = ["LOCAL TEMPORARY", "SYSTEM TABLE", "TABLE", "VIEW"];
}

impl Engine {
    /// The schemas, sorted.
    pub async fn schema_names(&self, environment: &Environment) -> Result<Vec<String>> {
        let datasets = self.session(environment)?.1;
        self.workers
            .run(async move {
                let mut names = datasets.schema_names();
                names.push(INFORMATION_SCHEMA.to_owned());
                names.sort_unstable();
                Ok(names)
            })
            .await
    }

    /// The tables of the schemas that `wanted` says yes to, each asked about with its schema and, where
    /// it is known already, its name. What cannot be read is left out where columns are asked for.
    pub async fn tables(
        &self,
        environment: &Environment,
        wanted: impl Fn(&str, Option<&str>) -> bool + Send + 'static,
        with_columns: bool,
    ) -> Result<Vec<Table>> {
        let (_, datasets) = self.session(environment)?;
        let types = environment.scope.types;
        let list = async move {
            let mut tables = Vec::new();
            for name in datasets.schema_names().into_iter().chain([INFORMATION_SCHEMA.to_owned()]) {
                if !wanted(&name, None) {
                    continue;
                }
                let Some(schema) = datasets.columns_only().schema(&name) else { continue };
                for table in schema.table_names() {
                    if !wanted(&name, Some(&table)) {
                        continue;
                    }
                    let Some(table_type) = table_type(schema.as_ref(), &name, &table).await else { continue };
                    let columns = if with_columns {
                        let Ok(Some(table)) = schema.table(&table).await else { continue };
                        Some(Arc::clone(Output::of_table(&table.schema(), types).schema()))
                    } else {
                        None
                    };
                    tables.push(Table { schema: name.clone(), name: table, table_type, columns });
                }
            }
            Ok(tables)
        };
        self.workers.run(list).await
    }
}

async fn table_type(schema: &dyn SchemaProvider, name: &str, table: &str) -> Option<&'static str> {
    if name == INFORMATION_SCHEMA || name == SYSTEM_SCHEMA {
        return Some("SYSTEM TABLE");
    }
    Some(match schema.table_type(table).await.ok()?? {
        TableType::Base => "TABLE",
        TableType::View => "VIEW",
        TableType::Temporary => "LOCAL TEMPORARY",
    })
}
