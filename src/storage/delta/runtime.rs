//! The runtime that the library's futures are driven by.

use std::fmt;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

use crate::error::{Error, Result};
use crate::storage::decoders::end_runtimes;
use crate::storage::exhausted_in;

/// Threads that wait for the library's reads and writes, which are blocking work by themselves.
const THREADS: usize = 2;

/// How long work is waited for at the end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs the library's futures for callers that block. It is made when the first Delta table is met: most
/// roots have none.
#[derive(Default)]
pub struct DeltaRuntime {
    runtime: Mutex<Option<Runtime>>,
}

impl fmt::Debug for DeltaRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeltaRuntime")
    }
}

impl DeltaRuntime {
    /// Drives `future` to its end. Must not be called on a thread that drives futures itself.
    pub(super) fn run<F: Future>(&self, future: F) -> Result<F::Output> {
        let handle = self.handle()?;
        Ok(handle.block_on(future))
    }

    /// Runs blocking work in the background.
    pub fn spawn(&self, work: impl FnOnce() + Send + 'static) -> Result<()> {
        self.handle()?.spawn_blocking(work);
        Ok(())
    }

    fn handle(&self) -> Result<Handle> {
        let mut runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = runtime.as_ref() {
            return Ok(runtime.handle().clone());
        }
        let made = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("delta")
            .enable_all()
            .build()
            .map_err(|error| {
                let exhausted = exhausted_in("start threads for Delta tables", &error);
                exhausted.unwrap_or_else(|| {
                    Error::internal(format!("cannot start threads for Delta tables: {error}"))
                })
            })?;
        let handle = made.handle().clone();
        *runtime = Some(made);
        Ok(handle)
    }
}

impl Drop for DeltaRuntime {
    fn drop(&mut self) {
        let runtime = self.runtime.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        // Not for ever, since this may be the end of work that it runs itself.
        end_runtimes(runtime, PATIENCE);
    }
}
