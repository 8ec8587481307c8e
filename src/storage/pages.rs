//! Where finished pages wait until their row group is full: in memory, and beyond a limit in files without names.
//!
//! Parquet wants the pages of a column one after the other, while batches bring all columns at once. So the
//! pages of a row group have to be kept somewhere, and row groups may be larger than memory. On their way they are
//! given checksums.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use parquet::arrow::arrow_writer::{PageKey, PageStore, PageStoreArgs, PageStoreFactory};
use parquet::errors::{ParquetError, Result};

use super::page_headers::{PageKind, with_checksum};
use crate::error;

/// Memory for the pages of one file, and what makes files without names for those that it has no room for.
#[derive(Clone)]
pub(super) struct PageMemory(Arc<Shared>);

struct Shared {
    most_bytes: usize,
    held_bytes: AtomicUsize,
    create: Box<dyn Fn() -> error::Result<File> + Send + Sync>,
    /// Makes room where the disk is full; false if there is none to make.
    give_room: Box<dyn Fn() -> bool + Send + Sync>,
}

impl PageMemory {
    /// Up to `most_bytes` of pages are held in memory; files for the rest come from `create`.
    #[cfg(test)]
    pub(super) fn new(
        most_bytes: usize,
        create: impl Fn() -> error::Result<File> + Send + Sync + 'static,
    ) -> Self {
        Self::with(most_bytes, Box::new(create), Box::new(|| false))
    }

    /// Up to `most_bytes` of pages are held in memory; files for the rest come from `create`, and `give_room` may make
    /// room on a disk that is full.
    pub(super) fn with_room(
        most_bytes: usize,
        create: impl Fn() -> error::Result<File> + Send + Sync + 'static,
        give_room: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Self {
        Self::with(most_bytes, Box::new(create), Box::new(give_room))
    }

    fn with(
        most_bytes: usize,
        create: Box<dyn Fn() -> error::Result<File> + Send + Sync>,
        give_room: Box<dyn Fn() -> bool + Send + Sync>,
    ) -> Self {
        Self(Arc::new(Shared { most_bytes, held_bytes: AtomicUsize::new(0), create, give_room }))
    }

    /// Stores for the columns of a row group. They share a file, which is gone with the last of them.
    pub(super) fn of_row_group(&self) -> GroupPages {
        GroupPages { memory: self.clone(), group: Arc::default() }
    }

    /// Takes room for so many bytes, if there is as much.
    fn reserve(&self, bytes: usize) -> bool {
        let Shared { most_bytes, held_bytes, .. } = self.0.as_ref();
        let more = |held: usize| held.checked_add(bytes).filter(|held| held <= most_bytes);
        held_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    fn release(&self, bytes: usize) {
        self.0.held_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl fmt::Debug for PageMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { most_bytes, held_bytes, .. } = self.0.as_ref();
        f.debug_struct("PageMemory").field("most_bytes", most_bytes).field("held_bytes", held_bytes).finish()
    }
}

/// Bytes that checksums have added to the headers of a column's pages in a row group.
#[derive(Debug, Clone, Default)]
pub(super) struct Added {
    /// To that of its dictionary.
    pub(super) dictionary: i64,
    /// To those of its data pages, in their order.
    pub(super) pages: Vec<i32>,
}

/// What the columns of a row group share.
#[derive(Debug, Default)]
struct Group {
    spilled: Spilled,
    /// By the number of the leaf.
    added: Mutex<BTreeMap<usize, Added>>,
}

/// The pages of a row group that are not held in memory.
#[derive(Debug, Default)]
struct Spilled {
    file: OnceLock<File>,
    bytes: AtomicU64,
}

impl Spilled {
    /// Appends a page, and says where it begins.
    fn append(&self, page: &[u8], memory: &PageMemory) -> Result<u64> {
        let file = if let Some(file) = self.file.get() {
            file
        } else {
            // Where several columns come here at once, all but the first drop theirs.
            let created = (memory.0.create)().map_err(|error| ParquetError::External(error.into()))?;
            self.file.get_or_init(|| created)
        };
        let offset = self.bytes.fetch_add(page.len() as u64, Ordering::Relaxed);
        loop {
            match file.write_all_at(page, offset) {
                Err(error) if error.kind() == ErrorKind::StorageFull && (memory.0.give_room)() => {}
                written => return Ok(written.map(|()| offset)?),
            }
        }
    }

    fn read(&self, offset: u64, length: usize) -> Result<Bytes> {
        let mut page = vec![0; length];
        let file = self.file.get().ok_or_else(|| ParquetError::General("no page was spilled".to_owned()))?;
        file.read_exact_at(&mut page, offset)?;
        Ok(page.into())
    }
}

/// Makes the stores of a row group's columns.
#[derive(Debug, Clone)]
pub(super) struct GroupPages {
    memory: PageMemory,
    group: Arc<Group>,
}

impl GroupPages {
    /// What checksums have added to the pages of a leaf.
    pub(super) fn added(&self, leaf: usize) -> Added {
        let mut added = self.group.added.lock().unwrap_or_else(PoisonError::into_inner);
        added.remove(&leaf).unwrap_or_default()
    }

    fn column(&self, leaf: usize) -> ColumnPages {
        ColumnPages { pages: self.clone(), leaf, header: None, kept: Vec::new(), held_bytes: 0 }
    }
}

impl PageStoreFactory for GroupPages {
    fn create(&self, args: &PageStoreArgs<'_>) -> Result<Box<dyn PageStore>> {
        Ok(Box::new(self.column(args.column_index())))
    }
}

enum Kept {
    Held(Bytes),
    Spilled {
        offset: u64,
        length: usize,
    },
    /// Taken, or a header whose page is yet to come.
    Nothing,
}

/// The pages of a column in a row group.
struct ColumnPages {
    pages: GroupPages,
    leaf: usize,
    /// The header of a page that is yet to come.
    header: Option<Bytes>,
    /// Headers and pages, in turn.
    kept: Vec<Kept>,
    held_bytes: usize,
}

impl ColumnPages {
    fn release(&mut self, bytes: usize) {
        self.held_bytes -= bytes;
        self.pages.memory.release(bytes);
    }

    fn keep(&mut self, value: Bytes) -> Result<Kept> {
        let length = value.len();
        if self.pages.memory.reserve(length) {
            self.held_bytes += length;
            return Ok(Kept::Held(value));
        }
        let offset = self.pages.group.spilled.append(&value, &self.pages.memory)?;
        Ok(Kept::Spilled { offset, length })
    }

    /// The header of `page` with its checksum.
    fn completed(&self, header: &[u8], page: &[u8]) -> Result<Bytes> {
        let (with, kind) = with_checksum(header, page)
            .ok_or_else(|| ParquetError::General("a page has an unknown header".to_owned()))?;
        let bytes = with.len() - header.len();
        let mut added = self.pages.group.added.lock().unwrap_or_else(PoisonError::into_inner);
        let added = added.entry(self.leaf).or_default();
        match kind {
            PageKind::Data => added.pages.push(i32::try_from(bytes)?),
            PageKind::Dictionary => added.dictionary += i64::try_from(bytes)?,
        }
        Ok(with)
    }
}

impl PageStore for ColumnPages {
    fn put(&mut self, value: Bytes) -> Result<PageKey> {
        let kept = match self.header.take() {
            None => {
                self.header = Some(value);
                Kept::Nothing
            }
            Some(header) => {
                let header = self.completed(&header, &value)?;
                let header = self.keep(header)?;
                if let Some(place) = self.kept.last_mut() {
                    *place = header;
                }
                self.keep(value)?
            }
        };
        self.kept.push(kept);
        Ok(PageKey::new(self.kept.len() as u64 - 1))
    }

    fn take(&mut self, key: PageKey) -> Result<Bytes> {
        let kept = usize::try_from(key.get()).ok().and_then(|index| self.kept.get_mut(index));
        match kept.map(|kept| std::mem::replace(kept, Kept::Nothing)) {
            Some(Kept::Held(value)) => {
                self.release(value.len());
                Ok(value)
            }
            Some(Kept::Spilled { offset, length }) => self.pages.group.spilled.read(offset, length),
            Some(Kept::Nothing) | None => Err(ParquetError::General(format!("there is no page {key:?}"))),
        }
    }

    fn memory_size(&self) -> usize {
        self.held_bytes
    }
}

impl Drop for ColumnPages {
    fn drop(&mut self) {
        self.release(self.held_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 10_000;
    /// The header of a data page of ten values.
    const HEADER: [u8; 17] = [0x15, 0, 0x15, 2, 0x15, 2, 0x2C, 0x15, 20, 0x15, 0, 0x15, 6, 0x15, 6, 0, 0];

    fn group() -> GroupPages {
        PageMemory::new(MOST, || Ok(tempfile::tempfile().unwrap())).of_row_group()
    }

    fn page(column: usize, index: usize) -> Bytes {
        vec![u8::try_from((column * 7 + index) % 251).unwrap(); 100 + 13 * index].into()
    }

    fn put(pages: &mut ColumnPages, page: Bytes) -> [PageKey; 2] {
        [pages.put(Bytes::from_static(&HEADER)).unwrap(), pages.put(page).unwrap()]
    }

    #[test]
    fn no_more_is_held_than_allowed_and_all_pages_come_back_with_checksums() {
        let group = group();
        let mut columns: Vec<_> = (0..3).map(|leaf| group.column(leaf)).collect();
        let mut keys = Vec::new();
        for index in 0..100 {
            for (column, pages) in columns.iter_mut().enumerate() {
                keys.push((column, index, put(pages, page(column, index))));
            }
            let held: usize = columns.iter().map(ColumnPages::memory_size).sum();
            assert!(held <= MOST, "{held} bytes are held");
        }
        for (column, index, [header, key]) in keys {
            let page = page(column, index);
            let header = columns[column].take(header).unwrap();
            assert_eq!(header, with_checksum(&HEADER, &page).unwrap().0);
            assert_eq!(columns[column].take(key).unwrap(), page);
        }
        assert!(columns.iter().all(|pages| pages.memory_size() == 0));
        let added = group.added(2);
        assert_eq!((added.dictionary, added.pages.len()), (0, 100));
        assert!(added.pages.iter().all(|bytes| (3..=6).contains(bytes)), "{added:?}");
    }

    #[test]
    fn what_was_taken_or_dropped_makes_room() {
        let group = group();
        let large = Bytes::from(vec![1; MOST - 30]);
        let mut pages = group.column(0);
        let [header, key] = put(&mut pages, large.clone());
        pages.take(header).unwrap();
        pages.take(key).unwrap();
        assert!(pages.take(key).is_err());
        put(&mut pages, large.clone());
        drop(pages);
        put(&mut group.column(0), large);
        assert!(group.group.spilled.file.get().is_none());
    }
}
