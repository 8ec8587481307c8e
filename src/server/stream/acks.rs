//! The answers of an upload, on their way to a client that may not read them before it has sent all.
//!
//! What the client is to get back is as large as it likes. So only some of it waits in memory; the rest goes to a file
//! without a name, and comes back in the same order.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow_flight::PutResult;
use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::mpsc;
use tonic::Status;

use super::respond::Responses;
use crate::catalog::Catalog;
use crate::error::{Error, ErrorKind, Result};
use crate::server::status::status;
use crate::storage::blocking;

/// Answers that wait, wherever their bytes are.
const MAX_WAITING: usize = 1 << 16;
/// Bytes of them in memory.
const MAX_IN_MEMORY: usize = 4 << 20;
/// Bytes of them in the file.
const MAX_IN_FILE: u64 = 1 << 30;

/// Where an upload puts its answers.
#[derive(Clone)]
pub(in crate::server) struct Acks {
    answers: mpsc::Sender<Waiting>,
    shared: Arc<Shared>,
}

/// An answer that waits.
enum Waiting {
    InMemory(Result<PutResult, Status>),
    InFile { offset: u64, length: usize },
}

struct Shared {
    catalog: Arc<Catalog>,
    in_memory: AtomicUsize,
    file: Mutex<Overflow>,
}

/// The file of an upload's answers, made when there is one that needs it.
#[derive(Default)]
struct Overflow {
    file: Option<Arc<File>>,
    /// Where the next answer goes.
    end: u64,
    /// How many are in it.
    waiting: usize,
}

impl Acks {
    /// The place for an upload's answers, and the stream of them.
    pub(in crate::server) fn new(catalog: Arc<Catalog>) -> (Self, Responses<PutResult>) {
        let (answers, waiting) = mpsc::channel(MAX_WAITING);
        let shared = Arc::new(Shared { catalog, in_memory: AtomicUsize::new(0), file: Mutex::default() });
        let taken = futures::stream::unfold((waiting, Arc::clone(&shared)), |(mut waiting, shared)| async {
            let answer = shared.take(waiting.recv().await?).await;
            Some((answer, (waiting, shared)))
        });
        (Self { answers, shared }, taken.boxed())
    }

    /// Sends back a batch's metadata, as Arrow's integration clients expect.
    pub(in crate::server) async fn acknowledge(
        &self,
        app_metadata: &Bytes,
        patience: Duration,
    ) -> Result<()> {
        let waiting = Arc::clone(&self.shared).keep(app_metadata).await?;
        match self.answers.send_timeout(waiting, patience).await {
            Ok(()) => Ok(()),
            Err(mpsc::error::SendTimeoutError::Closed(_)) => {
                Err(Error::new(ErrorKind::Cancelled, "the client went away; nothing was stored"))
            }
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => Err(unread(MAX_WAITING, "")),
        }
    }

    /// Sends the last answer.
    pub(in crate::server) async fn end(&self, last: Result<PutResult, Status>) {
        let _ = self.answers.send(Waiting::InMemory(last)).await;
    }

    /// Whether nobody waits for answers any more.
    pub(in crate::server) fn is_closed(&self) -> bool {
        self.answers.is_closed()
    }

    /// Comes true when nobody waits for answers any more.
    pub(in crate::server) async fn closed(&self) {
        self.answers.closed().await;
    }
}

impl Shared {
    /// Keeps a copy of a batch's metadata, which itself would keep the whole message.
    async fn keep(self: Arc<Self>, app_metadata: &Bytes) -> Result<Waiting> {
        let length = app_metadata.len();
        // Nobody else adds to it.
        if self.in_memory.load(Ordering::Relaxed) + length <= MAX_IN_MEMORY {
            self.in_memory.fetch_add(length, Ordering::Relaxed);
            let app_metadata = Bytes::copy_from_slice(app_metadata);
            return Ok(Waiting::InMemory(Ok(PutResult { app_metadata })));
        }
        let content = app_metadata.clone();
        blocking(move || {
            let (file, offset) = self.reserve(length)?;
            file.write_all_at(&content, offset)
                .map_err(|error| Error::exhausted(format!("cannot keep an acknowledgement: {error}")))?;
            Ok(Waiting::InFile { offset, length })
        })
        .await
    }

    /// Makes room in the file.
    fn reserve(&self, length: usize) -> Result<(Arc<File>, u64)> {
        let mut overflow = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if overflow.waiting == 0 {
            overflow.end = 0;
        }
        let (offset, end) = (overflow.end, overflow.end + length as u64);
        if end > MAX_IN_FILE {
            return Err(unread(usize::try_from(MAX_IN_FILE).unwrap_or(usize::MAX), " bytes of"));
        }
        let file = match &overflow.file {
            Some(file) => Arc::clone(file),
            None => Arc::new(self.catalog.unnamed_file()?),
        };
        *overflow = Overflow { file: Some(Arc::clone(&file)), end, waiting: overflow.waiting + 1 };
        Ok((file, offset))
    }

    async fn take(self: &Arc<Self>, waiting: Waiting) -> Result<PutResult, Status> {
        let (offset, length) = match waiting {
            Waiting::InMemory(answer) => {
                let length = answer.as_ref().map_or(0, |answer| answer.app_metadata.len());
                // The last one was not counted.
                let less = |held: usize| Some(held.saturating_sub(length));
                let _ = self.in_memory.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
                return answer;
            }
            Waiting::InFile { offset, length } => (offset, length),
        };
        let shared = Arc::clone(self);
        let read = blocking(move || shared.read(offset, length)).await;
        read.map(|app_metadata| PutResult { app_metadata }).map_err(|error| status(&error))
    }

    fn read(&self, offset: u64, length: usize) -> Result<Bytes> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner).file.clone();
        let file = file.ok_or_else(|| Error::internal("an acknowledgement was kept nowhere"))?;
        let mut content = vec![0; length];
        file.read_exact_at(&mut content, offset)
            .map_err(|error| Error::internal(format!("reading an acknowledgement: {error}")))?;
        self.file.lock().unwrap_or_else(PoisonError::into_inner).waiting -= 1;
        Ok(content.into())
    }
}

fn unread(most: usize, of: &str) -> Error {
    Error::exhausted(format!("{most}{of} acknowledgements were not read; read the PutResults while writing"))
}
