//! A snapshot as DataFusion's table, read through the descriptors that it holds.

use std::any::Any;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use async_trait::async_trait;
use bytes::Bytes;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{
    ColumnStatistics, DFSchema, Result as DfResult, ScalarValue, Statistics, project_schema,
};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::listing::helpers::expr_applicable_for_cols;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::datasource::physical_plan::parquet::ParquetRowSelection;
use datafusion::datasource::physical_plan::{
    FileGroup, FileScanConfigBuilder, FileSource, ParquetFileMetrics, ParquetFileReaderFactory, ParquetSource,
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
use parquet::arrow::RowNumber;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};

use super::cached_source::CachedSource;
use super::expr_adapter::{Adapters, is_converted};
use super::selectivity::is_selective;
use crate::catalog::{Catalog, PartFile, Snapshot};
use crate::error::{Error, Result};
use crate::safeguard::Safeguard;
use crate::storage::{
    ColumnCache, FooterCache, HeldFile, blocking, check_read, decodable_as, parallel_map, remaining,
    storable, with_order_of,
};

/// A snapshot as a table.
#[derive(Debug)]
pub(in crate::engine) struct SnapshotTable {
    snapshot: Arc<Snapshot>,
    footers: Arc<FooterCache>,
    columns: Arc<ColumnCache>,
    /// The dataset's columns, and those of its files, in the types that are in the files: queries are
    /// not to see the few that are stored as others.
    schema: SchemaRef,
    /// The columns in the order in which they are read.
    physical: SchemaRef,
    file_schema: SchemaRef,
    /// Whether rows come with where they lie: [`FILE_COLUMN`] and [`ROW_COLUMN`].
    is_located: bool,
}

/// The place of a row's file among the parts of its snapshot.
pub(in crate::engine) const FILE_COLUMN: &str = "__airstrip_file";
/// The store that scans name. It is empty: files are read through held descriptors, never by path.
const STORE: &str = "airstrip://snapshot/";

/// The place of a row in its file.
pub(in crate::engine) const ROW_COLUMN: &str = "__airstrip_row";

/// The values that the files of a table have for a partition column, each with the rows of its file, of those files that can
/// hold rows which pass `filters`. `None` where that cannot be told without a look into the files.
pub(in crate::engine) fn partition_rows(
    provider: &dyn Any,
    column: &str,
    filters: &[Expr],
) -> DfResult<Option<Vec<(ScalarValue, u64)>>> {
    match provider.downcast_ref::<SnapshotTable>().filter(|table| table.snapshot().is_some()) {
        Some(table) => table.partition_rows(column, filters),
        None => Ok(None),
    }
}

/// The store that scans of datasets name, to be registered as an empty one.
pub(in crate::engine) fn store_url() -> DfResult<ObjectStoreUrl> {
    ObjectStoreUrl::parse(STORE)
}

/// The snapshot behind a table, if it is one of just its rows.
pub(in crate::engine) fn snapshot_behind(provider: &dyn Any) -> Option<Arc<Snapshot>> {
    provider.downcast_ref::<SnapshotTable>().and_then(|table| table.snapshot().cloned())
}

impl SnapshotTable {
    /// The table of `snapshot`, read through the caches of `catalog`.
    pub(in crate::engine) fn new(catalog: &Catalog, snapshot: Arc<Snapshot>) -> Self {
        let (footers, columns) = (Arc::clone(catalog.footers()), Arc::clone(catalog.columns()));
        let dataset = &snapshot.dataset;
        let schema = SchemaRef::from(storable(&dataset.schema));
        let is_in_order = Arc::ptr_eq(&dataset.schema, &dataset.physical);
        let physical = if is_in_order { Arc::clone(&schema) } else { storable(&dataset.physical).into() };
        let file_schema = storable(&dataset.file_schema).into();
        Self { footers, columns, schema, physical, file_schema, snapshot, is_located: false }
    }

    /// The same table, whose rows come with where they lie.
    pub(in crate::engine) fn located(catalog: &Catalog, snapshot: Arc<Snapshot>) -> Self {
        let plain = Self::new(catalog, snapshot);
        let located = |schema: &SchemaRef| {
            let fields = schema.fields().iter().cloned().chain([file_field(), row_field()]);
            Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone()))
        };
        let (schema, physical) = (located(&plain.schema), located(&plain.physical));
        Self { schema, physical, is_located: true, ..plain }
    }

    /// The columns that are the same for all rows of a file.
    fn partition_fields(&self) -> Vec<FieldRef> {
        let own = self.snapshot.dataset.partition_fields.iter().cloned();
        own.chain(self.is_located.then(file_field)).collect()
    }

    /// What the table shows, if that is just its rows.
    pub(super) fn snapshot(&self) -> Option<&Arc<Snapshot>> {
        (!self.is_located).then_some(&self.snapshot)
    }

    /// The columns of a projection by their places among those that are read.
    fn places(&self, projection: Option<&Vec<usize>>) -> Option<Vec<usize>> {
        if Arc::ptr_eq(&self.snapshot.dataset.schema, &self.snapshot.dataset.physical) {
            return projection.cloned();
        }
        let place = |column: usize| self.snapshot.dataset.place(column);
        Some(match projection {
            Some(columns) => columns.iter().map(|column| place(*column)).collect(),
            None => (0..self.schema.fields().len()).map(place).collect(),
        })
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
        let Some(filter) = conjunction(applicable.cloned()).filter(|_| !dataset.parts.is_empty()) else {
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

    fn partition_rows(&self, column: &str, filters: &[Expr]) -> DfResult<Option<Vec<(ScalarValue, u64)>>> {
        let names = self.partition_names();
        let Some(place) = names.iter().position(|name| *name == column) else { return Ok(None) };
        if !filters.iter().all(|filter| expr_applicable_for_cols(&names, filter)) {
            return Ok(None);
        }
        let keep = self.prune(filters)?;
        let parts = self.snapshot.dataset.parts.iter().zip(keep).filter(|(_, is_kept)| *is_kept);
        Ok(Some(parts.map(|(part, _)| (part.partition_values[place].clone(), part.rows())).collect()))
    }

    /// The statistics of a part's columns, and those of its partition columns: one value for all rows.
    /// (`PartitionedFile::with_statistics` would say that there are no NULLs among them.)
    fn with_partitions(&self, mut statistics: Statistics, part: &PartFile) -> Statistics {
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
        if self.is_located {
            statistics
                .column_statistics
                .extend([ColumnStatistics::new_unknown(), ColumnStatistics::new_unknown()]);
        }
        statistics
    }

    /// The schema that a part is decoded in: the table's types where the reader gives these right away.
    fn decoded(&self, part: &PartFile) -> SchemaRef {
        if self.is_alike(part) {
            return Arc::clone(&self.file_schema);
        }
        let own = with_order_of(&storable(&part.footer.schema), &self.file_schema);
        decodable_as(&own, &self.file_schema).into()
    }

    /// Whether a part has the very columns of the dataset.
    fn is_alike(&self, part: &PartFile) -> bool {
        part.footer.schema.fields() == self.snapshot.dataset.file_schema.fields()
    }

    /// Whether columns of some parts have to be converted before a filter can look at them.
    fn has_converted(&self) -> bool {
        let mut known = HashSet::new();
        let parts = self.snapshot.dataset.parts.iter().filter(|part| !self.is_alike(part));
        let mut distinct = parts.filter(|part| known.insert(part.footer.schema_hash()));
        distinct.any(|part| {
            self.decoded(part).fields().iter().any(|own| {
                let wanted = self.file_schema.fields().find(own.name());
                wanted.is_some_and(|(_, wanted)| is_converted(own.data_type(), wanted.data_type()))
            })
        })
    }

    /// Opens the parts at `places`, where that was left until it is known that they are read.
    async fn hold(&self, places: &[usize]) -> DfResult<()> {
        if self.snapshot.holds(places) {
            return Ok(());
        }
        let (snapshot, places) = (Arc::clone(&self.snapshot), places.to_vec());
        Ok(blocking(move || snapshot.hold(&places)).await?)
    }

    /// The places of the file columns that a scan reads, in their order; all of them where their names do not tell them apart.
    fn file_columns(&self, projection: Option<&Vec<usize>>) -> Vec<usize> {
        let fields = self.file_schema.fields();
        let names: HashSet<&str> = fields.iter().map(|field| field.name().as_str()).collect();
        let places = self.places(projection).filter(|_| names.len() == fields.len());
        let Some(mut places) = places else { return (0..fields.len()).collect() };
        places.retain(|place| *place < fields.len());
        places.sort_unstable();
        places.dedup();
        places
    }

    /// What the footer of a part tells of these file columns, which are `read`; nothing of the others.
    fn statistics_of(&self, part: &PartFile, columns: &[usize], read: &SchemaRef) -> DfResult<Statistics> {
        let mut told = part.statistics(read)?;
        let known = std::mem::take(&mut told.column_statistics);
        told.column_statistics = Statistics::unknown_column(&self.file_schema);
        for (column, known) in columns.iter().zip(known) {
            told.column_statistics[*column] = known;
        }
        Ok(told)
    }

    /// The parts at `places` as files of a scan that reads `columns` of those in files.
    fn files(&self, places: &[usize], columns: &[usize]) -> DfResult<Vec<PartitionedFile>> {
        let is_all = columns.len() == self.file_schema.fields().len();
        let read =
            if is_all { Arc::clone(&self.file_schema) } else { self.file_schema.project(columns)?.into() };
        let file = |place: &usize| {
            let part = &self.snapshot.dataset.parts[*place];
            self.file(*place, self.statistics_of(part, columns, &read)?)
        };
        parallel_map(places, file).into_iter().collect()
    }

    fn file(&self, place: usize, mut statistics: Statistics) -> DfResult<PartitionedFile> {
        let part = &self.snapshot.dataset.parts[place];
        let held = self.snapshot.file(place)?;
        for (column, field) in statistics.column_statistics.iter_mut().zip(self.file_schema.fields()) {
            if field.data_type().is_floating() {
                // Parquet's bounds leave NaN out, so they are none of all values: taken for such, a file with
                // one number and NaN would have that number in all rows.
                *column =
                    ColumnStatistics { null_count: column.null_count, ..ColumnStatistics::new_unknown() };
            }
        }
        // EXPLAIN shows this path: relative to its directory, so it tells nothing of the machine.
        let place = self.is_located.then(|| ScalarValue::UInt32(u32::try_from(place).ok()));
        let mut file = PartitionedFile::new(part.path.to_string_lossy(), part.stat.size())
            .with_partition_values(part.partition_values.iter().cloned().chain(place).collect())
            .with_arrow_schema(self.decoded(part))
            .with_extension(held.clone())
            .with_extension(Arc::clone(&part.footer));
        if let Some(deleted) = &part.deleted {
            file =
                file.with_extension(ParquetRowSelection::new(remaining(part.footer.rows(), &deleted.rows)));
        }
        file.statistics = Some(Arc::new(self.with_partitions(statistics, part)));
        file.object_meta.last_modified = part.stat.modified().into();
        Ok(file)
    }
}

fn file_field() -> FieldRef {
    Arc::new(Field::new(FILE_COLUMN, DataType::UInt32, false))
}

fn row_field() -> FieldRef {
    Arc::new(Field::new(ROW_COLUMN, DataType::Int64, true).with_extension_type(RowNumber))
}

#[async_trait]
impl TableProvider for SnapshotTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
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
        let kept: Vec<usize> = (0..keep.len()).filter(|place| keep[*place]).collect();
        self.hold(&kept).await?;
        let files = self.files(&kept, &self.file_columns(projection))?;
        if files.is_empty() {
            return Ok(Arc::new(EmptyExec::new(project_schema(&self.schema, projection)?)));
        }
        let statistics = Statistics::try_merge_iter(
            files.iter().filter_map(|file| file.statistics.as_deref()),
            &self.physical,
        )?;
        let statistics = if state.config_options().execution.collect_statistics {
            statistics
        } else {
            let column_statistics = Statistics::unknown_column(&self.physical);
            Statistics { column_statistics, ..statistics }
        };
        let columns = TableSchema::builder(Arc::clone(&self.file_schema))
            .with_table_partition_cols(self.partition_fields())
            .with_virtual_columns(if self.is_located { vec![row_field()] } else { Vec::new() })
            .build();
        let mut options = state.default_table_options().parquet;
        options.global = state.config_options().execution.parquet.clone();
        options.global.pushdown_filters |= is_selective(filters, &self.physical, &statistics);
        let is_converted = dataset.delta.is_none() && self.has_converted() && Safeguard::FileTypes.stands();
        // The reader drops a filter of a column that is converted without a word.
        options.global.pushdown_filters &= !is_converted;
        let source = ParquetSource::new(columns)
            .with_table_parquet_options(options)
            .with_parquet_file_reader_factory(Arc::new(HeldFiles { footers: Arc::clone(&self.footers) }));
        let source: Arc<dyn FileSource> = Arc::new(CachedSource::new(source, Arc::clone(&self.columns)));
        let groups = FileGroup::new(files).split_files(state.config().target_partitions());
        let scan = FileScanConfigBuilder::new(store_url()?, source)
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_projection_indices(self.places(projection))?
            .with_limit(limit)
            .with_expr_adapter(is_converted.then(|| Arc::new(Adapters) as _))
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
        let held = held.ok_or_else(|| Error::internal("a scanned file is not held open"))?;
        let metrics = ParquetFileMetrics::new(partition, file.object_meta.location.as_ref(), metrics);
        let footers = Arc::clone(&self.footers);
        Ok(Box::new(HeldReader { file: held, footers, metadata: None, metrics }))
    }
}

struct HeldReader {
    file: HeldFile,
    footers: Arc<FooterCache>,
    /// Once it was asked for.
    metadata: Option<Arc<ParquetMetaData>>,
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
        let (file, metadata) = (self.file.clone(), self.metadata.clone());
        let read = move || {
            let read = |range: &Range<u64>| {
                let length = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
                let bytes = file.read(range.start, length).map_err(|error| file.read_error(error))?;
                if let Some(metadata) = &metadata {
                    check_read(&file, metadata, range.start, &bytes)?;
                }
                Ok(bytes)
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
        async move {
            let metadata = blocking(move || load()?.for_queries()).await.map_err(parquet_error)?;
            self.metadata = Some(Arc::clone(&metadata));
            Ok(metadata)
        }
        .boxed()
    }
}

fn parquet_error(error: Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}
