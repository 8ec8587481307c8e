//! How much the trash holds, and for how long.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::record::{Record, TrashId};

/// The limits of the trash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrashOptions {
    /// How long what was dropped or replaced is kept; zero: not at all.
    pub retention: Duration,
    /// The most bytes; `None`: a tenth of the file system.
    pub limit: Option<u64>,
    /// The most entries.
    pub entries: usize,
}

impl Default for TrashOptions {
    fn default() -> Self {
        Self { retention: Duration::from_secs(7 * 24 * 3600), limit: None, entries: 10_000 }
    }
}

/// The entries that are known, the oldest first.
pub(super) type Entries = BTreeMap<TrashId, Arc<Record>>;

/// The entries that have to go: those whose time is up; of the others the oldest, while they have more than `limit`
/// bytes together; and where they are too many, the oldest of what was displaced most often, so that a table that is
/// replaced every second does not push out the one that was dropped yesterday.
pub(super) fn excess(entries: &Entries, options: &TrashOptions, limit: u64, now: SystemTime) -> Vec<TrashId> {
    let is_over = |record: &Record| now.duration_since(record.when).unwrap_or_default() >= options.retention;
    let (mut gone, mut kept) = (Vec::new(), Vec::new());
    for (id, record) in entries {
        if is_over(record) { gone.push(*id) } else { kept.push((*id, record.as_ref())) }
    }
    let mut bytes: u64 = kept.iter().map(|(_, record)| record.bytes).sum();
    let mut first = 0;
    while bytes > limit && first < kept.len() {
        bytes -= kept[first].1.bytes;
        first += 1;
    }
    gone.extend(kept.drain(..first).map(|(id, _)| id));
    if kept.len() > options.entries {
        gone.extend(too_many(&kept, kept.len() - options.entries));
    }
    gone
}

fn too_many(kept: &[(TrashId, &Record)], surplus: usize) -> Vec<TrashId> {
    let mut by_name: HashMap<(&str, &str), Vec<TrashId>> = HashMap::new();
    for (id, record) in kept.iter().rev() {
        by_name.entry((&record.schema, &record.name)).or_default().push(*id);
    }
    let mut gone = Vec::with_capacity(surplus);
    for _ in 0..surplus {
        // Among equals the one with the oldest entry, which is the last.
        let fullest =
            by_name.values_mut().max_by_key(|ids| (ids.len(), std::cmp::Reverse(ids.last().copied())));
        gone.extend(fullest.and_then(Vec::pop));
    }
    gone
}

#[cfg(test)]
mod tests {
    use super::super::record::Why;
    use super::*;

    const DAY: u64 = 24 * 3600;

    fn entries(of: &[(&str, u64, u64)]) -> (Entries, Vec<TrashId>, SystemTime) {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000 * DAY);
        let entry = |(name, days, bytes): &(&str, u64, u64)| {
            let record = Record {
                schema: "public".to_owned(),
                name: (*name).to_owned(),
                from: (*name).into(),
                file: (*name).to_owned(),
                when: now - Duration::from_secs(days * DAY),
                why: Why::Dropped,
                version: None,
                bytes: *bytes,
                replaced_by: None,
                keeps_others: false,
            };
            (TrashId::new(), Arc::new(record))
        };
        let all: Vec<_> = of.iter().map(entry).collect();
        let ids = all.iter().map(|(id, _)| *id).collect();
        (all.into_iter().collect(), ids, now)
    }

    #[test]
    fn what_is_over_its_time_goes_then_the_oldest_beyond_the_limit() {
        let (entries, ids, now) = entries(&[("a", 7, 5), ("b", 6, 10), ("c", 2, 20), ("d", 0, 30)]);
        let options = TrashOptions::default();
        assert_eq!(excess(&entries, &options, 1000, now), ids[..1]);
        assert_eq!(excess(&entries, &options, 60, now), ids[..1]);
        assert_eq!(excess(&entries, &options, 50, now), ids[..2]);
        assert_eq!(excess(&entries, &options, 29, now), ids);
        let none = TrashOptions { retention: Duration::ZERO, ..options };
        assert_eq!(excess(&entries, &none, 1000, now), ids);
        // A clock that was set back takes nothing away.
        assert!(excess(&entries, &options, 1000, SystemTime::UNIX_EPOCH).is_empty());
    }

    #[test]
    fn of_too_many_those_go_that_were_displaced_most_often() {
        let (entries, ids, now) =
            entries(&[("old", 6, 1), ("t", 3, 1), ("t", 2, 1), ("t", 1, 1), ("u", 1, 1), ("t", 0, 1)]);
        let most = |entries| TrashOptions { entries, ..TrashOptions::default() };
        assert!(excess(&entries, &most(6), 100, now).is_empty());
        assert_eq!(excess(&entries, &most(4), 100, now), ids[1..3]);
        assert_eq!(excess(&entries, &most(2), 100, now), [ids[1], ids[2], ids[3], ids[0]]);
        assert_eq!(excess(&entries, &most(0), 100, now).len(), 6);
    }
}
