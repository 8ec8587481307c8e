//! Earlier versions of a dataset in SQL: `at('events', 3)`, `at('events', '2026-01-31T12:00:00Z')`,
//! `at('events', interval '1 day')`, and the commits that made them: `history('events')`.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::catalog::{MemTable, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::Expr;

use super::scan::SnapshotTable;
use crate::catalog::{AtVersion, Catalog, DatasetRef};
use crate::error::{Error, Result};
use crate::storage::CommitSummary;

/// Commits that `history` shows where it is not told how many.
const COMMITS: usize = 1000;

/// Adds the functions to a session whose tables without a schema are looked up in `schema`.
pub(in crate::engine) fn add_versions(state: &mut SessionState, catalog: &Arc<Catalog>, schema: &str) {
    for (name, shows) in [("at", Shows::Rows), ("history", Shows::Commits)] {
        let (catalog, schema) = (Arc::clone(catalog), schema.to_owned());
        state.register_udtf(name, Arc::new(Versions { catalog, schema, shows }));
    }
}

#[derive(Debug, Clone, Copy)]
enum Shows {
    Rows,
    Commits,
}

#[derive(Debug)]
struct Versions {
    catalog: Arc<Catalog>,
    schema: String,
    shows: Shows,
}

impl TableFunctionImpl for Versions {
    fn call_with_args(
        &self,
        arguments: TableFunctionArgs<'_, '_>,
    ) -> Result<Arc<dyn TableProvider>, DataFusionError> {
        Ok(match self.shows {
            Shows::Rows => self.rows(arguments.exprs()),
            Shows::Commits => self.commits(arguments.exprs()),
        }?)
    }
}

impl Versions {
    fn rows(&self, arguments: &[Expr]) -> Result<Arc<dyn TableProvider>> {
        let [table, at] = arguments else { return Err(usage()) };
        let at = version(at)?;
        let dataset = self.dataset(table)?;
        let catalog = Arc::clone(&self.catalog);
        let snapshot = apart(move || catalog.snapshot_at(&dataset, at))?;
        Ok(Arc::new(SnapshotTable::new(&self.catalog, Arc::new(snapshot))))
    }

    fn commits(&self, arguments: &[Expr]) -> Result<Arc<dyn TableProvider>> {
        let (table, limit) = match arguments {
            [table] => (table, COMMITS),
            [table, limit] => (table, constant(limit)?.to_string().parse().map_err(|_| usage())?),
            _ => return Err(usage()),
        };
        let dataset = self.dataset(table)?;
        let catalog = Arc::clone(&self.catalog);
        let commits = apart(move || catalog.history(&dataset, limit))?;
        let batch = table_of(&commits)?;
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]]);
        Ok(Arc::new(table.map_err(|error| Error::internal(format!("the table of commits: {error}")))?))
    }

    fn dataset(&self, argument: &Expr) -> Result<DatasetRef> {
        let name = text(argument)?;
        let plain = DatasetRef::parse(&self.schema, name);
        match (plain, DatasetRef::split_dotted(name)) {
            (Ok(plain), Some(_)) if self.catalog.exists(&plain)? => Ok(plain),
            (_, Some(dotted)) => Ok(dotted),
            (plain, None) => plain,
        }
    }
}

fn usage() -> Error {
    Error::invalid(
        "at(table, version) takes a version's number, a time like '2026-01-31T12:00:00Z', or an interval: how long ago; \
         history(table [, commits]) a number",
    )
}

/// The value of an argument, which must be a constant.
fn constant(argument: &Expr) -> Result<&ScalarValue> {
    match argument {
        Expr::Literal(value, _) if !value.is_null() => Ok(value),
        _ => Err(usage()),
    }
}

/// The text of an argument that is one.
fn text(argument: &Expr) -> Result<&str> {
    constant(argument)?.try_as_str().flatten().ok_or_else(usage)
}

/// The version that an argument means. Times without a zone are UTC.
fn version(argument: &Expr) -> Result<AtVersion> {
    let value = constant(argument)?;
    let data_type = value.data_type();
    if let Some(text) = value.try_as_str().flatten() {
        return AtVersion::parse(text).ok_or_else(usage);
    }
    let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
    let time = match &data_type {
        whole if whole.is_integer() => {
            return value.to_string().parse().map(AtVersion::Number).map_err(|_| usage());
        }
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => value.cast_to(&micros)?,
        DataType::Interval(_) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
            let now = ScalarValue::TimestampMicrosecond(Some(i64::try_from(now).unwrap_or(i64::MAX)), None);
            now.sub(value)?
        }
        _ => return Err(usage()),
    };
    let ScalarValue::TimestampMicrosecond(Some(micros), _) = time else { return Err(usage()) };
    let micros = u64::try_from(micros).map_err(|_| usage())?;
    Ok(AtVersion::Time(UNIX_EPOCH + Duration::from_micros(micros)))
}

/// Runs work that waits for files on a thread of its own: functions are called in the middle of planning, on
/// a thread that must not wait.
fn apart<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match std::thread::spawn(work).join() {
        Ok(done) => done,
        Err(panic) => Err(Error::from_panic(panic.as_ref())),
    }
}

fn table_of(commits: &[CommitSummary]) -> Result<RecordBatch> {
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let numbers = |value: fn(&CommitSummary) -> u64| -> ArrayRef {
        Arc::new(commits.iter().map(|commit| Some(number(value(commit)))).collect::<Int64Array>())
    };
    let texts = |value: fn(&CommitSummary) -> &str| -> ArrayRef {
        Arc::new(commits.iter().map(|commit| Some(value(commit))).collect::<StringArray>())
    };
    let times: TimestampMillisecondArray = commits.iter().map(|commit| Some(commit.timestamp)).collect();
    let columns: [(&str, ArrayRef); 7] = [
        ("version", numbers(|commit| commit.version)),
        ("timestamp", Arc::new(times.with_timezone("UTC"))),
        ("operation", texts(|commit| &commit.operation)),
        ("parameters", texts(|commit| &commit.parameters)),
        ("files_added", numbers(|commit| commit.files_added)),
        ("bytes_added", numbers(|commit| commit.bytes_added)),
        ("files_removed", numbers(|commit| commit.files_removed)),
    ];
    let fields = columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), false));
    let schema = Schema::new(fields.collect::<Vec<_>>());
    RecordBatch::try_new(Arc::new(schema), columns.into_iter().map(|(_, column)| column).collect())
        .map_err(|error| Error::internal(format!("the table of commits: {error}")))
}
