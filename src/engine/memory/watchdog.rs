//! The last guard of memory: a thread that looks at what the process really uses, whoever counts it.
//!
//! Operators reserve what they keep, and batches are cut to sizes that can be foreseen; what is left are values that nobody
//! foresaw. When the process comes near its bound, caches give back what they can. If that is not enough, the statement that
//! has reserved most is stopped, the youngest of equals, and new ones wait: so the kernel never has to end the process.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use tokio::time::sleep;

use super::budget::MemoryBudget;
use super::groups::Groups;
use super::usage::{left, resident};
use crate::engine::run::{Entry, Running};
use crate::error::{Error, Result};

/// Gives back memory that can be had again, as that of caches, or that nobody uses any more.
pub type Relief = Box<dyn Fn() + Send + Sync>;

/// The time between two looks, while statements run and while none does. The nearer the bound, the shorter.
const BUSY: Duration = Duration::from_millis(20);
const NEAR: Duration = Duration::from_millis(3);
const IDLE: Duration = Duration::from_secs(1);

/// What statements may take in between, in bytes a second, as far as is known of machines.
const PER_SECOND: u64 = 4 << 30;

/// How long what was given back, or stopped, has to take effect before more is done. The nearer the bound, the less time.
const GRACE: Duration = Duration::from_millis(250);
const SHORT_GRACE: Duration = Duration::from_millis(30);
const LAST_GRACE: Duration = Duration::from_millis(5);

/// How long a new statement waits for memory, and how often it looks.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(20);

/// The thread. It ends with this.
pub(in crate::engine) struct Watchdog {
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

struct State {
    budget: MemoryBudget,
    is_over: AtomicBool,
    has_ended: AtomicBool,
    reliefs: Mutex<Vec<Relief>>,
}

impl Watchdog {
    /// Watches over what `running` statements use.
    pub(in crate::engine) fn start(budget: MemoryBudget, running: Arc<Running>) -> Result<Self> {
        let state = Arc::new(State {
            budget,
            is_over: AtomicBool::default(),
            has_ended: AtomicBool::default(),
            reliefs: Mutex::default(),
        });
        if resident().is_none() {
            tracing::warn!("the system does not tell what the process uses: memory is not watched");
            return Ok(Self { state, thread: None });
        }
        let watch =
            Watch { state: Arc::clone(&state), running, groups: Groups::of_this_process(), acted: None };
        let thread = thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(move || watch.run())
            .map_err(|error| Error::internal(format!("cannot start the watchdog's thread: {error}")))?;
        Ok(Self { state, thread: Some(thread) })
    }

    /// What wakes the thread, for when statements begin.
    pub(in crate::engine) fn thread(&self) -> Option<&Thread> {
        self.thread.as_ref().map(JoinHandle::thread)
    }

    /// Adds what can give memory back. The last one has it given to the system.
    pub(in crate::engine) fn add_relief(&self, relief: Relief) {
        self.state.reliefs.lock().unwrap_or_else(PoisonError::into_inner).push(relief);
    }

    /// Waits until there is memory for a new statement; fails where there is none for long.
    pub(in crate::engine) async fn admit(&self) -> Result<()> {
        let start = Instant::now();
        while self.state.is_over.load(Ordering::Acquire) {
            if start.elapsed() > PATIENCE {
                return Err(Error::exhausted(format!(
                    "the server uses all of its memory ({}: memory-limit, the caches' limits and memory-headroom); \
                     try again when other statements are done",
                    ByteSize::b(self.state.budget.bound)
                )));
            }
            sleep(LOOK).await;
        }
        Ok(())
    }
}

impl fmt::Debug for Watchdog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watchdog").field("budget", &self.state.budget).finish_non_exhaustive()
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.state.has_ended.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

/// What the thread knows.
struct Watch {
    state: Arc<State>,
    running: Arc<Running>,
    groups: Groups,
    /// When something was done last.
    acted: Option<Instant>,
}

impl Watch {
    fn run(mut self) {
        while !self.state.has_ended.load(Ordering::Acquire) {
            let pause = self.look();
            thread::park_timeout(pause);
        }
    }

    /// Looks at what is used, does what has to be done, and tells when to look again.
    fn look(&mut self) -> Duration {
        let budget = self.state.budget;
        let used = resident().unwrap_or(0);
        // What others take of the machine is no reason to stop statements that take next to nothing.
        let left = if used > budget.headroom { left(&self.groups) } else { None };
        let missing = left.map_or(0, |left| budget.reserve().saturating_sub(left));
        let excess = used.saturating_sub(budget.high()).max(missing);
        self.state.is_over.store(excess > 0, Ordering::Release);
        if excess > 0 {
            let grace = if excess > budget.headroom / 8 * 3 {
                LAST_GRACE
            } else if excess > budget.headroom / 4 {
                SHORT_GRACE
            } else {
                GRACE
            };
            if self.acted.is_none_or(|acted| acted.elapsed() >= grace) {
                self.act(used);
            }
            return NEAR;
        }
        if self.acted.is_some_and(|acted| acted.elapsed() > IDLE) {
            self.acted = None;
        }
        if !self.running.is_busy() {
            return IDLE;
        }
        let room = left.unwrap_or(u64::MAX).min(budget.high().saturating_sub(used));
        Duration::from_millis(room.saturating_mul(1000) / PER_SECOND).clamp(NEAR, BUSY)
    }

    /// Makes room: first by what can be had again, then by a statement.
    fn act(&mut self, used: u64) {
        self.relieve();
        if self.acted.is_some()
            && self.is_over()
            && let Some(largest) = self.running.largest()
        {
            self.stop(&largest, used);
        }
        self.acted = Some(Instant::now());
    }

    /// Has memory given back until there is enough: first what was freed, which can be all of a statement that was stopped.
    fn relieve(&self) {
        let reliefs = self.state.reliefs.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((allocator, caches)) = reliefs.split_last() else { return };
        allocator();
        for cache in caches {
            if !self.is_over() {
                break;
            }
            cache();
            allocator();
        }
    }

    fn is_over(&self) -> bool {
        let budget = self.state.budget;
        resident().unwrap_or(0) > budget.high()
            || left(&self.groups).is_some_and(|left| left < budget.reserve())
    }

    fn stop(&self, entry: &Entry, used: u64) {
        let (used, bound) = (ByteSize::b(used), ByteSize::b(self.state.budget.bound));
        let reserved = ByteSize::b(entry.control().reserved() as u64);
        let (id, sql) = (&entry.id, &entry.sql);
        tracing::warn!(%used, %bound, %reserved, id, sql, "out of memory: the largest statement is stopped");
        entry.control().stop(Error::exhausted(format!(
            "the statement was stopped, as the largest one, when the server ran out of memory: it used {used} of \
             {bound} (memory-limit, the caches' limits and memory-headroom); read fewer columns or shorter values at \
             once, run fewer statements at a time (max-queries), or raise memory-limit"
        )));
    }
}
