//! What an entry of the trash is called, and what its record says.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cap_std::fs::{Metadata, MetadataExt};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Where the trash lies in a root.
pub(in super::super) const TRASH: &str = ".airstrip/trash";
/// Bytes of the longest record: two names, a path and some numbers.
pub(super) const MAX_RECORD_BYTES: u64 = 64 << 10;

/// The characters of an id.
const ID_LENGTH: usize = 32;
const RECORD_SUFFIX: &str = ".json";

/// What an entry is called: there are no two of one name, and they are in the order of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct TrashId(Uuid);

impl TrashId {
    pub(super) fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// Where the record lies.
    pub(super) fn record(self) -> PathBuf {
        Path::new(TRASH).join(format!("{}{RECORD_SUFFIX}", self.0.simple()))
    }

    /// Where the thing itself lies, which is called `name`.
    pub(super) fn slot(self, name: &str) -> PathBuf {
        Path::new(TRASH).join(format!("{}-{name}", self.0.simple()))
    }

    /// The entry that a file in the trash belongs to, and what the thing is called, if it is no record. `None`: the
    /// file is none of ours.
    pub(super) fn parse(file: &str) -> Option<(Self, Option<&str>)> {
        let (id, rest) = file.split_at_checked(ID_LENGTH)?;
        let parsed = Uuid::try_parse(id).ok().filter(|uuid| uuid.simple().to_string() == id)?;
        match rest.strip_prefix('-') {
            Some(name) if !name.is_empty() => Some((Self(parsed), Some(name))),
            _ => (rest == RECORD_SUFFIX).then_some((Self(parsed), None)),
        }
    }
}

/// Why something was displaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Why {
    /// It was dropped.
    Dropped,
    /// Another took its place.
    Replaced,
    /// Its rows were written anew, as a table that can change.
    Rewritten,
}

impl Why {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dropped => "dropped",
            Self::Replaced => "replaced",
            Self::Rewritten => "rewritten",
        }
    }
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    pub(super) schema: String,
    /// Empty for a whole schema.
    pub(super) name: String,
    /// Where it lay in the root.
    pub(super) from: PathBuf,
    /// What its file or directory is called.
    pub(super) file: String,
    #[serde(with = "rfc3339")]
    pub(super) when: SystemTime,
    pub(super) why: Why,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<String>,
    pub(super) bytes: u64,
    /// What was to take its place, and lies in the trash in its stead until it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) replaced_by: Option<Mark>,
    /// Whether files that are not its own stay in the folder that it lay in.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) keeps_others: bool,
}

/// Tells two things apart of which one takes the other's place, and which therefore are both there at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Mark {
    inode: u64,
    /// Seconds and nanoseconds; none for a directory, whose time changes with what lies in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    modified: Option<(i64, i64)>,
}

impl Mark {
    pub(super) fn of(found: &Metadata) -> Self {
        let modified = (!found.is_dir()).then(|| (found.mtime(), found.mtime_nsec()));
        Self { inode: found.ino(), modified }
    }
}

mod rfc3339 {
    use std::time::SystemTime;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_rfc3339_nanos(*time))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_rfc3339(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_names_of_an_entry_lead_back_to_it_and_others_do_not() {
        let id = TrashId::new();
        let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(TrashId::parse(&name(id.record())), Some((id, None)));
        for thing in ["t.parquet", "-", ".json", "x.json"] {
            assert_eq!(TrashId::parse(&name(id.slot(thing))), Some((id, Some(thing))));
        }
        let upper = name(id.record()).to_uppercase();
        let short = "0190";
        let foreign = ["notes.txt", "", "t.parquet", short, upper.as_str(), "é".repeat(40).leak()];
        for other in foreign {
            assert_eq!(TrashId::parse(other), None, "{other}");
        }
        let bare = name(id.record());
        for ending in ["", "-", ".jsonx", ".json.tmp"] {
            assert_eq!(TrashId::parse(&format!("{}{ending}", &bare[..ID_LENGTH])), None, "{ending}");
        }
        assert!(TrashId::new() > id);
        // A file name has 255 bytes at most, and the longest of a dataset 213.
        assert!(name(id.slot(&"x".repeat(213))).len() <= 255);
    }

    #[test]
    fn a_record_comes_back_as_it_was_written() {
        let record = Record {
            schema: "finance".to_owned(),
            name: "orders".to_owned(),
            from: "finance.db/orders.parquet".into(),
            file: "orders.parquet".to_owned(),
            when: SystemTime::UNIX_EPOCH + Duration::from_nanos(1_790_000_000_123_456_789),
            why: Why::Replaced,
            version: Some("v".to_owned()),
            bytes: 7,
            replaced_by: Some(Mark { inode: 1, modified: Some((2, 3)) }),
            keeps_others: true,
        };
        let text = serde_json::to_string(&record).unwrap();
        assert!(text.contains("2026-09-21T") && text.contains("\"why\":\"replaced\""), "{text}");
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
        // What a later build may add is no damage.
        let more = text.replacen('{', "{\"later\":1,", 1);
        assert_eq!(serde_json::from_str::<Record>(&more).unwrap(), record);
    }
}
