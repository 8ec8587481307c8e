//! New versions: what a change consists of, and the optimistic step that makes it one.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use arrow::datatypes::Schema;
use deltalake_core::checkpoints::{cleanup_metadata, create_checkpoint};
use deltalake_core::kernel::transaction::{CommitData, TransactionError};
use deltalake_core::kernel::{
    Action, Add, CommitInfo, Metadata, Protocol, Remove, StructType, Transaction as TxnAction, new_metadata,
};
use deltalake_core::logstore::CommitOrBytes;
use deltalake_core::protocol::{DeltaOperation, SaveMode};
use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;

use super::columns::with_columns;
use super::error::delta_error;
use super::log::{ARROW_SCHEMA, DELTA_LOG, DataFile, DeltaLog, DeltaVersion, arrow_schema};
use super::mapping::without_mapping;
use super::protocol::{check_append_only, has_timestamp_ntz, protocol, with_timestamp_ntz};
use super::types::{delta_types, logical_text, needs_timestamp_ntz, struct_type};
use crate::error::{Error, Result};
use crate::storage::Target;

/// How often a commit is tried when others come first.
pub(super) const ATTEMPTS: usize = 100;
/// Commits from one checkpoint to the next, where the table does not say.
const CHECKPOINT_INTERVAL: u64 = 100;

/// A data file that lies in the table's directory, and that a commit is to make part of the table.
#[derive(Debug, Clone)]
pub struct NewFile {
    /// Its path in the table's directory.
    pub path: PathBuf,
    /// Bytes.
    pub bytes: u64,
    /// Milliseconds since the epoch.
    pub modified: i64,
    /// Its values for the partition columns, as the protocol writes them; `None` is NULL.
    pub partition: HashMap<String, Option<String>>,
    /// Its statistics, as the protocol writes them.
    pub stats: String,
}

/// What sort of change it is: for the table's history, and for what it may conflict with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// The table comes to be.
    Create,
    /// Rows are added, and nothing was read.
    Append,
    /// All rows are replaced.
    Overwrite,
    /// Rows that fit a condition go.
    Delete(Option<String>),
    /// Rows that fit a condition change.
    Update(Option<String>),
    /// Rows are added, change and go by a join.
    Merge(Option<String>),
    /// Files are rewritten; the rows stay.
    Compact,
    /// Columns are added.
    AddColumns,
    /// A column takes NULL from now on.
    DropNotNull(String),
    /// A column, which has no NULL, takes none from now on.
    SetNotNull(String),
    /// Keys are declared, or are no longer.
    SetKeys,
}

/// An application's own number for a change: the same one is committed once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// The application.
    pub app: String,
    /// Its number, which only grows.
    pub version: i64,
}

/// What one commit changes.
#[derive(Debug, Clone)]
pub struct Changes {
    /// What sort of change it is.
    pub operation: Operation,
    /// Files that come.
    pub add: Vec<NewFile>,
    /// Files that go.
    pub remove: Vec<DataFile>,
    /// The columns from now on, in the types that are given back, where they change.
    pub schema: Option<Schema>,
    /// The application's number for it.
    pub transaction: Option<Transaction>,
    /// Whether it may follow only the very version that it was worked out on.
    pub exact: bool,
}

/// A version that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The table's identity.
    pub table_id: String,
    /// The version's number.
    pub version: u64,
}

impl Changes {
    /// A change that adds files.
    pub fn append(add: Vec<NewFile>, transaction: Option<Transaction>) -> Self {
        let operation = Operation::Append;
        Self { operation, add, remove: Vec::new(), schema: None, transaction, exact: false }
    }

    /// Whether it moves data around without changing rows.
    fn keeps_rows(&self) -> bool {
        self.operation == Operation::Compact
    }
}

impl DeltaLog {
    /// Makes `changes`, which were worked out on the version `read`, the next version, durably and in one
    /// step. Where other commits came first and do not touch the same, it goes after them.
    pub fn commit(&self, read: &DeltaVersion, changes: &Changes) -> Result<Committed> {
        let mut checked = read.number();
        for _ in 0..ATTEMPTS {
            let latest = self.latest()?;
            if latest.table_id() != read.table_id() {
                return Err(Error::precondition(
                    "the table was dropped and made anew meanwhile; nothing was changed, try again",
                ));
            }
            latest.check_changeable()?;
            if changes.exact && latest.number() != read.number() {
                return Err(Error::precondition(format!(
                    "the table has version {} by now, not {}; nothing was changed",
                    latest.number(),
                    read.number()
                )));
            }
            let adds_only = !reads_rows(&changes.operation) && changes.remove.is_empty();
            if adds_only && changes.transaction.is_none() && latest.has_shape_of(read) {
                // Nothing that came between can matter to rows that are only added.
                checked = latest.number();
            }
            for number in checked + 1..=latest.number() {
                self.check_conflict(number, changes)?;
            }
            checked = latest.number();
            let data = commit_data(&latest, changes)?;
            check_append_only(&latest.state, &data.actions)?;
            if let Some(committed) = self.try_commit(&latest, &data)? {
                return Ok(committed);
            }
            // Another program's came first: look again.
        }
        Err(others_commit())
    }

    /// Makes `data` the version after `latest`; `None` where another commit has.
    pub(super) fn try_commit(&self, latest: &DeltaVersion, data: &CommitData) -> Result<Option<Committed>> {
        let bytes = data.get_bytes().map_err(refused)?;
        let next = latest.number() + 1;
        let start = Instant::now();
        let entry = CommitOrBytes::LogBytes(bytes);
        match self.runtime.run(self.store.write_commit_entry(next, entry, Uuid::new_v4()))? {
            Ok(()) => {
                self.after_commit(latest, next);
                Ok(Some(Committed { table_id: latest.table_id().to_owned(), version: next }))
            }
            Err(TransactionError::VersionAlreadyExists(_)) => Ok(None),
            Err(error) => Err(self.files.trouble_since(start).unwrap_or_else(|| refused(error))),
        }
    }

    /// Takes note of our commit, which is durable whatever happens here.
    fn after_commit(&self, before: &DeltaVersion, number: u64) {
        let mut state = before.state.as_ref().clone();
        let updated = self.load(state.update(self.store.as_ref(), Some(number)), Ok);
        if let Err(error) = updated.and_then(|()| self.committed(state)) {
            tracing::warn!(%error, "a Delta table is read anew after a commit");
            self.forget();
        }
    }

    /// Fails if the commit of `number` changed what `changes` builds on.
    fn check_conflict(&self, number: u64, changes: &Changes) -> Result<()> {
        let Some(actions) = self.actions(number)? else {
            return Err(Error::precondition(format!("version {number} of the table is gone; try again")));
        };
        let gone: HashSet<&Path> = changes.remove.iter().map(|file| file.path.as_path()).collect();
        let mut info = None;
        let (mut schema, mut removed, mut added, mut sent) = (false, false, false, false);
        for action in &actions {
            match action {
                Action::CommitInfo(found) => info = Some(found),
                Action::Metadata(_) | Action::Protocol(_) => schema = true,
                Action::Remove(remove) => removed |= gone.contains(Path::new(&remove.path)),
                Action::Add(add) => added |= add.data_change,
                Action::Txn(txn) => {
                    sent |= changes.transaction.as_ref().is_some_and(|own| own.app == txn.app_id);
                }
                _ => {}
            }
        }
        let what = if schema {
            "the columns or properties of the table"
        } else if sent {
            "the last transaction of this application"
        } else if removed {
            "rows that this statement changes as well"
        } else if added && reads_rows(&changes.operation) && !is_blind(info) {
            "rows that this statement may have to change too"
        } else {
            return Ok(());
        };
        let who = info.map_or_else(|| "another program".to_owned(), by_whom);
        Err(Error::precondition(format!(
            "{who} changed {what} meanwhile (version {number}); nothing was changed, try again"
        )))
    }

    /// Whether an application's transaction, or a later one of it, is in the table already: the version
    /// that it made, if the log still tells.
    pub fn committed_transaction(&self, transaction: &Transaction) -> Result<Option<(u64, Vec<NewFile>)>> {
        let latest = self.latest()?;
        match self.transaction(&latest, &transaction.app)? {
            Some(version) if version >= transaction.version => {}
            _ => return Ok(None),
        }
        for number in (0..=latest.number()).rev() {
            let Some(actions) = self.actions(number)? else { break };
            let is_it = |action: &Action| {
                matches!(action, Action::Txn(txn)
                    if txn.app_id == transaction.app && txn.version == transaction.version)
            };
            if actions.iter().any(is_it) {
                return Ok(Some((number, actions.into_iter().filter_map(added_file).collect())));
            }
        }
        Err(Error::precondition(format!(
            "application {:?} has committed a later transaction than {} already; nothing was stored",
            transaction.app, transaction.version
        )))
    }

    /// Writes a checkpoint if it is time for one.
    pub fn checkpoint(&self, version: &DeltaVersion) -> Result<bool> {
        let interval = version.properties().get("delta.checkpointInterval");
        let interval = interval.and_then(|text| text.parse().ok()).unwrap_or(CHECKPOINT_INTERVAL);
        // Counted from the last one: a look at the table can come several commits late.
        let next = self.files.last_checkpoint()?.map_or(0, |last| last + 1) + interval.max(1);
        if version.number() + 1 < next {
            return Ok(false);
        }
        let table = self.table()?;
        self.load(create_checkpoint(&table, None), Ok)?;
        let cleanup = version.properties().get("delta.enableExpiredLogCleanup");
        if cleanup.is_none_or(|text| text != "false") {
            self.load(cleanup_metadata(&table, None), Ok)?;
        }
        Ok(true)
    }

    /// Makes the log durable as it is now: a version that somebody asks for again may have been made by a server that
    /// did not come to that.
    pub fn sync(&self) -> Result<()> {
        self.files.sync_log()
    }

    /// Takes away files that were [placed](Self::place) and that no commit has named. After a failed sync nobody knows
    /// whether one has: they stay.
    pub fn withdraw(&self, files: &[PathBuf]) {
        self.files.withdraw(files);
    }

    /// Moves a finished data file from staging into the table's directory, durably.
    pub fn place(&self, staged: &Path, to: &Path) -> Result<()> {
        self.files.publish_staged(staged, to, Target::MustBeNew)
    }
}

/// The first entry of a table's log.
pub fn first_entry(logical: &Schema, partitions: &[String], files: Vec<NewFile>) -> Result<Vec<u8>> {
    let (metadata, protocol) = described(logical, partitions)?;
    let location =
        Url::parse("memory:///").map_err(|error| Error::internal(format!("a table's location: {error}")))?;
    let operation = DeltaOperation::Create {
        mode: SaveMode::ErrorIfExists,
        location,
        protocol: protocol.clone(),
        metadata: metadata.clone(),
    };
    let mut actions = vec![Action::Protocol(protocol), Action::Metadata(metadata)];
    actions.extend(files.into_iter().map(|file| Action::Add(add(file, true))));
    let data = CommitData::new(actions, operation, engine_info(true), Vec::new());
    Ok(data.get_bytes().map_err(refused)?.to_vec())
}

fn commit_data(latest: &DeltaVersion, changes: &Changes) -> Result<CommitData> {
    let data_change = !changes.keeps_rows();
    let mut actions = Vec::with_capacity(changes.add.len() + changes.remove.len() + 2);
    if let Some(schema) = &changes.schema {
        actions.extend(new_schema(latest, schema)?);
    }
    actions.extend(changes.remove.iter().map(|file| Action::Remove(remove(file, data_change))));
    actions.extend(changes.add.iter().map(|file| Action::Add(add(file.clone(), data_change))));
    let transactions = changes.transaction.iter().map(|own| TxnAction::new(&own.app, own.version)).collect();
    let blind = changes.operation == Operation::Append;
    Ok(CommitData::new(actions, library_operation(latest, changes), engine_info(blind), transactions))
}

fn library_operation(latest: &DeltaVersion, changes: &Changes) -> DeltaOperation {
    let partition_by = Some(latest.partition_columns().to_vec()).filter(|columns| !columns.is_empty());
    let write = |mode| DeltaOperation::Write { mode, partition_by: partition_by.clone(), predicate: None };
    let noted = |column: &str, nullable| {
        let mut field = latest.state.schema().field(column)?.clone();
        field.nullable = nullable;
        Some(field)
    };
    match &changes.operation {
        Operation::Create | Operation::Append => write(SaveMode::Append),
        Operation::Overwrite => write(SaveMode::Overwrite),
        Operation::Delete(predicate) => DeltaOperation::Delete { predicate: predicate.clone() },
        Operation::Update(predicate) => DeltaOperation::Update { predicate: predicate.clone() },
        Operation::Merge(predicate) => DeltaOperation::Merge {
            predicate: None,
            merge_predicate: predicate.clone(),
            matched_predicates: Vec::new(),
            not_matched_predicates: Vec::new(),
            not_matched_by_source_predicates: Vec::new(),
        },
        Operation::Compact => DeltaOperation::Optimize { predicate: None, target_size: 0 },
        Operation::AddColumns => DeltaOperation::AddColumn { fields: Vec::new() },
        Operation::SetKeys => DeltaOperation::UpdateFieldMetadata { fields: Vec::new() },
        Operation::DropNotNull(column) => match noted(column, true) {
            Some(column) => DeltaOperation::DropColumnNotNull { column },
            None => DeltaOperation::UpdateFieldMetadata { fields: Vec::new() },
        },
        Operation::SetNotNull(column) => {
            DeltaOperation::UpdateFieldMetadata { fields: noted(column, false).into_iter().collect() }
        }
    }
}

/// The error of a commit before which others came again and again.
pub(super) fn others_commit() -> Error {
    Error::precondition("other programs commit to the table all the time; try again")
}

pub(super) fn engine_info(blind: bool) -> HashMap<String, Value> {
    HashMap::from([
        ("clientVersion".to_owned(), json!(concat!("airstrip.", env!("CARGO_PKG_VERSION")))),
        ("isBlindAppend".to_owned(), json!(blind)),
    ])
}

fn add(file: NewFile, data_change: bool) -> Add {
    Add {
        path: file.path.to_string_lossy().into_owned(),
        partition_values: file.partition,
        size: i64::try_from(file.bytes).unwrap_or(i64::MAX),
        modification_time: file.modified,
        data_change,
        stats: Some(file.stats),
        tags: None,
        deletion_vector: None,
        base_row_id: None,
        default_row_commit_version: None,
        clustering_provider: None,
    }
}

fn added_file(action: Action) -> Option<NewFile> {
    let Action::Add(add) = action else { return None };
    Some(NewFile {
        path: PathBuf::from(add.path),
        bytes: u64::try_from(add.size).unwrap_or(0),
        modified: add.modification_time,
        partition: add.partition_values,
        stats: add.stats.unwrap_or_default(),
    })
}

fn remove(file: &DataFile, data_change: bool) -> Remove {
    file.view.remove_action(data_change)
}

/// Metadata and protocol of a new table with these columns.
fn described(logical: &Schema, partitions: &[String]) -> Result<(Metadata, Protocol)> {
    let stored = delta_types(logical)?;
    let mut properties = HashMap::new();
    let columns = struct_type(&stored)?;
    if arrow_schema(&columns)? != *logical {
        properties.insert(ARROW_SCHEMA.to_owned(), logical_text(logical));
    }
    let metadata = new_metadata(&columns, partitions, properties).map_err(described_badly)?;
    let plain = protocol(json!({"minReaderVersion": 1, "minWriterVersion": 2}))?;
    let protocol = if needs_timestamp_ntz(&stored) { with_timestamp_ntz(&plain)? } else { plain };
    Ok((metadata, protocol))
}

/// The actions that give a table other columns.
fn new_schema(latest: &DeltaVersion, logical: &Schema) -> Result<Vec<Action>> {
    let stored = delta_types(logical)?;
    let odd = |error: serde_json::Error| Error::internal(format!("the metadata of a table: {error}"));
    let mut metadata = serde_json::to_value(latest.state.metadata()).map_err(odd)?;
    let text = metadata.get("schemaString").and_then(Value::as_str).unwrap_or_default();
    let text = with_columns(text, &delta_types(latest.stored())?, &stored)?;
    let columns: StructType = serde_json::from_str(&text).map_err(odd)?;
    let properties = metadata.get_mut("configuration").and_then(Value::as_object_mut);
    let properties = properties.ok_or_else(|| Error::internal("a table without properties"))?;
    if without_mapping(&arrow_schema(&columns)?) == *logical {
        properties.remove(ARROW_SCHEMA);
    } else {
        properties.insert(ARROW_SCHEMA.to_owned(), logical_text(logical).into());
    }
    metadata["schemaString"] = text.into();
    let metadata: Metadata = serde_json::from_value(metadata).map_err(odd)?;
    let mut actions = vec![Action::Metadata(metadata)];
    let now = latest.state.protocol();
    if needs_timestamp_ntz(&stored) && !has_timestamp_ntz(now) {
        actions.insert(0, Action::Protocol(with_timestamp_ntz(now)?));
    }
    Ok(actions)
}

/// Whether what it does depends on the rows that were there.
fn reads_rows(operation: &Operation) -> bool {
    !matches!(
        operation,
        Operation::Append
            | Operation::Create
            | Operation::Compact
            | Operation::AddColumns
            | Operation::DropNotNull(_)
            | Operation::SetKeys
    )
}

fn is_blind(info: Option<&CommitInfo>) -> bool {
    info.is_some_and(|info| {
        // Writers that do not say so append blindly where they only append.
        let appends = info.operation.as_deref() == Some("WRITE")
            && info
                .operation_parameters
                .as_ref()
                .and_then(|parameters| parameters.get("mode"))
                .is_some_and(|mode| mode == "Append");
        info.is_blind_append.unwrap_or(appends)
    })
}

fn by_whom(info: &CommitInfo) -> String {
    let operation = info.operation.as_deref().unwrap_or("a commit");
    match info.info.get("clientVersion").and_then(Value::as_str).or(info.engine_info.as_deref()) {
        Some(client) => format!("{operation} by {client}"),
        None => operation.to_owned(),
    }
}

fn refused(error: TransactionError) -> Error {
    delta_error(error.into())
}

fn described_badly(error: impl Into<deltalake_core::DeltaTableError>) -> Error {
    delta_error(error.into())
}

/// Where the log of a table that is being made goes, in the directory that becomes the table's.
pub fn first_entry_path() -> PathBuf {
    Path::new(DELTA_LOG).join(format!("{:020}.json", 0))
}
