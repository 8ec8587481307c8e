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
#[cfg(target_os = "linux")]
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};
use uuid::Uuid;

use crate::server::session::{Sessions, Sharing};

/// Tells a connection from all others that this process has had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::server) struct ConnectionId(Uuid);

impl ConnectionId {
    /// One that no other connection has.
    pub(in crate::server) fn new() -> Self {
        Self(Uuid::new_v4())
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the requests of a connection know of it.
#[derive(Debug, Clone)]
pub(in crate::server) struct Peer {
    pub(in crate::server) connection: ConnectionId,
    pub(in crate::server) address: Option<SocketAddr>,
    /// Whether it carries several clients.
    pub(in crate::server) sharing: Arc<Sharing>,
}

/// The connections of `listener`, at most `limit` at once: further ones wait in the kernel's queue. With
/// a connection ends the session that is known by it alone.
pub(in crate::server) fn accept(
    listener: TcpListener,
    limit: usize,
    sessions: Sessions,
) -> impl Stream<Item = io::Result<Connection>> {
    let places = Arc::new(Semaphore::new(limit));
    futures::stream::unfold((listener, places, sessions), |(listener, places, sessions)| async move {
        let place = Arc::clone(&places).acquire_owned().await.ok()?;
        let accepted = listener.accept().await.map(|(stream, _)| {
            tune(&stream);
            let id = ConnectionId::new();
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

/// Sets what is best for the stream. It works without, so that failing is no error.
fn tune(stream: &TcpStream) {
    // Latency matters more than the few packets that this costs.
    let _ = stream.set_nodelay(true);
    // Within one machine there is nothing that could be congested, and where BBR is the default, its pacing makes transfers
    // wait for timers. Reno is in every kernel, and allowed to everyone unless the system's settings say otherwise.
    #[cfg(target_os = "linux")]
    if stream.peer_addr().is_ok_and(|peer| peer.ip().to_canonical().is_loopback()) {
        let _ = SockRef::from(stream).set_tcp_congestion(b"reno");
    }
}

/// How long a connection that the server ends waits for the client to end it too.
const LINGER: Duration = Duration::from_secs(5);

/// A TCP connection that holds its place among the allowed ones.
#[derive(Debug)]
pub(in crate::server) struct Connection {
    stream: TcpStream,
    /// Since the server ended it.
    lingering: Option<Pin<Box<Sleep>>>,
    id: ConnectionId,
    sessions: Sessions,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    /// What its requests are to know.
    pub(in crate::server) fn peer(&self) -> Peer {
        Peer { connection: self.id, address: self.stream.peer_addr().ok(), sharing: Arc::default() }
    }

    /// Its next bytes, which stay to be read: none at its end.
    pub(in crate::server) async fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.peek(buffer).await
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::server::session::SessionOptions;

    #[tokio::test]
    async fn nothing_paces_what_stays_on_the_machine() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let inherited = SockRef::from(&listener);
        if inherited.set_tcp_congestion(b"reno").is_err() {
            println!("skipped: this system does not allow Reno");
            return;
        }
        // Accepted connections have it from their listener, unless the system knows no other.
        let _ = inherited.set_tcp_congestion(b"bbr").or_else(|_| inherited.set_tcp_congestion(b"cubic"));
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let sessions = Sessions::new(SessionOptions { most: 1, idle: Duration::from_secs(1) });
        let mut accepted = Box::pin(accept(listener, 1, sessions));
        let connection = futures::StreamExt::next(&mut accepted).await.unwrap().unwrap();
        assert!(connection.stream.nodelay().unwrap());
        let congestion = SockRef::from(&connection.stream).tcp_congestion().unwrap();
        assert!(congestion.starts_with(b"reno\0"), "{congestion:?}");
        drop(client);
    }
}
