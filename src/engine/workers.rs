//! Threads of their own for queries, so that computing never keeps the network waiting.

use std::future::Future;
use std::num::NonZeroUsize;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use crate::error::{Error, ErrorKind, Result};

/// The stack of a worker. Plans are walked recursively in places that DataFusion does not guard; the
/// depth limit of SQL is chosen so that this is enough, also without optimisation. Only what is used
/// takes memory.
const STACK_BYTES: usize = 64 << 20;

/// Threads for each core. A query runs on as many threads as there are cores, and can be in computations
/// that do not return for long: the system's scheduler must have others to share the cores with.
const THREADS_PER_CORE: usize = 4;

/// How long the threads may take to end.
const PATIENCE: Duration = Duration::from_secs(1);

/// A runtime for planning and running queries.
#[derive(Debug)]
pub(super) struct Workers {
    handle: Handle,
    /// Taken only by the drop.
    runtime: Option<Runtime>,
}

impl Workers {
    pub(super) fn start() -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let runtime = Builder::new_multi_thread()
            .worker_threads(cores * THREADS_PER_CORE)
            .thread_name("query")
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()
            .map_err(|error| Error::internal(format!("cannot start the query threads: {error}")))?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// The runtime, to spawn on.
    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Runs `work` on a worker. It is aborted when the caller is dropped; a panic is an internal error.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let task = AbortOnDropHandle::new(self.handle.spawn(work.in_current_span()));
        match task.await {
            Ok(result) => result,
            Err(join) if join.is_panic() => Err(Error::from_panic(join.into_panic().as_ref())),
            Err(_) => Err(Error::new(ErrorKind::Unavailable, "the server is shutting down")),
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        // On a thread of its own, since a runtime must not wait for its threads inside of another one.
        // They are to be joined: glibc up to 2.36 may touch a thread's memory after it is gone when the
        // thread ends just while it is detached (its bug 19951), and stacks of this size are unmapped at
        // once. A query that does not end in time is left to the process's end.
        let ending = std::thread::Builder::new()
            .name("query-end".to_owned())
            .spawn(move || runtime.shutdown_timeout(PATIENCE));
        if let Ok(ending) = ending {
            let _ = ending.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_internal_error() {
        let workers = Workers::start().unwrap();
        let error = workers.run::<()>(async { panic!("a bug") }).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert_eq!(workers.run(async { Ok(1) }).await.unwrap(), 1);
    }
}
