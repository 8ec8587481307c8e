//! gRPC: the only place that knows tonic and hyper.
//!
//! ```text
//! connection ── http2 ── rpc (request id, span, deadline, body guard) ── flight (one method per RPC)
//!    ── session (who asks, and what was set) ── descriptor or ticket read once into a Target
//!    ── get | put | exchange | info | actions | flight_sql (a module for each family of commands)
//!    ── download (raw streams, decoded ahead), frame_cache ── frames (batches to messages)
//!    ── respond (bounded, joined, cancelled when the client is gone) ── zero_copy (the body of DoGet)
//! ```
//!
//! No method holds logic: it decodes, calls, encodes. What must not happen here: a response that ends
//! without error although its producer did not come to its end, and an upload that is committed
//! although its stream did not come to its end.

mod acks;
mod actions;
mod body;
mod connection;
mod decimals;
mod download;
mod early;
mod exchange;
mod flight;
mod flight_sql;
mod foreign;
mod frame_cache;
mod frames;
mod get;
mod handshake;
mod headers;
mod http2;
mod info;
mod lenient;
mod put;
mod receive;
mod respond;
mod rest;
mod rope;
mod rpc;
mod serve;
mod session;
mod status;
mod strings;
mod target;
mod terms;
mod trash;
mod views;
mod zero_copy;

pub use download::DownloadOptions;
pub use flight_sql::StatementsOptions;
pub use http2::HttpOptions;
#[cfg(any(test, fuzzing))]
pub(crate) use receive::Decoder;
pub use serve::{Server, ServerOptions};
pub use session::SessionOptions;
#[cfg(any(test, fuzzing))]
pub(crate) use target::Target;
pub use terms::UploadOptions;
