//! HTTP/2 over accepted connections.
//!
//! Served by hyper as it is, not by tonic's server on top of it: that one sends bodies of `Bytes` alone, of which each
//! becomes an HTTP/2 frame and a system call of its own (see [`Rope`](super::rope::Rope)). Against abuse there is
//! hyper's default of 16 KiB of headers, and limits on streams that are reset, whose excess ends the connection with all
//! that runs on it: a connection of a proxy has those of many clients, and lives for long.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::{Stream, StreamExt};
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::watch;
use tower::{BoxError, Service, ServiceExt};

use super::connection::Connection;
use super::foreign::Doorkeeper;

/// The settings of HTTP/2 connections, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct HttpOptions {
    /// Flow control: uploads are bounded by what the server grants. Downloads obey what the client does.
    pub stream_window: u32,
    /// The same for all streams of a connection.
    pub connection_window: u32,
    /// The largest frame that is taken.
    pub frame: u32,
    /// How often a silent client is asked whether it is still there.
    pub keepalive: Duration,
    /// Requests at once on one connection.
    pub max_streams: u32,
    /// How long a connection may be there without a request.
    pub first_request: Duration,
}

/// Streams of a connection that were reset for errors of the client's, in all its life: data that comes when its stream
/// is gone is one.
const MAX_ERRORS: usize = 1 << 16;

const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a connection without a request may take to end once it is asked to.
const GOODBYE: Duration = Duration::from_secs(2);

/// Has `service` answer the requests of `connections`, until `stop` comes true. Then takes no more, and comes
/// to its end when all requests have theirs.
pub(in crate::server) async fn serve<S, B>(
    connections: impl Stream<Item = io::Result<Connection>>,
    service: S,
    options: HttpOptions,
    stop: impl Future<Output = ()>,
) where
    S: Service<Request<tonic::body::Body>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    let server = builder(options);
    let doorkeeper = Arc::new(Doorkeeper::default());
    let (stopping, _) = watch::channel(());
    {
        let (mut connections, mut stop) = (pin!(connections), pin!(stop));
        loop {
            tokio::select! {
                () = &mut stop => break,
                next = connections.next() => match next {
                    Some(Ok(connection)) => {
                        let mut goodbye = Goodbye { stopping: stopping.subscribe(), patience: options.first_request };
                        let (server, service) = (server.clone(), service.clone());
                        let doorkeeper = Arc::clone(&doorkeeper);
                        tokio::spawn(async move {
                            let has_asked = AtomicBool::new(false);
                            let connection = tokio::select! {
                                connection = doorkeeper.only_http2(connection) => connection,
                                () = goodbye.due(&has_asked) => None,
                            };
                            if let Some(connection) = connection {
                                connected(server, connection, service, goodbye).await;
                            }
                        });
                    }
                    Some(Err(_)) => {}
                    None => break,
                },
            }
        }
        // Here the listener is closed: who connects from now on is refused, instead of left waiting.
    }
    let _ = stopping.send(());
    stopping.closed().await;
}

fn builder(options: HttpOptions) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(options.stream_window)
        .initial_connection_window_size(options.connection_window)
        .max_frame_size(options.frame)
        .max_concurrent_streams(options.max_streams)
        // Clients that give up at once may all be there at a time.
        .max_pending_accept_reset_streams(usize::try_from(options.max_streams).ok())
        .max_local_error_reset_streams(MAX_ERRORS)
        .keep_alive_interval(options.keepalive)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    builder
}

/// When a connection is asked to end. It counts as open as long as this lives.
struct Goodbye {
    stopping: watch::Receiver<()>,
    /// How long it may be there without a request. Clients that speak HTTP/2 open another one when they have one, and
    /// what does not speak it, or nothing at all, is not to hold a place for ever.
    patience: Duration,
}

impl Goodbye {
    async fn due(&mut self, has_asked: &AtomicBool) {
        tokio::select! {
            _ = self.stopping.changed() => {}
            () = unless_asked(has_asked, self.patience) => {
                tracing::debug!("a connection is closed: no request came");
            }
        }
    }
}

/// Comes true after a time in which there was no request.
async fn unless_asked(has_asked: &AtomicBool, patience: Duration) {
    tokio::time::sleep(patience).await;
    if has_asked.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}

/// Serves one connection to its end.
async fn connected<S, B>(
    server: Builder<TokioExecutor>,
    connection: Connection,
    service: S,
    mut goodbye: Goodbye,
) where
    S: Service<Request<tonic::body::Body>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    let peer = connection.peer();
    let has_asked = Arc::new(AtomicBool::new(false));
    let asks = Arc::clone(&has_asked);
    let service = service.map_request(move |request: Request<Incoming>| {
        asks.store(true, Ordering::Relaxed);
        let mut request = request.map(tonic::body::Body::new);
        request.extensions_mut().insert(peer.clone());
        request
    });
    let mut serving =
        pin!(server.serve_connection(TokioIo::new(connection), TowerToHyperService::new(service)));
    let served = tokio::select! {
        served = &mut serving => served,
        () = goodbye.due(&has_asked) => {
            serving.as_mut().graceful_shutdown();
            tokio::select! {
                served = &mut serving => served,
                // Hyper waits for a preface that may never come.
                () = unless_asked(&has_asked, GOODBYE) => return,
            }
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection failed");
    }
}
