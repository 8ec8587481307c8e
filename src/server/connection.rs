//! Accepted connections, and a limit on how many there are.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};
use uuid::Uuid;

use super::session::Sessions;

/// Tells a connection from all others that this process has had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ConnectionId(Uuid);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the requests of a connection know of it.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) connection: ConnectionId,
    pub(super) address: Option<SocketAddr>,
}

/// The connections of `listener`, at most `limit` at once: further ones wait in the kernel's queue. With
/// a connection ends the session that is known by it alone.
pub(super) fn accept(
    listener: TcpListener,
    limit: usize,
    sessions: Sessions,
) -> impl Stream<Item = io::Result<Connection>> {
    let places = Arc::new(Semaphore::new(limit));
    futures::stream::unfold((listener, places, sessions), |(listener, places, sessions)| async move {
        let place = Arc::clone(&places).acquire_owned().await.ok()?;
        let accepted = listener.accept().await.map(|(stream, _)| {
            // Latency matters more than the few packets that this costs.
            let _ = stream.set_nodelay(true);
            let id = ConnectionId(Uuid::new_v4());
            Connection { stream, lingering: None, id, sessions: sessions.clone(), _place: place }
        });
        if let Err(error) = &accepted {
            tracing::warn!(%error, "cannot accept a connection");
            // Out of file descriptors, most likely: give others time to close theirs.
            sleep(Duration::from_millis(50)).await;
        }
        Some((accepted, (listener, places, sessions)))
    })
}

/// How long a connection that the server ends waits for the client to end it too.
const LINGER: Duration = Duration::from_secs(5);

/// A TCP connection that holds its place among the allowed ones.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    /// Since the server ended it.
    lingering: Option<Pin<Box<Sleep>>>,
    id: ConnectionId,
    sessions: Sessions,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    /// What its requests are to know.
    pub(super) fn peer(&self) -> Peer {
        Peer { connection: self.id, address: self.stream.peer_addr().ok() }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.sessions.forget(self.id);
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Ends what is sent, and waits for the end of what the client sends. A socket that is closed before would answer
    /// whatever still comes, such as updates of windows, with a reset, on which clients throw away what they have not
    /// read yet (RFC 9112, section 9.6).
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, lingering, .. } = &mut *self;
        ready!(Pin::new(&mut *stream).poll_shutdown(cx))?;
        let lingering = lingering.get_or_insert_with(|| Box::pin(sleep(LINGER)));
        let mut ignored = [0; 4096];
        while lingering.as_mut().poll(cx).is_pending() {
            let mut ignored = ReadBuf::new(&mut ignored);
            let read = ready!(Pin::new(&mut *stream).poll_read(cx, &mut ignored));
            if read.is_err() || ignored.filled().is_empty() {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
