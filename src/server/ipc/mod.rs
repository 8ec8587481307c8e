//! Arrow IPC: batches as Flight messages, and messages as batches, which nobody vouches for.

mod decimals;
mod frames;
mod receive;
mod strings;
mod views;

pub(in crate::server) use frames::{Chunk, Frame, FrameEncoder, Framing, MessageSize, opening, pack};
#[cfg(any(test, fuzzing))]
pub(crate) use receive::Decoder;
pub(in crate::server) use receive::{Received, Receiver, unpack};
