//! From a producer of messages to a response: bounded, joined, and stopped when nobody listens.

use std::time::Duration;

use arrow_flight::FlightData;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::DropGuard;
use tonic::Status;
use tracing::Instrument;

use crate::engine::{Control, Permit, deadline_exceeded};
use crate::error::{Error, ErrorKind, Result};
use crate::safeguard::Safeguard;
use crate::server::ipc::Chunk;
use crate::server::rpc::Rpc;
use crate::server::status::status;

/// A response's stream.
pub(in crate::server) type Responses<T> = BoxStream<'static, Result<T, Status>>;

/// A response's stream of Flight messages.
pub(in crate::server) type Chunks = BoxStream<'static, Result<Chunk, Status>>;

/// Chunks that wait for the client besides the one that is being sent.
const READ_AHEAD: usize = 1;

/// What travels from the producing task to the response.
enum Item {
    Chunk(Chunk),
    Failed(Error),
    /// The producer came to its end. Without this mark the end is an error: a task that panicked
    /// closes its channel just like one that is done.
    End,
}

/// Where the producing task runs, and what ends it besides the response's end.
pub(in crate::server) struct Work {
    runtime: Handle,
    deadline: Option<Instant>,
    /// Told when the response is dropped, even while the task is deep in a computation.
    guard: Option<DropGuard>,
    /// Tells that the query was stopped, and why.
    control: Control,
    /// The query's place among those that run.
    permit: Option<Permit>,
}

/// How long a client may take nothing.
#[derive(Debug, Clone, Copy)]
pub(in crate::server) struct Patience {
    /// Until its query leaves its place to others.
    pub(in crate::server) pause: Duration,
    /// Until its stream ends.
    pub(in crate::server) end: Duration,
}

impl Work {
    /// Work that is done on the caller's runtime.
    pub(in crate::server) fn here() -> Self {
        Self {
            runtime: Handle::current(),
            deadline: None,
            guard: None,
            control: Control::default(),
            permit: None,
        }
    }

    /// A query on the engine's threads.
    pub(in crate::server) fn query(
        runtime: Handle,
        deadline: Instant,
        guard: DropGuard,
        control: Control,
        permit: Permit,
    ) -> Self {
        Self { runtime, deadline: Some(deadline), guard: Some(guard), control, permit: Some(permit) }
    }
}

/// Runs `chunks` in a task of its own, a little ahead of the client, and streams the messages.
///
/// The task ends, and with it all work behind it, as soon as the response is dropped (the client went
/// away), or when the client takes nothing for as long as `patience` has.
pub(in crate::server) fn stream_chunks(
    chunks: impl Stream<Item = Result<Chunk>> + Send + 'static,
    rpc: Rpc,
    patience: Patience,
    work: Work,
) -> Chunks {
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    let span = rpc.span().clone();
    let Work { runtime, deadline, guard, control, permit } = work;
    let listener = Listener { sender, patience, control: control.clone(), permit };
    runtime.spawn(produce(chunks, listener).instrument(span));
    let listening = Listening { receiver, deadline, control, _guard: guard };
    let items = futures::stream::unfold(Some(listening), move |listening| {
        let rpc = rpc.clone();
        async move {
            let mut listening = listening?;
            match listening.next().await {
                Ok(Some(chunk)) => {
                    rpc.count_rows(chunk.rows);
                    Some((Ok(chunk), Some(listening)))
                }
                Ok(None) => None,
                Err(error) => Some((Err(status(&error)), None)),
            }
        }
    });
    items.boxed()
}

/// The messages of `chunks` for tonic's own encoder, which copies them.
pub(in crate::server) fn flight_data(chunks: Chunks) -> Responses<FlightData> {
    let messages = chunks.flat_map(|chunk| {
        let messages: Vec<_> = match chunk {
            Ok(chunk) => chunk.frames.iter().map(|frame| Ok(frame.to_flight_data())).collect(),
            Err(status) => vec![Err(status)],
        };
        futures::stream::iter(messages)
    });
    messages.boxed()
}

/// The response's end of the channel.
struct Listening {
    receiver: mpsc::Receiver<Item>,
    deadline: Option<Instant>,
    control: Control,
    _guard: Option<DropGuard>,
}

impl Listening {
    async fn next(&mut self) -> Result<Option<Chunk>> {
        // The task watches for both too, but it may be in a computation that does not return.
        let received = tokio::select! {
            biased;
            received = self.receiver.recv() => received,
            error = self.control.stopped() => return Err(error),
            () = past(self.deadline) => return Err(deadline_exceeded()),
        };
        match received {
            Some(Item::Chunk(chunk)) => Ok(Some(chunk)),
            Some(Item::Failed(error)) => Err(error),
            Some(Item::End) => Ok(None),
            None if !Safeguard::EndMark.stands() => Ok(None),
            None => Err(Error::internal("the task that produced a response ended without saying so")),
        }
    }
}

/// Comes true when a deadline has passed.
async fn past(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// The producing task's end of the channel.
struct Listener {
    sender: mpsc::Sender<Item>,
    patience: Patience,
    control: Control,
    permit: Option<Permit>,
}

impl Listener {
    /// Waits until the client has taken what came before `item`. The error of a client that takes nothing for too long, or
    /// whose query is stopped meanwhile; `None` for one that went away.
    async fn send(&self, item: Item) -> Option<Result<()>> {
        let sending = self.sender.send(item);
        tokio::pin!(sending);
        let Patience { pause, end } = self.patience;
        let paused = tokio::select! {
            biased;
            sent = &mut sending => return sent.ok().map(Ok),
            error = self.control.stopped() => return Some(Err(error)),
            () = tokio::time::sleep(pause.min(end)) => self.permit.as_ref().is_none_or(Permit::pause),
        };
        if !paused {
            return Some(Err(taken_nothing("because many others wait like it, ", pause)));
        }
        let sent = tokio::select! {
            biased;
            sent = &mut sending => sent,
            error = self.control.stopped() => return Some(Err(error)),
            () = tokio::time::sleep(end.saturating_sub(pause)) => return Some(Err(taken_nothing("", end))),
        };
        sent.ok()?;
        if let Some(permit) = &self.permit {
            tokio::select! {
                () = permit.resume() => {}
                error = self.control.stopped() => return Some(Err(error)),
                () = self.sender.closed() => return None,
            }
        }
        Some(Ok(()))
    }
}

/// The error of a client that took nothing for `time`.
fn taken_nothing(why: &str, time: Duration) -> Error {
    let seconds = time.as_secs();
    tracing::info!(seconds, "the client takes nothing: its stream ends");
    Error::new(
        ErrorKind::DeadlineExceeded,
        format!(
            "{why}the stream ended: nothing was taken for {seconds} s (the settings idle-timeout and pause-timeout)"
        ),
    )
}

async fn produce(chunks: impl Stream<Item = Result<Chunk>>, listener: Listener) {
    // Boxed, so that it can be dropped before this function ends.
    let mut chunks = Box::pin(chunks);
    loop {
        let item = tokio::select! {
            biased;
            () = listener.sender.closed() => return,
            next = chunks.next() => match next {
                Some(Ok(chunk)) => Item::Chunk(chunk),
                Some(Err(error)) => Item::Failed(error),
                None => Item::End,
            },
        };
        let last = !matches!(item, Item::Chunk(_));
        if last {
            // What is behind the stream is over, and its place free, however long the client takes.
            drop(chunks);
            drop(listener.permit);
            let _ = timeout(listener.patience.end, listener.sender.send(item)).await;
            return;
        }
        match listener.send(item).await {
            Some(Ok(())) => {}
            None => return,
            Some(Err(error)) => {
                // The work behind the stream is over; the error waits for whenever the client reads on.
                drop(chunks);
                drop(listener.permit);
                let _ = listener.sender.send(Item::Failed(error)).await;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::rpc::Rpc;

    fn chunk() -> Chunk {
        Chunk { frames: Vec::new(), rows: 1 }
    }

    fn patience(millis: u64) -> Patience {
        Patience { pause: Duration::from_millis(millis / 2), end: Duration::from_millis(millis) }
    }

    async fn outcome(chunks: impl Stream<Item = Result<Chunk>> + Send + 'static) -> Vec<bool> {
        let stream = stream_chunks(chunks, Rpc::detached(), patience(60_000), Work::here());
        stream.map(|message| message.is_ok()).collect().await
    }

    #[tokio::test]
    async fn a_whole_stream_ends_well() {
        let chunks = futures::stream::iter([Ok(chunk()), Ok(chunk())]);
        assert_eq!(outcome(chunks).await, [true, true]);
    }

    #[tokio::test]
    async fn a_failure_and_a_panic_end_with_an_error() {
        let failing = futures::stream::iter([Ok(chunk()), Err(Error::internal("x"))]);
        assert_eq!(outcome(failing).await, [true, false]);
        let panicking = futures::stream::iter(0..3).map(|index| {
            assert!(index < 2, "a bug");
            Ok(chunk())
        });
        assert_eq!(outcome(panicking).await, [true, true, false]);
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_loses_its_stream() {
        let endless = futures::stream::repeat_with(|| Ok(chunk()));
        let mut stream = stream_chunks(endless, Rpc::detached(), patience(20), Work::here());
        stream.next().await.unwrap().unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        let rest: Vec<_> = stream.collect().await;
        assert_eq!(rest.last().unwrap().as_ref().unwrap_err().code(), tonic::Code::DeadlineExceeded);
        assert!(rest.len() <= READ_AHEAD + 2);
    }

    #[tokio::test]
    async fn dropping_the_response_stops_the_work() {
        let (alive, mut gone) = mpsc::channel::<()>(1);
        let pending = futures::stream::once(async move {
            let _alive = alive;
            std::future::pending::<Result<Chunk>>().await
        });
        drop(stream_chunks(pending, Rpc::detached(), patience(60_000), Work::here()));
        assert_eq!(gone.recv().await, None);
    }
}
