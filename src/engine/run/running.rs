//! The statements that run: who sent them, how far they are, and how to stop one.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, SystemTime};

use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio_util::sync::CancellationToken;

use super::control::Control;
use crate::error::{Error, ErrorKind, Result};

/// Statements that are remembered after their end.
const REMEMBERED: usize = 256;
/// As much of a text as is kept.
const MAX_SQL_BYTES: usize = 4096;
/// Ids that were cancelled before their statement began, and for how long they stay so.
const MAX_REFUSED: u64 = 10_000;
const REFUSED_FOR: Duration = Duration::from_secs(3600);

/// How far a statement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::engine) enum State {
    Queued,
    Planning,
    Running,
    Finished,
    Failed,
    Cancelled,
}

impl State {
    const ALL: [Self; 6] =
        [Self::Queued, Self::Planning, Self::Running, Self::Finished, Self::Failed, Self::Cancelled];

    pub(in crate::engine) fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Planning => "planning",
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    fn is_over(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Cancelled)
    }
}

/// One statement.
#[derive(Debug)]
pub(in crate::engine) struct Entry {
    pub(in crate::engine) id: String,
    pub(in crate::engine) user: String,
    pub(in crate::engine) sql: String,
    pub(in crate::engine) submitted: SystemTime,
    ended: Mutex<Option<SystemTime>>,
    state: AtomicU8,
    rows: AtomicU64,
    bytes: AtomicU64,
    control: Control,
}

impl Entry {
    pub(in crate::engine) fn state(&self) -> State {
        State::ALL[usize::from(self.state.load(Ordering::Acquire))]
    }

    pub(in crate::engine) fn control(&self) -> &Control {
        &self.control
    }

    pub(in crate::engine) fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    pub(in crate::engine) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(in crate::engine) fn ended(&self) -> Option<SystemTime> {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All statements that run, and the last ones that did. Those that run are bounded by admission.
#[derive(Debug)]
pub(in crate::engine) struct Running {
    entries: Mutex<Entries>,
    refused: Cache<String, ()>,
    /// Who wants to know when a statement begins.
    watcher: OnceLock<Thread>,
}

#[derive(Debug, Default)]
struct Entries {
    active: Vec<Arc<Entry>>,
    over: VecDeque<Arc<Entry>>,
}

impl Running {
    pub(in crate::engine) fn new() -> Self {
        let refused = Cache::builder()
            .max_capacity(MAX_REFUSED)
            .time_to_live(REFUSED_FOR)
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Self { entries: Mutex::default(), refused, watcher: OnceLock::new() }
    }

    /// Notes a statement that is about to begin. Its id may have been cancelled before.
    pub(in crate::engine) fn begin(self: &Arc<Self>, id: &str, user: &str, sql: &str) -> Result<Activity> {
        if self.refused.contains_key(id) {
            return Err(cancelled());
        }
        let entry = Arc::new(Entry {
            id: id.to_owned(),
            user: user.to_owned(),
            sql: sql[..sql.floor_char_boundary(MAX_SQL_BYTES)].to_owned(),
            submitted: SystemTime::now(),
            ended: Mutex::default(),
            state: AtomicU8::new(State::Queued as u8),
            rows: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            control: Control::default(),
        });
        self.lock().active.push(Arc::clone(&entry));
        if let Some(watcher) = self.watcher.get() {
            watcher.unpark();
        }
        Ok(Activity { entry, running: Arc::clone(self) })
    }

    /// Stops the statements that run under `id`. If there is none, one that comes later will not run.
    /// Says whether one was stopped.
    pub(in crate::engine) fn cancel(&self, id: &str) -> bool {
        let active: Vec<_> = self.lock().active.iter().filter(|entry| entry.id == id).cloned().collect();
        for entry in &active {
            entry.control.token().cancel();
        }
        self.refused.insert(id.to_owned(), ());
        !active.is_empty()
    }

    /// The statements that run, then the last ones that did, the newest first.
    pub(in crate::engine) fn entries(&self) -> Vec<Arc<Entry>> {
        let entries = self.lock();
        entries.active.iter().chain(&entries.over).cloned().collect()
    }

    /// Has `watcher` woken when a statement begins.
    pub(in crate::engine) fn watch(&self, watcher: Thread) {
        let _ = self.watcher.set(watcher);
    }

    /// Whether statements run.
    pub(in crate::engine) fn is_busy(&self) -> bool {
        !self.lock().active.is_empty()
    }

    /// The statement that has reserved most of those that nobody stopped yet, of equals the youngest. One that waits for its
    /// turn holds nothing.
    pub(in crate::engine) fn largest(&self) -> Option<Arc<Entry>> {
        let entries = self.lock();
        let is_going =
            |entry: &&Arc<Entry>| entry.state() != State::Queued && !entry.control.token().is_cancelled();
        entries.active.iter().filter(is_going).max_by_key(|entry| entry.control.reserved()).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A statement on its way. Dropped before its end, it counts as cancelled.
#[derive(Debug)]
pub struct Activity {
    entry: Arc<Entry>,
    running: Arc<Running>,
}

impl Activity {
    /// What stops the statement.
    pub fn control(&self) -> &Control {
        &self.entry.control
    }

    /// Cancelled when the statement is to stop.
    pub fn token(&self) -> &CancellationToken {
        self.entry.control.token()
    }

    /// The id that it can be stopped by.
    pub fn id(&self) -> &str {
        &self.entry.id
    }

    /// Who sent it.
    pub fn user(&self) -> &str {
        &self.entry.user
    }

    /// Waits for `work`, unless the statement is stopped meanwhile.
    pub async fn unless_stopped<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            error = self.entry.control.stopped() => Err(error),
            done = work => done,
        }
    }

    /// Waits for `work`, whose end is the statement's.
    pub(in crate::engine) async fn ends_with<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let done = work.await;
        self.end(done.as_ref().err());
        done
    }

    pub(in crate::engine) fn enter(&self, state: State) {
        if !self.entry.state().is_over() {
            self.entry.state.store(state as u8, Ordering::Release);
        }
    }

    /// Notes that rows are on their way.
    pub fn run(&self) {
        self.enter(State::Running);
    }

    /// Counts rows that it gave, and their bytes.
    pub fn count(&self, rows: usize, bytes: usize) {
        self.entry.rows.fetch_add(rows as u64, Ordering::Relaxed);
        self.entry.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Notes the end, which stays what it was first.
    pub fn end(&self, failure: Option<&Error>) {
        self.enter(match failure {
            None => State::Finished,
            Some(_) if self.token().is_cancelled() && !self.control().has_reason() => State::Cancelled,
            Some(_) => State::Failed,
        });
    }
}

impl Drop for Activity {
    fn drop(&mut self) {
        self.enter(State::Cancelled);
        *self.entry.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(SystemTime::now());
        let mut entries = self.running.lock();
        entries.active.retain(|other| !Arc::ptr_eq(other, &self.entry));
        entries.over.push_front(Arc::clone(&self.entry));
        entries.over.truncate(REMEMBERED);
    }
}

/// The error of a statement that somebody stopped.
pub fn cancelled() -> Error {
    // Not the status that a client's own cancel has: PyArrow takes that for Ctrl-C, and raises in the main thread.
    Error::new(ErrorKind::Aborted, "somebody cancelled the query")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_can_be_stopped_before_and_while_it_runs() {
        let running = Arc::new(Running::new());
        let activity = running.begin("a", "me", "select 1").unwrap();
        assert!(running.cancel("a"));
        assert!(activity.token().is_cancelled());
        assert!(!running.cancel("b"));
        assert_eq!(running.begin("b", "me", "select 1").unwrap_err().kind(), ErrorKind::Aborted);
    }

    #[test]
    fn what_is_over_is_remembered_within_bounds() {
        let running = Arc::new(Running::new());
        for index in 0..REMEMBERED + 50 {
            let activity = running.begin(&index.to_string(), "me", &"é".repeat(5000)).unwrap();
            activity.end(None);
            activity.enter(State::Running);
        }
        let entries = running.entries();
        assert_eq!(entries.len(), REMEMBERED);
        assert!(entries.iter().all(|entry| entry.state() == State::Finished && entry.sql.len() <= 4096));
    }
}
