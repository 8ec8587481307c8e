//! Scans of Parquet files whose columns are kept decoded in memory.
//!
//! [`CachedSource`] stands before DataFusion's source of Parquet: a file all of whose wanted columns were read
//! before is answered from the [`ColumnCache`], in the same rows and the same order; everything else is left
//! to the source behind.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, RecordBatchOptions};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::{
    ParquetAccessPlan, ParquetRowSelection, RowGroupAccessPlanFilter,
};
use datafusion::datasource::physical_plan::{
    FileOpener, FileScanConfig, FileSource, ParquetFileMetrics, ParquetSource,
};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::logical_expr::Operator;
use datafusion::object_store::ObjectStore;
use datafusion::physical_expr::expressions::{BinaryExpr, Literal};
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::simplifier::PhysicalExprSimplifier;
use datafusion::physical_expr::utils::{collect_columns, reassign_expr_columns};
use datafusion::physical_expr::{
    DynamicFilterTracking, EquivalenceProperties, PhysicalExpr, PhysicalSortExpr, ScalarFunctionExpr,
};
use datafusion::physical_expr_adapter::replace_columns_with_literals;
use datafusion::physical_expr_common::physical_expr::snapshot_physical_expr;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::filter_pushdown::FilterPushdownPropagation;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::{DisplayFormatType, SortOrderPushdownResult};
use datafusion_datasource::morsel::{Morsel, MorselPlan, MorselPlanner, Morselizer};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};

use super::damage::NamedFiles;
use super::partition_pruning::by_partition;
use crate::safeguard::Safeguard;
use crate::storage::{CHUNK_ROWS, Chunks, ColumnCache, ColumnFile, Footer, HeldFile};

/// Where a scan looks for few rows, the most row groups that are decoded for it: of more it reads only the
/// pages that it needs.
const FEW_GROUPS: usize = 4;

/// A source of Parquet with a cache before it.
#[derive(Debug, Clone)]
pub(super) struct CachedSource {
    parquet: ParquetSource,
    cache: Arc<ColumnCache>,
    batch_size: usize,
    /// Whether rows are wanted in an order, as far as the files have it.
    is_ordered: bool,
}

impl CachedSource {
    /// `parquet` with `cache` before it. Its files have a [`HeldFile`] and an `Arc<Footer>` as extensions.
    pub(super) fn new(parquet: ParquetSource, cache: Arc<ColumnCache>) -> Self {
        Self { parquet, cache, batch_size: CHUNK_ROWS, is_ordered: false }
    }

    /// The same cache before what became of the source.
    fn before(&self, source: Arc<dyn FileSource>) -> Arc<dyn FileSource> {
        match source.downcast_ref::<ParquetSource>() {
            Some(parquet) => Arc::new(Self { parquet: parquet.clone(), ..self.clone() }),
            None => source,
        }
    }
}

impl FileSource for CachedSource {
    fn create_file_opener(
        &self,
        store: Arc<dyn ObjectStore>,
        config: &FileScanConfig,
        partition: usize,
    ) -> DfResult<Arc<dyn FileOpener>> {
        self.parquet.create_file_opener(store, config, partition)
    }

    fn create_morselizer(
        &self,
        store: Arc<dyn ObjectStore>,
        config: &FileScanConfig,
        partition: usize,
    ) -> DfResult<Box<dyn Morselizer>> {
        let parquet = self.parquet.create_morselizer(store, config, partition)?;
        let parquet: Box<dyn Morselizer> = Box::new(NamedFiles(parquet));
        let rows = Rows::new(&self.parquet, self.batch_size, self.is_ordered)?;
        let files: Box<dyn Morselizer> = match rows.filter(|_| self.cache.is_enabled()) {
            Some(rows) => {
                Box::new(CachedFiles { parquet, cache: Arc::clone(&self.cache), rows: Arc::new(rows) })
            }
            None => parquet,
        };
        by_partition(files, &self.parquet)
    }

    fn table_schema(&self) -> &TableSchema {
        self.parquet.table_schema()
    }

    fn with_batch_size(&self, batch_size: usize) -> Arc<dyn FileSource> {
        let sized = Self { batch_size, ..self.clone() };
        sized.before(self.parquet.with_batch_size(batch_size))
    }

    fn filter(&self) -> Option<Arc<dyn PhysicalExpr>> {
        self.parquet.filter()
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        self.parquet.projection()
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        self.parquet.metrics()
    }

    fn file_type(&self) -> &str {
        self.parquet.file_type()
    }

    fn fmt_extra(&self, form: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        self.parquet.fmt_extra(form, f)
    }

    fn try_pushdown_filters(
        &self,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        config: &ConfigOptions,
    ) -> DfResult<FilterPushdownPropagation<Arc<dyn FileSource>>> {
        let mut pushed = self.parquet.try_pushdown_filters(filters, config)?;
        pushed.updated_node = pushed.updated_node.map(|source| self.before(source));
        Ok(pushed)
    }

    fn try_pushdown_sort(
        &self,
        order: &[PhysicalSortExpr],
        properties: &EquivalenceProperties,
    ) -> DfResult<SortOrderPushdownResult<Arc<dyn FileSource>>> {
        let ordered = Self { is_ordered: true, ..self.clone() };
        Ok(match self.parquet.try_pushdown_sort(order, properties)? {
            // The cache gives what is in order in its order, and what is only nearly so has to be sorted anyway.
            SortOrderPushdownResult::Exact { inner } => {
                SortOrderPushdownResult::Exact { inner: ordered.before(inner) }
            }
            SortOrderPushdownResult::Inexact { inner } => {
                SortOrderPushdownResult::Inexact { inner: ordered.before(inner) }
            }
            SortOrderPushdownResult::Unsupported => SortOrderPushdownResult::Unsupported,
        })
    }

    fn reorder_files(&self, files: Vec<PartitionedFile>) -> Vec<PartitionedFile> {
        self.parquet.reorder_files(files)
    }

    fn try_pushdown_projection(&self, projection: &ProjectionExprs) -> DfResult<Option<Arc<dyn FileSource>>> {
        if projection.expr_iter().any(|expr| makes_values(&expr)) {
            return Ok(None);
        }
        let pushed = self.parquet.try_pushdown_projection(projection)?;
        Ok(pushed.map(|source| self.before(source)))
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        self.parquet.apply_expressions(f)
    }
}

/// Whether an expression makes texts or lists, which can be larger than what they are made of. A scan gives as many rows at
/// once as its columns have room for: what makes more has to come after it, where it is kept to a size.
fn makes_values(expr: &Arc<dyn PhysicalExpr>) -> bool {
    let makes = match expr.downcast_ref::<ScalarFunctionExpr>() {
        Some(call) => {
            call.return_type().primitive_width().is_none() && !expr.placement().should_push_to_leaves()
        }
        None => {
            expr.downcast_ref::<BinaryExpr>().is_some_and(|binary| *binary.op() == Operator::StringConcat)
        }
    };
    makes || expr.children().into_iter().any(makes_values)
}

/// What a scan makes of the columns of a file.
#[derive(Debug)]
struct Rows {
    /// The columns of the files that are needed, ascending.
    columns: Vec<usize>,
    /// The partition columns that are needed, ascending: places among these.
    partitions: Vec<usize>,
    /// The schema of the needed columns, those of the files first.
    needed: SchemaRef,
    /// In terms of `needed`. `None` where the filter is another operator's work.
    filter: Option<Arc<dyn PhysicalExpr>>,
    /// In terms of `needed`.
    projection: Vec<Arc<dyn PhysicalExpr>>,
    output: SchemaRef,
    /// What row groups are judged by, in terms of the table.
    predicate: Option<Arc<dyn PhysicalExpr>>,
    /// Whether the first rows in an order are wanted: Parquet's reader begins with the row groups that can have
    /// them, and leaves out most of the rest.
    is_top: bool,
    table: TableSchema,
    batch_size: usize,
}

impl Rows {
    /// What `source` makes; `None` for what only Parquet's reader can make.
    fn new(source: &ParquetSource, batch_size: usize, is_ordered: bool) -> DfResult<Option<Self>> {
        let table = source.table_schema();
        let all = table.table_schema();
        let names: HashSet<_> = all.fields().iter().map(|field| field.name()).collect();
        if !table.virtual_columns().is_empty() || names.len() < all.fields().len() {
            return Ok(None);
        }
        let Some(projection) = source.projection() else { return Ok(None) };
        let predicate = source.filter();
        let filter = predicate.clone().filter(|_| source.table_parquet_options().global.pushdown_filters);
        let mut used: BTreeSet<usize> = projection.column_indices().into_iter().collect();
        used.extend(filter.iter().flat_map(collect_columns).map(|column| column.index()));
        let used: Vec<_> = used.into_iter().collect();
        let needed = Arc::new(all.project(&used)?);
        let in_files = table.file_schema().fields().len();
        let reassign = |expr: Arc<dyn PhysicalExpr>| reassign_expr_columns(expr, &needed);
        Ok(Some(Self {
            columns: used.iter().copied().filter(|column| *column < in_files).collect(),
            partitions: used.iter().filter_map(|column| column.checked_sub(in_files)).collect(),
            filter: filter.map(reassign).transpose()?,
            projection: projection.expr_iter().map(reassign).collect::<DfResult<_>>()?,
            output: Arc::new(projection.project_schema(all)?),
            needed,
            is_top: is_ordered && predicate.as_ref().is_some_and(is_dynamic),
            predicate,
            table: table.clone(),
            batch_size: batch_size.max(1),
        }))
    }

    /// What row groups of `file` are judged by, in terms of its own columns: a partition column is a constant there.
    fn predicate_of(&self, file: &PartitionedFile) -> DfResult<Option<Arc<dyn PhysicalExpr>>> {
        let Some(predicate) = &self.predicate else { return Ok(None) };
        // What comes from elsewhere in the plan is as it is by now.
        let predicate = snapshot_physical_expr(Arc::clone(predicate))?;
        let fields = self.table.table_partition_cols().iter();
        let values: HashMap<&str, &ScalarValue> =
            fields.map(|field| field.name().as_str()).zip(&file.partition_values).collect();
        if !collect_columns(&predicate).iter().any(|column| values.contains_key(column.name()))
            || !Safeguard::ByPartition.stands()
        {
            return Ok(Some(predicate));
        }
        let predicate = replace_columns_with_literals(predicate, &values)?;
        PhysicalExprSimplifier::new(self.table.file_schema()).simplify(predicate).map(Some)
    }

    /// The batches of a row group of `rows` rows, whose columns are `chunks`.
    fn batches(
        self: Arc<Self>,
        rows: usize,
        chunks: Vec<Chunks>,
        file: &PartitionedFile,
    ) -> impl Iterator<Item = DfResult<RecordBatch>> + use<> {
        let values: Vec<_> =
            self.partitions.iter().map(|place| file.partition_values[*place].clone()).collect();
        let step = self.batch_size.min(CHUNK_ROWS);
        let starts = (0..rows).step_by(CHUNK_ROWS);
        let pieces = starts.enumerate().flat_map(move |(chunk, start)| {
            let length = (rows - start).min(CHUNK_ROWS);
            (0..length).step_by(step).map(move |from| (chunk, from, (length - from).min(step)))
        });
        let batch = move |(chunk, from, length): (usize, usize, usize)| {
            let stored = chunks.iter().map(|chunks| Ok(chunks[chunk].slice(from, length)));
            let constant = values.iter().map(|value| value.to_array_of_size(length));
            let columns = stored.chain(constant).collect::<DfResult<Vec<_>>>()?;
            let options = RecordBatchOptions::new().with_row_count(Some(length));
            let batch = RecordBatch::try_new_with_options(Arc::clone(&self.needed), columns, &options)?;
            self.project(batch)
        };
        pieces.map(batch).filter_map(Result::transpose)
    }

    /// The rows of `batch` that pass, in the scan's columns, if there are any.
    fn project(&self, mut batch: RecordBatch) -> DfResult<Option<RecordBatch>> {
        if let Some(filter) = &self.filter {
            let passed = filter.evaluate(&batch)?.into_array(batch.num_rows())?;
            let passed = passed.as_boolean();
            match passed.true_count() {
                0 => return Ok(None),
                count if count == batch.num_rows() => {}
                _ => batch = filter_record_batch(&batch, passed)?,
            }
        }
        let rows = batch.num_rows();
        let columns = self.projection.iter().map(|expr| expr.evaluate(&batch)?.into_array(rows));
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let columns = columns.collect::<DfResult<_>>()?;
        Ok(Some(RecordBatch::try_new_with_options(Arc::clone(&self.output), columns, &options)?))
    }
}

/// Whether no row can pass, whatever its values are.
fn is_never_true(predicate: &Arc<dyn PhysicalExpr>) -> bool {
    let literal = predicate.downcast_ref::<Literal>();
    literal.is_some_and(|literal| {
        literal.value().is_null() || *literal.value() == ScalarValue::Boolean(Some(false))
    })
}

/// Whether a filter comes from elsewhere in the plan, while it runs.
fn is_dynamic(predicate: &Arc<dyn PhysicalExpr>) -> bool {
    DynamicFilterTracking::classify(predicate).contains_dynamic_filter()
}

/// The files of a scan.
#[derive(Debug)]
struct CachedFiles {
    parquet: Box<dyn Morselizer>,
    cache: Arc<ColumnCache>,
    rows: Arc<Rows>,
}

impl Morselizer for CachedFiles {
    fn plan_file(&self, file: PartitionedFile) -> DfResult<Box<dyn MorselPlanner>> {
        let Some(columns) = self.columns(&file) else { return self.parquet.plan_file(file) };
        let groups = self.groups(&file, &columns)?;
        if !self.is_served(&columns, &groups) {
            return self.parquet.plan_file(file);
        }
        let (cache, rows) = (Arc::clone(&self.cache), Arc::clone(&self.rows));
        Ok(Box::new(CachedFile { cache, rows, groups, columns: Arc::new(columns), file }))
    }
}

impl CachedFiles {
    /// The columns of a file; `None` where they are others than the table's, or where some rows are left out.
    fn columns(&self, file: &PartitionedFile) -> Option<ColumnFile> {
        let held = file.extension::<HeldFile>()?.clone();
        // Structs of one type can have their fields from other columns of such a file, for another table.
        let has_own_names = held.names().is_none();
        let columns = ColumnFile::new(held, Arc::clone(file.extension::<Arc<Footer>>()?));
        let (stored, wanted) = (columns.schema().fields(), self.rows.table.file_schema().fields());
        let is_same = stored.len() == wanted.len()
            && stored.iter().zip(wanted).all(|(stored, wanted)| {
                stored.name() == wanted.name() && stored.data_type() == wanted.data_type()
            });
        let is_whole = file.extension::<ParquetRowSelection>().is_none()
            && file.extension::<ParquetAccessPlan>().is_none();
        (is_same && has_own_names && is_whole).then_some(columns)
    }

    /// The row groups of a file, or of its range, that can hold rows which pass.
    fn groups(&self, file: &PartitionedFile, columns: &ColumnFile) -> DfResult<Vec<usize>> {
        let predicate = self.rows.predicate_of(file)?;
        if predicate.as_ref().is_some_and(is_never_true) {
            return Ok(Vec::new());
        }
        let metadata = columns.footer().for_queries()?;
        let groups = metadata.row_groups();
        let mut kept = RowGroupAccessPlanFilter::new(ParquetAccessPlan::new_all(groups.len()));
        if let Some(range) = &file.range {
            kept.prune_by_range(groups, range);
        }
        if let Some(predicate) = predicate {
            let schema = self.rows.table.file_schema();
            let predicate =
                PruningPredicateBuilder::new().with_file_schema(Arc::clone(schema)).try_build(predicate)?;
            if !predicate.always_true() {
                let path = file.object_meta.location.as_ref();
                // Not the scan's: Parquet's reader counts for itself where it reads the file after all.
                let metrics = ParquetFileMetrics::new(0, path, &ExecutionPlanMetricsSet::new());
                let stored = metadata.file_metadata().schema_descr();
                kept.prune_by_statistics(schema, stored, groups, &predicate, &metrics);
            }
        }
        Ok(kept.row_group_indexes().collect())
    }

    /// Whether the cache serves a file: it has all that is needed of it, or takes it in now. Notes what is read.
    fn is_served(&self, columns: &ColumnFile, groups: &[usize]) -> bool {
        let wanted = || {
            groups
                .iter()
                .flat_map(|group| self.rows.columns.iter().map(|column| columns.key(*group, *column)))
        };
        let missing: Vec<_> = wanted().filter(|key| !self.cache.has(key)).collect();
        if missing.is_empty() {
            return true;
        }
        // All are noted, also behind one that is new.
        let not_due = missing.iter().filter(|key| !self.cache.note(key)).count();
        let is_worth_while = !self.rows.is_top && (self.rows.filter.is_none() || groups.len() <= FEW_GROUPS);
        let fits = |group: &usize| {
            columns
                .decoded_bytes(*group, &self.rows.columns)
                .is_some_and(|bytes| bytes <= self.cache.most_at_once())
        };
        not_due == 0 && is_worth_while && groups.iter().all(fits)
    }
}

/// A file that the cache serves.
#[derive(Debug)]
struct CachedFile {
    cache: Arc<ColumnCache>,
    rows: Arc<Rows>,
    columns: Arc<ColumnFile>,
    groups: Vec<usize>,
    file: PartitionedFile,
}

impl MorselPlanner for CachedFile {
    fn plan(self: Box<Self>) -> DfResult<Option<MorselPlan>> {
        if self.groups.is_empty() {
            return Ok(None);
        }
        Ok(Some(MorselPlan::new().with_morsels(vec![self])))
    }
}

impl Morsel for CachedFile {
    fn into_stream(self: Box<Self>) -> BoxStream<'static, DfResult<RecordBatch>> {
        let Self { cache, rows, columns, groups, file } = *self;
        let read = move |group: usize| {
            let (cache, columns, rows) = (Arc::clone(&cache), Arc::clone(&columns), Arc::clone(&rows));
            let count = usize::try_from(columns.footer().metadata.row_group(group).num_rows()).unwrap_or(0);
            let wanted = Arc::clone(&rows);
            async move {
                let decoders = cache.decoders().clone();
                let chunks = decoders.run(move || cache.read(&columns, group, &wanted.columns)).await;
                DfResult::<_>::Ok((rows, count, chunks?))
            }
        };
        let groups = stream::iter(groups).then(read);
        groups
            .map_ok(move |(rows, count, chunks)| stream::iter(rows.batches(count, chunks, &file)))
            .try_flatten()
            .boxed()
    }
}
