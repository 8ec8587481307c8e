//! The log of one table: its versions and what they hold.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use delta_kernel::Error as KernelError;
use delta_kernel::actions::deletion_vector::DeletionVectorDescriptor;
use deltalake_core::kernel::engine::arrow_conversion::TryIntoArrow as _;
use deltalake_core::kernel::{Action, LogicalFileView, StructType};
use deltalake_core::logstore::{LogStoreRef, StorageConfig, default_logstore};
use deltalake_core::table::state::DeltaTableState;
use deltalake_core::{DeltaTable, DeltaTableError};
use moka::sync::Cache;
use roaring::RoaringTreemap;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use url::Url;

use super::entry::actions_of;
use super::error::{delta_error, unparsed};
use super::mapping::{column_names, without_mapping};
use super::protocol::{check_readable, check_writable};
use super::runtime::DeltaRuntime;
use super::store::TableStore;
use super::types::parse_logical;
use crate::error::{Error, ErrorKind, Result, contain};
use crate::storage::listing::{open_dir, read_entries};
use crate::storage::{Area, ColumnNames, Root};

/// The directory of the log within the table's, which makes it a table.
pub const DELTA_LOG: &str = "_delta_log";
/// The table property that holds the Arrow schema as it was given, where Delta's types are not enough.
pub(super) const ARROW_SCHEMA: &str = "airstrip.arrowSchema";
/// How long the next version's absence is believed to mean that there are no later ones: another
/// program may have cleaned the log up.
const BELIEVED: Duration = Duration::from_secs(600);

/// Deletion vectors of one table that are kept, in bytes.
const DELETED_BYTES: u64 = 16 << 20;

/// A table's log, in a directory that is held open: whatever happens to the directory's name, this is
/// the same table.
pub struct DeltaLog {
    pub(super) store: LogStoreRef,
    pub(super) runtime: Arc<DeltaRuntime>,
    pub(super) files: TableStore,
    area: Area,
    /// Where the table lay in the root when it was opened, for messages.
    folder: PathBuf,
    latest: Mutex<Option<Known>>,
    deleted: Cache<String, Arc<DeletedRows>>,
    changing: Arc<AsyncMutex<()>>,
    maintained: AtomicBool,
    wanted: AtomicBool,
}

struct Known {
    version: DeltaVersion,
    listed: Instant,
}

impl std::fmt::Debug for DeltaLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DeltaLog({})", self.area.path().display())
    }
}

/// One version of a table.
#[derive(Debug, Clone)]
pub struct DeltaVersion {
    pub(super) state: Arc<DeltaTableState>,
    /// The columns as Delta has them, in Arrow's types.
    stored: SchemaRef,
    /// The columns as they were given.
    logical: SchemaRef,
    /// What the columns are called in the files, where that is something else.
    names: Option<Arc<ColumnNames>>,
}

/// A file of a version.
#[derive(Clone)]
pub struct DataFile {
    /// Its path in the table's directory.
    pub path: PathBuf,
    /// The values of the partition columns, by name; `None` is NULL.
    pub partition: HashMap<String, Option<String>>,
    /// Bytes.
    pub bytes: u64,
    /// When it was written, in milliseconds since the epoch.
    pub modified: i64,
    pub(super) view: LogicalFileView,
}

impl std::fmt::Debug for DataFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DataFile({})", self.path.display())
    }
}

impl DataFile {
    /// The URL or absolute path of a file that does not lie in the table's directory: a clone has those.
    pub fn elsewhere(&self) -> Option<String> {
        let path = self.view.path();
        let scheme = path.split_once(":/").map(|(scheme, _)| scheme);
        let is_scheme =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        (path.starts_with('/') || scheme.is_some_and(is_scheme)).then(|| path.into_owned())
    }
}

/// Rows of a file that are deleted without being taken out of it.
#[derive(Debug)]
pub struct DeletedRows {
    /// Tells apart the vectors of a table.
    pub id: String,
    /// Their places in the file.
    pub rows: RoaringTreemap,
}

/// What one commit did.
#[derive(Debug, Clone)]
pub struct CommitSummary {
    /// The version that it made.
    pub version: u64,
    /// When, in milliseconds since the epoch.
    pub timestamp: i64,
    /// The name of the operation, as `WRITE`.
    pub operation: String,
    /// What the operation was given, as JSON.
    pub parameters: String,
    /// Files that it added.
    pub files_added: u64,
    /// Bytes of those files.
    pub bytes_added: u64,
    /// Files that it took out.
    pub files_removed: u64,
}

impl DeltaLog {
    /// The log of the table whose directory is at `path`.
    pub fn open(root: &Arc<Root>, path: &Path, runtime: Arc<DeltaRuntime>) -> Result<Self> {
        let files = TableStore::open(Arc::clone(root), path)?;
        let area = root.area().within(path)?;
        let store = log_store(files.clone())?;
        let changing = Arc::default();
        let (maintained, wanted) = (AtomicBool::new(false), AtomicBool::new(false));
        let weigh = |_: &String, rows: &Arc<DeletedRows>| {
            u32::try_from(rows.rows.serialized_size() + 256).unwrap_or(u32::MAX)
        };
        let deleted = Cache::builder().weigher(weigh).max_capacity(DELETED_BYTES).build();
        let latest = Mutex::new(None);
        let folder = path.to_owned();
        Ok(Self { store, runtime, files, area, folder, latest, deleted, changing, maintained, wanted })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The table's directory.
    pub fn area(&self) -> &Area {
        &self.area
    }

    /// The newest version. What is remembered is only that there was no later one a moment ago: a look at
    /// the next version's name tells whether there is one by now.
    pub fn latest(&self) -> Result<DeltaVersion> {
        let mut known = self.known();
        if let Some(known) = known.as_ref()
            && known.listed.elapsed() < BELIEVED
            && !self.area.has_name(&commit_path(known.version.number() + 1))?
        {
            return Ok(known.version.clone());
        }
        let mut table = DeltaTable::new(Arc::clone(&self.store));
        table.state = known.as_ref().map(|known| DeltaTableState::clone(&known.version.state));
        let before = known.as_ref().map(|known| known.version.number());
        let version = self.load(table.update_state(), |()| Ok(())).and_then(|()| version_of(&table))?;
        self.check_new_entries(before, version.number())?;
        *known = Some(Known { version: version.clone(), listed: Instant::now() });
        Ok(version)
    }

    /// The version `number`.
    pub fn at(&self, number: u64) -> Result<DeltaVersion> {
        let latest = self.latest()?;
        if latest.number() == number {
            return Ok(latest);
        }
        if number > latest.number() {
            return Err(Error::not_found(format!(
                "there is no version {number}; the newest is {}",
                latest.number()
            )));
        }
        let mut table = DeltaTable::new(Arc::clone(&self.store));
        self.load(table.load_version(number), |()| Ok(())).map_err(|error| {
            // A look that failed says nothing of what is there.
            let is_gone = matches!(error.kind(), ErrorKind::NotFound | ErrorKind::DataLoss);
            if !is_gone || error.is_of_system() {
                return error;
            }
            Error::precondition(format!(
                "version {number} cannot be read any more; its log may have been cleaned up: {}",
                error.message()
            ))
            .with_source(error)
        })?;
        version_of(&table)
    }

    /// The version that was the newest at a time.
    pub fn at_time(&self, time: SystemTime) -> Result<DeltaVersion> {
        let millis = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let millis = i64::try_from(millis).unwrap_or(i64::MAX);
        let latest = self.latest()?.number();
        let mut found = None;
        for number in (0..=latest).rev() {
            let Some(commit) = self.commit_summary(number)? else { break };
            if commit.timestamp <= millis {
                found = Some(number);
                break;
            }
        }
        match found {
            Some(number) => self.at(number),
            None => Err(Error::not_found("the table has no version as old as that")),
        }
    }

    /// The rows of a file that are deleted without being taken out of it, by their places in it.
    pub fn deleted_rows(&self, file: &DataFile) -> Result<Option<Arc<DeletedRows>>> {
        let Some(vector) = file.view.deletion_vector_descriptor() else { return Ok(None) };
        let id = format!("{} {:?}", vector.path_or_inline_dv, vector.offset);
        if let Some(known) = self.deleted.get(&id) {
            return Ok(Some(known));
        }
        let damaged = |error: &dyn std::fmt::Display| {
            tracing::warn!(%error, "a deletion vector cannot be read");
            let (folder, path) = (self.folder.display(), file.path.display());
            Error::data_loss(format!(
                "the deletion vector of {path} in the Delta table {folder} is damaged, or lost; the server's log says more"
            ))
        };
        let vector = DeletionVectorDescriptor {
            storage_type: vector.storage_type.as_ref().parse().map_err(|error| damaged(&error))?,
            path_or_inline_dv: vector.path_or_inline_dv,
            offset: vector.offset,
            size_in_bytes: vector.size_in_bytes,
            cardinality: vector.cardinality,
        };
        let (store, root) = (Arc::clone(&self.store), self.store.root_url().clone());
        let read = self.runtime.run(async move {
            // The library's engine waits for its own futures, so it may not be used on a thread that drives some.
            let engine = store.engine(None);
            tokio::task::spawn_blocking(move || contain(|| vector.read(engine.storage_handler(), &root)))
                .await
        })?;
        let read = read.map_err(|join| Error::internal(format!("reading a deletion vector: {join}")))?;
        let rows = read.map_err(|text| damaged(&text))?.map_err(|error| match Error::find_in(&error) {
            Some(ours) if ours.kind() != ErrorKind::NotFound => ours.duplicate(),
            _ => damaged(&error),
        })?;
        let rows = Arc::new(DeletedRows { id: id.clone(), rows });
        self.deleted.insert(id, Arc::clone(&rows));
        Ok(Some(rows))
    }

    /// The last `limit` commits, the newest first, as far as the log is still there.
    pub fn history(&self, limit: usize) -> Result<Vec<CommitSummary>> {
        let latest = self.latest()?.number();
        let mut commits = Vec::new();
        for number in (0..=latest).rev().take(limit) {
            match self.commit_summary(number)? {
                Some(commit) => commits.push(commit),
                None => break,
            }
        }
        Ok(commits)
    }

    /// What the commit of a version did; `None` where its entry has been cleaned up.
    fn commit_summary(&self, number: u64) -> Result<Option<CommitSummary>> {
        let Some(actions) = self.actions(number)? else { return Ok(None) };
        let modified = self.area.stat(&commit_path(number)).map_or(UNIX_EPOCH, |stat| stat.modified());
        let modified = modified.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let mut summary = CommitSummary {
            version: number,
            timestamp: i64::try_from(modified).unwrap_or(i64::MAX),
            operation: String::new(),
            parameters: "{}".to_owned(),
            files_added: 0,
            bytes_added: 0,
            files_removed: 0,
        };
        for action in actions {
            match action {
                Action::CommitInfo(info) => {
                    summary.timestamp =
                        info.in_commit_timestamp.or(info.timestamp).unwrap_or(summary.timestamp);
                    summary.operation = info.operation.unwrap_or_default();
                    if let Some(parameters) = info.operation_parameters {
                        // In an order that is always the same, and without where on the machine it lies.
                        let parameters: std::collections::BTreeMap<_, _> =
                            parameters.into_iter().filter(|(key, _)| key != "location").collect();
                        summary.parameters = serde_json::to_string(&parameters).unwrap_or_default();
                    }
                }
                Action::Add(add) => {
                    summary.files_added += 1;
                    summary.bytes_added += u64::try_from(add.size).unwrap_or(0);
                }
                Action::Remove(_) => summary.files_removed += 1,
                _ => {}
            }
        }
        Ok(Some(summary))
    }

    /// The actions of one commit; `None` where its entry has been cleaned up.
    pub(super) fn actions(&self, number: u64) -> Result<Option<Vec<Action>>> {
        let entry = self.load(self.store.read_commit_entry(number), Ok)?;
        let Some(bytes) = entry else { return Ok(None) };
        actions_of(number, &bytes).map(Some).map_err(|error| self.not_json(&commit_path(number), &error))
    }

    /// The version of a library's transaction that was last committed for an application.
    pub(super) fn transaction(&self, version: &DeltaVersion, app: &str) -> Result<Option<i64>> {
        self.load(version.state.transaction_version(self.store.as_ref(), app), Ok)
    }

    /// Remembers what a commit gave.
    pub(super) fn committed(&self, state: DeltaTableState) -> Result<DeltaVersion> {
        let version = DeltaVersion::new(state)?;
        let mut known = self.known();
        if known.as_ref().is_none_or(|known| known.version.number() <= version.number()) {
            *known = Some(Known { version: version.clone(), listed: Instant::now() });
        }
        Ok(version)
    }

    /// Makes the next look at the table start anew.
    pub(super) fn forget(&self) {
        *self.known() = None;
    }

    /// A handle for the library's own operations, which change the table, at the newest version.
    pub(super) fn table(&self) -> Result<DeltaTable> {
        let version = self.latest()?;
        version.check_changeable()?;
        let mut table = DeltaTable::new(Arc::clone(&self.store));
        table.state = Some(DeltaTableState::clone(&version.state));
        Ok(table)
    }

    /// Waits for one of the library's futures.
    pub(super) fn load<T, U, E: Into<DeltaTableError>>(
        &self,
        future: impl Future<Output = std::result::Result<T, E>>,
        then: impl FnOnce(T) -> Result<U>,
    ) -> Result<U> {
        let start = Instant::now();
        self.runtime.run(future)?.map_err(|error| self.error_of(error.into(), start)).and_then(then)
    }

    /// What an error of the library means for the client. Of a partition value that it cannot parse it does not tell
    /// the column.
    pub(super) fn error_of(&self, error: DeltaTableError, start: Instant) -> Error {
        if let Some(trouble) = self.files.trouble_since(start) {
            return trouble.with_source(error);
        }
        if let DeltaTableError::KernelError(KernelError::ParseError(text, data_type)) = &error {
            return unparsed(text, data_type, &self.columns_with(text)).with_source(error);
        }
        if matches!(error, DeltaTableError::InvalidVersion(_)) {
            return delta_error(error);
        }
        let ours = Error::find_in(&error).map(Error::kind);
        let made = delta_error(error);
        match (made.kind(), ours) {
            (ErrorKind::DataLoss, Some(_)) => made,
            (ErrorKind::DataLoss | ErrorKind::Internal | ErrorKind::NotFound, _) => {
                match self.find_damage() {
                    Some(damage) => damage.with_source(made),
                    None if made.kind() == ErrorKind::DataLoss => self.unreadable().with_source(made),
                    None => made,
                }
            }
            _ => made,
        }
    }

    /// The partition columns that have the value `text` in some entry of the log. In a checkpoint nobody looks.
    fn columns_with(&self, text: &str) -> BTreeSet<String> {
        let log = Path::new(DELTA_LOG);
        let entries = open_dir(&self.area, log).and_then(|dir| read_entries(&dir, log)).unwrap_or_default();
        let numbers = entries.iter().filter_map(|entry| entry.name.strip_suffix(".json")?.parse().ok());
        let actions = numbers.filter_map(|number| self.actions(number).ok().flatten()).flatten();
        let values = actions.filter_map(|action| match action {
            Action::Add(add) => Some(add.partition_values),
            _ => None,
        });
        values.flatten().filter(|(_, value)| value.as_deref() == Some(text)).map(|(name, _)| name).collect()
    }

    fn known(&self) -> MutexGuard<'_, Option<Known>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The log of the table in a directory, for the library.
pub(super) fn log_store(files: TableStore) -> Result<LogStoreRef> {
    // Paths are relative to the table: the URL only has to be one.
    let location = Url::parse("memory:///")
        .map_err(|error| Error::internal(format!("the location of a table: {error}")))?;
    Ok(default_logstore(Arc::new(files.clone()), Arc::new(files), &location, &StorageConfig::default()))
}

fn version_of(table: &DeltaTable) -> Result<DeltaVersion> {
    DeltaVersion::new(table.snapshot().map_err(delta_error)?.clone())
}

impl DeltaVersion {
    fn new(state: DeltaTableState) -> Result<Self> {
        check_readable(&state)?;
        let noted = arrow_schema(&state.schema())?;
        let names = column_names(&state, &noted).map(Arc::new);
        let stored = Arc::new(without_mapping(&noted));
        let logical = match state.metadata().configuration().get(ARROW_SCHEMA) {
            Some(text) => with_current_columns(&parse_logical(text)?, &stored, names.as_deref())?,
            None => Arc::clone(&stored),
        };
        Ok(Self { state: Arc::new(state), stored, logical, names })
    }

    /// What the columns are called in the files, where that is something else.
    pub fn names(&self) -> Option<&Arc<ColumnNames>> {
        self.names.as_ref()
    }

    /// Fails for a table that is only read.
    pub fn check_changeable(&self) -> Result<()> {
        if self.names.is_none() {
            return check_writable(&self.state);
        }
        Err(Error::unimplemented(
            "the Delta table uses column mapping (delta.columnMapping.mode): it is read, but changing it is not \
             supported; change it with the program that made it, or make a copy with CREATE TABLE … AS SELECT",
        ))
    }

    /// Its number, counted from zero.
    pub fn number(&self) -> u64 {
        self.state.version()
    }

    /// The table's identity, which lasts as long as the table.
    pub fn table_id(&self) -> &str {
        self.state.metadata().id()
    }

    /// The columns in the types that the files have.
    pub fn stored(&self) -> &SchemaRef {
        &self.stored
    }

    /// The columns in the types that were given.
    pub fn logical(&self) -> &SchemaRef {
        &self.logical
    }

    /// The names of the partition columns.
    pub fn partition_columns(&self) -> &[String] {
        self.state.metadata().partition_columns()
    }

    /// The table's properties.
    pub fn properties(&self) -> &HashMap<String, String> {
        self.state.metadata().configuration()
    }

    /// Whether the columns, properties and protocol are those of another version.
    pub fn has_shape_of(&self, other: &Self) -> bool {
        self.state.metadata() == other.state.metadata() && self.state.protocol() == other.state.protocol()
    }

    /// The files, in the order in which they were written: rows that were added later come later.
    pub fn files(&self) -> Vec<DataFile> {
        let named = |(stored, value): (String, Option<String>)| {
            let name = self.names.as_ref().and_then(|names| names.of_stored(&stored)).map(str::to_owned);
            (name.unwrap_or(stored), value)
        };
        let file = |view: LogicalFileView| DataFile {
            path: PathBuf::from(view.object_store_path().as_ref()),
            partition: view.partition_values_map().into_iter().map(named).collect(),
            modified: view.modification_time(),
            bytes: u64::try_from(view.size()).unwrap_or(0),
            view,
        };
        let mut files: Vec<DataFile> = self.state.log_data().iter().map(file).collect();
        files.sort_by(|a, b| (a.modified, &a.path).cmp(&(b.modified, &b.path)));
        files
    }

    /// How many files there are.
    pub fn file_count(&self) -> usize {
        self.state.log_data().num_files()
    }
}

/// The columns that the table has now, in the types of `given` where it names them: another program may
/// have added columns since, or changed their types. A column that was renamed is called in the files what it was
/// called when it was given.
fn with_current_columns(
    given: &Schema,
    stored: &SchemaRef,
    names: Option<&ColumnNames>,
) -> Result<SchemaRef> {
    let fields = stored.fields().iter().map(|field| {
        let is_same = |other: &&FieldRef| current_name(names, other.name()) == Some(field.name());
        let logical = given.fields().iter().find(is_same);
        let Some(logical) = logical else { return Ok(Arc::clone(field)) };
        let fits = super::types::delta_types(&Schema::new(vec![Arc::clone(logical)]))
            .is_ok_and(|types| types.field(0).data_type() == field.data_type());
        if !fits {
            return Ok(Arc::clone(field));
        }
        let nullable = field.is_nullable();
        Ok(Arc::new(logical.as_ref().clone().with_name(field.name()).with_nullable(nullable)))
    });
    let fields = fields.collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(Schema::new_with_metadata(fields, given.metadata().clone())))
}

/// What a column is called by now that was given as `given`.
fn current_name<'a>(names: Option<&'a ColumnNames>, given: &'a str) -> Option<&'a str> {
    match names {
        Some(names) => names.of_stored(given),
        None => Some(given),
    }
}

/// Where the commit of a version lies in the table's directory.
pub(super) fn commit_path(number: u64) -> PathBuf {
    Path::new(DELTA_LOG).join(format!("{number:020}.json"))
}

/// The columns of a table in Arrow's types.
pub(super) fn arrow_schema(columns: &StructType) -> Result<Schema> {
    columns.try_into_arrow().map_err(|error| {
        Error::unimplemented(format!("the Delta table has a column that Arrow cannot hold: {error}"))
    })
}

/// A turn at looking after a table, of which there is one at a time. Dropped, it lets the next one begin.
pub struct Maintenance {
    log: Arc<DeltaLog>,
}

impl Maintenance {
    /// Whether the table was changed since the last look, or the turn has just begun.
    pub fn is_wanted(&self) -> bool {
        self.log.wanted.swap(false, Ordering::AcqRel)
    }
}

impl Drop for Maintenance {
    fn drop(&mut self) {
        self.log.maintained.store(false, Ordering::Release);
    }
}

impl DeltaLog {
    /// Asks for a look after the table: a turn, unless somebody has it, who is told to look once more.
    pub fn maintenance(self: &Arc<Self>) -> Option<Maintenance> {
        self.wanted.store(true, Ordering::Release);
        let is_taken = self.maintained.swap(true, Ordering::AcqRel);
        (!is_taken).then(|| Maintenance { log: Arc::clone(self) })
    }

    /// Waits for the turn to change rows that are there: statements that do so follow each other, and none
    /// fails for another. Those that only add rows need no turn.
    pub async fn changing(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.changing).lock_owned().await
    }

    /// The same if nobody else has it.
    pub fn try_changing(&self) -> Option<OwnedMutexGuard<()>> {
        Arc::clone(&self.changing).try_lock_owned().ok()
    }
}
