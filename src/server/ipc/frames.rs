//! Batches to Flight messages, whose bodies share the memory of the arrays.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::buffer::Buffer;
use arrow::compute::concat_batches;
use arrow::datatypes::{BinaryViewType, DataType, Field, Schema, SchemaRef, StringViewType};
use arrow::error::ArrowError;
use arrow_flight::FlightData;
use arrow_ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteOptions, StreamEncoder};
use arrow_ipc::{CompressionType, MessageHeader};
use arrow_select::dictionary::garbage_collect_any_dictionary;
use bytes::{Bytes, BytesMut};
use prost::Message;

use super::views;
use crate::engine::{Gathering, dense};
use crate::error::{Error, Result};
use crate::storage::{batch_bytes, cast_batch, decodable};

/// No message is larger for clients with gRPC's usual limit of 4 MiB, unless a single row is.
pub(in crate::server) const MAX_MESSAGE_BYTES: usize = 4 << 20;
/// Room for the message's header and metadata below that limit.
const BODY_LIMIT: usize = MAX_MESSAGE_BYTES - (256 << 10);
/// What a message's body aims at.
const BODY_TARGET: usize = 2 << 20;

/// The same for clients on gRPC's C++ core, which take messages of any size: each is one block of the client's memory.
/// Once a large block was freed, glibc keeps the blocks of later messages that are smaller, instead of giving them back to
/// the system and taking them again page by page; but it learns nothing from blocks of 32 MiB or more.
const ROOMY_BODY_TARGET: usize = 24 << 20;
const ROOMY_BODY_LIMIT: usize = 31 << 20;
/// What messages besides a large one aim at: small enough for what the client copies them from and to to stay in the
/// processor's caches.
const STEADY_BODY_TARGET: usize = 4 << 20;
/// What the large one of a query's result is gathered to. Less than of a raw stream, since it is copied together while
/// the query may need its memory most.
const LARGE_GATHERED_BYTES: usize = 8 << 20;

/// Fewer rows are cut anywhere.
const FEW_ROWS: usize = 1024;

/// Pieces of a body that are smaller are copied together: few of them go into one system call.
const COALESCED_BYTES: usize = 16 << 10;

/// How large messages may get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(in crate::server) enum MessageSize {
    /// Below gRPC's default limit.
    #[default]
    Usual,
    /// For clients without a limit.
    Roomy,
    /// For the same clients, besides a large message.
    Steady,
}

impl MessageSize {
    /// Bytes of a body that are aimed at.
    fn target(self) -> usize {
        match self {
            Self::Usual => BODY_TARGET,
            Self::Roomy => ROOMY_BODY_TARGET,
            Self::Steady => STEADY_BODY_TARGET,
        }
    }

    /// How the batches of a query are gathered, each of which is a message then.
    pub(in crate::server) fn gathering(self) -> Gathering {
        match self {
            // Half of a message, since they come in steps.
            Self::Usual => Gathering { target: BODY_TARGET / 2, second: BODY_TARGET / 2 },
            Self::Roomy | Self::Steady => {
                Gathering { target: STEADY_BODY_TARGET, second: LARGE_GATHERED_BYTES }
            }
        }
    }

    /// The size of messages besides the large one.
    pub(in crate::server) fn steady(self) -> Self {
        match self {
            Self::Usual => Self::Usual,
            Self::Roomy | Self::Steady => Self::Steady,
        }
    }

    fn limit(self) -> usize {
        match self {
            Self::Usual => BODY_LIMIT,
            Self::Roomy | Self::Steady => ROOMY_BODY_LIMIT,
        }
    }
}

/// How a client wants its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(in crate::server) struct Framing {
    pub(in crate::server) size: MessageSize,
    /// How the bodies of batches are compressed.
    pub(in crate::server) compression: Option<CompressionType>,
}

/// A Flight message: the header of an IPC message, and its body in pieces.
#[derive(Debug, Clone)]
pub(in crate::server) struct Frame {
    pub(in crate::server) header: Bytes,
    pub(in crate::server) body: Vec<Bytes>,
}

impl Frame {
    /// Bytes of the body.
    pub(in crate::server) fn body_bytes(&self) -> usize {
        self.body.iter().map(Bytes::len).sum()
    }

    /// The message as one piece, which copies the body.
    pub(in crate::server) fn to_flight_data(&self) -> FlightData {
        let body = match self.body.as_slice() {
            [piece] => piece.clone(),
            pieces => pieces.concat().into(),
        };
        FlightData::new().with_data_header(self.header.clone()).with_data_body(body)
    }
}

/// Messages that belong together, and the rows that they carry.
#[derive(Debug, Clone, Default)]
pub(in crate::server) struct Chunk {
    pub(in crate::server) frames: Vec<Frame>,
    pub(in crate::server) rows: u64,
}

impl Chunk {
    /// Bytes that the messages hold.
    pub(in crate::server) fn bytes(&self) -> usize {
        self.frames.iter().map(|frame| frame.header.len() + frame.body_bytes()).sum()
    }

    /// Puts the messages of `other` behind these.
    pub(in crate::server) fn append(&mut self, other: Self) {
        self.frames.extend(other.frames);
        self.rows += other.rows;
    }
}

/// Encodes the batches of one stream. The schema comes first; a dictionary is sent when it is first
/// used and whenever it changed.
pub(in crate::server) struct FrameEncoder {
    encoder: StreamEncoder,
    size: MessageSize,
    schema: SchemaRef,
    /// The schema that batches are cut in, where it is not the stream's.
    plain: Option<SchemaRef>,
    /// Whether there are views or dictionaries, which drag along values that a piece does not use.
    is_compacted: bool,
    /// Whether dictionaries are still to be sent: see [`finish`](FrameEncoder::finish).
    unopened: bool,
}

/// A batch as the messages of a stream, each encoded, for where a whole stream is one value.
pub(in crate::server) fn pack(batch: &RecordBatch) -> Result<Vec<Bytes>> {
    let schema = batch.schema();
    let mut encoder = FrameEncoder::new(&schema, Framing::default())?;
    let mut all = opening(&schema);
    all.append(encoder.encode(batch)?);
    all.append(encoder.finish()?.unwrap_or_default());
    Ok(all.frames.iter().map(|frame| frame.to_flight_data().encode_to_vec().into()).collect())
}

/// The message that opens a stream of `schema`.
pub(in crate::server) fn opening(schema: &Schema) -> Chunk {
    let mut tracker = DictionaryTracker::new(false);
    let encoded = IpcDataGenerator::default().schema_to_bytes_with_dictionary_tracker(
        schema,
        &mut tracker,
        &IpcWriteOptions::default(),
    );
    Chunk { frames: vec![Frame { header: encoded.ipc_message.into(), body: Vec::new() }], rows: 0 }
}

impl FrameEncoder {
    /// An encoder for batches of `schema`, whose stream was [opened](opening) elsewhere.
    pub(in crate::server) fn new(schema: &SchemaRef, framing: Framing) -> Result<Self> {
        let options = IpcWriteOptions::default().try_with_compression(framing.compression);
        let encoder = options.and_then(|options| StreamEncoder::try_new_with_options(schema, options));
        Ok(Self {
            encoder: encoder.map_err(|error| unencodable(&error))?,
            size: framing.size,
            schema: Arc::clone(schema),
            plain: Some(decodable(schema)).filter(|plain| *plain != **schema).map(Arc::new),
            is_compacted: schema.fields().iter().any(drags),
            unopened: has_dictionaries(schema),
        })
    }

    /// What to decode at once of a piece of about `piece_bytes`: all, since messages are cut from it; but not where
    /// there are dictionaries, which Parquet's reader makes anew for each batch, of all strings in it.
    pub(in crate::server) fn batch_bytes(&self, piece_bytes: u64) -> u64 {
        if has_dictionaries(&self.schema) { self.size.target() as u64 } else { piece_bytes }
    }

    /// What is to be sent after the last batch. Arrow C++ wants every dictionary of the schema before
    /// it takes the end of a stream, so one without batches ends with an empty batch.
    pub(in crate::server) fn finish(&mut self) -> Result<Option<Chunk>> {
        if !std::mem::take(&mut self.unopened) {
            return Ok(None);
        }
        let mut chunk = Chunk::default();
        self.encode_piece(&RecordBatch::new_empty(Arc::clone(&self.schema)), usize::MAX, &mut chunk)?;
        Ok(Some(chunk))
    }

    /// The messages of `batch`, whose columns have the stream's types, or already those of `decodable`.
    pub(in crate::server) fn encode(&mut self, batch: &RecordBatch) -> Result<Chunk> {
        if batch.num_rows() > 0 {
            self.unopened = false;
        }
        let mut chunk = Chunk { frames: Vec::new(), rows: batch.num_rows() as u64 };
        let plain = self.plain.as_ref().map(|plain| cast_batch(batch, plain)).transpose();
        let plain = plain.map_err(|error| unencodable(&error))?;
        let batch = plain.as_ref().unwrap_or(batch);
        // Messages that are kept are not to keep pages alive that hold little of them.
        let gathered = if self.is_compacted { dense(batch) } else { Ok(None) };
        let gathered = gathered.map_err(|error| unencodable(&error))?;
        let batch = gathered.as_ref().unwrap_or(batch);
        let bytes = batch_bytes(batch);
        // As few messages as stay below the target by a quarter: one that is a little larger is better
        // than two halves.
        let most = self.size.target() / 4 * 5;
        let pieces = bytes.div_ceil(most).clamp(1, batch.num_rows().max(1));
        let rows = batch.num_rows().div_ceil(pieces).max(1);
        // Bitmaps are not copied where they are cut between bytes.
        let rows = if rows > FEW_ROWS { rows.next_multiple_of(8) } else { rows };
        let mut offset = 0;
        while offset < batch.num_rows() {
            let length = rows.min(batch.num_rows() - offset);
            self.encode_piece(&batch.slice(offset, length), usize::MAX, &mut chunk)?;
            offset += length;
        }
        Ok(chunk)
    }

    /// Encodes a piece. Rows of very different sizes can make it too large: then its halves, unless cutting
    /// does not help, since it is not its own rows that are large and it is hardly smaller than the `whole` that
    /// it is a half of.
    fn encode_piece(&mut self, piece: &RecordBatch, whole: usize, chunk: &mut Chunk) -> Result<()> {
        let restored = self.plain.is_some().then(|| self.restore(piece)).transpose();
        let restored = restored.map_err(|error| unencodable(&error))?;
        let compact = if self.is_compacted {
            compact(restored.as_ref().unwrap_or(piece), self.size.limit())?
        } else {
            None
        };
        let batch = compact.as_ref().or(restored.as_ref()).unwrap_or(piece);
        let buffers = self.encoder.encode(batch).map_err(|error| unencodable(&error))?;
        let mut frames = messages(buffers)?;
        let rows = frames.pop().ok_or_else(|| Error::internal("a batch without a message"))?;
        // The dictionaries, which count as sent from now on.
        chunk.frames.extend(frames);
        let bytes = rows.body_bytes();
        let helps = || bytes < whole / 10 * 9 || batch_bytes(piece) > self.size.limit();
        if bytes > self.size.limit() && piece.num_rows() > 1 && helps() {
            drop((rows, compact, restored));
            let half = piece.num_rows() / 2;
            self.encode_piece(&piece.slice(0, half), bytes, chunk)?;
            return self.encode_piece(&piece.slice(half, piece.num_rows() - half), bytes, chunk);
        }
        chunk.frames.push(rows);
        Ok(())
    }

    /// The rows of a plain piece in the stream's types. What views are made of is copied first if the
    /// piece is a slice: they would point into the whole.
    fn restore(&self, piece: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let schema = piece.schema();
        let copied = concat_batches(&schema, [&RecordBatch::new_empty(Arc::clone(&schema)), piece])?;
        cast_batch(&copied, &self.schema)
    }
}

/// The messages of an encapsulated IPC stream (Arrow's "Columnar format", serialization), but for its
/// schema: Flight carries header and body apart.
fn messages(buffers: Vec<Buffer>) -> Result<Vec<Frame>> {
    let damaged = || Error::internal("the IPC encoder's output is not what was expected");
    let mut buffers = buffers.into_iter().filter(|buffer| !buffer.is_empty());
    let mut frames = Vec::new();
    while let Some(prefix) = buffers.next() {
        // The continuation marker, and the header's length.
        let length = prefix.as_slice().strip_prefix(&[0xff; 4]).and_then(|length| length.try_into().ok());
        let length = u32::from_le_bytes(length.ok_or_else(damaged)?);
        let header = take(&mut buffers, u64::from(length)).ok_or_else(damaged)?.concat();
        let message = arrow_ipc::root_as_message(&header).map_err(|_| damaged())?;
        let length = u64::try_from(message.bodyLength()).map_err(|_| damaged())?;
        let is_schema = message.header_type() == MessageHeader::Schema;
        let body = take(&mut buffers, length).ok_or_else(damaged)?;
        if !is_schema {
            frames.push(Frame { header: header.into(), body });
        }
    }
    Ok(frames)
}

/// The next `length` bytes, small buffers copied together. `None` if no buffer ends there.
fn take(buffers: &mut impl Iterator<Item = Buffer>, length: u64) -> Option<Vec<Bytes>> {
    let (mut pieces, mut small, mut left) = (Vec::new(), BytesMut::new(), length);
    while left > 0 {
        let buffer = buffers.next()?;
        left = left.checked_sub(buffer.len() as u64)?;
        if buffer.len() < COALESCED_BYTES {
            small.extend_from_slice(&buffer);
            continue;
        }
        if !small.is_empty() {
            pieces.push(small.split().freeze());
        }
        pieces.push(Bytes::from_owner(Shared(buffer)));
    }
    if !small.is_empty() {
        pieces.push(small.freeze());
    }
    Some(pieces)
}

/// An array's buffer as the owner of bytes.
struct Shared(Buffer);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn drags(field: &Arc<Field>) -> bool {
    matches!(field.data_type(), DataType::Utf8View | DataType::BinaryView | DataType::Dictionary(..))
}

/// The batch without values that it does not use, where those take much: `None` where nothing is to be
/// done.
fn compact(batch: &RecordBatch, limit: usize) -> Result<Option<RecordBatch>> {
    replace(batch, |column| match column.data_type() {
        DataType::Utf8View => Ok(views::compact::<StringViewType>(column)),
        DataType::BinaryView => Ok(views::compact::<BinaryViewType>(column)),
        DataType::Dictionary(..) => compact_dictionary(column, limit),
        _ => Ok(None),
    })
}

/// The batch with the columns that `by` gives in place of its own; `None` where it gives none.
fn replace(
    batch: &RecordBatch,
    by: impl Fn(&ArrayRef) -> Result<Option<ArrayRef>, ArrowError>,
) -> Result<Option<RecordBatch>> {
    let replaced = batch.columns().iter().map(by).collect::<Result<Vec<_>, _>>();
    let replaced = replaced.map_err(|error| unencodable(&error))?;
    if replaced.iter().all(Option::is_none) {
        return Ok(None);
    }
    let columns = replaced.into_iter().zip(batch.columns());
    let columns = columns.map(|(replaced, column)| replaced.unwrap_or_else(|| Arc::clone(column))).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let batch = RecordBatch::try_new_with_options(batch.schema(), columns, &options);
    batch.map(Some).map_err(|error| unencodable(&error))
}

/// A dictionary that makes a message too large without values that these rows do not use. One that does
/// not is sent once and serves all rows.
fn compact_dictionary(column: &ArrayRef, limit: usize) -> Result<Option<ArrayRef>, ArrowError> {
    let dictionary = column.as_any_dictionary();
    let bytes = dictionary.values().to_data().get_slice_memory_size()?;
    if bytes <= limit { Ok(None) } else { garbage_collect_any_dictionary(dictionary).map(Some) }
}

fn unencodable(error: &ArrowError) -> Error {
    Error::internal(format!("cannot encode a batch: {error}"))
}

fn has_dictionaries(schema: &Schema) -> bool {
    let dictionary = |field: &&Field| matches!(field.data_type(), DataType::Dictionary(..));
    schema.flattened_fields().iter().any(dictionary)
}

#[cfg(test)]
mod tests {
    use arrow::array::{DictionaryArray, StringArray, StringViewArray};
    use arrow::datatypes::Int8Type;

    use super::*;
    use crate::server::ipc::receive::Decoder;

    fn round_trip(batches: &[RecordBatch]) -> (Vec<FlightData>, Vec<RecordBatch>) {
        let schema = batches[0].schema();
        let mut encoder = FrameEncoder::new(&schema, Framing::default()).unwrap();
        let mut all = opening(&schema);
        for batch in batches {
            let chunk = encoder.encode(batch).unwrap();
            assert_eq!(chunk.rows, batch.num_rows() as u64);
            all.append(chunk);
        }
        let frames: Vec<_> = all.frames.iter().map(Frame::to_flight_data).collect();
        let mut decoder = Decoder::new(&frames[0]).unwrap();
        let decoded = frames[1..].iter().filter_map(|frame| decoder.decode(frame).unwrap()).collect();
        (frames, decoded)
    }

    fn rows(batches: &[RecordBatch]) -> RecordBatch {
        arrow::compute::concat_batches(&batches[0].schema(), batches).unwrap()
    }

    #[test]
    fn no_message_is_too_large_even_where_rows_differ_in_size() {
        let texts = (0..1000).map(|row| if row == 500 { "x".repeat(3 << 20) } else { "y".repeat(row * 5) });
        let column = StringArray::from_iter_values(texts);
        let batch = RecordBatch::try_from_iter([("s", Arc::new(column) as _)]).unwrap();
        let (frames, decoded) = round_trip(std::slice::from_ref(&batch));
        assert!(frames.iter().all(|frame| frame.data_body.len() <= BODY_LIMIT));
        assert_eq!(rows(&decoded), batch);
    }

    #[test]
    fn large_rows_beside_each_other_are_sent_apart() {
        for large in [0..2, 500..502, 998..1000] {
            let texts = (0..1000).map(|row| "x".repeat(if large.contains(&row) { 3 << 20 } else { 10 }));
            let column = StringArray::from_iter_values(texts);
            let batch = RecordBatch::try_from_iter([("s", Arc::new(column) as _)]).unwrap();
            let (frames, decoded) = round_trip(std::slice::from_ref(&batch));
            assert!(frames.iter().all(|frame| frame.data_body.len() <= BODY_LIMIT), "{large:?}");
            assert_eq!(rows(&decoded), batch);
        }
    }

    #[test]
    fn views_are_cut_like_plain_strings() {
        let text = "a string that is too long to be held inside of its view".repeat(4);
        let column = StringViewArray::from_iter_values((0..60_000).map(|_| &text));
        let batch = RecordBatch::try_from_iter([("v", Arc::new(column) as _)]).unwrap();
        let (frames, decoded) = round_trip(std::slice::from_ref(&batch));
        assert!(frames.iter().all(|frame| frame.data_body.len() <= BODY_LIMIT));
        let sent: usize = frames.iter().map(|frame| frame.data_body.len()).sum();
        assert!(sent < 60_000 * (text.len() + 32), "{sent} bytes were sent");
        assert_eq!(decoded.iter().map(RecordBatch::num_rows).sum::<usize>(), 60_000);
        assert_eq!(decoded[0].schema(), batch.schema());
    }

    #[test]
    fn large_dictionaries_are_cut_to_what_each_message_needs() {
        let values = StringArray::from_iter_values((0..40_000).map(|n| format!("{n} {}", "x".repeat(300))));
        let keys = arrow::array::Int32Array::from_iter_values((0..80_000).map(|row| row / 2));
        let column = DictionaryArray::new(keys, Arc::new(values) as ArrayRef);
        let batch = RecordBatch::try_from_iter([("d", Arc::new(column) as _)]).unwrap();
        let (frames, decoded) = round_trip(std::slice::from_ref(&batch));
        assert!(frames.iter().all(|frame| frame.data_body.len() <= BODY_LIMIT));
        let strings = |batch: &RecordBatch| arrow::compute::cast(batch.column(0), &DataType::Utf8).unwrap();
        let decoded: Vec<_> = decoded.iter().map(strings).collect();
        let decoded: Vec<_> = decoded.iter().map(AsRef::as_ref).collect();
        assert_eq!(&arrow::compute::concat(&decoded).unwrap(), &strings(&batch));
    }

    #[test]
    fn dictionaries_may_change_from_batch_to_batch() {
        let batch = |values: [&str; 3]| {
            let column: DictionaryArray<Int8Type> = values.into_iter().collect();
            RecordBatch::try_from_iter([("d", Arc::new(column) as _)]).unwrap()
        };
        let batches = [batch(["a", "b", "a"]), batch(["c", "c", "d"]), batch(["c", "c", "d"])];
        let (_, decoded) = round_trip(&batches);
        assert_eq!(decoded, batches);
    }
}
