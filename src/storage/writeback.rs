//! A file that goes to the disk while more of it is written.
//!
//! Left to itself the kernel keeps what is written in memory for seconds, and a sync at the end finds all of it still
//! to be done, with nothing else to do meanwhile.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use super::root::Root;
use crate::safeguard::Safeguard;

/// Bytes that are written before they are sent to the disk.
const STEP: usize = 32 << 20;

/// Makes what a file holds durable; `safeguard` says which of the syncs this is.
pub(super) fn sync_file(file: &File, safeguard: Safeguard) -> io::Result<()> {
    if safeguard.stands() { file.sync_all() } else { Ok(()) }
}

/// Syncs a file in steps, beside its writer.
#[derive(Debug)]
pub(super) struct Writeback {
    file: Arc<File>,
    /// Bytes written since the last sync began.
    unsynced: usize,
    syncing: Option<JoinHandle<io::Result<()>>>,
    /// Whose trash makes room where the disk is full.
    root: Option<Arc<Root>>,
}

impl Writeback {
    pub(super) fn new(file: File) -> Self {
        Self { file: Arc::new(file), unsynced: 0, syncing: None, root: None }
    }

    /// Where the disk is full, what is in the trash of `root` goes.
    pub(super) fn with_room(self, root: Arc<Root>) -> Self {
        Self { root: Some(root), ..self }
    }

    /// The file once nobody syncs it any more. Its last bytes are still to be synced.
    pub(super) fn into_file(mut self) -> io::Result<Arc<File>> {
        self.join()?;
        Ok(self.file)
    }

    fn sync_in_background(&mut self) -> io::Result<()> {
        if self.syncing.as_ref().is_some_and(|syncing| !syncing.is_finished()) {
            return Ok(());
        }
        self.join()?;
        let file = Arc::clone(&self.file);
        // Where there is no thread for it the sync at the end does it all.
        self.syncing = Builder::new().name("sync".to_owned()).spawn(move || file.sync_data()).ok();
        self.unsynced = 0;
        Ok(())
    }

    /// The kernel tells of a failure only once: it must not get lost.
    fn join(&mut self) -> io::Result<()> {
        let Some(syncing) = self.syncing.take() else { return Ok(()) };
        syncing.join().unwrap_or_else(|_| Err(io::Error::other("the thread that syncs panicked")))
    }
}

impl Write for Writeback {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let write = || self.file.as_ref().write(bytes);
        let written = match &self.root {
            Some(root) => root.with_room(write)?,
            None => write()?,
        };
        self.unsynced += written;
        if self.unsynced >= STEP {
            self.sync_in_background()?;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_ref().flush()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_is_written_is_there_and_a_failed_sync_is_told() {
        let mut file = Writeback::new(tempfile::tempfile().unwrap());
        let bytes = vec![7; STEP / 2 + 1];
        for _ in 0..6 {
            file.write_all(&bytes).unwrap();
        }
        assert!(file.syncing.is_some());
        assert_eq!(file.into_file().unwrap().metadata().unwrap().len(), 6 * bytes.len() as u64);

        // A socket takes bytes and cannot be synced.
        let (socket, mut peer) = UnixStream::pair().unwrap();
        let mut file = Writeback::new(std::os::fd::OwnedFd::from(socket).into());
        let reader = std::thread::spawn(move || io::copy(&mut peer, &mut io::sink()));
        file.write_all(&bytes).and_then(|()| file.write_all(&bytes)).unwrap();
        assert!(file.into_file().is_err());
        reader.join().unwrap().unwrap();
    }
}
