//! What a machine that loses power can leave of the calls that a server made: a simulated file system.
//!
//! What is certain is what was synced: the bytes of a file up to its last sync, and a name once its directory was synced after
//! it was given or taken away. Of all other changes of names any may be there and any may not, and of the bytes that were not
//! synced none, half or all. That is less than file systems promise which keep a journal.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

/// `RENAME_EXCHANGE` of renameat2(2).
const EXCHANGE: u64 = 2;
/// Of so many changes that are not certain all selections are tried; of more, the first so many, and all but one.
const SELECTED: usize = 8;
/// The size of a directory in a trace.
const DIRECTORY: i64 = -1;

/// What a name stands for. A number of an inode comes again once the inode is free, its life does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Object {
    inode: u64,
    /// One more than the place of the call that made it; 0 for what was there before.
    life: usize,
    is_directory: bool,
}

type Place = (u64, String);

/// A change of names, which is made at once or not at all.
#[derive(Debug, Clone)]
enum Naming {
    Give(Place, Object),
    Take(Place),
    /// The moved object is found at its new name wherever its old one was lost. What it was exchanged for takes that.
    Move {
        from: Place,
        to: Place,
        moved: Object,
        exchanged: Option<Object>,
    },
}

impl Naming {
    /// The directory whose sync makes it certain.
    fn directory(&self) -> u64 {
        match self {
            Self::Give(place, _) | Self::Take(place) | Self::Move { to: place, .. } => place.0,
        }
    }
}

#[derive(Debug, Clone)]
enum Call {
    Name(Naming),
    /// The object has this size by now.
    Size(Object, u64),
    Sync(u64),
}

/// The names in each directory, by the directory's inode.
#[derive(Debug, Clone, Default)]
struct Names(HashMap<u64, BTreeMap<String, Object>>);

impl Names {
    fn get(&self, place: &Place) -> Option<Object> {
        self.0.get(&place.0)?.get(&place.1).copied()
    }

    fn set(&mut self, (directory, name): &Place, object: Option<Object>) {
        let names = self.0.entry(*directory).or_default();
        match object {
            Some(object) => names.insert(name.clone(), object),
            None => names.remove(name),
        };
    }

    fn apply(&mut self, naming: &Naming) {
        match naming {
            Naming::Give(place, object) => self.set(place, Some(*object)),
            Naming::Take(place) => self.set(place, None),
            Naming::Move { from, to, moved, exchanged } => {
                self.set(to, Some(*moved));
                self.set(from, *exchanged);
            }
        }
    }
}

/// What a root held, and the calls that were made on it since.
#[derive(Debug)]
pub(crate) struct History {
    root: u64,
    before: Names,
    contents: HashMap<Object, Arc<[u8]>>,
    calls: Vec<Call>,
    /// How many calls the first so many lines of the trace make.
    until: Vec<usize>,
}

/// How much of the bytes that were not synced is there.
#[derive(Debug, Clone, Copy)]
enum Unsynced {
    None,
    Half,
    All,
}

/// What a loss of power leaves.
#[derive(Debug)]
pub(crate) struct Left {
    /// How many calls had been made.
    pub(crate) calls: usize,
    /// What it looks like, for messages.
    pub(crate) what: String,
    names: Names,
    sizes: HashMap<Object, u64>,
}

impl History {
    /// Begins with what `root` holds.
    pub(crate) fn begin(root: &Path) -> Self {
        let inode = fs::metadata(root).unwrap().ino();
        let mut history = Self {
            root: inode,
            before: Names::default(),
            contents: HashMap::new(),
            calls: Vec::new(),
            until: vec![0],
        };
        history.scan(root, inode);
        history
    }

    fn scan(&mut self, directory: &Path, inode: u64) {
        self.before.0.entry(inode).or_default();
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let found = entry.metadata().unwrap();
            let object = Object { inode: found.ino(), life: 0, is_directory: found.is_dir() };
            self.before.set(&(inode, entry.file_name().into_string().unwrap()), Some(object));
            if found.is_dir() {
                self.scan(&entry.path(), object.inode);
            } else {
                self.contents.insert(object, fs::read(entry.path()).unwrap().into());
            }
        }
    }

    /// Takes in the calls that the trace in `folder` has noted.
    pub(crate) fn read(&mut self, folder: &Path) {
        let text = fs::read_to_string(folder.join("calls")).unwrap();
        let (mut names, mut lives) = (self.before.clone(), HashMap::new());
        for line in text.lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            self.take_in(folder, &fields, &mut names, &mut lives);
            self.until.push(self.calls.len());
        }
    }

    /// How many calls the first `lines` of the trace make.
    pub(crate) fn calls_of(&self, lines: usize) -> usize {
        self.until[lines]
    }

    fn take_in(
        &mut self,
        folder: &Path,
        fields: &[&str],
        names: &mut Names,
        lives: &mut HashMap<u64, usize>,
    ) {
        let number = |place: usize| fields[place].parse::<u64>().unwrap();
        let (what, inode, size) = (fields[0], number(1), fields[2].parse::<i64>().unwrap());
        let place: Place = (number(3), fields[4].to_owned());
        let is_directory = size == DIRECTORY;
        let life = lives.get(&inode).copied().unwrap_or(0);
        let object = Object { inode, life, is_directory };
        let call = match what {
            "kept" => {
                let bytes: Arc<[u8]> = fs::read(folder.join(fields[3])).unwrap().into();
                let known = self.contents.insert(object, Arc::clone(&bytes));
                assert!(
                    life > 0 || known.is_none_or(|known| known == bytes),
                    "a file is written in its place"
                );
                return;
            }
            "openat" | "openat2" | "mkdirat" | "mkdir" => {
                let is_new = !["", ".", ".."].contains(&fields[4]) && names.0.contains_key(&place.0);
                if !is_new || names.get(&place).is_some() {
                    return;
                }
                lives.insert(inode, self.calls.len() + 1);
                Call::Name(Naming::Give(place, Object { life: self.calls.len() + 1, ..object }))
            }
            "linkat" => {
                let linked = names.get(&place).unwrap();
                Call::Name(Naming::Give((number(5), fields[6].to_owned()), linked))
            }
            "unlinkat" | "unlink" => Call::Name(Naming::Take(place)),
            "rename" | "renameat" | "renameat2" => {
                let to = (number(5), fields[6].to_owned());
                let moved = names.get(&place).unwrap();
                let exchanged = names.get(&to).filter(|_| number(7) == EXCHANGE);
                Call::Name(Naming::Move { from: place, to, moved, exchanged })
            }
            "write" | "pwrite64" | "writev" | "ftruncate" => Call::Size(object, size.try_into().unwrap()),
            "fsync" | "fdatasync" => Call::Sync(inode),
            "utimensat" => return,
            other => panic!("a call that is not known here: {other}"),
        };
        if let Call::Name(naming) = &call {
            names.apply(naming);
            if let Naming::Give(_, Object { inode, is_directory: true, .. }) = naming {
                names.0.insert(*inode, BTreeMap::new());
            }
        }
        self.calls.push(call);
    }

    /// How many states a loss of power can leave, at any time from the first call to the last, and those that differ in what
    /// is there or in what was acknowledged by then.
    pub(crate) fn left(&self, acknowledged: &[usize]) -> (usize, Vec<Left>) {
        let (mut all, mut known, mut distinct) = (0, HashSet::new(), Vec::new());
        for calls in 0..=self.calls.len() {
            for lost in selections(&self.uncertain(calls)) {
                let names = self.names(calls, &lost);
                for unsynced in [Unsynced::None, Unsynced::Half, Unsynced::All] {
                    all += 1;
                    let sizes = self.sizes(calls, unsynced);
                    let what = self.listing(&names, &sizes, self.root, "");
                    let mut hasher = DefaultHasher::new();
                    let known_by_then: Vec<bool> = acknowledged.iter().map(|at| calls >= *at).collect();
                    (&what, known_by_then).hash(&mut hasher);
                    if known.insert(hasher.finish()) {
                        distinct.push(Left { calls, what, names: names.clone(), sizes });
                    }
                }
            }
        }
        (all, distinct)
    }

    /// The changes of names among the first `calls` that no sync has made certain.
    fn uncertain(&self, calls: usize) -> Vec<usize> {
        let is_uncertain = |place: &usize| match &self.calls[*place] {
            Call::Name(naming) => {
                let synced = |call: &Call| matches!(call, Call::Sync(inode) if *inode == naming.directory());
                !self.calls[*place..calls].iter().any(synced)
            }
            _ => false,
        };
        (0..calls).filter(is_uncertain).collect()
    }

    /// The names after `calls`, of which some were `lost`.
    fn names(&self, calls: usize, lost: &[usize]) -> Names {
        let mut names = self.before.clone();
        for (place, call) in self.calls[..calls].iter().enumerate() {
            if let Call::Name(naming) = call
                && !lost.contains(&place)
            {
                names.apply(naming);
            }
        }
        names
    }

    fn sizes(&self, calls: usize, unsynced: Unsynced) -> HashMap<Object, u64> {
        let (mut synced, mut now): (HashMap<Object, u64>, HashMap<Object, u64>) = Default::default();
        for (place, call) in self.calls[..calls].iter().enumerate() {
            match call {
                Call::Size(object, size) => {
                    now.insert(*object, *size);
                }
                Call::Name(Naming::Give(_, object)) if !object.is_directory && object.life == place + 1 => {
                    now.insert(*object, 0);
                }
                Call::Sync(inode) => {
                    let of_inode = now.iter().filter(|(object, _)| object.inode == *inode);
                    synced.extend(of_inode.map(|(object, size)| (*object, *size)));
                }
                Call::Name(_) => {}
            }
        }
        let left = now.into_iter().map(|(object, size)| {
            let held =
                self.contents.get(&object).filter(|_| object.life == 0).map_or(0, |bytes| bytes.len() as u64);
            let certain = synced.get(&object).copied().unwrap_or(held);
            let left = match unsynced {
                Unsynced::None => certain,
                Unsynced::Half => certain.midpoint(size),
                Unsynced::All => size,
            };
            (object, left)
        });
        left.collect()
    }

    /// The paths and sizes of all files below a directory.
    fn listing(&self, names: &Names, sizes: &HashMap<Object, u64>, directory: u64, path: &str) -> String {
        let mut text = String::new();
        for (name, object) in names.0.get(&directory).into_iter().flatten() {
            let path = format!("{path}/{name}");
            if object.is_directory {
                text += &format!("{path}/\n{}", self.listing(names, sizes, object.inode, &path));
            } else {
                let size = self.size(*object, sizes);
                text += &format!("{path} {size} {}.{}\n", object.inode, object.life);
            }
        }
        text
    }

    fn size(&self, object: Object, sizes: &HashMap<Object, u64>) -> u64 {
        let whole = || self.contents.get(&object).map_or(0, |bytes| bytes.len() as u64);
        sizes.get(&object).copied().unwrap_or_else(whole)
    }

    /// Makes at `root` what a loss of power has left.
    pub(crate) fn restore(&self, left: &Left, root: &Path) {
        let mut made = HashMap::new();
        self.restore_directory(left, self.root, root, &mut made);
        correct_marks(root, &made);
    }

    /// `made` gets what each inode has become.
    fn restore_directory(
        &self,
        left: &Left,
        directory: u64,
        path: &Path,
        made: &mut HashMap<u64, fs::Metadata>,
    ) {
        fs::create_dir_all(path).unwrap();
        for (name, object) in left.names.0.get(&directory).into_iter().flatten() {
            let path = path.join(name);
            if object.is_directory {
                self.restore_directory(left, object.inode, &path, made);
            } else {
                let mut bytes = self.contents.get(object).map(|bytes| bytes.to_vec()).unwrap_or_default();
                // Bytes that nobody has seen synced are none.
                bytes.resize(self.size(*object, &left.sizes).try_into().unwrap(), 0);
                fs::write(&path, bytes).unwrap();
            }
            made.insert(object.inode, fs::metadata(path).unwrap());
        }
    }
}

/// The trash tells files apart by inode and time, which are others here.
fn correct_marks(root: &Path, made: &HashMap<u64, fs::Metadata>) {
    for entry in fs::read_dir(root.join(".airstrip/trash")).into_iter().flatten() {
        let path = entry.unwrap().path();
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let Ok(mut record) = serde_json::from_str::<serde_json::Value>(&text) else { continue };
        let Some(mark) = record.get_mut("replacedBy") else { continue };
        let Some(found) = mark["inode"].as_u64().and_then(|inode| made.get(&inode)) else { continue };
        mark["inode"] = found.ino().into();
        if mark.get("modified").is_some() {
            mark["modified"] = serde_json::json!([found.mtime(), found.mtime_nsec()]);
        }
        fs::write(path, record.to_string()).unwrap();
    }
}

/// The selections of uncertain changes that may be lost together.
fn selections(uncertain: &[usize]) -> Vec<Vec<usize>> {
    let count = uncertain.len();
    if count <= SELECTED {
        let chosen =
            |bits: usize| (0..count).filter(|bit| bits >> bit & 1 == 1).map(|bit| uncertain[bit]).collect();
        return (0..1 << count).map(chosen).collect();
    }
    let from = (0..=count).map(|first| uncertain[first..].to_vec());
    from.chain(uncertain.iter().map(|one| vec![*one])).collect()
}
