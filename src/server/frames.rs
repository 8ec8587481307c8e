//! Batches to Flight messages.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow_flight::FlightData;
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{DictionaryTracker, EncodedData, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
use bytes::Bytes;
use prost::Message;

use crate::error::{Error, Result};
use crate::storage::{cast_batch, decodable};

/// No message is larger, unless a single row is: the receive limit that gRPC clients have by default.
pub(super) const MAX_MESSAGE_BYTES: usize = 4 << 20;
/// Room for the message's header and metadata below that limit.
const BODY_LIMIT: usize = MAX_MESSAGE_BYTES - (256 << 10);
/// What a message's body aims at.
const BODY_TARGET: usize = 2 << 20;

/// Encodes the batches of one stream. The schema comes first; a dictionary is sent when it is first
/// used and whenever it changed.
pub(super) struct FrameEncoder {
    generator: IpcDataGenerator,
    tracker: DictionaryTracker,
    context: IpcWriteContext,
    options: IpcWriteOptions,
    schema: SchemaRef,
    /// The schema that batches are cut in, where it is not the stream's: views drag along the whole
    /// buffers that they point into, whatever the slice.
    plain: Option<SchemaRef>,
    /// Whether dictionaries are still to be sent: see [`finish`](FrameEncoder::finish).
    unopened: bool,
}

/// Messages that belong together, and the rows that they carry.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub(super) frames: Vec<FlightData>,
    pub(super) rows: u64,
}

/// A batch as the messages of a stream, each encoded, for where a whole stream is one value.
pub(super) fn pack(batch: &RecordBatch) -> Result<Vec<Bytes>> {
    let (mut encoder, mut all) = FrameEncoder::new(&batch.schema());
    all.frames.extend(encoder.encode(batch)?.frames);
    all.frames.extend(encoder.finish()?.unwrap_or_default().frames);
    Ok(all.frames.iter().map(|frame| frame.encode_to_vec().into()).collect())
}

impl FrameEncoder {
    /// An encoder, and the message that opens its stream.
    pub(super) fn new(schema: &SchemaRef) -> (Self, Chunk) {
        Self::with_options(schema, IpcWriteOptions::default())
    }

    /// The same with the bodies of batches compressed, where the client asked for it.
    pub(super) fn compressed(
        schema: &SchemaRef,
        compression: Option<CompressionType>,
    ) -> Result<(Self, Chunk)> {
        let options = IpcWriteOptions::default().try_with_compression(compression);
        let options = options.map_err(|error| unencodable(&error))?;
        Ok(Self::with_options(schema, options))
    }

    fn with_options(schema: &SchemaRef, options: IpcWriteOptions) -> (Self, Chunk) {
        let mut encoder = Self {
            generator: IpcDataGenerator::default(),
            tracker: DictionaryTracker::new(false),
            context: IpcWriteContext::default(),
            options,
            schema: Arc::clone(schema),
            plain: Some(decodable(schema)).filter(|plain| *plain != **schema).map(Arc::new),
            unopened: has_dictionaries(schema),
        };
        let schema = encoder.generator.schema_to_bytes_with_dictionary_tracker(
            schema,
            &mut encoder.tracker,
            &encoder.options,
        );
        (encoder, Chunk { frames: vec![frame(schema)], rows: 0 })
    }

    /// What is to be sent after the last batch. Arrow C++ wants every dictionary of the schema before
    /// it takes the end of a stream, so one without batches ends with an empty batch.
    pub(super) fn finish(&mut self) -> Result<Option<Chunk>> {
        if !std::mem::take(&mut self.unopened) {
            return Ok(None);
        }
        let mut chunk = Chunk::default();
        self.encode_piece(&RecordBatch::new_empty(Arc::clone(&self.schema)), usize::MAX, &mut chunk)?;
        Ok(Some(chunk))
    }

    /// The messages of `batch`, whose columns have the stream's types, or already those of `decodable`.
    pub(super) fn encode(&mut self, batch: &RecordBatch) -> Result<Chunk> {
        if batch.num_rows() > 0 {
            self.unopened = false;
        }
        let mut chunk = Chunk { frames: Vec::new(), rows: batch.num_rows() as u64 };
        let plain = self.plain.as_ref().map(|plain| cast_batch(batch, plain)).transpose();
        let plain = plain.map_err(|error| unencodable(&error))?;
        let batch = plain.as_ref().unwrap_or(batch);
        let bytes: usize = batch.columns().iter().map(|column| slice_bytes(column)).sum();
        let pieces = bytes.div_ceil(BODY_TARGET).clamp(1, batch.num_rows().max(1));
        let rows = batch.num_rows().div_ceil(pieces).max(1);
        let mut offset = 0;
        while offset < batch.num_rows() {
            let length = rows.min(batch.num_rows() - offset);
            self.encode_piece(&batch.slice(offset, length), usize::MAX, &mut chunk)?;
            offset += length;
        }
        Ok(chunk)
    }

    /// Encodes a piece. Rows of very different sizes can make it too large: then its halves, unless it
    /// is hardly smaller than the `whole` that it is a half of, and cutting does not help.
    fn encode_piece(&mut self, piece: &RecordBatch, whole: usize, chunk: &mut Chunk) -> Result<()> {
        let compact = self.plain.is_some().then(|| self.restore(piece)).transpose();
        let compact = compact.map_err(|error| unencodable(&error))?;
        let encoded = self.generator.encode(
            compact.as_ref().unwrap_or(piece),
            &mut self.tracker,
            &self.options,
            &mut self.context,
        );
        let (dictionaries, batch) = encoded.map_err(|error| unencodable(&error))?;
        chunk.frames.extend(dictionaries.into_iter().map(frame));
        let bytes = batch.arrow_data.len();
        if bytes > BODY_LIMIT && piece.num_rows() > 1 && bytes < whole / 10 * 9 {
            drop((batch, compact));
            let half = piece.num_rows() / 2;
            self.encode_piece(&piece.slice(0, half), bytes, chunk)?;
            return self.encode_piece(&piece.slice(half, piece.num_rows() - half), bytes, chunk);
        }
        chunk.frames.push(frame(batch));
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

fn unencodable(error: &ArrowError) -> Error {
    Error::internal(format!("cannot encode a batch: {error}"))
}

fn has_dictionaries(schema: &Schema) -> bool {
    let dictionary = |field: &&Field| matches!(field.data_type(), DataType::Dictionary(..));
    schema.flattened_fields().iter().any(dictionary)
}

fn slice_bytes(column: &dyn Array) -> usize {
    column.to_data().get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size())
}

fn frame(encoded: EncodedData) -> FlightData {
    FlightData::new().with_data_header(encoded.ipc_message).with_data_body(encoded.arrow_data)
}

#[cfg(test)]
mod tests {
    use arrow::array::{DictionaryArray, StringArray, StringViewArray};
    use arrow::datatypes::Int8Type;

    use super::*;
    use crate::server::receive::Decoder;

    fn round_trip(batches: &[RecordBatch]) -> (Vec<FlightData>, Vec<RecordBatch>) {
        let (mut encoder, opening) = FrameEncoder::new(&batches[0].schema());
        let mut frames = opening.frames;
        for batch in batches {
            let chunk = encoder.encode(batch).unwrap();
            assert_eq!(chunk.rows, batch.num_rows() as u64);
            frames.extend(chunk.frames);
        }
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
