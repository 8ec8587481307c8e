//! gRPC: the only place that knows tonic and hyper.
//!
//! ```text
//! transport (connection, HTTP/2, guarded body) ── rpc (request id, span, deadline) ── flight (one method per RPC)
//!    ── session (who asks, and what was set) ── descriptor or ticket read once into a Target
//!    ── flight::{get, put, exchange, info, actions} | flight_sql (a module for each family of commands)
//!    ── stream (decoded ahead, bounded, cancelled when the client is gone) ── ipc (batches to messages)
//!    ── transport (the body of DoGet)
//! ```
//!
//! No method holds logic: it decodes, calls, encodes. What must not happen here: a response that ends
//! without error although its producer did not come to its end, and an upload that is committed
//! although its stream did not come to its end.

mod flight;
mod flight_sql;
mod headers;
mod ipc;
mod rpc;
mod serve;
mod session;
mod status;
mod stream;
mod transport;

#[cfg(any(test, fuzzing))]
pub(crate) use flight::Target;
pub use flight::UploadOptions;
pub use flight_sql::StatementsOptions;
#[cfg(any(test, fuzzing))]
pub(crate) use ipc::Decoder;
pub use serve::{Server, ServerOptions};
pub use session::SessionOptions;
pub use stream::DownloadOptions;
pub use transport::HttpOptions;
