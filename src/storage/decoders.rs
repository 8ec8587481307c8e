//! Threads for decoding, and the end of threads.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio_util::task::AbortOnDropHandle;

use super::outcome;
use crate::error::{Error, Result};

/// How long a thread waits for work before it ends.
const IDLE: Duration = Duration::from_secs(60);

/// How long work that has begun is waited for at the end.
const PATIENCE: Duration = Duration::from_secs(1);

/// A few threads, whoever they decode for. Not those of all blocking work, of which there can be hundreds: the allocator has
/// places of its own for each thread that it gives memory to, so that the same work takes more memory the more threads have
/// done some of it.
#[derive(Debug, Clone)]
pub struct Decoders(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    /// For its pool of blocking threads alone: nobody drives its futures. Taken only by the drop.
    runtime: Option<Runtime>,
}

impl Decoders {
    /// At most `threads`, which start when they are needed.
    pub fn new(threads: NonZeroUsize) -> Result<Self> {
        let runtime = Builder::new_current_thread()
            .max_blocking_threads(threads.get())
            .thread_keep_alive(IDLE)
            .thread_name("decode")
            .build()
            .map_err(|error| Error::internal(format!("cannot start the decoding threads: {error}")))?;
        Ok(Self(Arc::new(Pool { runtime: Some(runtime) })))
    }

    /// Does `work` in its turn, which must not start tasks of its own: there they would not run. It is not begun when nobody
    /// waits for it any more; what has begun is carried to its end. A panic in it becomes an internal error.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let gone = || Error::internal("the decoding threads are gone before their last user");
        let runtime = self.0.runtime.as_ref().ok_or_else(gone)?;
        let span = tracing::Span::current();
        outcome(AbortOnDropHandle::new(runtime.spawn_blocking(move || span.in_scope(work))).await)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        end_runtimes(self.runtime.take(), PATIENCE);
    }
}

/// Ends runtimes, and waits until their threads have ended; `patience` at most for what has begun, which is left to the
/// process's end then.
///
/// On threads of their own, since a runtime must not wait for its threads inside of another one. They are to be joined:
/// glibc up to 2.36 may touch a thread's memory after it is gone when the thread ends just while it is detached (its bug
/// 19951), and large stacks are unmapped at once.
pub fn end_runtimes(runtimes: impl IntoIterator<Item = Runtime>, patience: Duration) {
    let end = |runtime: Runtime| {
        thread::Builder::new().name("end".to_owned()).spawn(move || runtime.shutdown_timeout(patience)).ok()
    };
    let ending: Vec<_> = runtimes.into_iter().filter_map(end).collect();
    for thread in ending {
        let _ = thread.join();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;
    use crate::error::ErrorKind;

    fn one() -> Decoders {
        Decoders::new(NonZeroUsize::MIN).unwrap()
    }

    #[tokio::test]
    async fn a_panic_is_an_internal_error() {
        let decoders = one();
        let error = decoders.run::<()>(|| panic!("a bug")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert_eq!(decoders.run(|| Ok(1)).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn work_takes_turns_and_is_not_begun_when_nobody_waits_for_it() {
        let (decoders, begun) = (one(), Arc::new(AtomicUsize::new(0)));
        let (end, ended) = mpsc::channel::<()>();
        let job = |wait: Option<mpsc::Receiver<()>>| {
            let (decoders, begun) = (decoders.clone(), Arc::clone(&begun));
            tokio::spawn(async move {
                let work = move || {
                    let place = begun.fetch_add(1, Ordering::SeqCst);
                    wait.map(|ended| ended.recv());
                    Ok(place)
                };
                decoders.run(work).await.unwrap()
            })
        };
        let first = job(Some(ended));
        let has_begun = async {
            while begun.load(Ordering::SeqCst) == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), has_begun).await.unwrap();
        let (abandoned, last) = (job(None), job(None));
        tokio::task::yield_now().await;
        assert_eq!(begun.load(Ordering::SeqCst), 1, "there is one thread");
        abandoned.abort();
        assert!(abandoned.await.unwrap_err().is_cancelled());
        end.send(()).unwrap();
        assert_eq!((first.await.unwrap(), last.await.unwrap()), (0, 1));
    }
}
