//! The way back to an earlier version of a table.

use std::collections::{HashMap, HashSet};

use deltalake_core::kernel::transaction::CommitData;
use deltalake_core::kernel::{Action, LogicalFileView};
use deltalake_core::protocol::DeltaOperation;
use serde_json::{Value, json};

use super::commit::{engine_info, others_commit};
use super::log::{DeltaLog, DeltaVersion};
use super::protocol::of_both;
use crate::error::{Error, Result};

/// What tells files of a table apart: the same data with other rows deleted is another one.
type FileKey = (String, Option<String>);

impl DeltaLog {
    /// Makes the rows and columns of an earlier version the newest ones. What the table asks of its readers and writers
    /// does not become less: other versions are read too.
    pub fn restore(&self, to: &DeltaVersion) -> Result<DeltaVersion> {
        let latest = self.latest()?;
        latest.check_changeable()?;
        if to.number() >= latest.number() {
            return Err(Error::invalid(format!(
                "version {} is the newest, or none: only an earlier one can be made the newest again",
                to.number()
            )));
        }
        let data = restoring(&latest, to)?;
        if self.try_commit(&latest, &data)?.is_none() {
            return Err(others_commit());
        }
        self.latest()
    }
}

fn restoring(latest: &DeltaVersion, to: &DeltaVersion) -> Result<CommitData> {
    let views = |version: &DeltaVersion| -> Vec<LogicalFileView> {
        version.files().into_iter().map(|file| file.view).collect()
    };
    let (now, then) = (views(latest), views(to));
    let keys = |views: &[LogicalFileView]| views.iter().map(key).collect::<HashSet<FileKey>>();
    let (now_keys, then_keys) = (keys(&now), keys(&then));
    let added: Vec<_> = then.iter().filter(|view| !now_keys.contains(&key(view))).map(add).collect();
    let removed = now.iter().filter(|view| !then_keys.contains(&key(view)));
    let removed: Vec<_> = removed.map(|view| Action::Remove(view.remove_action(true))).collect();
    let metrics = json!({ "numRemovedFile": removed.len(), "numRestoredFile": added.len() });
    let mut info: HashMap<String, Value> = engine_info(false);
    info.insert("readVersion".to_owned(), latest.number().into());
    info.insert("operationMetrics".to_owned(), metrics);
    let protocol = of_both(latest.state.protocol(), to.state.protocol())?;
    let mut actions: Vec<_> = protocol.map(Action::Protocol).into_iter().collect();
    actions.extend(added);
    actions.extend(removed);
    actions.push(Action::Metadata(to.state.metadata().clone()));
    let operation = DeltaOperation::Restore { version: Some(to.number()), datetime: None };
    Ok(CommitData::new(actions, operation, info, Vec::new()))
}

fn key(view: &LogicalFileView) -> FileKey {
    let deleted = view.deletion_vector_descriptor();
    let deleted =
        deleted.map(|rows| format!("{}{}{:?}", rows.storage_type, rows.path_or_inline_dv, rows.offset));
    (view.path().into_owned(), deleted)
}

#[expect(
    deprecated,
    reason = "the arrays that are to be used instead cannot be had from outside of the library"
)]
fn add(view: &LogicalFileView) -> Action {
    Action::Add(view.add_action())
}
