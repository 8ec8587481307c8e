//! gRPC: the only place that knows tonic.
//!
//! ```text
//! connection ── rpc (request id, span, deadline, body guard) ── flight (one method per RPC)
//!    ── descriptor or ticket read once into a Target ── get | put | exchange | info | actions
//!    ── frames (batches to messages) ── respond (bounded, joined, cancelled when the client is gone)
//! ```
//!
//! No method holds logic: it decodes, calls, encodes. What must not happen here: a response that ends
//! without error although its producer did not come to its end, and an upload that is committed
//! although its stream did not come to its end.

mod actions;
mod body;
mod connection;
mod exchange;
mod flight;
mod frames;
mod get;
mod info;
mod put;
mod receive;
mod respond;
mod rpc;
mod serve;
mod status;
mod target;

pub use serve::{Server, ServerOptions};
