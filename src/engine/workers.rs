//! Threads of their own for queries, so that computing never keeps the network waiting.

use std::future::Future;
use std::num::NonZeroUsize;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use crate::error::{Error, Result};
use crate::storage::{end_runtimes, outcome};

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
        outcome(AbortOnDropHandle::new(self.handle.spawn(work.in_current_span())).await)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        end_runtimes(self.runtime.take(), PATIENCE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[tokio::test]
    async fn a_panic_is_an_internal_error() {
        let workers = Workers::start().unwrap();
        let error = workers.run::<()>(async { panic!("a bug") }).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert_eq!(workers.run(async { Ok(1) }).await.unwrap(), 1);
    }
}
