//! Threads for planning, which computes without pause and now and then for long.
//!
//! Whoever waits for a plan can give up at any time: its turn goes to the next. What is left on the thread ends at the next
//! [cancel point](check): before each rule of the optimizer, and with most rules before each node of the plan. Until then
//! it keeps its thread, of which there is a bounded number, and never one that queries run on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use datafusion::common::DataFusionError;
use futures::future::BoxFuture;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::deadline_exceeded;
use crate::engine::run::{STACK_BYTES, cancelled};
use crate::error::{Error, Result};
use crate::storage::{end_runtimes, outcome};

/// Statements that are planned at once: more would only take turns, and each opens files.
const AT_ONCE: usize = 8;
/// Threads, with those of plans that were given up and have not noticed yet.
const THREADS: usize = 40;
/// How long a thread waits for work before it ends.
const IDLE: Duration = Duration::from_secs(60);
/// How long the threads may take to end.
const PATIENCE: Duration = Duration::from_secs(1);

tokio::task_local! {
    /// Cancelled when nobody waits for the plan any more.
    static GIVEN_UP: CancellationToken;
}

/// A cancel point: fails where nobody waits for what is being planned.
pub(in crate::engine) fn check() -> std::result::Result<(), DataFusionError> {
    match GIVEN_UP.try_with(CancellationToken::is_cancelled) {
        Ok(true) => Err(cancelled().into()),
        Ok(false) | Err(_) => Ok(()),
    }
}

/// The threads.
#[derive(Debug)]
pub(in crate::engine) struct Planning {
    turns: Semaphore,
    busy: Arc<AtomicUsize>,
    /// Drives what plans wait for.
    driver: Handle,
    /// For its pool of blocking threads alone. Taken only by the drop.
    runtime: Option<Runtime>,
}

impl Planning {
    /// Threads that plan. What they wait for is driven by `driver`.
    pub(in crate::engine) fn start(driver: Handle) -> Result<Self> {
        let runtime = Builder::new_current_thread()
            .max_blocking_threads(THREADS)
            .thread_keep_alive(IDLE)
            .thread_stack_size(STACK_BYTES)
            .thread_name("plan")
            .build()
            .map_err(|error| Error::internal(format!("cannot start the planning threads: {error}")))?;
        Ok(Self { turns: Semaphore::new(AT_ONCE), busy: Arc::default(), driver, runtime: Some(runtime) })
    }

    /// Does `work` in its turn. It is given up at the deadline, or when the caller is dropped; a panic is an internal error.
    pub(in crate::engine) async fn run<T: Send + 'static>(
        &self,
        deadline: Instant,
        work: BoxFuture<'static, Result<T>>,
    ) -> Result<T> {
        let given_up = CancellationToken::new();
        let _guard = given_up.clone().drop_guard();
        let planned = async {
            let _turn = self.turns.acquire().await;
            let busy = Busy::new(&self.busy)?;
            let (driver, work) = (self.driver.clone(), GIVEN_UP.scope(given_up, work).in_current_span());
            let work = move || {
                let _busy = busy;
                driver.block_on(work)
            };
            let gone = || Error::internal("the planning threads are gone before their last user");
            let runtime = self.runtime.as_ref().ok_or_else(gone)?;
            outcome(AbortOnDropHandle::new(runtime.spawn_blocking(work)).await)
        };
        timeout_at(deadline, planned).await.map_err(|_| deadline_exceeded())?
    }
}

impl Drop for Planning {
    fn drop(&mut self) {
        end_runtimes(self.runtime.take(), PATIENCE);
    }
}

/// A thread that plans, counted while it does.
struct Busy(Arc<AtomicUsize>);

impl Busy {
    fn new(count: &Arc<AtomicUsize>) -> Result<Self> {
        let busy = Self(Arc::clone(count));
        if count.fetch_add(1, Ordering::AcqRel) >= THREADS {
            return Err(Error::exhausted(format!(
                "{THREADS} statements are being planned already, most of them after nobody waits for them any more; \
                 try again later, or lower max-sql-expressions and max-sql-depth"
            )));
        }
        Ok(busy)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures::FutureExt;

    use super::*;
    use crate::error::ErrorKind;

    fn in_time() -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    #[tokio::test]
    async fn what_was_given_up_leaves_its_turn_and_ends_at_the_next_cancel_point() {
        let planning = Planning::start(Handle::current()).unwrap();
        let (end, ended) = mpsc::channel::<()>();
        let ended = Arc::new(std::sync::Mutex::new(ended));
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        for _ in 0..2 * AT_ONCE {
            let (ended, tell) = (Arc::clone(&ended), tell.clone());
            let stuck = async move {
                check()?;
                let _ = ended.lock().map(|ended| ended.recv());
                tell.send(check().is_err()).unwrap();
                Ok(())
            };
            let soon = Instant::now() + Duration::from_millis(20);
            let error = planning.run(soon, stuck.boxed()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
        }
        assert_eq!(planning.run(in_time(), async { Ok(1) }.boxed()).await.unwrap(), 1);
        drop(end);
        for _ in 0..2 * AT_ONCE {
            assert!(told.recv().await.unwrap(), "it goes on");
        }
    }

    #[tokio::test]
    async fn there_is_a_most_of_what_is_stuck() {
        let planning = Planning::start(Handle::current()).unwrap();
        planning.busy.store(THREADS, Ordering::Release);
        let error = planning.run(in_time(), async { Ok(1) }.boxed()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
        planning.busy.store(0, Ordering::Release);
        let error = planning.run::<()>(in_time(), async { panic!("a bug") }.boxed()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert_eq!(planning.busy.load(Ordering::Acquire), 0);
    }
}
