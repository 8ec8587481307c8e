//! Threads of their own for queries, so that computing never keeps the network waiting.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use crate::error::{Error, Result};
use crate::storage::{end_runtimes, outcome};

/// The stack of a worker. Plans are walked recursively in places that DataFusion does not guard; the
/// depth limit of SQL is chosen so that this is enough, also without optimisation. Only what is used
/// takes memory.
pub(in crate::engine) const STACK_BYTES: usize = 64 << 20;

/// Times as many threads as a query has that runs alone are shared by several. They can be in computations that do not
/// return for long: the system's scheduler must have others to share the cores with.
const SHARED: usize = 3;

/// Polls after which a worker looks for what came from outside: new work, and tasks to be ended. A query's poll can take many
/// milliseconds, and tokio notices only after the polls that it would have let pass, up to 127. With 1 the query's own tasks
/// would wait as long as anything comes from outside.
const POLLS_TO_OTHERS: u32 = 2;
/// The same for timers, and for tasks that have done their share and let others have their turn. This look is a system call.
const POLLS_TO_EVENTS: u32 = 8;

/// How long the threads may take to end.
const PATIENCE: Duration = Duration::from_secs(1);

/// Runtimes for planning and running queries.
///
/// A query that begins while no other runs has few threads: the allocator has places of its own for each thread that it
/// gives memory to, so that on four times as many as there are cores it takes a fifth more of it. Whatever else there is to
/// do meanwhile shares other threads, and does not wait for its computations.
#[derive(Debug)]
pub(in crate::engine) struct Workers {
    alone: Pool,
    shared: Pool,
    queries: Arc<AtomicUsize>,
}

impl Workers {
    /// `threads` are for a query that runs alone.
    pub(in crate::engine) fn start(threads: usize) -> Result<Self> {
        let (alone, shared) = (Pool::start("query", threads)?, Pool::start("queries", threads * SHARED)?);
        Ok(Self { alone, shared, queries: Arc::default() })
    }

    /// A lane for a query that begins now.
    pub(in crate::engine) fn lane(&self) -> Lane {
        let others = self.queries.fetch_add(1, Ordering::Relaxed);
        let pool = if others == 0 { &self.alone } else { &self.shared };
        Lane { runtime: pool.handle.clone(), queries: Arc::clone(&self.queries) }
    }

    /// The runtime of what is no query.
    pub(in crate::engine) fn handle(&self) -> &Handle {
        &self.shared.handle
    }

    /// Runs `work` that is no query on a worker. It is aborted when the caller is dropped; a panic is an internal error.
    pub(in crate::engine) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        run(&self.shared.handle, work).await
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        end_runtimes(
            [&mut self.alone, &mut self.shared].into_iter().filter_map(|pool| pool.runtime.take()),
            PATIENCE,
        );
    }
}

/// Where a query runs. It counts as one that runs while this lives.
#[derive(Debug)]
pub(in crate::engine) struct Lane {
    runtime: Handle,
    queries: Arc<AtomicUsize>,
}

impl Lane {
    /// The runtime of the query's tasks.
    pub(in crate::engine) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Runs a part of the query there, as [`Workers::run`] does.
    pub(in crate::engine) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        run(&self.runtime, work).await
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.queries.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn run<T: Send + 'static>(
    runtime: &Handle,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    outcome(AbortOnDropHandle::new(runtime.spawn(work.in_current_span())).await)
}

#[derive(Debug)]
struct Pool {
    handle: Handle,
    /// Taken only at the end.
    runtime: Option<Runtime>,
}

impl Pool {
    fn start(name: &str, threads: usize) -> Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name(name)
            .thread_stack_size(STACK_BYTES)
            .global_queue_interval(POLLS_TO_OTHERS)
            .event_interval(POLLS_TO_EVENTS)
            .enable_all()
            .build()
            .map_err(|error| Error::internal(format!("cannot start the query threads: {error}")))?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::mpsc;
    use std::task::Poll;
    use std::thread;

    use tokio::time::{sleep, timeout};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::error::ErrorKind;

    #[tokio::test]
    async fn a_panic_is_an_internal_error() {
        let workers = Workers::start(2).unwrap();
        let error = workers.run::<()>(async { panic!("a bug") }).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert_eq!(workers.run(async { Ok(1) }).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn nothing_waits_for_computations_that_do_not_return() {
        let workers = Workers::start(2).unwrap();
        let name = || async { Ok(thread::current().name().map(str::to_owned)) };
        let first = workers.lane();
        assert_eq!(first.run(name()).await.unwrap().as_deref(), Some("query"));
        let threads = first.runtime().metrics().num_workers();
        let (computations, ends): (Vec<_>, Vec<_>) = (0..threads)
            .map(|_| {
                let (end, ended) = mpsc::channel::<()>();
                (first.runtime().spawn(async move { ended.recv() }), end)
            })
            .unzip();
        let others = async {
            assert_eq!(workers.lane().run(name()).await.unwrap().as_deref(), Some("queries"));
            assert_eq!(workers.run(name()).await.unwrap().as_deref(), Some("queries"));
        };
        timeout(Duration::from_secs(30), others).await.unwrap();
        drop(ends);
        for computation in computations {
            assert!(computation.await.unwrap().is_err());
        }
        drop(first);
        assert_eq!(workers.lane().run(name()).await.unwrap().as_deref(), Some("query"));
    }

    /// Pending once, and woken at once: as by another task of the query.
    async fn woken() {
        let mut is_woken = false;
        poll_fn(|cx| {
            if is_woken {
                return Poll::Ready(());
            }
            is_woken = true;
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "what a query computes holds its thread")]
    async fn what_comes_from_outside_is_seen_between_the_polls_of_a_query() {
        let workers = Workers::start(2).unwrap();
        let lane = workers.lane();
        let (polls, stop) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
        let threads = lane.runtime().metrics().num_workers();
        let busy: Vec<_> = (0..3 * threads)
            .map(|_| {
                let (polls, stop) = (Arc::clone(&polls), stop.clone());
                lane.runtime().spawn(async move {
                    while !stop.is_cancelled() {
                        polls.fetch_add(1, Ordering::Relaxed);
                        thread::sleep(Duration::from_millis(1));
                        woken().await;
                    }
                })
            })
            .collect();
        let mut waited = Vec::new();
        for _ in 0..20 {
            sleep(Duration::from_millis(5)).await;
            let (before, after) = (polls.load(Ordering::Relaxed), Arc::clone(&polls));
            let seen = lane.runtime().spawn(async move { after.load(Ordering::Relaxed) });
            waited.push(seen.await.unwrap().saturating_sub(before));
        }
        stop.cancel();
        for task in busy {
            task.await.unwrap();
        }
        // Without the look there are about a hundred for the first.
        assert!(waited.iter().all(|polls| *polls <= 20 * threads), "polls before a new task: {waited:?}");
    }
}
