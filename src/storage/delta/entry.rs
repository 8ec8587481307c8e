//! The entries of a log as other writers have them.

use bytes::Bytes;
use deltalake_core::kernel::{Action, CommitInfo};
use deltalake_core::logstore::get_actions;
use serde_json::{Deserializer, Map, Value};

/// The actions that the library's types know.
const ACTIONS: [&str; 7] = ["add", "remove", "metaData", "protocol", "txn", "cdc", "domainMetadata"];

/// The actions of the entry of a version.
///
/// What a writer tells of itself in `commitInfo` is its own affair: what the library's type cannot take of it
/// (CONVERT TO DELTA reads version -1) is left out, and so are actions that nobody here looks at.
pub(super) fn actions_of(number: u64, bytes: &Bytes) -> Result<Vec<Action>, serde_json::Error> {
    if let Ok(actions) = get_actions(number, bytes) {
        return Ok(actions);
    }
    let mut actions = Vec::new();
    for action in Deserializer::from_slice(bytes).into_iter::<Map<String, Value>>() {
        let action = action?;
        if let Some(info) = action.get("commitInfo").and_then(Value::as_object) {
            actions.push(Action::CommitInfo(info_of(info)));
        } else if action.keys().any(|key| ACTIONS.contains(&key.as_str())) {
            actions.push(serde_json::from_value(Value::Object(action))?);
        }
    }
    Ok(actions)
}

fn info_of(info: &Map<String, Value>) -> CommitInfo {
    let read = |info: Map<String, Value>| serde_json::from_value::<CommitInfo>(Value::Object(info));
    let is_known =
        |(key, value): &(&String, &Value)| read(Map::from_iter([((*key).clone(), (*value).clone())])).is_ok();
    let known = info.iter().filter(is_known).map(|(key, value)| (key.clone(), value.clone()));
    read(known.collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actions(text: &str) -> Result<Vec<Action>, serde_json::Error> {
        actions_of(0, &Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn what_a_commit_tells_of_itself_may_be_odd() {
        let text = r#"{"commitInfo":{"timestamp":7,"operation":"CONVERT","readVersion":-1,"isolationLevel":"Odd"}}
{"checkpointMetadata":{"version":1}}
{"add":{"path":"a%20b","partitionValues":{},"size":3,"modificationTime":1,"dataChange":true}}"#;
        let actions = actions(text).unwrap();
        let [Action::CommitInfo(info), Action::Add(add)] = actions.as_slice() else { panic!("{actions:?}") };
        assert_eq!((info.timestamp, info.operation.as_deref()), (Some(7), Some("CONVERT")));
        assert_eq!((info.read_version, add.path.as_str()), (None, "a b"));
    }

    #[test]
    fn an_action_that_counts_must_be_whole() {
        assert!(actions(r#"{"add":{"path":"a"}}"#).is_err());
        assert!(actions(r#"{"add":{"#).is_err());
    }
}
