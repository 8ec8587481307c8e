//! What a table's protocol asks of those who read and write it, and what of that there is here.
//!
//! The library has such a list too, but names less than is done here, since it leaves constraints and invariants to its
//! feature `datafusion`. <https://github.com/delta-io/delta/blob/master/PROTOCOL.md#table-features>

use std::collections::BTreeSet;

use delta_kernel::table_features::TableFeature;
use deltalake_core::kernel::{Action, Protocol};
use deltalake_core::table::config::TablePropertiesExt as _;
use deltalake_core::table::state::DeltaTableState;
use serde_json::{Value, json};

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
    TIMESTAMP_NTZ,
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
    TIMESTAMP_NTZ,
    "v2Checkpoint",
    "variantType",
    "variantType-preview",
];

const TIMESTAMP_NTZ: &str = "timestampNtz";

/// The version for readers that stood for column mapping before features had names.
const LEGACY_MAPPING_VERSION: i32 = 2;

/// The features that a writer's version stood for before features had names.
const LEGACY_WRITER_FEATURES: [(i32, &[&str]); 5] = [
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
    let missing = missing(reader_features(state.protocol()), &READ);
    if missing.is_empty() { Ok(()) } else { Err(unreadable(&missing)) }
}

/// Fails for a table that asks for more of its writers than there is here, by name.
pub(super) fn check_writable(state: &DeltaTableState) -> Result<()> {
    let protocol = state.protocol();
    let version = protocol.min_writer_version();
    if version > WRITER_VERSION {
        return Err(too_new("writers", version));
    }
    let missing = missing(writer_features(protocol), &WRITTEN);
    if missing.is_empty() { Ok(()) } else { Err(unwritable(&missing)) }
}

/// Fails where `actions` take rows away from a table whose rows only become more.
pub(super) fn check_append_only(state: &DeltaTableState, actions: &[Action]) -> Result<()> {
    let is_known = writer_features(state.protocol()).contains("appendOnly");
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

/// What a protocol asks of readers, by name.
fn reader_features(protocol: &Protocol) -> BTreeSet<String> {
    let mut features = names(protocol.reader_features());
    if protocol.min_reader_version() == LEGACY_MAPPING_VERSION {
        features.insert("columnMapping".to_owned());
    }
    features
}

/// What a protocol asks of writers, by name. Readers' features are writers' ones as well.
fn writer_features(protocol: &Protocol) -> BTreeSet<String> {
    let (mut features, version) = (names(protocol.writer_features()), protocol.min_writer_version());
    features.extend(reader_features(protocol));
    if version < WRITER_VERSION {
        let legacy = LEGACY_WRITER_FEATURES.iter().filter(|(since, _)| *since <= version);
        features.extend(legacy.flat_map(|(_, names)| names.iter().map(|name| (*name).to_owned())));
    }
    features
}

/// Whether a protocol knows timestamps without time zone.
pub(super) fn has_timestamp_ntz(protocol: &Protocol) -> bool {
    writer_features(protocol).contains(TIMESTAMP_NTZ)
}

/// A table's protocol with timestamps without time zone, which older readers do not know.
pub(super) fn with_timestamp_ntz(now: &Protocol) -> Result<Protocol> {
    let (mut readers, mut writers) = (reader_features(now), writer_features(now));
    readers.insert(TIMESTAMP_NTZ.to_owned());
    writers.insert(TIMESTAMP_NTZ.to_owned());
    by_name(&readers, &writers)
}

/// The protocol of a table with all that one of two asks for, where that is more than the newer one does.
pub(super) fn of_both(newer: &Protocol, older: &Protocol) -> Result<Option<Protocol>> {
    let readers = &reader_features(newer) | &reader_features(older);
    let writers = &writer_features(newer) | &writer_features(older);
    if readers == reader_features(newer) && writers == writer_features(newer) {
        return Ok(None);
    }
    by_name(&readers, &writers).map(Some)
}

fn by_name(readers: &BTreeSet<String>, writers: &BTreeSet<String>) -> Result<Protocol> {
    protocol(json!({
        "minReaderVersion": READER_VERSION, "minWriterVersion": WRITER_VERSION,
        "readerFeatures": readers, "writerFeatures": writers,
    }))
}

/// The protocol that an entry of the log would have as `value`.
pub(super) fn protocol(value: Value) -> Result<Protocol> {
    serde_json::from_value(value).map_err(|error| Error::internal(format!("a table's protocol: {error}")))
}

fn names(features: Option<&[TableFeature]>) -> BTreeSet<String> {
    features.unwrap_or_default().iter().map(ToString::to_string).collect()
}

fn missing(asked: BTreeSet<String>, known: &[&str]) -> Vec<String> {
    asked.into_iter().filter(|name| !known.contains(&name.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(reader: i32, writer: i32) -> Protocol {
        protocol(json!({"minReaderVersion": reader, "minWriterVersion": writer})).unwrap()
    }

    fn named(readers: &[&str], writers: &[&str]) -> Protocol {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        by_name(&owned(readers), &owned(writers)).unwrap()
    }

    #[test]
    fn what_versions_stood_for_keeps_its_name() {
        let made = with_timestamp_ntz(&versions(1, 3)).unwrap();
        let writers = ["appendOnly", "checkConstraints", "invariants", "timestampNtz"];
        assert_eq!(made, named(&["timestampNtz"], &writers));
        assert!(has_timestamp_ntz(&made) && !has_timestamp_ntz(&versions(1, 3)));
    }

    #[test]
    fn a_protocol_of_both_asks_for_what_either_does() {
        let (old, vectors) = (versions(1, 2), named(&["deletionVectors"], &["deletionVectors"]));
        let both = of_both(&old, &vectors).unwrap().unwrap();
        assert_eq!(both, named(&["deletionVectors"], &["appendOnly", "deletionVectors", "invariants"]));
        assert_eq!(of_both(&both, &vectors).unwrap(), None);
        assert_eq!(of_both(&both, &old).unwrap(), None);
        assert_eq!(of_both(&versions(1, 3), &old).unwrap(), None);
    }
}
