//! Responses that are streams: decoded ahead, bounded, and stopped when nobody listens.

mod acks;
mod download;
mod frame_cache;
mod respond;

pub(in crate::server) use acks::Acks;
pub use download::DownloadOptions;
pub(in crate::server) use download::Downloads;
pub(in crate::server) use respond::{Chunks, Patience, Responses, Work, flight_data, stream_chunks};
