//! Threads that encode, shared by all uploads.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::Duration;

use crate::error::contain;

/// How long a thread waits for more work before it ends.
const PATIENCE: Duration = Duration::from_secs(1);

type Job = Box<dyn FnOnce() + Send>;

/// As many threads as there are cores, started when there is work and ended when there was none for a
/// while. Jobs run in the order in which they came, whoever they are from. A job must not wait for
/// another one.
#[derive(Debug, Clone)]
pub(super) struct Encoders(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    filled: Condvar,
    most_threads: usize,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoders").field("most_threads", &self.most_threads).finish_non_exhaustive()
    }
}

impl Encoders {
    pub(super) fn new() -> Self {
        let most_threads = super::cores().get();
        Self(Arc::new(Shared { queue: Mutex::default(), filled: Condvar::new(), most_threads }))
    }

    /// Runs `job` soon. What it panics with is dropped: a job that can fail says so itself.
    pub(super) fn run(&self, job: impl FnOnce() + Send + 'static) {
        let mut queue = self.0.lock();
        queue.jobs.push_back(Box::new(job));
        if queue.idle >= queue.jobs.len() {
            self.0.filled.notify_one();
        } else if queue.threads < self.0.most_threads {
            let shared = Arc::clone(&self.0);
            match Builder::new().name("encode".to_owned()).spawn(move || shared.work()) {
                Ok(_) => queue.threads += 1,
                // Another thread comes to it, and where there is none, this one does.
                Err(error) if queue.threads > 0 => tracing::warn!(%error, "cannot start a thread to encode"),
                Err(_) => {
                    let jobs = std::mem::take(&mut queue.jobs);
                    drop(queue);
                    jobs.into_iter().for_each(perform);
                }
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut queue = self.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                drop(queue);
                perform(job);
                queue = self.lock();
                continue;
            }
            queue.idle += 1;
            let waited = self.filled.wait_timeout(queue, PATIENCE);
            let (woken, time) = waited.unwrap_or_else(PoisonError::into_inner);
            queue = woken;
            queue.idle -= 1;
            if time.timed_out() && queue.jobs.is_empty() {
                queue.threads -= 1;
                return;
            }
        }
    }
}

fn perform(job: Job) {
    if let Err(text) = contain(job) {
        tracing::error!(text, "a job of the encoders failed");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn jobs_run_on_a_bounded_number_of_threads_and_survive_a_panic() {
        let encoders = Encoders::new();
        let (done, results) = mpsc::channel();
        for index in 0..1000 {
            let done = done.clone();
            encoders.run(move || {
                assert!(index % 100 != 0, "a bug");
                done.send(index).unwrap();
            });
        }
        drop(done);
        assert_eq!(results.iter().count(), 990);
        assert!(encoders.0.lock().threads <= encoders.0.most_threads);
    }
}
