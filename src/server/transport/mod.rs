//! From a connection to a request, and back: HTTP/2 by hyper, bodies guarded on the way in and uncopied on the way out.

mod connection;
mod early;
mod foreign;
mod guarded_body;
pub(in crate::server) mod http2;
mod rest;
mod rope;
mod zero_copy;

pub(in crate::server) use connection::{ConnectionId, Peer, accept};
pub(in crate::server) use early::early;
pub(in crate::server) use guarded_body::GuardedBody;
pub use http2::HttpOptions;
pub(in crate::server) use zero_copy::ZeroCopy;
