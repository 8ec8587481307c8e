//! The engine: one DataFusion configuration, and a fresh view of the datasets for each query.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::{DataFusionError, internal_datafusion_err};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::object_store::ObjectStoreRegistry;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::prelude::SessionConfig;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::admission::{Admission, AdmissionOptions};
use super::bounded::bound_functions;
use super::limits::SqlLimits;
use super::workers::Workers;
use crate::catalog::{CATALOG, Catalog, DEFAULT_SCHEMA, QueryCatalog};
use crate::error::{Error, Result};

/// The consumers that an out-of-memory error names.
const TOP_CONSUMERS: NonZeroUsize = NonZeroUsize::new(5).unwrap();

/// Planning computes without pause, so more than a few at once only take turns; each opens files.
const PLANNED_AT_ONCE: usize = 8;

/// The engine's settings.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Bytes that queries may use together before they spill or fail.
    pub memory_bytes: usize,
    /// Where queries spill; `None`: a directory of the system's for temporary files.
    pub spill_dir: Option<PathBuf>,
    /// Bytes that may be spilled at once.
    pub spill_bytes: u64,
    /// How many queries run and wait.
    pub admission: AdmissionOptions,
    /// How long and deep a statement may be.
    pub sql: SqlLimits,
}

/// Runs SQL over the datasets of a catalog.
#[derive(Debug)]
pub struct Engine {
    catalog: Arc<Catalog>,
    base: SessionState,
    pub(super) admission: Admission,
    pub(super) sql: SqlLimits,
    pub(super) workers: Workers,
    /// Statements that are planned at once, for a query or just for its schema.
    pub(super) planning: Semaphore,
}

impl Engine {
    /// An engine over `catalog`.
    pub fn new(catalog: Arc<Catalog>, options: &EngineOptions) -> Result<Self> {
        let runtime = Arc::new(runtime(options)?);
        let mut base = SessionStateBuilder::new()
            .with_config(config())
            .with_runtime_env(runtime)
            .with_default_features()
            .build();
        bound_functions(&mut base)?;
        let admission = Admission::new(options.admission);
        let planning = Semaphore::new(PLANNED_AT_ONCE);
        Ok(Self { catalog, base, admission, sql: options.sql, workers: Workers::start()?, planning })
    }

    /// The runtime that queries run on: a [`QueryStream`](super::QueryStream) is to be polled there.
    pub fn runtime(&self) -> &Handle {
        self.workers.handle()
    }

    /// The datasets that this engine queries.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// A session for one query, and its view of the datasets.
    pub(super) fn session(
        &self,
        extra: HashMap<String, Arc<dyn TableProvider>>,
    ) -> (SessionState, QueryCatalog) {
        let datasets = QueryCatalog::new(Arc::clone(&self.catalog), extra);
        let mut state = self.base.clone();
        state.register_catalog_list(Arc::new(datasets.clone()));
        state.mark_start_execution();
        (state, datasets)
    }
}

fn config() -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema(CATALOG, DEFAULT_SCHEMA)
        // The catalog brings its own, which leaves out damaged datasets instead of failing.
        .with_information_schema(false);
    let options = config.options_mut();
    options.sql_parser.collect_spans = true;
    // Stored types come back as they are, so plain columns keep their types in results.
    options.sql_parser.map_string_types_to_utf8view = false;
    options.execution.parquet.schema_force_view_types = false;
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
        let snapshot = QueryCatalog::store_url()?;
        if url.scheme() == AsRef::<url::Url>::as_ref(&snapshot).scheme() {
            return Ok(Arc::clone(&self.snapshot) as _);
        }
        Err(internal_datafusion_err!("there is no object store for {url}"))
    }
}
