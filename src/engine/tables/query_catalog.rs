//! Datasets and views as DataFusion's catalog and schemas.
//!
//! Each query gets a [`QueryCatalog`] of its own, which opens each dataset once: all references of
//! one statement see one snapshot, and hold its files until the query is done.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::common::{DataFusionError, Result as DfResult};
use datafusion::datasource::ViewTable;
use datafusion::datasource::empty::EmptyTable;
use datafusion::logical_expr::TableType;

use super::information_schema::InformationSchema;
use super::scan::SnapshotTable;
use super::view_planner::ViewPlanner;
use crate::catalog::{Catalog, DatasetName, DatasetRef, Keys, SchemaName, Snapshot};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{blocking, storable};

/// The one SQL catalog.
pub const CATALOG: &str = "airstrip";
/// The schema of SQL's own tables.
pub const INFORMATION_SCHEMA: &str = "information_schema";
/// The schema of tables about the server.
pub const SYSTEM_SCHEMA: &str = "system";
/// How deep views may be built on views.
const MAX_VIEW_DEPTH: usize = 16;

/// The tables of one query besides the datasets, and how it looks names up.
#[derive(Debug)]
pub(in crate::engine) struct Namespace {
    /// The schema where tables without one are looked up.
    pub(in crate::engine) schema: SchemaName,
    /// Tables of that schema that hide the datasets of their name: temporary ones, and `input`.
    pub(in crate::engine) tables: HashMap<String, Arc<dyn TableProvider>>,
    /// The tables of [`SYSTEM_SCHEMA`].
    pub(in crate::engine) system: Arc<dyn SchemaProvider>,
    /// What makes plans of views.
    pub(in crate::engine) views: Arc<ViewPlanner>,
}

/// The datasets as one query sees them.
#[derive(Debug, Clone)]
pub(in crate::engine) struct QueryCatalog {
    shared: Arc<Shared>,
    /// What `information_schema` reads: columns without open files, and damaged datasets left out.
    listing: Option<Arc<OnceLock<Listing>>>,
    /// How many views this one is inside of.
    depth: usize,
}

/// The names of tables by those of their schemas.
type Listing = BTreeMap<String, Vec<String>>;

#[derive(Debug)]
struct Shared {
    catalog: Arc<Catalog>,
    namespace: Namespace,
    opened: Mutex<HashMap<DatasetRef, Arc<Snapshot>>>,
    /// Names that were asked for and are not there, for the error.
    missing: Mutex<Vec<DatasetRef>>,
    /// Whether a view was read.
    has_views: AtomicBool,
}

impl QueryCatalog {
    /// The datasets of `catalog` and the tables of `namespace`, for one query.
    pub(in crate::engine) fn new(catalog: Arc<Catalog>, namespace: Namespace) -> Self {
        let (opened, missing, has_views) = (Mutex::default(), Mutex::default(), AtomicBool::default());
        let shared = Shared { catalog, namespace, opened, missing, has_views };
        Self { shared: Arc::new(shared), listing: None, depth: 0 }
    }

    /// The same for a look at columns alone: nothing is opened, and what cannot be read is left out.
    #[must_use]
    pub(in crate::engine) fn columns_only(&self) -> Self {
        Self { listing: Some(Arc::default()), ..self.clone() }
    }

    /// Lists all schemas and what lies in them, for a look at columns alone. DataFusion asks for the names where it
    /// takes no error, and would tell a client of fewer tables than there are.
    pub(super) async fn list(&self) -> DfResult<()> {
        let Some(listing) = &self.listing else { return Ok(()) };
        if listing.get().is_some() {
            return Ok(());
        }
        let catalog = Arc::clone(&self.shared.catalog);
        let listed = blocking(move || {
            let schemas = catalog.schemas()?.into_iter();
            schemas.map(|schema| Ok((schema.as_str().to_owned(), names_in(&catalog, &schema)?))).collect()
        });
        // Another look at the same may have come first: it is as good.
        let _ = listing.set(listed.await?);
        Ok(())
    }

    /// The keys of all datasets that have any.
    pub(super) async fn keys(&self) -> DfResult<Vec<(DatasetRef, Keys)>> {
        let catalog = Arc::clone(&self.shared.catalog);
        Ok(blocking(move || catalog.all_keys()).await?)
    }

    fn listed(&self) -> Option<&Listing> {
        self.listing.as_ref()?.get()
    }

    /// Makes a query see `snapshot` under a name, whatever is there by then.
    pub(in crate::engine) fn fix(&self, dataset: DatasetRef, snapshot: Arc<Snapshot>) {
        let mut opened = self.shared.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.insert(dataset, snapshot);
    }

    /// What a plan failed with; where that speaks of a missing table, with the names that are near.
    pub(in crate::engine) fn explain(&self, error: DataFusionError) -> Error {
        self.missing_in(&error.to_string()).unwrap_or_else(|| error.into())
    }

    fn missing_in(&self, text: &str) -> Option<Error> {
        let missing = self.shared.missing.lock().unwrap_or_else(PoisonError::into_inner);
        let named = missing.iter().find(|dataset| {
            text.contains(&format!("'{CATALOG}.{}.{}'", dataset.schema.as_str(), dataset.name.as_str()))
        });
        if let Some(named) = named {
            return Some(self.shared.catalog.no_such_dataset(named));
        }
        // Of another catalog, or of a schema that is none of datasets.
        let table = text.split_once("table '")?.1.split_once("' not found")?.0;
        Some(Error::not_found(format!("there is no table {table}")))
    }
}

impl QueryCatalog {
    /// Fails if there is no schema of this name.
    pub(in crate::engine) fn check_schema(&self, name: &str) -> Result<()> {
        if [INFORMATION_SCHEMA, SYSTEM_SCHEMA].contains(&name) {
            return Ok(());
        }
        self.shared.catalog.check_schema(&SchemaName::parse(name)?)
    }

    /// Whether names can mean tables that are the session's or the statement's own.
    pub(in crate::engine) fn has_own_tables(&self) -> bool {
        !self.shared.namespace.tables.is_empty()
    }

    /// Whether a name that was looked up was a view's. Plans do not show it: they have what the view stands for.
    pub(in crate::engine) fn has_views(&self) -> bool {
        self.shared.has_views.load(Ordering::Relaxed)
    }

    /// The snapshot that this query has of `dataset`, opened now if it has none yet.
    pub(in crate::engine) async fn snapshot(&self, dataset: &DatasetRef) -> Result<Option<Arc<Snapshot>>> {
        let schema = DatasetSchema { query: self.clone(), schema: dataset.schema.clone() };
        schema.open(dataset.clone()).await
    }

    /// A snapshot as a table.
    pub(in crate::engine) fn table(&self, snapshot: Arc<Snapshot>) -> Arc<dyn TableProvider> {
        Arc::new(SnapshotTable::new(&self.shared.catalog, snapshot))
    }

    /// The error of the first table that was asked for and is not there.
    #[cfg(feature = "substrait")]
    pub(in crate::engine) fn first_missing(&self) -> Option<Error> {
        let missing = self.shared.missing.lock().unwrap_or_else(PoisonError::into_inner);
        missing.first().map(|dataset| self.shared.catalog.no_such_dataset(dataset))
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
        let names = match self.listed() {
            Some(listed) => listed.keys().cloned().collect(),
            None => self.shared.catalog.schemas().map_or_else(
                |error| {
                    tracing::warn!(%error, "cannot list the schemas");
                    vec![SchemaName::default().as_str().to_owned()]
                },
                |schemas| schemas.iter().map(|schema| schema.as_str().to_owned()).collect(),
            ),
        };
        names.into_iter().chain([SYSTEM_SCHEMA.to_owned()]).collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        if name == INFORMATION_SCHEMA {
            return Some(Arc::new(InformationSchema::of(self.columns_only())));
        }
        if name == SYSTEM_SCHEMA {
            return Some(Arc::clone(&self.shared.namespace.system));
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

    fn own(&self, table: &str) -> Option<Arc<dyn TableProvider>> {
        let namespace = &self.query.shared.namespace;
        // A view means the same for everyone: inside of it, the session's own tables are not seen.
        let seen = self.query.depth == 0 && self.schema == namespace.schema;
        seen.then(|| namespace.tables.get(table).cloned()).flatten()
    }

    /// The view of this name, planned, if there is one.
    async fn view(&self, reference: &DatasetRef) -> DfResult<Option<Arc<dyn TableProvider>>> {
        let (catalog, wanted) = (Arc::clone(&self.query.shared.catalog), reference.clone());
        let view = blocking(move || catalog.find_view(&wanted)).await?;
        let Some(view) = view else { return Ok(None) };
        self.query.shared.has_views.store(true, Ordering::Relaxed);
        if self.query.depth >= MAX_VIEW_DEPTH {
            return Err(Error::invalid(format!(
                "view {reference} is built on itself, or on more than {MAX_VIEW_DEPTH} views on top of each other"
            ))
            .into());
        }
        let inner = QueryCatalog { depth: self.query.depth + 1, ..self.query.clone() };
        let plan = self.query.shared.namespace.views.plan(&view, Arc::new(inner.clone())).await;
        // What is wrong with the view is no matter of the statement above, which would be planned again for it: of views on
        // top of each other each twice as often as the next.
        let plan = plan.map_err(|error| inner.explain(error))?;
        Ok(Some(Arc::new(ViewTable::new(plan, Some(view.sql)))))
    }

    /// The schema of a dataset without its files, or nothing where it cannot be read.
    async fn describe(&self, dataset: DatasetRef) -> DfResult<Option<Arc<dyn TableProvider>>> {
        let catalog = Arc::clone(&self.query.shared.catalog);
        match blocking(move || catalog.describe(&dataset)).await {
            Ok(dataset) => Ok(Some(Arc::new(EmptyTable::new(storable(&dataset.schema).into())))),
            Err(error) if error.is_no_finding() => Err(error.into()),
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
        let found = blocking(move || match catalog.snapshot_to_query(&wanted) {
            Err(error) if error.kind() == ErrorKind::NotFound && !catalog.exists(&wanted)? => {
                if !catalog.has_schema(&wanted.schema)? {
                    return Ok(None);
                }
                let other = catalog.find_ignoring_case(&wanted)?;
                other.map(|other| catalog.snapshot_to_query(&other)).transpose()
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
        let shared = &self.query.shared;
        let mut names = match self.query.listed() {
            Some(listed) => listed.get(self.schema.as_str()).cloned().unwrap_or_default(),
            None => names_in(&shared.catalog, &self.schema).unwrap_or_else(|error| {
                tracing::warn!(%error, "cannot list the datasets");
                Vec::new()
            }),
        };
        if self.schema == shared.namespace.schema {
            names.extend(shared.namespace.tables.keys().cloned());
        }
        names.sort_unstable();
        names.dedup();
        names
    }

    async fn table(&self, name: &str) -> DfResult<Option<Arc<dyn TableProvider>>> {
        if let Some(own) = self.own(name) {
            return Ok(Some(own));
        }
        let Some(reference) = self.reference(name) else { return Ok(None) };
        let view = self.view(&reference).await;
        if self.query.listing.is_some() {
            return match view {
                Ok(Some(view)) => Ok(Some(view)),
                Ok(None) => self.describe(reference).await,
                Err(error) => match Error::from(error) {
                    error if error.is_no_finding() => Err(error.into()),
                    error => {
                        tracing::debug!(%error, "left out of information_schema");
                        Ok(None)
                    }
                },
            };
        }
        if let Some(view) = view? {
            return Ok(Some(view));
        }
        let snapshot = self.open(reference).await?;
        Ok(snapshot.map(|snapshot| self.query.table(snapshot)))
    }

    async fn table_type(&self, name: &str) -> DfResult<Option<TableType>> {
        if self.own(name).is_some() {
            return Ok(Some(TableType::Temporary));
        }
        let Some(reference) = self.reference(name) else { return Ok(None) };
        let is_view = self.query.shared.catalog.view(&reference).is_ok_and(|view| view.is_some());
        Ok(Some(if is_view { TableType::View } else { TableType::Base }))
    }

    fn table_exist(&self, name: &str) -> bool {
        let catalog = &self.query.shared.catalog;
        self.own(name).is_some()
            || self.reference(name).is_some_and(|dataset| {
                // A look that fails is an error to who reads the table.
                catalog.exists(&dataset).unwrap_or(true)
                    || catalog.view(&dataset).map_or(true, |view| view.is_some())
            })
    }
}

/// The names of the datasets and views of a schema.
fn names_in(catalog: &Catalog, schema: &SchemaName) -> Result<Vec<String>> {
    let datasets = catalog.list(schema)?;
    let views = catalog.views(schema)?;
    let names = datasets.iter().map(|listed| listed.reference.name.as_str().to_owned());
    Ok(names.chain(views.iter().map(ToString::to_string)).collect())
}
