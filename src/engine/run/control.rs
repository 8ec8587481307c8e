//! The hold that others have on a statement while it runs: they can stop it, and see what it has reserved.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use datafusion::common::DataFusionError;
use tokio_util::sync::CancellationToken;

use super::running::cancelled;
use crate::error::Error;

/// The hold on one statement.
#[derive(Debug, Clone, Default)]
pub struct Control(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    token: CancellationToken,
    /// Why it was stopped, where that was not somebody's wish.
    reason: OnceLock<Error>,
    /// Bytes that its operators have reserved.
    reserved: AtomicUsize,
}

impl Control {
    /// Cancelled when the statement is to stop, for whatever reason.
    pub fn token(&self) -> &CancellationToken {
        &self.0.token
    }

    /// Stops the statement, which fails with `reason`, unless it was stopped before.
    pub(in crate::engine) fn stop(&self, reason: Error) {
        if !self.0.token.is_cancelled() {
            let _ = self.0.reason.set(reason);
        }
        self.0.token.cancel();
    }

    /// Whether it was stopped for a reason of the server's.
    pub(in crate::engine) fn has_reason(&self) -> bool {
        self.0.reason.get().is_some()
    }

    /// The error of a statement that was stopped.
    pub fn error(&self) -> Error {
        self.0.reason.get().map_or_else(cancelled, Error::duplicate)
    }

    /// Waits until the statement is stopped; the error that it fails with.
    pub async fn stopped(&self) -> Error {
        self.0.token.cancelled().await;
        self.error()
    }

    /// Fails once the statement is stopped.
    pub(in crate::engine) fn check(&self) -> Result<(), DataFusionError> {
        if self.0.token.is_cancelled() { Err(self.error().into()) } else { Ok(()) }
    }

    /// Bytes that it has reserved.
    pub(in crate::engine) fn reserved(&self) -> usize {
        self.0.reserved.load(Ordering::Relaxed)
    }

    pub(in crate::engine) fn reserve(&self, bytes: usize) {
        self.0.reserved.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(in crate::engine) fn give_back(&self, bytes: usize) {
        self.0.reserved.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[tokio::test]
    async fn the_first_reason_is_the_error() {
        let control = Control::default();
        control.check().unwrap();
        control.stop(Error::exhausted("memory"));
        control.stop(Error::exhausted("another"));
        assert_eq!(control.stopped().await.message(), "memory");
        assert!(control.check().is_err() && control.has_reason());
        let control = Control::default();
        control.token().cancel();
        control.stop(Error::exhausted("too late"));
        assert_eq!(control.error().kind(), ErrorKind::Aborted);
    }
}
