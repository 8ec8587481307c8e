//! Plans of statements that come again: between GetFlightInfo and DoGet, and from clients that repeat themselves.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::TableReference;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::datasource::empty::EmptyTable;
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::logical_expr::{Expr, LogicalPlan, TableSource, Volatility};
use quick_cache::sync::Cache;

use super::origins::Origin;
use crate::catalog::{DatasetRef, Version};
use crate::engine::session::Scope;
use crate::engine::tables::{QueryCatalog, snapshot_behind};
use crate::error::{Error, Result};

/// The longest text of a statement whose plan is kept, in bytes.
const MAX_SQL: usize = 16 << 10;

/// A plan that is optimised.
#[derive(Debug, Clone)]
pub(in crate::engine) struct Optimized {
    /// The columns of the result, as the statement names them.
    pub(in crate::engine) schema: SchemaRef,
    /// What they are of the tables.
    pub(in crate::engine) origins: Arc<[Option<Origin>]>,
    pub(in crate::engine) plan: LogicalPlan,
}

/// What a plan follows from, besides the datasets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    sql: String,
    scope: String,
}

impl Key {
    fn new(sql: &str, scope: &Scope) -> Self {
        Self { sql: sql.to_owned(), scope: format!("{scope:?}") }
    }
}

/// A plan without its tables: they would hold files open.
#[derive(Debug)]
struct Kept {
    optimized: Optimized,
    /// The datasets that the statement reads, by the names that the plan has for them.
    datasets: HashMap<TableReference, Source>,
}

#[derive(Debug, Clone)]
struct Source {
    dataset: DatasetRef,
    version: Version,
    schema: SchemaRef,
}

/// The optimised plans of the last statements. One is used again only while all datasets that the statement reads
/// have the version that they had.
#[derive(Debug)]
pub(in crate::engine) struct PlanCache {
    /// `None` where it has no room.
    kept: Option<Cache<Key, Arc<Kept>>>,
}

impl PlanCache {
    /// A cache of up to `plans` plans; 0 switches it off.
    pub(in crate::engine) fn new(plans: usize) -> Self {
        Self { kept: (plans > 0).then(|| Cache::new(plans)) }
    }

    /// The plan of `sql` over what `datasets` has by now, if it was kept and nothing has changed.
    pub(in crate::engine) async fn find(
        &self,
        sql: &str,
        scope: &Scope,
        datasets: &QueryCatalog,
    ) -> Result<Option<Optimized>> {
        let Some(cache) = self.kept.as_ref().filter(|_| !datasets.has_own_tables()) else { return Ok(None) };
        let key = Key::new(sql, scope);
        let Some(kept) = cache.get(&key) else { return Ok(None) };
        let mut tables = HashMap::with_capacity(kept.datasets.len());
        for (name, source) in &kept.datasets {
            let now = datasets.snapshot(&source.dataset).await?;
            let same = now.filter(|now| {
                now.dataset.reference == source.dataset
                    && now.dataset.version() == source.version
                    && now.dataset.schema == source.schema
            });
            let Some(snapshot) = same else {
                cache.remove(&key);
                return Ok(None);
            };
            tables.insert(name, provider_as_source(datasets.table(snapshot)));
        }
        let plan = with_sources(kept.optimized.plan.clone(), |name| tables.get(name).cloned())?;
        Ok(Some(Optimized { plan, ..kept.optimized.clone() }))
    }

    /// Keeps the plan of `sql`, where it is the same each time: `logical`, and what became of it.
    pub(in crate::engine) fn offer(
        &self,
        sql: &str,
        scope: &Scope,
        datasets: &QueryCatalog,
        logical: &LogicalPlan,
        optimized: &Optimized,
    ) -> Result<()> {
        let Some(cache) = self.kept.as_ref() else { return Ok(()) };
        let is_of_datasets = !datasets.has_own_tables() && !datasets.has_views();
        if sql.len() > MAX_SQL || !is_of_datasets || !is_constant(logical)? {
            return Ok(());
        }
        let Some(sources) = sources(logical, scope)? else { return Ok(()) };
        // What reads none tells of one nevertheless if it is DESCRIBE: nobody would see that it changed.
        if sources.is_empty() {
            return Ok(());
        }
        let hollow = |name: &TableReference| {
            let source = sources.get(name)?;
            Some(provider_as_source(Arc::new(EmptyTable::new(Arc::clone(&source.schema)))))
        };
        let plan = with_sources(optimized.plan.clone(), hollow)?;
        let optimized = Optimized { plan, ..optimized.clone() };
        cache.insert(Key::new(sql, scope), Arc::new(Kept { optimized, datasets: sources }));
        Ok(())
    }
}

/// The datasets that a plan reads; `None` where it reads anything else, or one under another name than its own.
fn sources(plan: &LogicalPlan, scope: &Scope) -> Result<Option<HashMap<TableReference, Source>>> {
    let mut sources = HashMap::new();
    let mut are_all = true;
    plan.apply_with_subqueries(|node| {
        let LogicalPlan::TableScan(scan) = node else { return Ok(TreeNodeRecursion::Continue) };
        let snapshot =
            source_as_provider(&scan.source).ok().and_then(|provider| snapshot_behind(provider.as_ref()));
        let own = snapshot.filter(|snapshot| {
            let DatasetRef { schema, name } = &snapshot.dataset.reference;
            let is_in_schema = scan.table_name.schema().unwrap_or(scope.schema.as_str()) == schema.as_str();
            is_in_schema && scan.table_name.table() == name.as_str()
        });
        let Some(snapshot) = own else {
            are_all = false;
            return Ok(TreeNodeRecursion::Stop);
        };
        let source = Source {
            dataset: snapshot.dataset.reference.clone(),
            version: snapshot.dataset.version(),
            schema: Arc::clone(&snapshot.dataset.schema),
        };
        sources.insert(scan.table_name.clone(), source);
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(are_all.then_some(sources))
}

/// Whether a plan, which is not optimised yet, comes to the same whenever it is: it is a query, and calls nothing
/// that is another at another time.
fn is_constant(plan: &LogicalPlan) -> Result<bool> {
    let mut is_constant = true;
    plan.apply_with_subqueries(|node| {
        is_constant &= !matches!(
            node,
            LogicalPlan::Explain(_)
                | LogicalPlan::Analyze(_)
                | LogicalPlan::DescribeTable(_)
                | LogicalPlan::Extension(_)
                | LogicalPlan::Statement(_)
                | LogicalPlan::Dml(_)
                | LogicalPlan::Ddl(_)
                | LogicalPlan::Copy(_)
        );
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                let volatility = match expr {
                    Expr::ScalarFunction(call) => call.func.signature().volatility,
                    Expr::AggregateFunction(call) => call.func.signature().volatility,
                    Expr::WindowFunction(call) => call.fun.signature().volatility,
                    _ => Volatility::Immutable,
                };
                is_constant &= volatility == Volatility::Immutable;
                Ok(TreeNodeRecursion::Continue)
            })
        })?;
        Ok(if is_constant { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    })?;
    Ok(is_constant)
}

/// The plan with other sources for its tables.
fn with_sources(
    plan: LogicalPlan,
    source: impl Fn(&TableReference) -> Option<Arc<dyn TableSource>>,
) -> Result<LogicalPlan> {
    let replaced = plan.transform_down_with_subqueries(|node| {
        let LogicalPlan::TableScan(mut scan) = node else { return Ok(Transformed::no(node)) };
        let found = source(&scan.table_name);
        scan.source = found.ok_or_else(|| Error::internal("a plan reads an unknown table"))?;
        Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
    })?;
    Ok(replaced.data)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use parquet::arrow::ArrowWriter;
    use tokio::time::Instant;

    use super::*;
    use crate::catalog::{Catalog, CatalogOptions};
    use crate::engine::{Engine, EngineOptions, Environment, Source};
    use crate::storage::Root;

    fn write(to: &Path, column: &str, rows: i64) {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
        let batch = RecordBatch::try_from_iter([(column, numbers)]).unwrap();
        let file = std::fs::File::create(to).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    }

    fn engine(root: &Path, plans: usize) -> Engine {
        let catalog = Catalog::new(Root::open(root, false).unwrap(), CatalogOptions::small()).unwrap();
        let options = EngineOptions { plans, ..EngineOptions::small() };
        Engine::new(Arc::new(catalog), &options).unwrap()
    }

    async fn plan(engine: &Engine, sql: &str) -> SchemaRef {
        let (source, deadline) = (Source::Sql(sql.to_owned()), Instant::now() + Duration::from_secs(60));
        let query = engine.plan(&source, &Environment::default(), None, deadline).await.unwrap();
        Arc::clone(query.schema())
    }

    async fn is_known(engine: &Engine, sql: &str) -> bool {
        let (_, datasets) = engine.session(&Environment::default()).unwrap();
        engine.plans.find(sql, &Scope::default(), &datasets).await.unwrap().is_some()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_plan_is_known_until_what_it_reads_changes() {
        let root = tempfile::tempdir().unwrap();
        let (t, u) = (root.path().join("t.parquet"), root.path().join("u.parquet"));
        write(&t, "n", 10);
        write(&u, "m", 10);
        let engine = engine(root.path(), 10);
        let sql = "select * from t where n in (select m from u)";
        assert!(!is_known(&engine, sql).await);
        let first = plan(&engine, sql).await;
        assert!(is_known(&engine, sql).await);
        assert_eq!(plan(&engine, sql).await, first);
        let mut other = Scope::default();
        other.set("types", "native").unwrap();
        let (_, datasets) = engine.session(&Environment::default()).unwrap();
        assert!(engine.plans.find(sql, &other, &datasets).await.unwrap().is_none());

        write(&u, "m", 11);
        assert!(!is_known(&engine, sql).await);
        plan(&engine, sql).await;
        assert!(is_known(&engine, sql).await);
        std::fs::remove_file(&t).unwrap();
        assert!(!is_known(&engine, sql).await);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_may_be_another_each_time_is_planned_each_time() {
        let root = tempfile::tempdir().unwrap();
        write(&root.path().join("t.parquet"), "n", 10);
        let view = r#"{"sql": "select n from t", "schema": "public"}"#;
        std::fs::write(root.path().join("v.view.json"), view).unwrap();
        let engine = engine(root.path(), 10);
        for (sql, known) in [
            ("select n + 1 from t", true),
            ("select a.n from t a join t b on a.n = b.n", true),
            ("select 1", false),
            ("describe t", false),
            ("select now(), n from t", false),
            ("select n from t where n > (select max(random()) from t)", false),
            ("select * from system.queries", false),
            ("select n from T", true),
            ("select n from v", false),
            ("explain select n from t", false),
            (
                "with recursive r as (select 1 as i union all select i + 1 from r where i < 3) select i from r",
                false,
            ),
        ] {
            plan(&engine, sql).await;
            assert_eq!(is_known(&engine, sql).await, known, "{sql}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn without_room_nothing_is_kept() {
        let root = tempfile::tempdir().unwrap();
        let engine = engine(root.path(), 0);
        plan(&engine, "select 1").await;
        assert!(!is_known(&engine, "select 1").await);
    }
}
