//! Messages, requests and files that are damaged at random: an error to who sent or asks for them, and nothing to anybody
//! else.
//!
//! `FAULTS_SEED` and `FAULTS_ROUNDS` in the environment ask for other damage, and for more of it.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, DictionaryArray, Float64Array, Int32Array, Int64Array,
    ListArray, RecordBatch, StringArray, StringViewArray, StructArray,
};
use arrow::datatypes::{DataType, Field, Int32Type};
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::{
    ActionCreatePreparedStatementRequest, CommandGetDbSchemas, CommandGetTables, CommandStatementIngest,
    CommandStatementQuery, CommandStatementUpdate, ProstMessageExt,
};
use arrow_flight::{Action, FlightData, FlightDescriptor, Ticket};
use arrow_ipc::CompressionType;
use arrow_ipc::writer::IpcWriteOptions;
use futures::{StreamExt, TryStreamExt};
use proptest::prelude::{Rng, RngExt};
use proptest::test_runner::{RngAlgorithm, TestRng};
use prost::Message;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::harness::{Server, batch, count, memory_kib, path, put};

/// Nothing that is damaged may take longer.
const MOST: Duration = Duration::from_secs(5);
/// What the server may hold more at the end than at the start, in KiB.
const MOST_KIB: u64 = 512 << 10;

/// The randomness of a test, whose seed is printed, and how many rounds it has.
fn random(rounds: usize) -> (TestRng, usize) {
    let from = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = from("FAULTS_SEED").unwrap_or(20_261_130);
    let times = from("FAULTS_ROUNDS").and_then(|times| usize::try_from(times).ok());
    eprintln!("FAULTS_SEED={seed} FAULTS_ROUNDS={}", times.unwrap_or(1));
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    (TestRng::from_seed(RngAlgorithm::ChaCha, &bytes), rounds * times.unwrap_or(1))
}

/// Damages bytes in one of the ways in which bytes are damaged.
fn damage(random: &mut TestRng, bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        return;
    }
    let place = random.random_range(0..bytes.len());
    match random.random_range(0..6) {
        0 => bytes[place] ^= 1 << random.random_range(0..8),
        1 => bytes[place] = [0, 1, 0x7f, 0x80, 0xff][random.random_range(0..5)],
        2 => bytes.truncate(place),
        3 => {
            let end = bytes.len().min(place + 8);
            random.fill_bytes(&mut bytes[place..end]);
        }
        4 => {
            let end = bytes.len().min(place + random.random_range(1..64));
            let piece = bytes[place..end].to_vec();
            let other = random.random_range(0..bytes.len());
            bytes.splice(other..other, piece);
        }
        _ => {
            let end = bytes.len().min(place + 8);
            let large = random.random_range(0..u64::MAX).to_le_bytes();
            bytes[place..end].copy_from_slice(&large[..end - place]);
        }
    }
}

/// A batch of the types that are decoded in ways of their own.
fn of_many_types(rows: i32) -> RecordBatch {
    let numbers = || 0..rows;
    let text = |n: i32| (n % 7 != 0).then(|| format!("a text of more than twelve bytes {n}"));
    let words = numbers().zip(["a", "b", "c"].into_iter().cycle()).map(|(_, word)| Some(word));
    let words: DictionaryArray<Int32Type> = words.collect();
    let lists = numbers().map(|n| Some((0..n % 4).map(Some).collect::<Vec<_>>()));
    let inner: ArrayRef = Arc::new(Int32Array::from_iter_values(numbers()));
    let field = Arc::new(Field::new("f", DataType::Int32, true));
    let decimals = Decimal128Array::from_iter_values(numbers().map(i128::from));
    RecordBatch::try_from_iter([
        ("i", Arc::new(Int64Array::from_iter_values(numbers().map(i64::from))) as ArrayRef),
        ("d", Arc::new(Float64Array::from_iter_values(numbers().map(f64::from)))),
        ("b", Arc::new(numbers().map(|n| (n % 5 != 0).then_some(n % 2 == 0)).collect::<BooleanArray>())),
        ("s", Arc::new(numbers().map(text).collect::<StringArray>())),
        ("v", Arc::new(numbers().map(text).collect::<StringViewArray>())),
        ("w", Arc::new(words)),
        ("l", Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists))),
        ("n", Arc::new(StructArray::from(vec![(field, inner)]))),
        ("m", Arc::new(decimals.with_precision_and_scale(12, 2).unwrap())),
    ])
    .unwrap()
}

/// The messages of an upload to `name`.
async fn messages(name: &str, compression: Option<CompressionType>) -> Vec<FlightData> {
    let options = IpcWriteOptions::default().try_with_compression(compression).unwrap();
    let batches = [Ok(of_many_types(100)), Ok(of_many_types(40))];
    let stream = FlightDataEncoderBuilder::new()
        .with_flight_descriptor(Some(path(name)))
        .with_options(options)
        .build(futures::stream::iter(batches));
    stream.try_collect().await.unwrap()
}

/// Damages a stream of messages: what one holds, or which there are.
fn damage_messages(random: &mut TestRng, messages: &mut Vec<FlightData>) {
    let place = random.random_range(0..messages.len());
    let damaged = |bytes: &bytes::Bytes, random: &mut TestRng| {
        let mut bytes = bytes.to_vec();
        damage(random, &mut bytes);
        bytes.into()
    };
    match random.random_range(0..8) {
        0..3 => messages[place].data_header = damaged(&messages[place].data_header, random),
        3..6 => messages[place].data_body = damaged(&messages[place].data_body, random),
        6 => drop(messages.remove(place)),
        _ => {
            let other = random.random_range(0..messages.len());
            let message = messages[other].clone();
            messages.insert(place, message);
        }
    }
}

/// What the server must be after each piece of damage: alive, not much larger, and right to others.
struct Watch {
    kib: u64,
    started: Instant,
}

impl Watch {
    async fn begin(server: &Server) -> Self {
        put(&mut server.client().await, "good", vec![batch(1, 9)]).await.unwrap();
        Self { kib: memory_kib(server.pid(), "VmRSS"), started: Instant::now() }
    }

    /// Nothing took long since the last time, whatever it was about.
    fn step(&mut self, what: &dyn Debug) {
        let took = self.started.elapsed();
        assert!(took < MOST, "{what:?} took {took:?}");
        self.started = Instant::now();
    }

    async fn end(self, server: &Server) {
        assert_eq!(count(&mut server.client().await, "good").await.unwrap(), 9);
        let grown = memory_kib(server.pid(), "VmRSS").saturating_sub(self.kib);
        assert!(grown < MOST_KIB, "the server grew by {grown} KiB");
    }
}

/// A client's mistake is none of the server's.
fn assert_clients(status: &Status, what: &dyn Debug) {
    let is_servers = matches!(status.code(), Code::Internal | Code::Unknown | Code::Unavailable);
    assert!(!is_servers, "{what:?}: {status}");
}

async fn upload(client: &mut FlightServiceClient<Channel>, messages: Vec<FlightData>) -> Result<(), Status> {
    let answers = client.do_put(futures::stream::iter(messages)).await?.into_inner();
    answers.try_collect::<Vec<_>>().await.map(|_| ())
}

#[tokio::test]
async fn damaged_uploads_are_the_senders_error() {
    let (mut random, rounds) = random(1500);
    let server = Server::start();
    let mut watch = Watch::begin(&server).await;
    let mut client = FlightServiceClient::new(server.channel().await);
    let mut kinds = Vec::new();
    for compression in [None, Some(CompressionType::LZ4_FRAME), Some(CompressionType::ZSTD)] {
        kinds.push(messages("t", compression).await);
    }
    let mut taken = 0;
    for round in 0..rounds {
        let mut messages = kinds[round % kinds.len()].clone();
        for _ in 0..random.random_range(1..3) {
            if !messages.is_empty() {
                damage_messages(&mut random, &mut messages);
            }
        }
        match upload(&mut client, messages).await {
            Ok(()) => taken += 1,
            Err(status) => assert_clients(&status, &round),
        }
        watch.step(&round);
    }
    // What is stored of damage that leaves a stream valid is a whole dataset.
    eprintln!("{taken} of {rounds} damaged uploads are valid ones");
    count(&mut server.client().await, "select * from t").await.unwrap();
    assert_eq!(server.staged(), 0);
    watch.end(&server).await;
}

/// Requests as bytes: commands and bodies whose protobuf is damaged.
fn requests() -> Vec<Vec<u8>> {
    let sql = |text: &str| text.to_owned();
    let query = CommandStatementQuery { query: sql("select * from good"), transaction_id: None };
    let update =
        CommandStatementUpdate { query: sql("create table u as select 1 as n"), transaction_id: None };
    let tables = CommandGetTables {
        catalog: Some(sql("airstrip")),
        table_name_filter_pattern: Some(sql("g%")),
        include_schema: true,
        ..CommandGetTables::default()
    };
    let schemas = CommandGetDbSchemas { catalog: None, db_schema_filter_pattern: Some(sql("%")) };
    let prepare = ActionCreatePreparedStatementRequest { query: sql("select 1"), transaction_id: None };
    let ingest = CommandStatementIngest { table: sql("u"), ..CommandStatementIngest::default() };
    vec![
        query.as_any().encode_to_vec(),
        update.as_any().encode_to_vec(),
        tables.as_any().encode_to_vec(),
        schemas.as_any().encode_to_vec(),
        prepare.as_any().encode_to_vec(),
        ingest.as_any().encode_to_vec(),
        br#"{"name": "good", "newName": "other"}"#.to_vec(),
        b"select n, s from good where n > 3 order by n".to_vec(),
    ]
}

/// Sends a body in each way in which one comes.
async fn ask(client: &mut FlightServiceClient<Channel>, way: usize, body: Vec<u8>) -> Result<(), Status> {
    const ACTIONS: [&str; 5] = [
        "CreatePreparedStatement",
        "describe_dataset",
        "cancel_query",
        "CancelFlightInfo",
        "SetSessionOptions",
    ];
    let descriptor = || FlightDescriptor::new_cmd(body.clone());
    match way % 6 {
        0 => client.get_flight_info(descriptor()).await.map(|_| ()),
        1 => client.get_schema(descriptor()).await.map(|_| ()),
        2 => drain(client.do_get(Ticket::new(body)).await?.into_inner()).await,
        3 => {
            let name = ACTIONS[way / 6 % ACTIONS.len()];
            drain(client.do_action(Action::new(name, body)).await?.into_inner()).await
        }
        4 => {
            let first = FlightData::new().with_descriptor(descriptor());
            upload(client, vec![first]).await
        }
        _ => {
            let first = FlightData::new().with_descriptor(descriptor());
            drain(client.do_exchange(futures::stream::iter([first])).await?.into_inner()).await
        }
    }
}

async fn drain<T>(mut stream: tonic::Streaming<T>) -> Result<(), Status> {
    while let Some(message) = stream.next().await {
        message?;
    }
    Ok(())
}

#[tokio::test]
async fn damaged_requests_are_the_clients_error() {
    let (mut random, rounds) = random(4000);
    let server = Server::start();
    let mut watch = Watch::begin(&server).await;
    let mut client = FlightServiceClient::new(server.channel().await);
    let bodies = requests();
    for round in 0..rounds {
        let mut body = bodies[random.random_range(0..bodies.len())].clone();
        for _ in 0..random.random_range(1..4) {
            damage(&mut random, &mut body);
        }
        if let Err(status) = ask(&mut client, round, body.clone()).await {
            assert_clients(&status, &body);
        }
        watch.step(&body);
    }
    watch.end(&server).await;
}

#[tokio::test]
async fn damaged_files_are_data_loss_or_what_they_were() {
    let (mut random, rounds) = random(250);
    let server = Server::start();
    let mut watch = Watch::begin(&server).await;
    let mut client = FlightServiceClient::new(server.channel().await);
    for (name, compression) in [("plain", None), ("lz4", Some(CompressionType::LZ4_FRAME))] {
        upload(&mut client, messages(name, compression).await).await.unwrap();
    }
    let files: Vec<_> = ["plain", "lz4"]
        .map(|name| std::fs::read(server.root().join(format!("{name}.parquet"))).unwrap())
        .into();
    for round in 0..rounds {
        let mut bytes = files[round % files.len()].clone();
        damage(&mut random, &mut bytes);
        // A file of another program's, which comes under its name whole.
        let made = server.root().join("made");
        std::fs::write(&made, &bytes).unwrap();
        std::fs::rename(&made, server.root().join("bad.parquet")).unwrap();
        for text in
            ["bad", "select * from bad", "select count(*), max(s), min(v), sum(m) from bad where i > 20"]
        {
            let read = async { drain(client.do_get(Ticket::new(text)).await?.into_inner()).await };
            if let Err(status) = read.await {
                assert_clients(&status, &(round, text));
            }
            watch.step(&(round, text));
        }
    }
    watch.end(&server).await;
}
