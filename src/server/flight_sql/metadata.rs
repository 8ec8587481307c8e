//! The commands that ask what there is: catalogs, schemas, tables, keys, types, abilities.

use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray};
use arrow::compute::like;
use arrow::datatypes::{Schema, SchemaRef};
use arrow_flight::error::FlightError;
use arrow_flight::sql::metadata::{GetCatalogsBuilder, GetDbSchemasBuilder, GetTablesBuilder};
use arrow_flight::sql::{Command, CommandGetDbSchemas, CommandGetTableTypes, CommandGetTables};

use super::super::flight::Handler;
use super::keys::keys_schema;
use super::sql_info::{Facts, sql_info, with_named_map};
use super::types::{described, type_infos};
use crate::engine::{CATALOG, Environment, Table};
use crate::error::{Error, Result};

impl Handler {
    /// The answer to a metadata command, or `None` if `command` is none.
    pub(super) async fn metadata(
        &self,
        command: &Command,
        environment: &Environment,
    ) -> Result<Option<RecordBatch>> {
        let batch = match command {
            Command::CommandGetCatalogs(_) => {
                let mut catalogs = GetCatalogsBuilder::new();
                catalogs.append(CATALOG);
                catalogs.build()
            }
            Command::CommandGetDbSchemas(command) => self.db_schemas(command, environment).await?,
            Command::CommandGetTables(command) => self.get_tables(command, environment).await?,
            Command::CommandGetTableTypes(_) => table_types(),
            Command::CommandGetSqlInfo(command) => {
                let infos = self.infos()?.record_batch(command.info.iter().copied());
                infos.and_then(|infos| with_named_map(&infos).map_err(FlightError::from))
            }
            Command::CommandGetXdbcTypeInfo(command) => type_infos()?.record_batch(command.data_type),
            other => return self.keys(other).await,
        };
        batch.map(Some).map_err(|error| internal(&error))
    }

    /// The schema of that answer, without looking at any table.
    pub(super) fn metadata_schema(&self, command: &Command) -> Result<Option<SchemaRef>> {
        Ok(Some(match command {
            Command::CommandGetCatalogs(_) => GetCatalogsBuilder::new().schema(),
            Command::CommandGetDbSchemas(command) => GetDbSchemasBuilder::from(command.clone()).schema(),
            Command::CommandGetTables(command) => GetTablesBuilder::from(command.clone()).schema(),
            Command::CommandGetTableTypes(command) => (*command).into_builder().schema(),
            Command::CommandGetSqlInfo(_) => {
                let none = RecordBatch::new_empty(self.infos()?.schema());
                with_named_map(&none).map_err(|error| internal(&error.into()))?.schema()
            }
            Command::CommandGetXdbcTypeInfo(_) => type_infos()?.schema(),
            other => return Ok(keys_schema(other)),
        }))
    }

    fn infos(&self) -> Result<arrow_flight::sql::metadata::SqlInfoData> {
        let facts = Facts {
            read_only: self.engine.catalog().root().is_read_only(),
            max_sql_bytes: self.engine.sql_limits().bytes,
            query_seconds: self.options.query_timeout.as_secs(),
        };
        sql_info(facts, &self.functions)
    }

    async fn db_schemas(
        &self,
        command: &CommandGetDbSchemas,
        environment: &Environment,
    ) -> Result<Result<RecordBatch, FlightError>> {
        let mut schemas = GetDbSchemasBuilder::from(command.clone());
        for schema in self.engine.schema_names(environment).await? {
            schemas.append(CATALOG, schema);
        }
        Ok(schemas.build())
    }

    async fn get_tables(
        &self,
        command: &CommandGetTables,
        environment: &Environment,
    ) -> Result<Result<RecordBatch, FlightError>> {
        let types = wanted_types(&command.table_types);
        let filtered = CommandGetTables { table_types: types.clone(), ..command.clone() };
        let mut answer = GetTablesBuilder::from(filtered);
        let none = !command.table_types.is_empty() && types.is_empty();
        let other_catalog = command.catalog.as_deref().is_some_and(|catalog| catalog != CATALOG);
        if !none && !other_catalog {
            let schema = Pattern(command.db_schema_filter_pattern.clone());
            let table = Pattern(command.table_name_filter_pattern.clone());
            let wanted = move |in_schema: &str, name: Option<&str>| match name {
                None => schema.matches(in_schema),
                Some(name) => table.matches(name),
            };
            let empty = Arc::new(Schema::empty());
            for found in self.engine.tables(environment, wanted, command.include_schema).await? {
                let columns = found.columns.as_ref().unwrap_or(&empty);
                let columns = described(&found.schema, &found.name, columns);
                let appended = answer.append(CATALOG, &found.schema, &found.name, found.table_type, &columns);
                appended.map_err(|error| internal(&error))?;
            }
        }
        Ok(answer.build())
    }
}

/// Our types among those that a client names, whatever its case and words for a plain table.
fn wanted_types(names: &[String]) -> Vec<String> {
    let ours = |name: &String| {
        let name = name.to_uppercase();
        let name = match name.as_str() {
            "BASE TABLE" => "TABLE",
            "TEMPORARY" | "GLOBAL TEMPORARY" => "LOCAL TEMPORARY",
            "SYSTEM VIEW" => "SYSTEM TABLE",
            other => other,
        };
        Table::TYPES.into_iter().find(|ours| *ours == name).map(str::to_owned)
    };
    names.iter().filter_map(ours).collect()
}

fn table_types() -> Result<RecordBatch, FlightError> {
    let mut types = CommandGetTableTypes {}.into_builder();
    for table_type in Table::TYPES {
        types.append(table_type);
    }
    types.build()
}

/// A pattern of LIKE; none matches everything.
struct Pattern(Option<String>);

impl Pattern {
    fn matches(&self, text: &str) -> bool {
        let Some(pattern) = &self.0 else { return true };
        let matched = like(&StringArray::new_scalar(text), &StringArray::new_scalar(pattern.as_str()));
        matched.is_ok_and(|matched| matched.value(0))
    }
}

fn internal(error: &FlightError) -> Error {
    Error::internal(format!("answering a metadata command: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_like() {
        let pattern = |text: &str| Pattern(Some(text.to_owned()));
        assert!(pattern("line%").matches("lineitem"));
        assert!(pattern("line_tem").matches("lineitem"));
        assert!(!pattern("line").matches("lineitem"));
        assert!(pattern("a\\_b").matches("a_b") && !pattern("a\\_b").matches("axb"));
        assert!(Pattern(None).matches("anything"));
    }

    #[test]
    fn table_types_are_found_in_every_spelling() {
        let types = |names: &[&str]| wanted_types(&names.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(types(&["BASE TABLE", "table", "view"]), ["TABLE", "TABLE", "VIEW"]);
        assert_eq!(types(&["synonym"]), Vec::<String>::new());
    }
}
