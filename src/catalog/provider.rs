//! Datasets as DataFusion's catalog, schemas and tables.
//!
//! Each query gets a [`QueryCatalog`] of its own, which opens each dataset once: all references of
//! one statement see one snapshot, and hold its files until the query is done.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use bytes::Bytes;
use datafusion::catalog::information_schema::InformationSchemaProvider;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{
    ColumnStatistics, DFSchema, DataFusionError, ScalarValue, Statistics, project_schema,
};
use datafusion::datasource::empty::EmptyTable;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::listing::helpers::expr_applicable_for_cols;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::datasource::physical_plan::{
    FileGroup, FileScanConfigBuilder, ParquetFileMetrics, ParquetFileReaderFactory, ParquetSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::create_physical_expr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::FutureExt;
use futures::future::BoxFuture;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};

use super::dataset::{PartFile, Snapshot};
use super::name::{DatasetName, DatasetRef, SchemaName};
use super::store::Catalog;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{FooterCache, HeldFile, blocking};

/// The one SQL catalog.
pub const CATALOG: &str = "airstrip";
const INFORMATION_SCHEMA: &str = "information_schema";
/// The store that file scans name. It is empty: files are read through held descriptors, never by path.
const STORE: &str = "airstrip://snapshot/";

type DfResult<T> = std::result::Result<T, DataFusionError>;

/// The datasets as one query sees them.
#[derive(Debug, Clone)]
pub struct QueryCatalog {
    shared: Arc<Shared>,
    /// What `information_schema` reads: columns without open files, and damaged datasets left out.
    listing: bool,
}

#[derive(Debug)]
struct Shared {
    catalog: Arc<Catalog>,
    /// Tables of this query besides the datasets, in the default schema: `input` of an exchange.
    extra: HashMap<String, Arc<dyn TableProvider>>,
    opened: Mutex<HashMap<DatasetRef, Arc<Snapshot>>>,
    /// Names that were asked for and are not there, for the error.
    missing: Mutex<Vec<DatasetRef>>,
}

impl QueryCatalog {
    /// The datasets of `catalog` and the tables of `extra`, for one query.
    pub fn new(catalog: Arc<Catalog>, extra: HashMap<String, Arc<dyn TableProvider>>) -> Self {
        let (opened, missing) = (Mutex::default(), Mutex::default());
        Self { shared: Arc::new(Shared { catalog, extra, opened, missing }), listing: false }
    }

    /// The store that scans of datasets name, to be registered as an empty one.
    pub fn store_url() -> DfResult<ObjectStoreUrl> {
        ObjectStoreUrl::parse(STORE)
    }

    /// The better error for a plan that failed with `text`: the missing table that it speaks of, with
    /// the names that are near.
    pub fn explain_missing(&self, text: &str) -> Option<Error> {
        let missing = self.shared.missing.lock().unwrap_or_else(PoisonError::into_inner);
        let named = missing.iter().find(|dataset| {
            text.contains(&format!("'{CATALOG}.{}.{}'", dataset.schema.as_str(), dataset.name.as_str()))
        })?;
        Some(self.shared.catalog.no_such_dataset(named))
    }
}

impl CatalogProviderList for QueryCatalog {
    fn register_catalog(&self, _: String, _: Arc<dyn CatalogProvider>) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        vec![CATALOG.to_owned()]
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        (name == CATALOG).then(|| Arc::new(self.clone()) as _)
    }
}

impl CatalogProvider for QueryCatalog {
    fn schema_names(&self) -> Vec<String> {
        let schemas = self.shared.catalog.schemas().unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot list the schemas");
            vec![SchemaName::default()]
        });
        schemas.iter().map(|schema| schema.as_str().to_owned()).collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        if name == INFORMATION_SCHEMA {
            let listing = Self { listing: true, ..self.clone() };
            return Some(Arc::new(InformationSchemaProvider::new(Arc::new(listing))));
        }
        let schema = SchemaName::parse(name).ok()?;
        Some(Arc::new(DatasetSchema { query: self.clone(), schema }))
    }
}

/// The tables of one schema.
#[derive(Debug)]
struct DatasetSchema {
    query: QueryCatalog,
    schema: SchemaName,
}

impl DatasetSchema {
    fn reference(&self, table: &str) -> Option<DatasetRef> {
        let name = DatasetName::parse(table).ok()?;
        Some(DatasetRef { schema: self.schema.clone(), name })
    }

    fn extra(&self, table: &str) -> Option<Arc<dyn TableProvider>> {
        let extra = self.schema.is_default().then(|| self.query.shared.extra.get(table))?;
        extra.map(Arc::clone)
    }

    /// The schema of a dataset without its files, or nothing where it cannot be read.
    async fn columns_only(&self, dataset: DatasetRef) -> DfResult<Option<Arc<dyn TableProvider>>> {
        let catalog = Arc::clone(&self.query.shared.catalog);
        match blocking(move || catalog.describe(&dataset)).await {
            Ok(dataset) => Ok(Some(Arc::new(EmptyTable::new(dataset.schema)))),
            Err(error) => {
                tracing::debug!(%error, "left out of information_schema");
                Ok(None)
            }
        }
    }

    /// The snapshot that this query has of `dataset`.
    async fn open(&self, dataset: DatasetRef) -> Result<Option<Arc<Snapshot>>> {
        let shared = &self.query.shared;
        let opened = || shared.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(snapshot) = opened().get(&dataset) {
            return Ok(Some(Arc::clone(snapshot)));
        }
        let catalog = Arc::clone(&shared.catalog);
        let wanted = dataset.clone();
        let found = blocking(move || match catalog.snapshot(&wanted) {
            Err(error) if error.kind() == ErrorKind::NotFound && !catalog.exists(&wanted) => {
                if !catalog.has_schema(&wanted.schema) {
                    return Ok(None);
                }
                let other = catalog.find_ignoring_case(&wanted)?;
                other.map(|other| catalog.snapshot(&other)).transpose()
            }
            snapshot => snapshot.map(Some),
        });
        let Some(snapshot) = found.await? else {
            shared.missing.lock().unwrap_or_else(PoisonError::into_inner).push(dataset);
            return Ok(None);
        };
        // Another reference of this query may have opened it meanwhile: the first one stays.
        Ok(Some(Arc::clone(opened().entry(dataset).or_insert_with(|| Arc::new(snapshot)))))
    }
}

#[async_trait]
impl SchemaProvider for DatasetSchema {
    fn table_names(&self) -> Vec<String> {
        let datasets = self.query.shared.catalog.list(&self.schema).unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot list the datasets");
            Vec::new()
        });
        datasets.iter().map(|listed| listed.reference.name.as_str().to_owned()).collect()
    }

    async fn table(&self, name: &str) -> DfResult<Option<Arc<dyn TableProvider>>> {
        if let Some(extra) = self.extra(name) {
            return Ok(Some(extra));
        }
        let Some(reference) = self.reference(name) else { return Ok(None) };
        if self.query.listing {
            return self.columns_only(reference).await;
        }
        let snapshot = self.open(reference).await.map_err(external)?;
        let footers = &self.query.shared.catalog.footers;
        Ok(snapshot.map(|snapshot| Arc::new(SnapshotTable::new(snapshot, Arc::clone(footers))) as _))
    }

    async fn table_type(&self, _: &str) -> DfResult<Option<TableType>> {
        Ok(Some(TableType::Base))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.extra(name).is_some()
            || self.reference(name).is_some_and(|dataset| self.query.shared.catalog.exists(&dataset))
    }
}

/// A snapshot as a table.
#[derive(Debug)]
pub struct SnapshotTable {
    snapshot: Arc<Snapshot>,
    footers: Arc<FooterCache>,
}

impl SnapshotTable {
    /// The table of `snapshot`; page indexes are read through `footers`.
    pub fn new(snapshot: Arc<Snapshot>, footers: Arc<FooterCache>) -> Self {
        Self { snapshot, footers }
    }

    fn partition_names(&self) -> Vec<&str> {
        self.snapshot.dataset.partition_fields.iter().map(|field| field.name().as_str()).collect()
    }

    /// Which parts can hold rows that pass `filters`, judged by the partition columns alone.
    fn prune(&self, filters: &[Expr]) -> DfResult<Vec<bool>> {
        let dataset = &self.snapshot.dataset;
        let names = self.partition_names();
        let applicable =
            filters.iter().filter(|filter| expr_applicable_for_cols(&names, filter) && !names.is_empty());
        let Some(filter) = conjunction(applicable.cloned()) else {
            return Ok(vec![true; dataset.parts.len()]);
        };
        let schema = Arc::new(Schema::new(dataset.partition_fields.clone()));
        let columns = (0..dataset.partition_fields.len()).map(|index| {
            let values = dataset.parts.iter().map(|part| part.partition_values[index].clone());
            ScalarValue::iter_to_array(values)
        });
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns.collect::<DfResult<_>>()?)?;
        let schema = DFSchema::try_from(schema)?;
        let filter = create_physical_expr(
            &filter,
            &schema,
            &ExecutionProps::new(),
            &PhysicalPlanningContext::default(),
        )?;
        let passed = filter.evaluate(&batch)?.into_array(batch.num_rows())?;
        // A NULL is not true: such a part has no row that passes.
        let passed = passed.as_boolean();
        Ok((0..passed.len()).map(|row| passed.is_valid(row) && passed.value(row)).collect())
    }

    /// The statistics of a part's columns, and those of its partition columns: one value for all rows.
    /// (`PartitionedFile::with_statistics` would say that there are no NULLs among them.)
    fn with_partitions(mut statistics: Statistics, part: &PartFile) -> Statistics {
        let rows = statistics.num_rows;
        statistics.column_statistics.extend(part.partition_values.iter().map(|value| {
            let known = Precision::Exact(value.clone());
            let unknown = ColumnStatistics::new_unknown();
            if value.is_null() {
                return ColumnStatistics { null_count: rows, ..unknown };
            }
            let null_count = Precision::Exact(0);
            ColumnStatistics { null_count, min_value: known.clone(), max_value: known, ..unknown }
        }));
        statistics
    }

    fn file(&self, part: &PartFile, held: &HeldFile) -> DfResult<PartitionedFile> {
        let statistics = part.statistics(&self.snapshot.dataset.file_schema).map_err(external)?;
        // EXPLAIN shows this path: relative to its directory, so it tells nothing of the machine.
        let mut file = PartitionedFile::new(part.path.to_string_lossy(), part.stat.size())
            .with_partition_values(part.partition_values.clone())
            .with_arrow_schema(Arc::clone(&part.footer.schema))
            .with_extension(held.clone());
        file.statistics = Some(Arc::new(Self::with_partitions(statistics, part)));
        file.object_meta.last_modified = part.stat.modified().into();
        Ok(file)
    }
}

#[async_trait]
impl TableProvider for SnapshotTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.snapshot.dataset.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> DfResult<Vec<TableProviderFilterPushDown>> {
        let names = self.partition_names();
        let support = |filter: &&Expr| {
            if !names.is_empty() && expr_applicable_for_cols(&names, filter) {
                TableProviderFilterPushDown::Exact
            } else {
                TableProviderFilterPushDown::Inexact
            }
        };
        Ok(filters.iter().map(support).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let dataset = &self.snapshot.dataset;
        let keep = self.prune(filters)?;
        let parts = dataset.parts.iter().zip(&self.snapshot.files).zip(keep);
        let files = parts.filter(|(_, keep)| *keep).map(|((part, held), _)| self.file(part, held));
        let files = files.collect::<DfResult<Vec<_>>>()?;
        if files.is_empty() {
            return Ok(Arc::new(EmptyExec::new(project_schema(&dataset.schema, projection)?)));
        }
        let statistics = Statistics::try_merge_iter(
            files.iter().filter_map(|file| file.statistics.as_deref()),
            &dataset.schema,
        )?;
        let columns = TableSchema::builder(Arc::clone(&dataset.file_schema))
            .with_table_partition_cols(dataset.partition_fields.clone())
            .build();
        let mut options = state.default_table_options().parquet;
        options.global = state.config_options().execution.parquet.clone();
        let source = ParquetSource::new(columns)
            .with_table_parquet_options(options)
            .with_parquet_file_reader_factory(Arc::new(HeldFiles { footers: Arc::clone(&self.footers) }));
        let groups = FileGroup::new(files).split_files(state.config().target_partitions());
        let scan = FileScanConfigBuilder::new(QueryCatalog::store_url()?, Arc::new(source))
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(scan))
    }
}

/// Gives scans the files that the snapshot holds.
#[derive(Debug)]
struct HeldFiles {
    footers: Arc<FooterCache>,
}

impl ParquetFileReaderFactory for HeldFiles {
    fn create_reader(
        &self,
        partition: usize,
        file: PartitionedFile,
        _: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> DfResult<Box<dyn AsyncFileReader + Send>> {
        let held = file.extension::<HeldFile>().cloned();
        let held = held.ok_or_else(|| external(Error::internal("a scanned file is not held open")))?;
        let metrics = ParquetFileMetrics::new(partition, file.object_meta.location.as_ref(), metrics);
        Ok(Box::new(HeldReader { file: held, footers: Arc::clone(&self.footers), metrics }))
    }
}

struct HeldReader {
    file: HeldFile,
    footers: Arc<FooterCache>,
    metrics: ParquetFileMetrics,
}

impl HeldReader {
    fn count(&self, ranges: &[Range<u64>]) {
        let bytes: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        self.metrics.bytes_scanned.add(usize::try_from(bytes).unwrap_or(usize::MAX));
    }
}

impl AsyncFileReader for HeldReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        async move {
            let read = self.get_byte_ranges(vec![range]).await?;
            read.into_iter().next().ok_or_else(|| ParquetError::General("nothing was read".to_owned()))
        }
        .boxed()
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, parquet::errors::Result<Vec<Bytes>>> {
        self.count(&ranges);
        let file = self.file.clone();
        let read = move || {
            let read = |range: &Range<u64>| {
                let length = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
                file.read(range.start, length).map_err(|error| {
                    Error::find_in(&error).map_or_else(
                        || Error::data_loss(format!("cannot read {}: {error}", file.path().display())),
                        Error::duplicate,
                    )
                })
            };
            let bytes = ranges.iter().map(read).collect::<Result<_>>()?;
            file.check_unchanged()?;
            Ok(bytes)
        };
        async move { blocking(read).await.map_err(parquet_error) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        let skip = options.is_some_and(|options| options.column_index_policy() == PageIndexPolicy::Skip);
        let (file, footers) = (self.file.clone(), Arc::clone(&self.footers));
        let load = move || if skip { footers.of(&file) } else { footers.with_page_index(&file) };
        async move { Ok(Arc::clone(&blocking(load).await.map_err(parquet_error)?.metadata)) }.boxed()
    }
}

fn parquet_error(error: Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

fn external(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
