//! `information_schema`, as the standard has it.
//!
//! DataFusion 55.2 has Arrow's names for types in `columns`, counts positions from 0, and has tables in `views`; of keys
//! it knows nothing. The tables here that concern what is stored are ours; those about functions and settings are
//! DataFusion's.

mod columns;
mod constraints;
mod names;

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, RecordBatchOptions, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::information_schema::InformationSchemaProvider;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::common::Result as DfResult;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::TableType;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;

use super::QueryCatalog;

/// The schema of SQL's own tables.
#[derive(Debug)]
pub(super) struct InformationSchema {
    datasets: QueryCatalog,
    /// DataFusion's, of which some stay.
    others: InformationSchemaProvider,
}

/// The tables of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ours {
    Columns,
    Tables,
    Views,
    Schemata,
    TableConstraints,
    KeyColumnUsage,
    ReferentialConstraints,
}

impl Ours {
    const ALL: [(&'static str, Self); 7] = [
        ("columns", Self::Columns),
        ("tables", Self::Tables),
        ("views", Self::Views),
        ("schemata", Self::Schemata),
        ("table_constraints", Self::TableConstraints),
        ("key_column_usage", Self::KeyColumnUsage),
        ("referential_constraints", Self::ReferentialConstraints),
    ];

    fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, table)| *table)
    }

    fn schema(self) -> SchemaRef {
        match self {
            Self::Columns => columns::schema(),
            Self::Tables => names::tables_schema(),
            Self::Views => names::views_schema(),
            Self::Schemata => names::schemata_schema(),
            Self::TableConstraints => constraints::table_constraints_schema(),
            Self::KeyColumnUsage => constraints::key_column_usage_schema(),
            Self::ReferentialConstraints => constraints::referential_constraints_schema(),
        }
    }

    async fn rows(self, datasets: &QueryCatalog) -> DfResult<RecordBatch> {
        match self {
            Self::Columns => columns::rows(datasets).await,
            Self::Tables => names::tables(datasets).await,
            Self::Views => names::views(datasets).await,
            Self::Schemata => names::schemata(datasets),
            Self::TableConstraints => constraints::table_constraints(datasets).await,
            Self::KeyColumnUsage => constraints::key_column_usage(datasets).await,
            Self::ReferentialConstraints => constraints::referential_constraints(datasets).await,
        }
    }
}

impl InformationSchema {
    /// What `datasets` has, as tables.
    pub(super) fn of(datasets: QueryCatalog) -> Self {
        Self { others: InformationSchemaProvider::new(Arc::new(datasets.clone())), datasets }
    }
}

#[async_trait]
impl SchemaProvider for InformationSchema {
    fn table_names(&self) -> Vec<String> {
        let mut names = self.others.table_names();
        names.extend(Ours::ALL.iter().map(|(name, _)| (*name).to_owned()));
        names.sort_unstable();
        names.dedup();
        names
    }

    async fn table(&self, name: &str) -> DfResult<Option<Arc<dyn TableProvider>>> {
        self.datasets.list().await?;
        let Some(ours) = Ours::named(name) else { return self.others.table(name).await };
        let rows = LazyRows { ours, schema: ours.schema(), datasets: self.datasets.clone() };
        let table = StreamingTable::try_new(Arc::clone(&rows.schema), vec![Arc::new(rows)])?;
        Ok(Some(Arc::new(table)))
    }

    async fn table_type(&self, name: &str) -> DfResult<Option<TableType>> {
        Ok(self.table_exist(name).then_some(TableType::View))
    }

    fn table_exist(&self, name: &str) -> bool {
        Ours::named(name).is_some() || self.others.table_exist(name)
    }
}

/// The rows of a table, which are found out when they are read.
#[derive(Debug)]
struct LazyRows {
    ours: Ours,
    schema: SchemaRef,
    datasets: QueryCatalog,
}

impl PartitionStream for LazyRows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (ours, datasets) = (self.ours, self.datasets.clone());
        let rows = futures::stream::once(async move { ours.rows(&datasets).await });
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), rows))
    }
}

/// A column of texts or numbers, and whether it can be NULL.
fn field(name: &str, data_type: DataType, nullable: bool) -> Field {
    Field::new(name, data_type, nullable)
}

fn schema_of(fields: Vec<Field>) -> SchemaRef {
    Arc::new(Schema::new(fields))
}

fn texts<T: AsRef<str>>(values: impl IntoIterator<Item = Option<T>>) -> ArrayRef {
    Arc::new(StringArray::from_iter(values))
}

fn numbers(values: impl IntoIterator<Item = Option<i32>>) -> ArrayRef {
    Arc::new(Int32Array::from_iter(values))
}

fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>) -> DfResult<RecordBatch> {
    let rows = columns.first().map_or(0, |column| column.len());
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}
