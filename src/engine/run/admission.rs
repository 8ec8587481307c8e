//! How many queries run at once, and how many may wait.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
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

/// Times as many queries as run may have left their place to others, because their clients take nothing.
const PAUSED: usize = 16;

/// The right to run one query, for as long as this and its clones live.
#[derive(Debug, Clone)]
pub struct Permit(Arc<Held>);

#[derive(Debug)]
struct Held {
    running: Arc<Semaphore>,
    paused: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Running { _place: OwnedSemaphorePermit },
    Paused { _place: OwnedSemaphorePermit },
}

impl Permit {
    /// Leaves the place to others, for a query that can do nothing for now. Says whether it could: queries that wait
    /// like this still hold memory and files.
    pub fn pause(&self) -> bool {
        let Ok(place) = Arc::clone(&self.0.paused).try_acquire_owned() else { return false };
        *self.0.state.lock().unwrap_or_else(PoisonError::into_inner) = State::Paused { _place: place };
        true
    }

    /// Waits for a place again, if it was left.
    pub async fn resume(&self) {
        if matches!(*self.0.state.lock().unwrap_or_else(PoisonError::into_inner), State::Running { .. }) {
            return;
        }
        if let Ok(place) = Arc::clone(&self.0.running).acquire_owned().await {
            *self.0.state.lock().unwrap_or_else(PoisonError::into_inner) = State::Running { _place: place };
        }
    }
}

/// Lets queries in, first come, first served.
#[derive(Debug)]
pub(in crate::engine) struct Admission {
    options: AdmissionOptions,
    running: Arc<Semaphore>,
    paused: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Admission {
    pub(in crate::engine) fn new(options: AdmissionOptions) -> Self {
        let places = |count: usize| Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
        let (running, paused) = (places(options.running), places(options.running.saturating_mul(PAUSED)));
        Self { options, running, paused, waiting: AtomicUsize::new(0) }
    }

    fn permit(&self, place: OwnedSemaphorePermit) -> Permit {
        let (running, paused) = (Arc::clone(&self.running), Arc::clone(&self.paused));
        Permit(Arc::new(Held { running, paused, state: Mutex::new(State::Running { _place: place }) }))
    }

    /// Waits for a turn. The query runs as long as the permit lives.
    pub(in crate::engine) async fn enter(&self) -> Result<Permit> {
        if let Ok(permit) = Arc::clone(&self.running).try_acquire_owned() {
            return Ok(self.permit(permit));
        }
        let _place = Place::take(&self.waiting, self.options.waiting)?;
        let turn = tokio::time::timeout(self.options.patience, Arc::clone(&self.running).acquire_owned());
        match turn.await {
            Ok(permit) => permit
                .map(|place| self.permit(place))
                .map_err(|_| Error::internal("the admission semaphore is closed")),
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

    #[tokio::test]
    async fn a_query_that_can_do_nothing_leaves_its_place_and_comes_back() {
        let options = AdmissionOptions { running: 1, waiting: 1, patience: Duration::from_secs(60) };
        let admission = Admission::new(options);
        let first = admission.enter().await.unwrap();
        let kept = first.clone();
        assert!(first.pause());
        let second = admission.enter().await.unwrap();
        let back = tokio::spawn(async move { first.resume().await });
        tokio::task::yield_now().await;
        assert!(!back.is_finished());
        drop(second);
        back.await.unwrap();
        assert_eq!(admission.running.available_permits(), 0, "a clone holds the place");
        drop(kept);
        assert_eq!(
            (admission.running.available_permits(), admission.paused.available_permits()),
            (1, PAUSED)
        );
        let many: Vec<_> = futures::future::join_all((0..PAUSED).map(|_| async {
            let permit = admission.enter().await.unwrap();
            assert!(permit.pause());
            permit
        }))
        .await;
        assert!(!admission.enter().await.unwrap().pause(), "too many wait already");
        drop(many);
    }
}
