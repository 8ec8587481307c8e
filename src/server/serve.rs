//! Serving: one listener, all services, and a bounded goodbye.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tower::Layer;

use super::flight::{Handler, UploadOptions};
use super::flight_sql::StatementsOptions;
use super::rpc::RpcLayer;
use super::session::SessionOptions;
use super::stream::{DownloadOptions, Patience};
use super::transport::{HttpOptions, ZeroCopy, accept, http2};
use crate::engine::Engine;
use crate::error::Result;

/// The server's settings.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// URIs that endpoints name; none means: on the connection that asked.
    pub advertise: Vec<String>,
    /// The most that a query may take, from request to last row.
    pub query_timeout: Duration,
    /// How long a stream may stand still on the client's side.
    pub idle_timeout: Duration,
    /// How long a query keeps its place among those that run while its client takes nothing.
    pub pause_timeout: Duration,
    /// How long requests may go on after the server was asked to stop.
    pub drain_timeout: Duration,
    /// The largest message that is taken, in bytes.
    pub max_message_bytes: usize,
    /// Connections at once.
    pub max_connections: usize,
    /// How long a query's ticket can be redeemed.
    pub ticket_lifetime: Duration,
    /// The settings of connections.
    pub http: HttpOptions,
    /// Whether DoGet sends arrays without copying them.
    pub zero_copy: bool,
    /// What makes an upload whole.
    pub uploads: UploadOptions,
    /// The settings of raw streams.
    pub downloads: DownloadOptions,
    /// The limits of sessions.
    pub sessions: SessionOptions,
    /// The limits of prepared statements.
    pub statements: StatementsOptions,
}

impl ServerOptions {
    /// How long clients may take nothing.
    pub(super) fn patience(&self) -> Patience {
        Patience { pause: self.pause_timeout, end: self.idle_timeout }
    }
}

/// The gRPC server.
#[derive(Debug)]
pub struct Server {
    handler: Handler,
}

impl Server {
    /// A server of what `engine` knows.
    pub fn new(engine: Arc<Engine>, options: ServerOptions) -> Result<Self> {
        Ok(Self { handler: Handler::new(engine, options)? })
    }

    /// Serves on `listener` until `shutdown` comes true, then lets running requests end, for the time
    /// that the settings allow.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()> + Send + 'static) {
        let options = Arc::clone(&self.handler.options);
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_serving::<FlightServiceServer<Handler>>().await;
        let sessions = self.handler.sessions.clone();
        let stock = FlightServiceServer::new(self.handler.clone())
            // Answers are never compressed so: that is slower than any network in use, and Arrow's own codecs
            // (x-airstrip-compression) do better.
            .accept_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(options.max_message_bytes);
        let stock = Routes::new(health_service).add_service(stock).prepare();
        let service = ZeroCopy::new(self.handler, stock, options.max_message_bytes, options.zero_copy);
        let (draining, drained) = oneshot::channel();
        let stop = async move {
            shutdown.await;
            tracing::info!("draining");
            health.set_not_serving::<FlightServiceServer<Handler>>().await;
            health.set_service_status("", ServingStatus::NotServing).await;
            let _ = draining.send(());
        };
        let connections = accept(listener, options.max_connections, sessions);
        tokio::select! {
            () = http2::serve(connections, RpcLayer.layer(service), options.http, stop) => {}
            () = too_late(drained, options.drain_timeout) => {
                let seconds = options.drain_timeout.as_secs();
                tracing::warn!(seconds, "requests still ran when the time to drain was up");
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
