//! The Flight service: one module for each RPC, and what descriptors, tickets and uploads ask for.

mod actions;
mod exchange;
mod get;
mod handshake;
mod info;
mod lenient;
mod put;
mod service;
mod target;
mod terms;
mod trash;

pub(in crate::server) use handshake::{TOKEN, user};
pub(in crate::server) use put::{LastLook, Uploading};
pub(in crate::server) use service::Handler;
#[cfg(any(test, fuzzing))]
pub(crate) use target::Target;
pub(in crate::server) use target::{SqlQuery, change_ticket, queries_of, renewed};
pub use terms::UploadOptions;
