//! What lies in folders, remembered for as long as the file system says that it is the same.
//!
//! A dataset of thousands of folders is listed for each statement, since any program may put files into them. A folder's
//! own times tell whether a name came or went, so one look at them can stand for reading it. Its files are still looked at one
//! by one: what is written in place does not change the folder.
//!
//! Git's index knows the trap ("racy git"): a second change within one tick of the file system's clock leaves no trace. So
//! what is read of a folder that changed a moment ago is not remembered.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cap_std::fs::Dir;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use rustix::fs::{AtFlags, FileType, Statx, StatxFlags, fstatfs, statx};

use super::listing::Contents;

/// A folder that was changed less long ago is read each time: far longer than any tick, also on file systems that count in
/// whole seconds.
const YOUNG: Duration = Duration::from_secs(3);

/// The file systems of which it is known that a folder's times change with the names in it, whoever changes them: `f_type` of
/// statfs(2). Those of networks and of FUSE may give times of their own, or old ones.
const FAITHFUL: [u64; 8] = [
    0xef53,      // ext2, ext3, ext4
    0x5846_5342, // XFS
    0x9123_683e, // Btrfs
    0x0102_1994, // tmpfs
    0xf2f5_2010, // F2FS
    0x2fc1_2fc1, // ZFS
    0xca45_1a4e, // bcachefs
    0x794c_7630, // overlayfs
];

/// A folder, whatever it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    device: (u32, u32),
    inode: u64,
}

/// What changes with the names in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    modified: (i64, u32),
    changed: (i64, u32),
    size: u64,
    links: u32,
}

impl Mark {
    /// When it last changed, if the file system's clock is right.
    fn last(&self) -> Option<SystemTime> {
        let (seconds, nanos) = self.modified.max(self.changed);
        UNIX_EPOCH.checked_add(Duration::new(u64::try_from(seconds).ok()?, nanos))
    }
}

fn key_and_mark(found: &Statx) -> (Key, Mark) {
    let key = Key { device: (found.stx_dev_major, found.stx_dev_minor), inode: found.stx_ino };
    let mark = Mark {
        modified: (found.stx_mtime.tv_sec, found.stx_mtime.tv_nsec),
        changed: (found.stx_ctime.tv_sec, found.stx_ctime.tv_nsec),
        size: found.stx_size,
        links: found.stx_nlink,
    };
    (key, mark)
}

#[derive(Debug, Clone)]
struct Kept {
    mark: Mark,
    contents: Arc<Contents>,
}

#[derive(Debug, Clone)]
struct ByMemory;

impl Weighter<Key, Kept> for ByMemory {
    fn weight(&self, _: &Key, kept: &Kept) -> u64 {
        (size_of::<(Key, Kept)>() + kept.contents.memory_size()) as u64
    }
}

/// What lies in folders, within a budget of bytes.
#[derive(Debug)]
pub struct FolderCache {
    /// `None` where it has no room.
    kept: Option<Cache<Key, Kept, ByMemory>>,
    young: Duration,
}

impl FolderCache {
    /// A cache that holds up to `budget` bytes; 0 switches it off.
    pub fn new(budget: u64) -> Self {
        let estimated = usize::try_from(budget / 256).unwrap_or(usize::MAX).clamp(64, 1 << 20);
        let kept = (budget > 0).then(|| Cache::with_weighter(estimated, budget, ByMemory));
        Self { kept, young: YOUNG }
    }

    /// The cache for what lies below `top`, if what the file system there says can be relied on.
    pub(super) fn below<'a>(&'a self, top: &'a Dir) -> Option<Folders<'a>> {
        let kept = self.kept.as_ref()?;
        let file_system = u64::try_from(fstatfs(top).ok()?.f_type).ok()?;
        let (Key { device, .. }, _) = look(top, Path::new(""))?;
        FAITHFUL.contains(&file_system).then_some(Folders { kept, young: self.young, top, device })
    }
}

/// The folder at `path` below `top`: what it is, and what it is like.
fn look(top: &Dir, path: &Path) -> Option<(Key, Mark)> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
    let found = statx(top, path, flags, StatxFlags::BASIC_STATS).ok()?;
    (FileType::from_raw_mode(found.stx_mode.into()) == FileType::Directory).then(|| key_and_mark(&found))
}

/// The folders of one walk.
#[derive(Debug)]
pub(super) struct Folders<'a> {
    kept: &'a Cache<Key, Kept, ByMemory>,
    young: Duration,
    top: &'a Dir,
    /// Other file systems that are mounted below are none of those that were looked at.
    device: (u32, u32),
}

impl Folders<'_> {
    /// What lies in the folder at `path` below the walk's own, if it was read before and has not changed since.
    pub(super) fn find(&self, path: &Path) -> Option<Arc<Contents>> {
        let (key, mark) = look(self.top, path)?;
        self.kept.get(&key).filter(|kept| kept.mark == mark).map(|kept| kept.contents)
    }

    /// What the folder `dir`, which is about to be read, is like.
    pub(super) fn before(&self, dir: &Dir) -> Option<Before> {
        let now = SystemTime::now();
        let (key, mark) = look(dir, Path::new("")).filter(|(key, _)| key.device == self.device)?;
        let age = now.duration_since(mark.last()?).ok()?;
        (age >= self.young).then_some(Before { key, mark })
    }

    /// Remembers what was read of a folder after it was like this.
    pub(super) fn keep(&self, &Before { key, mark }: &Before, contents: &Arc<Contents>) {
        self.kept.insert(key, Kept { mark, contents: Arc::clone(contents) });
    }
}

/// A folder before it is read. What changes from then on is another mark.
#[derive(Debug)]
pub(super) struct Before {
    key: Key,
    mark: Mark,
}

#[cfg(test)]
impl FolderCache {
    /// A cache that takes ticks to be this long.
    pub(super) fn with_ticks(budget: u64, young: Duration) -> Self {
        Self { young, ..Self::new(budget) }
    }

    pub(super) fn len(&self) -> usize {
        self.kept.as_ref().map_or(0, Cache::len)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::thread::sleep;

    use super::*;
    use crate::storage::{Area, Part, list_parts};

    /// Longer than any tick of the file systems that tests run on.
    const TICK: Duration = Duration::from_millis(40);

    struct Table {
        root: tempfile::TempDir,
        area: Area,
        cache: FolderCache,
    }

    impl Table {
        /// A table of five folders.
        fn new(cache: FolderCache) -> Self {
            let root = tempfile::tempdir().unwrap();
            let area = Area::open(root.path()).unwrap();
            let table = Self { root, area, cache };
            (0..5).for_each(|k| table.write(&format!("k={k}/part.parquet"), 1));
            table
        }

        fn place(&self, path: &str) -> std::path::PathBuf {
            self.root.path().join("t").join(path)
        }

        fn write(&self, path: &str, bytes: usize) {
            let place = self.place(path);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::write(place, vec![0; bytes]).unwrap();
        }

        fn parts(&self, cache: &FolderCache) -> Vec<Part> {
            list_parts(&self.area, Path::new("t"), 100, cache).unwrap().parts
        }

        /// Fails unless the cache leads to what is there.
        #[track_caller]
        fn check(&self, what: &str) {
            assert_eq!(self.parts(&self.cache), self.parts(&FolderCache::new(0)), "{what}");
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "other programs change the table")]
    fn whatever_changes_in_a_folder_is_seen() {
        let table = Table::new(FolderCache::with_ticks(1 << 20, TICK));
        sleep(2 * TICK);
        table.check("at first");
        assert_eq!(table.cache.len(), 6, "the table's folder, and five in it");
        table.check("once more");
        let changes: [(&str, &dyn Fn()); 9] = [
            ("a file more", &|| table.write("k=1/more.parquet", 2)),
            ("a file less", &|| fs::remove_file(table.place("k=1/part.parquet")).unwrap()),
            ("a file of another name", &|| {
                fs::rename(table.place("k=1/more.parquet"), table.place("k=1/most.parquet")).unwrap();
            }),
            ("a file that is written in place", &|| {
                fs::write(table.place("k=2/part.parquet"), "longer").unwrap();
            }),
            ("a folder more", &|| table.write("k=9/part.parquet", 3)),
            ("a folder further down", &|| table.write("k=3/l=1/part.parquet", 4)),
            ("a file further down", &|| table.write("k=3/l=1/more.parquet", 5)),
            ("a folder in the place of another", &|| {
                fs::rename(table.place("k=4"), table.root.path().join("aside")).unwrap();
                fs::rename(table.place("k=9"), table.place("k=4")).unwrap();
            }),
            ("a folder less", &|| fs::remove_dir_all(table.place("k=0")).unwrap()),
        ];
        for (what, change) in changes {
            change();
            table.check(what);
            // By now it is remembered.
            sleep(2 * TICK);
            table.check(what);
            table.check(what);
        }
    }

    #[test]
    fn what_changed_a_moment_ago_is_read_again() {
        let table = Table::new(FolderCache::new(1 << 20));
        table.check("young folders");
        assert_eq!(table.cache.len(), 0);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "nothing else runs")]
    fn what_is_elsewhere_is_looked_at_each_time() {
        let table = Table::new(FolderCache::with_ticks(1 << 20, TICK));
        symlink("part.parquet", table.place("k=0/link.parquet")).unwrap();
        table.write("k=1/metadata/note.txt", 1);
        sleep(2 * TICK);
        table.check("links");
        // Not those of the link and of what could become an Iceberg table.
        assert_eq!(table.cache.len(), 5);
        table.write("k=1/metadata/v1.metadata.json", 1);
        let listed = list_parts(&table.area, Path::new("t"), 100, &table.cache);
        assert!(listed.unwrap_err().to_string().contains("an Apache Iceberg table"));
    }
}
