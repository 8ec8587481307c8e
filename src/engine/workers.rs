//! Threads of their own for queries, so that computing never keeps the network waiting.

use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use crate::error::{Error, ErrorKind, Result};
use crate::storage::end_runtimes;

/// The stack of a worker. Plans are walked recursively in places that DataFusion does not guard; the
/// depth limit of SQL is chosen so that this is enough, also without optimisation. Only what is used
/// takes memory.
const STACK_BYTES: usize = 64 << 20;

/// Threads for each core that several queries share. They can be in computations that do not return for long: the system's
/// scheduler must have others to share the cores with.
const SHARED_PER_CORE: usize = 3;

/// How long the threads may take to end.
const PATIENCE: Duration = Duration::from_secs(1);

/// Runtimes for planning and running queries.
///
/// A query that begins while no other runs has as many threads as there are cores: the allocator has places of its own for
/// each thread that it gives memory to, so that on four times as many it takes a fifth more of it. Whatever else there is to do
/// meanwhile shares other threads, and does not wait for its computations.
#[derive(Debug)]
pub(super) struct Workers {
    alone: Pool,
    shared: Pool,
    queries: Arc<AtomicUsize>,
}

impl Workers {
    pub(super) fn start() -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let (alone, shared) =
            (Pool::start("query", cores)?, Pool::start("queries", cores * SHARED_PER_CORE)?);
        Ok(Self { alone, shared, queries: Arc::default() })
    }

    /// A place for a query that begins now.
    pub(super) fn place(&self) -> Place {
        let others = self.queries.fetch_add(1, Ordering::Relaxed);
        let pool = if others == 0 { &self.alone } else { &self.shared };
        Place { runtime: pool.handle.clone(), queries: Arc::clone(&self.queries) }
    }

    /// Runs `work` that is no query on a worker. It is aborted when the caller is dropped; a panic is an internal error.
    pub(super) async fn run<T: Send + 'static>(
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
pub(super) struct Place {
    runtime: Handle,
    queries: Arc<AtomicUsize>,
}

impl Place {
    /// The runtime of the query's tasks.
    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Runs a part of the query there, as [`Workers::run`] does.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        run(&self.runtime, work).await
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.queries.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn run<T: Send + 'static>(
    runtime: &Handle,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let task = AbortOnDropHandle::new(runtime.spawn(work.in_current_span()));
    match task.await {
        Ok(result) => result,
        Err(join) if join.is_panic() => Err(Error::from_panic(join.into_panic().as_ref())),
        Err(_) => Err(Error::new(ErrorKind::Unavailable, "the server is shutting down")),
    }
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
            .enable_all()
            .build()
            .map_err(|error| Error::internal(format!("cannot start the query threads: {error}")))?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_internal_error() {
        let workers = Workers::start().unwrap();
        let error = workers.run::<()>(async { panic!("a bug") }).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert_eq!(workers.run(async { Ok(1) }).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn nothing_waits_for_computations_that_do_not_return() {
        let workers = Workers::start().unwrap();
        let name = || async { Ok(thread::current().name().map(str::to_owned)) };
        let first = workers.place();
        assert_eq!(first.run(name()).await.unwrap().as_deref(), Some("query"));
        let threads = first.runtime().metrics().num_workers();
        let (computations, ends): (Vec<_>, Vec<_>) = (0..threads)
            .map(|_| {
                let (end, ended) = mpsc::channel::<()>();
                (first.runtime().spawn(async move { ended.recv() }), end)
            })
            .unzip();
        let others = async {
            assert_eq!(workers.place().run(name()).await.unwrap().as_deref(), Some("queries"));
            assert_eq!(workers.run(name()).await.unwrap().as_deref(), Some("queries"));
        };
        timeout(Duration::from_secs(30), others).await.unwrap();
        drop(ends);
        for computation in computations {
            assert!(computation.await.unwrap().is_err());
        }
        drop(first);
        assert_eq!(workers.place().run(name()).await.unwrap().as_deref(), Some("query"));
    }
}
