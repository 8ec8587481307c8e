//! `information_schema.schemata`, `tables` and `views`.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::CatalogProvider;
use datafusion::common::Result as DfResult;
use datafusion::logical_expr::TableType;

use super::super::{CATALOG, INFORMATION_SCHEMA, QueryCatalog};
use super::{batch, field, schema_of, texts};

pub(super) fn schemata_schema() -> SchemaRef {
    let text = |name, nullable| field(name, DataType::Utf8, nullable);
    schema_of(vec![
        text("catalog_name", false),
        text("schema_name", false),
        text("schema_owner", true),
        text("default_character_set_catalog", true),
        text("default_character_set_schema", true),
        text("default_character_set_name", true),
        text("sql_path", true),
    ])
}

pub(super) fn schemata(datasets: &QueryCatalog) -> DfResult<RecordBatch> {
    let mut names = datasets.schema_names();
    names.push(INFORMATION_SCHEMA.to_owned());
    let nothing = || texts(names.iter().map(|_| None::<&str>));
    let columns = vec![
        texts(names.iter().map(|_| Some(CATALOG))),
        texts(names.iter().map(Some)),
        nothing(),
        nothing(),
        nothing(),
        nothing(),
        nothing(),
    ];
    batch(&schemata_schema(), columns)
}

pub(super) fn tables_schema() -> SchemaRef {
    let names = ["table_catalog", "table_schema", "table_name", "table_type"];
    schema_of(names.map(|name| field(name, DataType::Utf8, false)).to_vec())
}

pub(super) async fn tables(datasets: &QueryCatalog) -> DfResult<RecordBatch> {
    let mut tables = Vec::new();
    for schema in datasets.schema_names().into_iter().chain([INFORMATION_SCHEMA.to_owned()]) {
        let Some(provider) = datasets.schema(&schema) else { continue };
        for name in provider.table_names() {
            let Some(table_type) = provider.table_type(&name).await? else { continue };
            let table_type = match table_type {
                TableType::Base => "BASE TABLE",
                TableType::View => "VIEW",
                TableType::Temporary => "LOCAL TEMPORARY",
            };
            tables.push((schema.clone(), name, table_type));
        }
    }
    let columns = vec![
        texts(tables.iter().map(|_| Some(CATALOG))),
        texts(tables.iter().map(|(schema, _, _)| Some(schema))),
        texts(tables.iter().map(|(_, name, _)| Some(name))),
        texts(tables.iter().map(|(_, _, table_type)| Some(table_type))),
    ];
    batch(&tables_schema(), columns)
}

pub(super) fn views_schema() -> SchemaRef {
    let text = |name, nullable| field(name, DataType::Utf8, nullable);
    schema_of(vec![
        text("table_catalog", false),
        text("table_schema", false),
        text("table_name", false),
        text("view_definition", true),
        text("check_option", false),
        text("is_updatable", false),
        // What DataFusion calls the text.
        text("definition", true),
    ])
}

pub(super) async fn views(datasets: &QueryCatalog) -> DfResult<RecordBatch> {
    let mut views = Vec::new();
    for schema in datasets.schema_names().into_iter().filter(|schema| schema != INFORMATION_SCHEMA) {
        let Some(provider) = datasets.schema(&schema) else { continue };
        for name in provider.table_names() {
            if provider.table_type(&name).await? != Some(TableType::View) {
                continue;
            }
            // A view that cannot be planned any more is one still.
            let planned = provider.table(&name).await?;
            let text = planned.and_then(|view| view.get_table_definition().map(str::to_owned));
            views.push((schema.clone(), name, text));
        }
    }
    let text = || texts(views.iter().map(|(_, _, text)| text.as_ref()));
    let always = |value: &'static str| texts(views.iter().map(|_| Some(value)));
    let columns = vec![
        always(CATALOG),
        texts(views.iter().map(|(schema, _, _)| Some(schema))),
        texts(views.iter().map(|(_, name, _)| Some(name))),
        text(),
        always("NONE"),
        always("NO"),
        text(),
    ];
    batch(&views_schema(), columns)
}
