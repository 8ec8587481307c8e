//! A file that was opened once and is read through that descriptor to the end.

use std::fs::{File, Metadata};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use cap_std::fs::{Dir, MetadataExt as _};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use rustix::buffer::spare_capacity;
use rustix::fs::{Statx, StatxFlags, StatxTimestamp, makedev};
use rustix::io::pread;

use super::area::{io_error, open_file, read_error};
use super::disk::check_reserve;
use super::names::ColumnNames;
use crate::error::{Error, Result};

/// The identity of a file's content as far as the file system can tell, and its times.
///
/// Two stats with the same identity (device, inode, size, mtime) are taken for the same bytes. Our
/// own uploads set a fresh mtime in nanoseconds before they are published, so a reused inode never
/// looks like its predecessor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct FileStat {
    /// Device, inode, size in bytes and mtime in nanoseconds since the epoch.
    pub identity: FileIdentity,
    /// When the inode was last changed, in nanoseconds: tells apart what copies with an old mtime hide.
    /// No part of the identity, since a rename changes it too.
    pub(super) changed_nanos: i128,
    /// When the file was created, where the file system records it.
    pub created: Option<SystemTime>,
}

/// See [`FileStat`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct FileIdentity {
    device: u64,
    inode: u64,
    size: u64,
    mtime_nanos: i128,
}

impl FileIdentity {
    /// The four numbers, for digests.
    pub fn to_bytes(self) -> [u8; 40] {
        let mut bytes = [0; 40];
        bytes[..8].copy_from_slice(&self.device.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.inode.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.size.to_le_bytes());
        bytes[24..].copy_from_slice(&self.mtime_nanos.to_le_bytes());
        bytes
    }

    /// Inode, mtime and size as an HTTP server tells them.
    pub(super) fn e_tag(self) -> String {
        format!("{:x}-{:x}-{:x}", self.inode, self.mtime_nanos, self.size)
    }
}

impl FileStat {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            identity: FileIdentity {
                device: metadata.dev(),
                inode: metadata.ino(),
                size: metadata.len(),
                mtime_nanos: nanos(metadata.mtime(), metadata.mtime_nsec()),
            },
            changed_nanos: nanos(metadata.ctime(), metadata.ctime_nsec()),
            created: metadata.created().ok(),
        }
    }

    pub(super) fn of_cap(metadata: &cap_std::fs::Metadata) -> Self {
        Self {
            identity: FileIdentity {
                device: metadata.dev(),
                inode: metadata.ino(),
                size: metadata.len(),
                mtime_nanos: nanos(metadata.mtime(), metadata.mtime_nsec()),
            },
            changed_nanos: nanos(metadata.ctime(), metadata.ctime_nsec()),
            created: metadata.created().ok().map(cap_std::time::SystemTime::into_std),
        }
    }

    pub(super) fn of_statx(found: &Statx) -> Self {
        let time = |time: &StatxTimestamp| nanos(time.tv_sec, time.tv_nsec.into());
        let born = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::BTIME);
        Self {
            identity: FileIdentity {
                device: makedev(found.stx_dev_major, found.stx_dev_minor),
                inode: found.stx_ino,
                size: found.stx_size,
                mtime_nanos: time(&found.stx_mtime),
            },
            changed_nanos: time(&found.stx_ctime),
            created: born.then(|| system_time(time(&found.stx_btime))),
        }
    }

    /// Bytes on disk.
    pub fn size(&self) -> u64 {
        self.identity.size
    }

    /// When the content was last written.
    pub fn modified(&self) -> SystemTime {
        system_time(self.identity.mtime_nanos)
    }
}

fn system_time(nanos: i128) -> SystemTime {
    let distance = Duration::from_nanos(u64::try_from(nanos.unsigned_abs()).unwrap_or(u64::MAX));
    if nanos >= 0 { UNIX_EPOCH + distance } else { UNIX_EPOCH - distance }
}

fn nanos(seconds: i64, nanos: i64) -> i128 {
    i128::from(seconds) * 1_000_000_000 + i128::from(nanos)
}

/// A regular file held open. Clones share the descriptor; reads are positioned, so clones do not
/// disturb each other.
#[derive(Debug, Clone)]
pub struct HeldFile {
    inner: Arc<Inner>,
    /// What its columns are called, where that is not what they are called in it.
    names: Option<Arc<ColumnNames>>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    stat: FileStat,
    path: PathBuf,
}

impl HeldFile {
    /// Opens the regular file at `path` beneath `dir` and holds it. It is `called` so in messages.
    pub(super) fn open_in(dir: &Dir, path: &Path, called: &Path) -> Result<Self> {
        let file = open_file(dir, path).map_err(|error| io_error("open", called, error))?.into_std();
        Self::new(file, called)
    }

    /// Fails where the file has taken a descriptor that reads are to leave to others.
    pub(super) fn check_reserve(&self) -> Result<()> {
        check_reserve(&self.inner.file, &self.inner.path)
    }

    /// Holds `file`, which lies at `path` in its area.
    pub(super) fn new(file: File, path: &Path) -> Result<Self> {
        let metadata = file.metadata().map_err(|error| io_error("look at", path, error))?;
        if !metadata.is_file() {
            return Err(Error::not_found(format!("{} is not a file", path.display())));
        }
        let stat = FileStat::of(&metadata);
        Ok(Self { inner: Arc::new(Inner { file, stat, path: path.to_owned() }), names: None })
    }

    /// The same file, whose columns are called by other names than those in it.
    #[must_use]
    pub fn with_names(self, names: Option<Arc<ColumnNames>>) -> Self {
        Self { names, ..self }
    }

    /// The names that its columns are called by, where they are others than those in it.
    pub fn names(&self) -> Option<&Arc<ColumnNames>> {
        self.names.as_ref()
    }

    /// Identity and times as they were when the file was opened.
    pub fn stat(&self) -> &FileStat {
        &self.inner.stat
    }

    /// The path in its area, for messages.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Reads `length` bytes at `offset`.
    pub fn read(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        let end = offset.checked_add(length as u64).filter(|end| *end <= self.inner.stat.size());
        if end.is_none() {
            let path = self.inner.path.display();
            return Err(io::Error::other(Error::data_loss(format!("{path} points outside of itself"))));
        }
        // Not zeroed first: what is read is all that is taken.
        let mut buffer = Vec::with_capacity(length);
        while buffer.len() < length {
            let at = offset + buffer.len() as u64;
            match rustix::io::retry_on_intr(|| pread(&self.inner.file, spare_capacity(&mut buffer), at))? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                _ => buffer.truncate(length),
            }
        }
        Ok(buffer.into())
    }

    /// What a failed [`read`](Self::read) means.
    pub fn read_error(&self, error: io::Error) -> Error {
        if let Some(ours) = Error::find_in(&error) {
            return ours.duplicate();
        }
        let path = &self.inner.path;
        match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                Error::data_loss(format!("the file {} was cut while it was read", path.display()))
            }
            _ => read_error(path, error),
        }
    }

    /// Fails if the file was written to since it was opened. Replacing or removing it is no such
    /// change: the bytes behind this descriptor stay.
    pub fn check_unchanged(&self) -> Result<()> {
        let path = &self.inner.path;
        let now = self.inner.file.metadata().map_err(|error| io_error("look at", path, error))?;
        if FileStat::of(&now).identity == self.inner.stat.identity {
            return Ok(());
        }
        let path = path.display();
        Err(Error::data_loss(format!("{path} was written to while it was read; read it again")))
    }
}

impl Length for HeldFile {
    fn len(&self) -> u64 {
        self.inner.stat.size()
    }
}

impl ChunkReader for HeldFile {
    type T = BufReader<Positioned>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        Ok(BufReader::new(Positioned { file: self.clone(), offset: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        self.read(start, length).map_err(|error| ParquetError::External(Box::new(error)))
    }
}

/// A reader with a position of its own over a shared descriptor.
#[derive(Debug)]
pub struct Positioned {
    file: HeldFile,
    offset: u64,
}

impl Read for Positioned {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.inner.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}
