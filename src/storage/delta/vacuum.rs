//! Removing files that no version of a table needs any more: those alone that its own log has named.
//!
//! The library's full mode takes every file below the table's directory that the newest version does not have for one
//! to be removed: a note, the files of a table further down, its log. Here it is shown no other files than those that
//! an entry of the log has added or removed. What was never committed stays: nobody can tell whose it is.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use delta_kernel::actions::deletion_vector::DeletionVectorDescriptor;
use deltalake_core::DeltaTable;
use deltalake_core::kernel::transaction::CommitData;
use deltalake_core::kernel::{Action, DeletionVectorDescriptor as LoggedVector};
use deltalake_core::logstore::LogStoreRef;
use deltalake_core::operations::vacuum::VacuumMode;
use deltalake_core::protocol::DeltaOperation;
use deltalake_core::table::config::TablePropertiesExt as _;
use deltalake_core::table::state::DeltaTableState;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use object_store::path::Path as StorePath;
use object_store::{Error as StoreError, ObjectStore as _};
use serde_json::{Value, json};

use super::commit::{ATTEMPTS, engine_info, others_commit};
use super::log::{DELTA_LOG, DeltaLog, DeltaVersion, log_store};
use crate::error::{Error, Result};
use crate::storage::area::{if_there, io_error};
use crate::storage::listing::{open_dir, read_entries};
use crate::storage::table_format::TableFormat;

impl DeltaLog {
    /// Removes files that no version younger than `retention` needs, or only lists them, by path. `None` is
    /// the table's own retention, a week where it says nothing; less than that is an error.
    pub fn vacuum(&self, retention: Option<Duration>, dry_run: bool) -> Result<Vec<String>> {
        let store = log_store(self.files.showing_only(Arc::new(self.named_files()?)))?;
        let latest = self.latest()?;
        latest.check_changeable()?;
        let planned = self.files_to_remove(&store, &latest, retention)?;
        self.check_own(&planned)?;
        if dry_run || planned.is_empty() {
            return Ok(planned);
        }
        let default = latest.state.table_config().deleted_file_retention_duration();
        let begun = DeltaOperation::VacuumStart {
            retention_check_enabled: true,
            specified_retention_millis: retention.map(millis),
            default_retention_millis: millis(default),
        };
        self.commit_note(begun, json!({ "numFilesToDelete": planned.len() }))?;
        self.remove_files(&store, &planned)?;
        let ended = DeltaOperation::VacuumEnd { status: "COMPLETED".to_owned() };
        self.commit_note(ended, json!({ "numDeletedFiles": planned.len(), "numVacuumedDirectories": 0 }))?;
        Ok(planned)
    }

    fn files_to_remove(
        &self,
        store: &LogStoreRef,
        latest: &DeltaVersion,
        retention: Option<Duration>,
    ) -> Result<Vec<String>> {
        let start = Instant::now();
        let mut table = DeltaTable::new(Arc::clone(store));
        table.state = Some(DeltaTableState::clone(&latest.state));
        let mut vacuum = table.vacuum().with_mode(VacuumMode::Full).with_dry_run(true);
        if let Some(retention) = retention {
            vacuum = vacuum.with_retention_period(chrono::Duration::milliseconds(millis(retention)));
        }
        let (_, planned) = self.runtime.run(vacuum.into_future())?.map_err(|error| {
            if error.to_string().contains("retention") {
                return Error::precondition(format!(
                    "the files of a table are kept for as long as its property \
                     delta.deletedFileRetentionDuration says, a week by default: {error}"
                ));
            }
            self.error_of(error, start)
        })?;
        Ok(planned.files_deleted)
    }

    /// Removes files of the table's directory. One that is gone already is as good.
    fn remove_files(&self, store: &LogStoreRef, files: &[String]) -> Result<()> {
        let start = Instant::now();
        // As the library tells them: encoded already.
        let paths: Vec<_> = files.iter().map(|file| Ok(StorePath::parse(file)?)).collect();
        let removed =
            store.object_store(None).delete_stream(stream::iter(paths).boxed()).map(
                |removed| match removed {
                    Ok(_) | Err(StoreError::NotFound { .. }) => Ok(()),
                    Err(error) => Err(error),
                },
            );
        let removed = self.runtime.run(removed.try_collect::<()>())?;
        removed.map_err(|error| self.error_of(error.into(), start))
    }

    /// Commits what is for the table's history alone.
    fn commit_note(&self, operation: DeltaOperation, metrics: Value) -> Result<()> {
        let mut info = engine_info(false);
        info.insert("operationMetrics".to_owned(), metrics);
        let data = CommitData::new(Vec::new(), operation, info, Vec::new());
        for _ in 0..ATTEMPTS {
            if self.try_commit(&self.latest()?, &data)?.is_some() {
                return Ok(());
            }
        }
        Err(others_commit())
    }

    /// The files that the entries of the log name, as far as they are still there; those of versions before are in the
    /// library's own list, if they are to be removed.
    fn named_files(&self) -> Result<HashSet<String>> {
        let log = Path::new(DELTA_LOG);
        let entries = read_entries(&open_dir(self.area(), log)?, log)?;
        let numbers = entries.iter().filter_map(|entry| entry.name.strip_suffix(".json")?.parse().ok());
        let mut named = HashSet::new();
        for number in numbers {
            for action in self.actions(number)?.into_iter().flatten() {
                let vector = match action {
                    Action::Add(add) => {
                        named.insert(add.path);
                        add.deletion_vector
                    }
                    Action::Remove(remove) => {
                        named.insert(remove.path);
                        remove.deletion_vector
                    }
                    Action::Cdc(changes) => {
                        named.insert(changes.path);
                        None
                    }
                    _ => None,
                };
                named.extend(vector.and_then(|vector| self.vector_file(vector)));
            }
        }
        Ok(named)
    }

    /// The file in the table's directory that has a deletion vector, if it is in one.
    fn vector_file(&self, vector: LoggedVector) -> Option<String> {
        let vector = DeletionVectorDescriptor {
            storage_type: vector.storage_type.as_ref().parse().ok()?,
            path_or_inline_dv: vector.path_or_inline_dv,
            offset: vector.offset,
            size_in_bytes: vector.size_in_bytes,
            cardinality: vector.cardinality,
        };
        let file = vector.absolute_path(self.store.root_url()).ok()??;
        self.store.root_url().make_relative(&file).filter(|path| !path.starts_with("../"))
    }

    /// Fails where one of the files lies in the directory of another table, whichever log has named it.
    fn check_own(&self, files: &[String]) -> Result<()> {
        let mut known: HashSet<&Path> = HashSet::new();
        for file in files {
            let above = Path::new(file).ancestors().skip(1).filter(|above| !above.as_os_str().is_empty());
            for folder in above {
                if !known.insert(folder) {
                    continue;
                }
                let opened = if_there(self.area().dir().open_dir(folder));
                let Some(dir) = opened.map_err(|error| io_error("open", folder, error))? else { continue };
                if let Some(format) = TableFormat::of(&dir, &read_entries(&dir, folder)?, folder)? {
                    return Err(Error::precondition(format!(
                        "the log of this table names files that lie in {format}, {}, and nothing was removed",
                        folder.display()
                    )));
                }
            }
        }
        Ok(())
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
