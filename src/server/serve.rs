//! Serving: one listener, all services, and a bounded goodbye.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tonic_health::ServingStatus;

use super::connection::accept;
use super::download::DownloadOptions;
use super::flight::Handler;
use super::flight_sql::StatementsOptions;
use super::rpc::RpcLayer;
use super::session::SessionOptions;
use super::zero_copy::ZeroCopy;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};

/// The server's settings.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// URIs that endpoints name; none means: on the connection that asked.
    pub advertise: Vec<String>,
    /// The most that a query may take, from request to last row.
    pub query_timeout: Duration,
    /// How long a stream may stand still on the client's side.
    pub idle_timeout: Duration,
    /// How long requests may go on after the server was asked to stop.
    pub drain_timeout: Duration,
    /// The largest message that is taken, in bytes.
    pub max_message_bytes: usize,
    /// Connections at once.
    pub max_connections: usize,
    /// Requests at once on one connection.
    pub max_streams: u32,
    /// How long a query's ticket can be redeemed.
    pub ticket_lifetime: Duration,
    /// The settings of connections.
    pub http: HttpOptions,
    /// Whether DoGet sends arrays without copying them.
    pub zero_copy: bool,
    /// The settings of raw streams.
    pub downloads: DownloadOptions,
    /// The limits of sessions.
    pub sessions: SessionOptions,
    /// The limits of prepared statements.
    pub statements: StatementsOptions,
}

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
}

const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// The gRPC server.
#[derive(Debug)]
pub struct Server {
    handler: Handler,
}

impl Server {
    /// A server of what `engine` knows.
    pub fn new(engine: Arc<Engine>, options: ServerOptions) -> Self {
        Self { handler: Handler::new(engine, options) }
    }

    /// Serves on `listener` until `shutdown` comes true, then lets running requests end, for the time
    /// that the settings allow.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<()> {
        let options = Arc::clone(&self.handler.options);
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_serving::<FlightServiceServer<Handler>>().await;
        let sessions = self.handler.sessions.clone();
        let flight = ZeroCopy::new(self.handler, options.max_message_bytes, options.zero_copy);
        let (draining, drained) = oneshot::channel();
        let stop = async move {
            shutdown.await;
            tracing::info!("draining");
            health.set_not_serving::<FlightServiceServer<Handler>>().await;
            health.set_service_status("", ServingStatus::NotServing).await;
            let _ = draining.send(());
        };
        let server = tonic::transport::Server::builder()
            .initial_stream_window_size(options.http.stream_window)
            .initial_connection_window_size(options.http.connection_window)
            .max_frame_size(options.http.frame)
            .max_concurrent_streams(options.max_streams)
            .http2_keepalive_interval(Some(options.http.keepalive))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .layer(RpcLayer)
            .add_service(health_service)
            .add_service(flight);
        let connections = accept(listener, options.max_connections, sessions);
        let serving = server.serve_with_incoming_shutdown(connections, stop);
        tokio::select! {
            served = serving => {
                served.map_err(|error| Error::new(ErrorKind::Unavailable, "the server failed").with_source(error))
            }
            () = too_late(drained, options.drain_timeout) => {
                let seconds = options.drain_timeout.as_secs();
                tracing::warn!(seconds, "requests still ran when the time to drain was up");
                Ok(())
            }
        }
    }
}

/// Comes true when draining has gone on for `patience`.
async fn too_late(draining: oneshot::Receiver<()>, patience: Duration) {
    if draining.await.is_err() {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(patience).await;
}
