//! A client's stream of Flight messages, decoded with distrust.

use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::buffer::Buffer;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow_flight::{FlightData, FlightDescriptor};
use arrow_ipc::reader::read_record_batch;
use arrow_ipc::{
    CompressionType, FieldNode, Message, MessageHeader, MetadataVersion, RecordBatch as IpcBatch,
};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use lz4_flex::frame::FrameDecoder;
use prost::Message as _;
use tonic::Streaming;

use super::decimals::{check_decimals, has_decimals};
use super::strings::to_strings;
use crate::error::{Error, ErrorKind, Result, contain};
use crate::failpoint::Failpoint;
use crate::safeguard::Safeguard;
use crate::server::rpc::Rpc;
use crate::server::status::is_of_request;
use crate::storage::blocking;

/// Rows that a message may claim however few bytes it has: columns of type Null have none.
const FREE_ROWS: u64 = 1 << 20;
/// The most bytes of a message that a runtime thread decodes itself.
const DECODED_INLINE: usize = 256 << 10;
/// The most bytes that a compressed message may hold.
const MAX_DECOMPRESSED: u64 = 1 << 30;

/// What arrived: a batch, metadata of the application's, or both.
pub(in crate::server) struct Received {
    pub(in crate::server) batch: Option<RecordBatch>,
    pub(in crate::server) app_metadata: Bytes,
}

/// The batches of a DoPut or DoExchange.
pub(in crate::server) struct Receiver {
    messages: Streaming<FlightData>,
    rpc: Rpc,
    patience: Duration,
    /// How long the stream's end is not believed.
    settling: Duration,
    decoder: Option<Decoder>,
}

impl Receiver {
    /// A receiver of `messages`, which gives up when nothing arrives for `patience`.
    pub(in crate::server) fn new(messages: Streaming<FlightData>, rpc: Rpc, patience: Duration) -> Self {
        Self { messages, rpc, patience, settling: Duration::ZERO, decoder: None }
    }

    /// Has the stream's end count only when so much time has passed in which it was not reset. Whoever receives has to
    /// be dropped by a reset.
    pub(in crate::server) fn settle_for(&mut self, settling: Duration) {
        self.settling = settling;
    }

    /// The first message; its descriptor says what the stream is about. It may be the schema too.
    pub(in crate::server) async fn descriptor(&mut self) -> Result<FlightDescriptor> {
        let first = self.message().await?;
        let first = first.ok_or_else(|| {
            Error::invalid(
                "the stream has no message, not even a schema; some clients send none where there are no \
                 rows: send an empty batch",
            )
        })?;
        let descriptor = first.flight_descriptor.clone();
        if !first.data_header.is_empty() {
            self.decoder = Some(Decoder::new(&first)?);
        }
        descriptor.ok_or_else(|| Error::invalid("the stream's first message has no descriptor"))
    }

    /// The schema of the stream's batches, or `None` if it ends without one.
    pub(in crate::server) async fn schema(&mut self) -> Result<Option<SchemaRef>> {
        while self.decoder.is_none() {
            match self.message().await? {
                None => return Ok(None),
                Some(message) if message.data_header.is_empty() => {}
                Some(message) => self.decoder = Some(Decoder::new(&message)?),
            }
        }
        Ok(self.decoder.as_ref().map(|decoder| Arc::clone(&decoder.schema)))
    }

    /// What comes next, or `None` at the stream's true end.
    pub(in crate::server) async fn next(&mut self) -> Result<Option<Received>> {
        loop {
            let Some(message) = self.message().await? else {
                if !self.settling.is_zero() {
                    tokio::time::sleep(self.settling).await;
                }
                return Ok(None);
            };
            let mut app_metadata = message.app_metadata.clone();
            let is_empty = message.data_header.is_empty();
            let batch = match self.decoder.take() {
                decoder if is_empty => {
                    self.decoder = decoder;
                    None
                }
                Some(decoder) => {
                    let (decoder, batch) = decode(decoder, message).await?;
                    self.decoder = Some(decoder);
                    batch
                }
                None => return Err(Error::invalid("a batch came before the schema")),
            };
            match &batch {
                Some(batch) => self.rpc.count_rows(batch.num_rows() as u64),
                // A dictionary: some clients send its batch's metadata with it, and once more with the batch.
                None if !is_empty => app_metadata.clear(),
                None => {}
            }
            if batch.is_some() || !app_metadata.is_empty() {
                return Ok(Some(Received { batch, app_metadata }));
            }
        }
    }

    /// The batches alone, up to the stream's true end.
    pub(in crate::server) fn batches(self) -> BoxStream<'static, Result<RecordBatch>> {
        futures::stream::try_unfold(self, |mut receiver| async move {
            while let Some(received) = receiver.next().await? {
                if let Some(batch) = received.batch {
                    return Ok(Some((batch, receiver)));
                }
            }
            Ok(None)
        })
        .boxed()
    }

    async fn message(&mut self) -> Result<Option<FlightData>> {
        match tokio::time::timeout(self.patience, self.messages.next()).await {
            Ok(None) => Ok(None),
            Ok(Some(Ok(message))) => Ok(Some(message)),
            Ok(Some(Err(status))) => Err(broken(&status)),
            Err(_) => Err(Error::new(
                ErrorKind::DeadlineExceeded,
                format!("nothing arrived for {} s (the setting idle-timeout)", self.patience.as_secs()),
            )),
        }
    }
}

/// Decodes a message; a large one on a thread for blocking work, so that nobody else has to wait.
async fn decode(mut decoder: Decoder, message: FlightData) -> Result<(Decoder, Option<RecordBatch>)> {
    if message.data_body.len() < DECODED_INLINE {
        let batch = decoder.decode(&message)?;
        return Ok((decoder, batch));
    }
    blocking(move || {
        let batch = decoder.decode(&message)?;
        Ok((decoder, batch))
    })
    .await
}

/// The batch of [`pack`](super::frames::pack)ed messages, read with the same distrust.
pub(in crate::server) fn unpack(messages: &[Bytes]) -> Result<Option<RecordBatch>> {
    let message = |bytes: &Bytes| {
        FlightData::decode(bytes.clone()).map_err(|_| malformed("the values in the ticket are damaged"))
    };
    let Some((first, rest)) = messages.split_first() else { return Ok(None) };
    let mut decoder = Decoder::new(&message(first)?)?;
    let mut batches = Vec::new();
    for bytes in rest {
        batches.extend(decoder.decode(&message(bytes)?)?);
    }
    let batch = concat_batches(&decoder.schema, &batches);
    batch.map(Some).map_err(|error| malformed(&error.to_string()))
}

/// The error of a request's stream: a message over the limit is the client's to mend, all else means
/// that the stream was cut.
fn broken(status: &tonic::Status) -> Error {
    match status.code() {
        tonic::Code::OutOfRange | tonic::Code::ResourceExhausted => {
            Error::exhausted(format!("{} (the setting max-message-bytes)", status.message()))
        }
        tonic::Code::InvalidArgument => Error::invalid(status.message()),
        tonic::Code::Internal if is_of_request(status.message()) => Error::invalid(status.message()),
        _ => Error::new(ErrorKind::Aborted, format!("nothing was done: {}", status.message())),
    }
}

/// Decodes the IPC messages of one stream.
pub(crate) struct Decoder {
    schema: SchemaRef,
    /// The schema that batches are decoded in: string views come as bytes, to be checked in bulk.
    unchecked: SchemaRef,
    has_decimals: bool,
    dictionaries: HashMap<i64, ArrayRef>,
}

impl Decoder {
    /// Begins with the message of the schema.
    pub(crate) fn new(message: &FlightData) -> Result<Self> {
        let header = header(&message.data_header)?;
        if header.header_type() != MessageHeader::Schema {
            return Err(Error::invalid("a batch came before the schema"));
        }
        let schema = contain(|| Schema::try_from(message)).map_err(|why| malformed(&why))?;
        let schema = schema.map_err(|error| malformed(&error.to_string()))?;
        let unchecked = Arc::new(strings_as_bytes(&schema));
        let has_decimals = schema.fields().iter().any(|field| has_decimals(field.data_type()));
        Ok(Self { schema: Arc::new(schema), unchecked, has_decimals, dictionaries: HashMap::new() })
    }

    /// The batch of a message; a dictionary is kept for the batches that use it.
    pub(crate) fn decode(&mut self, message: &FlightData) -> Result<Option<RecordBatch>> {
        Failpoint::Decode.pass()?;
        let header = header(&message.data_header)?;
        match header.header_type() {
            MessageHeader::RecordBatch => {
                let batch = header.header_as_record_batch().ok_or_else(|| malformed("an empty header"))?;
                check(batch, &message.data_body)?;
                let batch =
                    decoded(contain(|| self.read_batch(batch, &message.data_body, header.version())))?;
                if self.has_decimals && Safeguard::ReceivedDecimals.stands() {
                    check_decimals(&batch)?;
                }
                Ok(Some(batch))
            }
            MessageHeader::DictionaryBatch => {
                let dictionary = header.header_as_dictionary_batch();
                let dictionary = dictionary.ok_or_else(|| malformed("an empty header"))?;
                check(
                    dictionary.data().ok_or_else(|| malformed("an empty dictionary"))?,
                    &message.data_body,
                )?;
                let body = Buffer::from(message.data_body.clone());
                let (schema, version) = (&self.schema, header.version());
                let dictionaries = &mut self.dictionaries;
                let read =
                    || arrow_ipc::reader::read_dictionary(&body, dictionary, schema, dictionaries, &version);
                decoded(contain(read))?;
                Ok(None)
            }
            MessageHeader::Schema => Err(Error::invalid("the schema came twice")),
            other => Err(Error::invalid(format!("an IPC message of type {other:?} cannot be stored"))),
        }
    }

    fn read_batch(
        &self,
        batch: IpcBatch<'_>,
        body: &Bytes,
        version: MetadataVersion,
    ) -> Result<RecordBatch, ArrowError> {
        // One copy, to where all values are aligned: copying only those that are not would keep the whole
        // message as long as any of the others.
        let body = Buffer::from(body.as_ref());
        let unchecked = Arc::clone(&self.unchecked);
        let batch = read_record_batch(&body, batch, unchecked, &self.dictionaries, None, &version)?;
        if self.unchecked == self.schema {
            return Ok(batch);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let columns = batch.columns().iter().zip(self.schema.fields()).map(|(column, field)| {
            match column.as_binary_view_opt() {
                Some(values) if *field.data_type() == DataType::Utf8View => {
                    Ok(Arc::new(to_strings(values.clone())?) as ArrayRef)
                }
                _ => Ok(Arc::clone(column)),
            }
        });
        let columns = columns.collect::<Result<_, ArrowError>>()?;
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
    }
}

/// `schema` with views of bytes where columns are views of strings. Nested ones stay.
fn strings_as_bytes(schema: &Schema) -> Schema {
    let bytes = |field: &FieldRef| match field.data_type() {
        DataType::Utf8View => Arc::new(Field::clone(field).with_data_type(DataType::BinaryView)),
        _ => Arc::clone(field),
    };
    let fields: Vec<_> = schema.fields().iter().map(bytes).collect();
    Schema::new_with_metadata(fields, schema.metadata().clone())
}

fn header(bytes: &Bytes) -> Result<Message<'_>> {
    arrow_ipc::root_as_message(bytes).map_err(|error| malformed(&error.to_string()))
}

fn decoded<T>(result: Result<std::result::Result<T, ArrowError>, String>) -> Result<T> {
    result.map_err(|why| malformed(&why))?.map_err(|error| malformed(&error.to_string()))
}

fn malformed(why: &str) -> Error {
    Error::invalid(format!("a malformed Arrow IPC message: {why}"))
}

/// Refuses what the decoder would take at its word: compressed buffers that claim to be huge (it
/// allocates what they claim) or that are larger than they claim, and more rows, or values of nested
/// columns, than the message's bytes can hold (columns of Nulls).
fn check(batch: IpcBatch<'_>, body: &Bytes) -> Result<()> {
    let bytes = match batch.compression() {
        None => body.len() as u64,
        Some(compression) => check_compressed(batch, compression.codec(), body)?,
    };
    let most = bytes.saturating_mul(8).saturating_add(FREE_ROWS);
    let nodes = batch.nodes().into_iter().flatten().map(FieldNode::length);
    let mut values: u64 = 0;
    for length in std::iter::once(batch.length()).chain(nodes) {
        let length = u64::try_from(length).map_err(|_| malformed("a negative number of rows"))?;
        values = values.max(length);
    }
    if values > most && Safeguard::RowsOfMessages.stands() {
        return Err(Error::invalid(format!(
            "a message of {bytes} bytes claims {values} rows; send at most {FREE_ROWS} rows of Nulls at once"
        )));
    }
    Ok(())
}

/// Bytes of a compressed message when it is not.
fn check_compressed(batch: IpcBatch<'_>, codec: CompressionType, body: &Bytes) -> Result<u64> {
    let mut total: u64 = 0;
    for buffer in batch.buffers().into_iter().flatten() {
        let data = slice(buffer.offset(), buffer.length(), body)?;
        let Some((prefix, data)) = data.split_first_chunk::<8>() else {
            total = total.saturating_add(data.len() as u64);
            continue;
        };
        // A little-endian i64 before the data; -1 for data that is not compressed after all (Arrow's
        // Message.fbs, BodyCompression).
        let claimed = match i64::from_le_bytes(*prefix) {
            -1 => data.len() as u64,
            claimed => u64::try_from(claimed).map_err(|_| malformed("a negative buffer length"))?,
        };
        total = total.saturating_add(claimed);
        if total > MAX_DECOMPRESSED && Safeguard::DecompressedBytes.stands() {
            return Err(Error::invalid(format!(
                "a compressed message of {} bytes claims to hold {total}, {MAX_DECOMPRESSED} are allowed; \
                 send smaller batches",
                body.len()
            )));
        }
        // Zstandard's decoder stops at the claim, LZ4's goes on to whatever there is.
        if codec == CompressionType::LZ4_FRAME && i64::from_le_bytes(*prefix) != -1 {
            let held = std::io::copy(&mut FrameDecoder::new(data).take(claimed + 1), &mut std::io::sink());
            let held = held.map_err(|error| malformed(&error.to_string()))?;
            if held != claimed {
                return Err(malformed("a compressed buffer does not hold what it claims"));
            }
        }
    }
    Ok(total)
}

fn slice(offset: i64, length: i64, body: &Bytes) -> Result<&[u8]> {
    let range = || {
        let start = usize::try_from(offset).ok()?;
        body.get(start..start.checked_add(usize::try_from(length).ok()?)?)
    };
    range().ok_or_else(|| malformed("a buffer outside of its message"))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, LargeListArray, NullArray, StringViewArray};
    use arrow::buffer::OffsetBuffer;
    use arrow_ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
    use proptest::prelude::RngExt;
    use proptest::test_runner::{RngAlgorithm, TestRng};

    use super::*;

    /// A schema message and a batch message.
    fn messages(column: ArrayRef, compression: Option<CompressionType>) -> (FlightData, FlightData) {
        let batch = RecordBatch::try_from_iter([("c", column)]).unwrap();
        let options = IpcWriteOptions::default().try_with_compression(compression).unwrap();
        let mut tracker = DictionaryTracker::new(false);
        let generator = IpcDataGenerator::default();
        let schema =
            generator.schema_to_bytes_with_dictionary_tracker(&batch.schema(), &mut tracker, &options);
        let (_, data) =
            generator.encode(&batch, &mut tracker, &options, &mut IpcWriteContext::default()).unwrap();
        let frame = |data: arrow_ipc::writer::EncodedData| {
            FlightData::new().with_data_header(data.ipc_message).with_data_body(data.arrow_data)
        };
        (frame(schema), frame(data))
    }

    fn numbers() -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(0..10_000))
    }

    #[test]
    fn compressed_and_plain_messages_decode() {
        for compression in [None, Some(CompressionType::LZ4_FRAME), Some(CompressionType::ZSTD)] {
            let (schema, data) = messages(numbers(), compression);
            let batch = Decoder::new(&schema).unwrap().decode(&data).unwrap().unwrap();
            assert_eq!(batch.num_rows(), 10_000);
        }
    }

    #[test]
    fn string_views_come_as_they_were_and_bytes_that_are_none_are_refused() {
        let text = "a string of more than twelve bytes";
        for compression in [None, Some(CompressionType::LZ4_FRAME)] {
            let strings: StringViewArray =
                [Some(text), None, Some("short"), Some("ü€ and more than twelve bytes")]
                    .into_iter()
                    .collect();
            let (schema, data) = messages(Arc::new(strings.clone()), compression);
            let batch = Decoder::new(&schema).unwrap().decode(&data).unwrap().unwrap();
            assert_eq!(batch.column(0).as_string_view(), &strings);
        }
        let (schema, mut data) = messages(Arc::new(StringViewArray::from(vec![text])), None);
        let mut body = data.data_body.to_vec();
        let place = body.windows(4).position(|bytes| bytes == b"more").unwrap();
        body[place] = 0xff;
        data.data_body = body.into();
        let error = Decoder::new(&schema).unwrap().decode(&data).unwrap_err();
        assert!(error.message().contains("UTF-8"), "{error}");
    }

    #[test]
    fn a_claim_of_a_terabyte_is_refused_before_anything_is_allocated() {
        for codec in [CompressionType::LZ4_FRAME, CompressionType::ZSTD] {
            let (schema, mut data) = messages(numbers(), Some(codec));
            let mut body = data.data_body.to_vec();
            body[..8].copy_from_slice(&(1_i64 << 40).to_le_bytes());
            data.data_body = body.into();
            let error = Decoder::new(&schema).unwrap().decode(&data).unwrap_err();
            assert!(error.message().contains("claims"), "{error}");
        }
    }

    #[test]
    fn a_claim_that_is_too_small_is_refused_too() {
        let (schema, mut data) =
            messages(Arc::new(Int64Array::from(vec![7; 100_000])), Some(CompressionType::LZ4_FRAME));
        let mut body = data.data_body.to_vec();
        let start = body.windows(8).position(|prefix| prefix == 800_000_i64.to_le_bytes()).unwrap();
        body[start..start + 8].copy_from_slice(&8_i64.to_le_bytes());
        data.data_body = body.into();
        let error = Decoder::new(&schema).unwrap().decode(&data).unwrap_err();
        assert!(error.message().contains("claims"), "{error}");
    }

    #[test]
    fn lists_of_nulls_are_limited() {
        let offsets = OffsetBuffer::new(vec![0_i64, 1 << 50].into());
        let field = Arc::new(arrow::datatypes::Field::new("item", arrow::datatypes::DataType::Null, true));
        let list = LargeListArray::new(field, offsets, Arc::new(NullArray::new(1 << 50)), None);
        let (schema, data) = messages(Arc::new(list), None);
        let error = Decoder::new(&schema).unwrap().decode(&data).unwrap_err();
        assert!(error.message().contains("rows"), "{error}");
    }

    #[test]
    fn rows_without_bytes_are_limited() {
        let (schema, data) = messages(Arc::new(NullArray::new(1 << 40)), None);
        let error = Decoder::new(&schema).unwrap().decode(&data).unwrap_err();
        assert!(error.message().contains("rows"), "{error}");
        let (schema, data) = messages(Arc::new(NullArray::new(1000)), None);
        assert!(Decoder::new(&schema).unwrap().decode(&data).unwrap().is_some());
    }

    /// As many as `FAULTS_ROUNDS` says, times 100,000, of the seed `FAULTS_SEED`.
    #[test]
    fn messages_damaged_at_random_are_errors_and_never_panics() {
        let setting = |name: &str, default: u64| {
            std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
        };
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&setting("FAULTS_SEED", 20_261_130).to_le_bytes());
        let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
        let texts: ArrayRef = Arc::new(StringViewArray::from_iter_values((0..200).map(|n| "ab".repeat(n))));
        let small: ArrayRef = Arc::new(Int64Array::from_iter_values(0..200));
        let kinds: Vec<_> = [None, Some(CompressionType::LZ4_FRAME), Some(CompressionType::ZSTD)]
            .into_iter()
            .flat_map(|codec| [messages(Arc::clone(&texts), codec), messages(Arc::clone(&small), codec)])
            .collect();
        let mut decoded: u32 = 0;
        for round in 0..setting("FAULTS_ROUNDS", 1) * 100_000 {
            let (schema, data) = &kinds[usize::try_from(round).unwrap() % kinds.len()];
            let (mut header, mut body) = (data.data_header.to_vec(), data.data_body.to_vec());
            let part = if random.random_bool(0.5) { &mut header } else { &mut body };
            for _ in 0..random.random_range(1..4) {
                let place = random.random_range(0..part.len());
                part[place] = random.random_range(0..=u8::MAX);
            }
            let damaged = FlightData::new().with_data_header(header).with_data_body(body);
            decoded += u32::from(Decoder::new(schema).unwrap().decode(&damaged).is_ok());
        }
        // Values may be damaged and still be values; most of the rest is not.
        assert!(decoded > 0);
    }

    #[test]
    fn damaged_messages_are_errors_and_never_panics() {
        let (schema, data) = messages(numbers(), None);
        let mut cut = data.clone();
        cut.data_body = cut.data_body.slice(..100);
        assert!(Decoder::new(&schema).unwrap().decode(&cut).is_err());
        for index in 0..data.data_header.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut bytes = data.data_header.to_vec();
                bytes[index] ^= flip;
                let damaged = data.clone().with_data_header(bytes);
                // Some flips change nothing that matters; none may panic.
                let _ = Decoder::new(&schema).unwrap().decode(&damaged);
            }
        }
        for index in 0..schema.data_header.len() {
            let mut bytes = schema.data_header.to_vec();
            bytes[index] ^= 0xff;
            let _ = Decoder::new(&schema.clone().with_data_header(bytes));
        }
    }
}
