//! Storing batches while the next ones are on their way.

use arrow::array::RecordBatch;
use tokio::task::JoinHandle;
use tracing::Instrument;

use super::blocking;
use crate::error::{Error, Result};

/// What batches are written to. Its methods block.
pub trait BatchSink: Send + 'static {
    /// Stores a batch; an error may be that of an earlier one.
    fn write(&mut self, batch: &RecordBatch) -> Result<()>;
}

/// A sink that is written to on a thread for blocking work. One batch is written at a time, and the caller
/// need not wait for it.
pub struct Storing<S> {
    writing: JoinHandle<Result<S>>,
}

impl<S: BatchSink> Storing<S> {
    /// Makes `sink` ready for batches. Must be called within a Tokio runtime.
    pub fn new(sink: S) -> Self {
        Self { writing: tokio::spawn(async { Ok(sink) }) }
    }

    /// Begins to store `batch`, once the one before it is stored.
    pub async fn write(self, batch: RecordBatch) -> Result<Self> {
        let mut sink = self.finish().await?;
        let write = blocking(move || {
            sink.write(&batch)?;
            Ok(sink)
        });
        Ok(Self { writing: tokio::spawn(write.in_current_span()) })
    }

    /// The sink, once all is written.
    pub async fn finish(self) -> Result<S> {
        self.writing.await.map_err(|join| Error::internal(format!("the writing task ended: {join}")))?
    }
}
