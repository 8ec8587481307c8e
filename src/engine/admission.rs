//! How many queries run at once, and how many may wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, Result};

/// The limits of admission.
#[derive(Debug, Clone, Copy)]
pub struct AdmissionOptions {
    /// Queries that run at once.
    pub running: usize,
    /// Queries that may wait for their turn.
    pub waiting: usize,
    /// How long one waits at most.
    pub patience: Duration,
}

/// The right to run one query, for as long as it lives.
#[derive(Debug)]
pub struct Permit(#[allow(dead_code)] OwnedSemaphorePermit);

/// Lets queries in, first come, first served.
#[derive(Debug)]
pub(super) struct Admission {
    options: AdmissionOptions,
    running: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Admission {
    pub(super) fn new(options: AdmissionOptions) -> Self {
        Self { options, running: Arc::new(Semaphore::new(options.running)), waiting: AtomicUsize::new(0) }
    }

    /// Waits for a turn. The query runs as long as the permit lives.
    pub(super) async fn enter(&self) -> Result<Permit> {
        if let Ok(permit) = Arc::clone(&self.running).try_acquire_owned() {
            return Ok(Permit(permit));
        }
        let _place = Place::take(&self.waiting, self.options.waiting)?;
        let turn = tokio::time::timeout(self.options.patience, Arc::clone(&self.running).acquire_owned());
        match turn.await {
            Ok(permit) => {
                permit.map(Permit).map_err(|_| Error::internal("the admission semaphore is closed"))
            }
            Err(_) => Err(Error::exhausted(format!(
                "{} queries run already and none ended within {} s (the settings max-queries and queue-timeout)",
                self.options.running,
                self.options.patience.as_secs()
            ))),
        }
    }
}

/// A place in the queue, given back when it is dropped.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize, most: usize) -> Result<Self> {
        let place = Self(waiting);
        if waiting.fetch_add(1, Ordering::AcqRel) >= most {
            return Err(Error::exhausted(format!("{most} queries wait already (the setting max-queued)")));
        }
        Ok(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[tokio::test]
    async fn one_runs_one_waits_and_the_rest_is_refused() {
        let patience = Duration::from_millis(50);
        let limits = |patience| AdmissionOptions { running: 1, waiting: 1, patience };
        let admission = Arc::new(Admission::new(limits(Duration::from_secs(60))));
        let first = admission.enter().await.unwrap();
        let second = tokio::spawn({
            let admission = Arc::clone(&admission);
            async move { admission.enter().await.map(drop) }
        });
        tokio::task::yield_now().await;
        assert_eq!(admission.enter().await.unwrap_err().kind(), ErrorKind::ResourceExhausted);
        drop(first);
        second.await.unwrap().unwrap();

        let admission = Admission::new(limits(patience));
        let _held = admission.enter().await.unwrap();
        let waited = admission.enter().await.unwrap_err();
        assert!(waited.message().contains("queue-timeout"), "{waited}");
        assert_eq!(admission.waiting.load(Ordering::Acquire), 0);
    }
}
