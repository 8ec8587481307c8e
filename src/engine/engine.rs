//! The engine: one DataFusion configuration, and a fresh view of the datasets for each query.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::common::{DataFusionError, internal_datafusion_err};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::object_store::ObjectStoreRegistry;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::prelude::SessionConfig;
use datafusion::sql::sqlparser::keywords::ALL_KEYWORDS;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use tokio::sync::Semaphore;

use super::functions::{SessionUser, replace_functions, update_functions};
use super::growth::{Sizes, bound_functions};
use super::memory::{MemoryBudget, Relief, Watchdog};
use super::operators::OneSortKey;
use super::optimizer::add_rules;
use super::query::{PlanCache, Planning};
use super::run::{Activity, Admission, AdmissionOptions, Running, Workers};
use super::session::{DEFAULT_TIME_ZONE, Environment};
use super::sql::{Types, add_planners};
use super::statement::SqlLimits;
use super::tables::{
    CATALOG, Namespace, QueryCatalog, Rows, SnapshotTable, SystemSchema, ViewPlanner, add_versions, in_trash,
    queries, queries_schema, store_url, trash_schema,
};
use crate::catalog::{Catalog, DEFAULT_SCHEMA};
use crate::error::{Error, Result};

/// The consumers that an out-of-memory error names.
const TOP_CONSUMERS: NonZeroUsize = NonZeroUsize::new(5).unwrap();

/// Rows of a batch. Sorts merge fewer runs than with DataFusion's 8192, other operators hardly care.
pub(super) const BATCH_ROWS: usize = 32_768;

/// Bytes that a sort puts together before it sorts them: larger runs are fewer to merge, and take more memory meanwhile.
const SORTED_AT_ONCE: usize = 6 << 20;

/// How large one side of a join may be, in bytes or rows as far as statistics tell, to be gathered in one hash table for all
/// threads. Otherwise each thread has its own, for which the rows of both sides are copied apart; that pays where building
/// the one table, which a single thread does, would take long. With DataFusion's limits, 1 MiB and 131,072 rows, it was done
/// where it does not pay.
const GATHERED_JOIN_BYTES: usize = 32 << 20;
const GATHERED_JOIN_ROWS: usize = 2_000_000;

/// The engine's settings.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Bytes that queries may use together before they spill or fail.
    pub memory_bytes: usize,
    /// Bytes that the process may use, with all that nobody counts.
    pub budget: MemoryBudget,
    /// Bytes that a value may have which a function makes.
    pub value_bytes: usize,
    /// Where queries spill; `None`: a directory of the system's for temporary files.
    pub spill_dir: Option<PathBuf>,
    /// Bytes that may be spilled at once.
    pub spill_bytes: u64,
    /// Threads of a query that runs alone.
    pub threads: usize,
    /// How many queries run and wait.
    pub admission: AdmissionOptions,
    /// How long and deep a statement may be.
    pub sql: SqlLimits,
    /// How many plans are kept for statements that come again; 0: none.
    pub plans: usize,
}

#[cfg(any(test, fuzzing))]
impl EngineOptions {
    /// Those of tests.
    pub(crate) fn small() -> Self {
        Self {
            memory_bytes: 1 << 30,
            budget: MemoryBudget::new(1 << 30, 1 << 30, 8 << 30),
            value_bytes: 1 << 20,
            spill_dir: None,
            spill_bytes: 0,
            threads: 2,
            admission: AdmissionOptions {
                running: 1,
                waiting: 1,
                patience: std::time::Duration::from_secs(1),
            },
            sql: SqlLimits { bytes: 1 << 20, depth: 100, tables: 500, expressions: 10_000 },
            plans: 10,
        }
    }
}

/// Runs SQL over the datasets of a catalog.
#[derive(Debug)]
pub struct Engine {
    catalog: Arc<Catalog>,
    base: SessionState,
    pub(super) admission: Admission,
    pub(super) sql: SqlLimits,
    pub(super) plans: Arc<PlanCache>,
    pub(super) workers: Workers,
    /// Statements that are planned at once, for a query or just for its schema.
    pub(super) planning: Arc<Planning>,
    /// The turn of a query that is run again for want of memory.
    pub(super) frugal: Arc<Semaphore>,
    pub(super) running: Arc<Running>,
    pub(super) watchdog: Watchdog,
    pub(super) sizes: Sizes,
    system: Arc<SystemSchema>,
    views: Arc<ViewPlanner>,
}

impl Engine {
    /// An engine over `catalog`.
    pub fn new(catalog: Arc<Catalog>, options: &EngineOptions) -> Result<Self> {
        let runtime = Arc::new(runtime(options)?);
        let builder = SessionStateBuilder::new()
            .with_config(config())
            .with_runtime_env(runtime)
            .with_default_features()
            .with_type_planner(Arc::new(Types { zone: Some(DEFAULT_TIME_ZONE.into()) }))
            .with_physical_optimizer_rule(Arc::new(OneSortKey));
        let mut base = add_planners(add_rules(builder)).build();
        replace_functions(&mut base)?;
        let sizes = Sizes::new(options.memory_bytes, options.value_bytes);
        bound_functions(&mut base, sizes)?;
        let admission = Admission::new(options.admission);
        let (sql, workers, running) =
            (options.sql, Workers::start(options.threads)?, Arc::new(Running::new()));
        let planning = Arc::new(Planning::start(workers.handle().clone())?);
        let frugal = Arc::new(Semaphore::new(1));
        let watchdog = Watchdog::start(options.budget, Arc::clone(&running))?;
        if let Some(thread) = watchdog.thread() {
            running.watch(thread.clone());
        }
        let columns = Arc::clone(&catalog);
        watchdog.add_relief(Box::new(move || columns.release_memory()));
        let views = Arc::new(ViewPlanner::new(base.clone(), Arc::clone(&catalog), sql));
        let system = Arc::new(SystemSchema::default());
        let plans = Arc::new(PlanCache::new(options.plans));
        let engine = Self {
            catalog,
            base,
            admission,
            sql,
            plans,
            workers,
            planning,
            frugal,
            running,
            watchdog,
            sizes,
            system,
            views,
        };
        let running = Arc::clone(&engine.running);
        engine.add_system_table("queries", queries_schema(), Box::new(move || queries(&running)));
        let trash = Arc::clone(&engine.catalog);
        engine.add_system_table("trash", trash_schema(), Box::new(move || in_trash(&trash)));
        Ok(engine)
    }

    /// Adds a table to the schema `system`, whose rows are made when it is read.
    pub fn add_system_table(&self, name: &'static str, schema: SchemaRef, rows: Rows) {
        self.system.add(name, schema, rows);
    }

    /// Notes that a statement of `user` begins, under an id that it can be stopped by.
    pub fn begin(&self, id: &str, user: &str, sql: &str) -> Result<Activity> {
        self.running.begin(id, user, sql)
    }

    /// Adds what can give memory back when there is too little.
    pub fn add_relief(&self, relief: Relief) {
        self.watchdog.add_relief(relief);
    }

    /// Stops the statement that runs under `id`, or keeps it from running later. Says whether it ran.
    pub fn cancel(&self, id: &str) -> bool {
        self.running.cancel(id)
    }

    /// The datasets that this engine queries.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// How long and deep a statement may be.
    pub fn sql_limits(&self) -> SqlLimits {
        self.sql
    }

    /// The scalar functions of a section of DataFusion's documentation, sorted.
    pub fn functions(&self, section: &str) -> Vec<String> {
        let functions = self.base.scalar_functions().values();
        let documented = functions.filter(|function| {
            function.documentation().is_some_and(|text| text.doc_section.label == section)
        });
        let mut names: Vec<_> = documented.map(|function| function.name().to_owned()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The words that the parser knows.
    pub fn keywords() -> Vec<String> {
        ALL_KEYWORDS.iter().map(|word| (*word).to_owned()).collect()
    }

    /// A session for one statement, and its view of the datasets.
    pub(super) fn session(&self, environment: &Environment) -> Result<(SessionState, QueryCatalog)> {
        let scope = &environment.scope;
        let temporary = environment.temporary.all().into_iter();
        let temporary = temporary.map(|(name, snapshot)| {
            let table = SnapshotTable::new(&self.catalog, snapshot);
            (name, Arc::new(table) as Arc<dyn TableProvider>)
        });
        let namespace = Namespace {
            schema: scope.schema.clone(),
            tables: temporary.chain(environment.input.clone()).collect(),
            system: Arc::clone(&self.system) as _,
            views: Arc::clone(&self.views),
        };
        let datasets = QueryCatalog::new(Arc::clone(&self.catalog), namespace);
        let mut state = self.base.clone();
        scope.apply(state.config_mut())?;
        let user = SessionUser(environment.user.clone());
        state.config_mut().options_mut().extensions.insert(user);
        if state.config().options().execution.time_zone.as_deref() != Some(DEFAULT_TIME_ZONE) {
            update_functions(&mut state)?;
            let zone = state.config().options().execution.time_zone.as_deref().map(Into::into);
            let builder = SessionStateBuilder::new_from_existing(state);
            state = builder.with_type_planner(Arc::new(Types { zone })).build();
        }
        state.register_catalog_list(Arc::new(datasets.clone()));
        add_versions(&mut state, &self.catalog, scope.schema.as_str());
        state.mark_start_execution();
        Ok((state, datasets))
    }
}

fn config() -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_batch_size(BATCH_ROWS)
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema(CATALOG, DEFAULT_SCHEMA)
        // The catalog brings its own, which leaves out damaged datasets instead of failing.
        .with_information_schema(false);
    let options = config.options_mut();
    options.sql_parser.collect_spans = true;
    options.execution.sort_in_place_threshold_bytes = SORTED_AT_ONCE;
    options.optimizer.hash_join_single_partition_threshold = GATHERED_JOIN_BYTES;
    options.optimizer.hash_join_single_partition_threshold_rows = GATHERED_JOIN_ROWS;
    // Stored types come back as they are, so plain columns keep their types in results.
    options.sql_parser.map_string_types_to_utf8view = false;
    options.execution.parquet.schema_force_view_types = false;
    // What `SHOW time_zone` says, so that `TIMESTAMP WITH TIME ZONE` and `now()` have a zone.
    options.execution.time_zone = Some(DEFAULT_TIME_ZONE.to_owned());
    config
}

fn runtime(options: &EngineOptions) -> Result<RuntimeEnv> {
    let pool = TrackConsumersPool::new(FairSpillPool::new(options.memory_bytes), TOP_CONSUMERS);
    let mode = match &options.spill_dir {
        Some(dir) => DiskManagerMode::Directories(vec![dir.clone()]),
        None => DiskManagerMode::OsTmpDirectory,
    };
    let disk =
        DiskManagerBuilder::default().with_mode(mode).with_max_temp_directory_size(options.spill_bytes);
    let stores = Stores { snapshot: Arc::new(InMemory::new()) };
    RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(pool))
        .with_disk_manager_builder(disk)
        .with_object_store_registry(Arc::new(stores))
        .build()
        .map_err(Error::from)
}

/// The object stores that queries can reach: only the empty one that scans of held files name. In
/// particular there is none for `file://`.
#[derive(Debug)]
struct Stores {
    snapshot: Arc<InMemory>,
}

impl ObjectStoreRegistry for Stores {
    fn register_store(&self, _: &url::Url, _: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        None
    }

    fn get_store(&self, url: &url::Url) -> Result<Arc<dyn ObjectStore>, DataFusionError> {
        let snapshot = store_url()?;
        if url.scheme() == AsRef::<url::Url>::as_ref(&snapshot).scheme() {
            return Ok(Arc::clone(&self.snapshot) as _);
        }
        Err(internal_datafusion_err!("there is no object store for {url}"))
    }
}
