//! What a table's protocol asks of those who read and write it, and what of that there is here.
//!
//! The library has such a list too, but names less than is done here, since it leaves constraints and invariants to its
//! feature `datafusion`. <https://github.com/delta-io/delta/blob/master/PROTOCOL.md#table-features>

use std::collections::BTreeSet;

use delta_kernel::table_features::TableFeature;
use deltalake_core::kernel::Action;
use deltalake_core::table::config::TablePropertiesExt as _;
use deltalake_core::table::state::DeltaTableState;

use super::error::{unreadable, unwritable};
use crate::error::{Error, Result};

/// The newest version of the protocol that is known here, for readers and for writers: features have names since.
const READER_VERSION: i32 = 3;
const WRITER_VERSION: i32 = 7;

/// What readers of a table may be asked for. Files of a narrower type than the table's are cast as they are read, and what a
/// vacuum has to look at is looked at before each change.
const READ: [&str; 9] = [
    "columnMapping",
    "deletionVectors",
    "timestampNtz",
    "typeWidening",
    "typeWidening-preview",
    "v2Checkpoint",
    "vacuumProtocolCheck",
    "variantType",
    "variantType-preview",
];

/// What writers of a table may be asked for. Of some there is no more here than that what they forbid is refused: changes
/// of rows where there is a feed of changes, values of generated columns, and every change where columns are mapped.
const WRITTEN: [&str; 12] = [
    "appendOnly",
    "changeDataFeed",
    "checkConstraints",
    "checkpointProtection",
    "columnMapping",
    "deletionVectors",
    "generatedColumns",
    "invariants",
    "timestampNtz",
    "v2Checkpoint",
    "variantType",
    "variantType-preview",
];

/// The features that a writer's version stood for before features had names.
pub(super) const LEGACY_WRITER_FEATURES: [(i32, &[&str]); 5] = [
    (2, &["appendOnly", "invariants"]),
    (3, &["checkConstraints"]),
    (4, &["changeDataFeed", "generatedColumns"]),
    (5, &["columnMapping"]),
    (6, &["identityColumns"]),
];

/// Fails for a table that asks for more of its readers than there is here, by name.
pub(super) fn check_readable(state: &DeltaTableState) -> Result<()> {
    let version = state.protocol().min_reader_version();
    if version > READER_VERSION {
        return Err(too_new("readers", version));
    }
    let missing = missing(names(state.protocol().reader_features()), &READ);
    if missing.is_empty() { Ok(()) } else { Err(unreadable(&missing)) }
}

/// Fails for a table that asks for more of its writers than there is here, by name.
pub(super) fn check_writable(state: &DeltaTableState) -> Result<()> {
    let protocol = state.protocol();
    let version = protocol.min_writer_version();
    if version > WRITER_VERSION {
        return Err(too_new("writers", version));
    }
    let mut asked = names(protocol.writer_features());
    // Readers' features are writers' ones as well.
    asked.extend(names(protocol.reader_features()));
    if version < WRITER_VERSION {
        let legacy = LEGACY_WRITER_FEATURES.iter().filter(|(since, _)| *since <= version);
        asked.extend(legacy.flat_map(|(_, names)| names.iter().map(|name| (*name).to_owned())));
    }
    let missing = missing(asked, &WRITTEN);
    if missing.is_empty() { Ok(()) } else { Err(unwritable(&missing)) }
}

/// Fails where `actions` take rows away from a table whose rows only become more.
pub(super) fn check_append_only(state: &DeltaTableState, actions: &[Action]) -> Result<()> {
    let protocol = state.protocol();
    let is_known = match protocol.min_writer_version() {
        ..2 => false,
        2..7 => true,
        _ => names(protocol.writer_features()).contains("appendOnly"),
    };
    let removes = |action: &Action| matches!(action, Action::Remove(remove) if remove.data_change);
    if is_known && state.table_config().append_only() && actions.iter().any(removes) {
        return Err(Error::precondition(
            "the Delta table is append-only (delta.appendOnly): its rows are not changed or removed",
        ));
    }
    Ok(())
}

fn too_new(whom: &str, version: i32) -> Error {
    Error::unimplemented(format!(
        "the Delta table needs version {version} of the protocol for {whom}, which is not supported"
    ))
}

fn names(features: Option<&[TableFeature]>) -> BTreeSet<String> {
    features.unwrap_or_default().iter().map(ToString::to_string).collect()
}

fn missing(asked: BTreeSet<String>, known: &[&str]) -> Vec<String> {
    asked.into_iter().filter(|name| !known.contains(&name.as_str())).collect()
}
