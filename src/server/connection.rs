//! Accepted connections, and a limit on how many there are.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
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
            Connection { stream, id: ConnectionId(Uuid::new_v4()), sessions: sessions.clone(), _place: place }
        });
        if let Err(error) = &accepted {
            tracing::warn!(%error, "cannot accept a connection");
            // Out of file descriptors, most likely: give others time to close theirs.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        Some((accepted, (listener, places, sessions)))
    })
}

/// A TCP connection that holds its place among the allowed ones.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
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

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
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
