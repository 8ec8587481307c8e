//! Where finished pages wait until their row group is full: in memory, and beyond a limit in files without names.
//!
//! Parquet wants the pages of a column one after the other, while batches bring all columns at once. So the
//! pages of a row group have to be kept somewhere, and row groups may be larger than memory.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parquet::arrow::arrow_writer::{PageKey, PageStore, PageStoreArgs, PageStoreFactory};
use parquet::errors::{ParquetError, Result};

use crate::error;

/// Memory for the pages of one file, and what makes files without names for those that it has no room for.
#[derive(Clone)]
pub(super) struct PageMemory(Arc<Shared>);

struct Shared {
    most_bytes: usize,
    held_bytes: AtomicUsize,
    create: Box<dyn Fn() -> error::Result<File> + Send + Sync>,
}

impl PageMemory {
    /// Up to `most_bytes` of pages are held in memory; files for the rest come from `create`.
    pub(super) fn new(
        most_bytes: usize,
        create: impl Fn() -> error::Result<File> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Shared { most_bytes, held_bytes: AtomicUsize::new(0), create: Box::new(create) }))
    }

    /// Stores for the columns of a row group. They share a file, which is gone with the last of them.
    pub(super) fn of_row_group(&self) -> Arc<dyn PageStoreFactory> {
        Arc::new(GroupPages { memory: self.clone(), spilled: Arc::default() })
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
        file.write_all_at(page, offset)?;
        Ok(offset)
    }

    fn read(&self, offset: u64, length: usize) -> Result<Bytes> {
        let mut page = vec![0; length];
        let file = self.file.get().ok_or_else(|| ParquetError::General("no page was spilled".to_owned()))?;
        file.read_exact_at(&mut page, offset)?;
        Ok(page.into())
    }
}

#[derive(Debug)]
struct GroupPages {
    memory: PageMemory,
    spilled: Arc<Spilled>,
}

impl PageStoreFactory for GroupPages {
    fn create(&self, _: &PageStoreArgs<'_>) -> Result<Box<dyn PageStore>> {
        Ok(Box::new(ColumnPages::new(self)))
    }
}

enum Page {
    Held(Bytes),
    Spilled { offset: u64, length: usize },
    Taken,
}

/// The pages of a column in a row group.
struct ColumnPages {
    memory: PageMemory,
    spilled: Arc<Spilled>,
    pages: Vec<Page>,
    held_bytes: usize,
}

impl ColumnPages {
    fn new(group: &GroupPages) -> Self {
        let (memory, spilled) = (group.memory.clone(), Arc::clone(&group.spilled));
        Self { memory, spilled, pages: Vec::new(), held_bytes: 0 }
    }

    fn release(&mut self, bytes: usize) {
        self.held_bytes -= bytes;
        self.memory.release(bytes);
    }
}

impl PageStore for ColumnPages {
    fn put(&mut self, value: Bytes) -> Result<PageKey> {
        let length = value.len();
        let page = if self.memory.reserve(length) {
            self.held_bytes += length;
            Page::Held(value)
        } else {
            Page::Spilled { offset: self.spilled.append(&value, &self.memory)?, length }
        };
        self.pages.push(page);
        Ok(PageKey::new(self.pages.len() as u64 - 1))
    }

    fn take(&mut self, key: PageKey) -> Result<Bytes> {
        let page = usize::try_from(key.get()).ok().and_then(|index| self.pages.get_mut(index));
        match page.map(|page| std::mem::replace(page, Page::Taken)) {
            Some(Page::Held(value)) => {
                self.release(value.len());
                Ok(value)
            }
            Some(Page::Spilled { offset, length }) => self.spilled.read(offset, length),
            Some(Page::Taken) | None => Err(ParquetError::General(format!("there is no page {key:?}"))),
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

    fn group() -> GroupPages {
        let memory = PageMemory::new(MOST, || Ok(tempfile::tempfile().unwrap()));
        GroupPages { memory, spilled: Arc::default() }
    }

    fn page(column: usize, index: usize) -> Bytes {
        vec![u8::try_from((column * 7 + index) % 251).unwrap(); 100 + 13 * index].into()
    }

    #[test]
    fn no_more_is_held_than_allowed_and_all_pages_come_back() {
        let group = group();
        let mut columns: Vec<_> = (0..3).map(|_| ColumnPages::new(&group)).collect();
        let mut keys = Vec::new();
        for index in 0..100 {
            for (column, pages) in columns.iter_mut().enumerate() {
                keys.push((column, index, pages.put(page(column, index)).unwrap()));
            }
            let held: usize = columns.iter().map(ColumnPages::memory_size).sum();
            assert!(held <= MOST, "{held} bytes are held");
        }
        for (column, index, key) in keys {
            assert_eq!(columns[column].take(key).unwrap(), page(column, index));
        }
        assert!(columns.iter().all(|pages| pages.memory_size() == 0));
    }

    #[test]
    fn what_was_taken_or_dropped_makes_room() {
        let group = group();
        let large = Bytes::from(vec![1; MOST]);
        let mut pages = ColumnPages::new(&group);
        let key = pages.put(large.clone()).unwrap();
        pages.take(key).unwrap();
        assert!(pages.take(key).is_err());
        pages.put(large.clone()).unwrap();
        drop(pages);
        ColumnPages::new(&group).put(large).unwrap();
        assert!(group.spilled.file.get().is_none());
    }
}
