//! What outsiders send, or leave in a folder, as functions of bytes: the fuzzers of `tests/fuzz` call them, and the tests
//! replay what the fuzzers found.
//!
//! Each function gives the answer as it is. [`judge`] says what an answer may be.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_flight::{FlightData, FlightDescriptor, Ticket};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::errors::ParquetError;
use prost::Message;
use tokio::runtime::Runtime;
use tokio::time::Instant;

use crate::catalog::{Catalog, CatalogOptions, DatasetName, DatasetRef, RawScan};
use crate::engine::{Engine, EngineOptions, Environment, Scope, Source, StatementKind};
use crate::error::{Error, ErrorKind, Result};
use crate::server::{Decoder, Target};
use crate::storage::Root;

/// The most time that one input may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes of a piece and of a batch that is read.
const PIECE_BYTES: u64 = 1 << 20;

/// A server without a network, whose root has what the inputs ask for.
pub struct Fuzzed {
    root: PathBuf,
    catalog: Arc<Catalog>,
    engine: Engine,
    runtime: Runtime,
}

impl Fuzzed {
    /// A server of the directory `root`, which must be empty.
    pub fn new(root: &Path) -> Result<Self> {
        fs::create_dir(root.join("log")).map_err(failed)?;
        fs::create_dir(root.join("log/_delta_log")).map_err(failed)?;
        let catalog = Arc::new(Catalog::new(Root::open(root, false)?, CatalogOptions::small())?);
        let engine = Engine::new(Arc::clone(&catalog), &EngineOptions::small())?;
        let runtime = Runtime::new().map_err(failed)?;
        let fuzzed = Self { root: root.to_owned(), catalog, engine, runtime };
        fuzzed.put("t.parquet", &table()?)?;
        Ok(fuzzed)
    }

    /// The bytes as a ticket, and as a command.
    pub fn ticket(&self, bytes: &[u8]) -> Result<()> {
        let (bytes, scope) = (Bytes::copy_from_slice(bytes), Scope::default());
        self.runtime.block_on(async {
            let ticket = Ticket::new(bytes.clone());
            let first = Target::of_ticket(&ticket, scope.clone(), &self.catalog).await;
            let second = Target::of_descriptor(&FlightDescriptor::new_cmd(bytes), scope, &self.catalog).await;
            first?.describe();
            second.map(|_| ())
        })
    }

    /// The text as a statement, up to its plan.
    pub fn sql(&self, bytes: &[u8]) -> Result<()> {
        let Ok(text) = std::str::from_utf8(bytes) else { return Ok(()) };
        self.runtime.block_on(async {
            let source = Source::Sql(text.to_owned());
            let deadline = Instant::now() + PATIENCE;
            let prepared = self.engine.prepare(&source, &Environment::default(), deadline).await?;
            if prepared.kind == StatementKind::Query && prepared.parameters.fields().is_empty() {
                self.engine.plan(&source, &Environment::default(), None, deadline).await?;
            }
            Ok(())
        })
    }

    /// The bytes as a Parquet file of another program's, all of whose rows are asked for.
    pub fn parquet(&self, bytes: &[u8]) -> Result<()> {
        self.put("file.parquet", bytes)?;
        self.read("file")
    }

    /// The bytes as the only entry in the log of a Delta table.
    pub fn log(&self, bytes: &[u8]) -> Result<()> {
        self.put("log/_delta_log/00000000000000000000.json", bytes)?;
        self.read("log")
    }

    /// Puts a file where another program would, whole.
    // Which renames without syncing.
    #[allow(clippy::disallowed_methods)]
    fn put(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let staged = self.root.join("made");
        let put = fs::write(&staged, bytes).and_then(|()| fs::rename(&staged, self.root.join(path)));
        put.map_err(failed)
    }

    fn read(&self, name: &str) -> Result<()> {
        let dataset = DatasetRef::in_default(DatasetName::parse(name)?);
        let scan = Arc::new(RawScan::new(Arc::new(self.catalog.snapshot(&dataset)?)));
        let mut rows = 0;
        for piece in scan.pieces(PIECE_BYTES) {
            let mut batches = scan.open(&piece, PIECE_BYTES)?;
            while let Some(batch) = batches.next_batch()? {
                validate(&batch);
                rows += batch.num_rows() as u64;
            }
        }
        assert_eq!(rows, scan.rows(), "the answer is short");
        Ok(())
    }
}

/// The bytes as the messages of an upload, each with its length before it: a varint, as protobuf's streams have it.
pub fn messages(bytes: &[u8]) -> Result<()> {
    let mut rest = Bytes::copy_from_slice(bytes);
    let mut decoder: Option<Decoder> = None;
    while !rest.is_empty() {
        let Ok(message) = FlightData::decode_length_delimited(&mut rest) else { return Ok(()) };
        match &mut decoder {
            None => decoder = Some(Decoder::new(&message)?),
            Some(decoder) => decoder.decode(&message)?.iter().for_each(validate),
        }
    }
    Ok(())
}

/// Panics where an answer is a bug's.
///
/// # Panics
///
/// Where the error says that the fault is the server's.
pub fn judge(answer: &Result<()>) {
    if let Err(error) = answer {
        assert_ne!(error.kind(), ErrorKind::Internal, "{error}: {error:?}");
    }
}

/// Has panics end the process, as a fuzzer wants it, but for those of libraries that are caught and become errors.
pub fn end_at_panics() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !crate::error::is_contained() {
            report(panic);
            std::process::abort();
        }
    }));
}

/// A file of a few types.
fn table() -> Result<Vec<u8>> {
    let columns: [(&str, ArrayRef); 3] = [
        ("n", Arc::new(Int64Array::from_iter_values(0..10))),
        ("s", Arc::new(StringArray::from_iter_values((0..10).map(|n| n.to_string())))),
        ("x", Arc::new(Float64Array::from_iter_values((0..10).map(f64::from)))),
    ];
    let batch = RecordBatch::try_from_iter(columns).map_err(failed)?;
    let mut file = Vec::new();
    let written = ArrowWriter::try_new(&mut file, batch.schema(), None).and_then(|mut writer| {
        writer.write(&batch)?;
        writer.close()
    });
    written.map_err(|error: ParquetError| failed(error))?;
    Ok(file)
}

fn validate(batch: &RecordBatch) {
    for column in batch.columns() {
        let valid = column.to_data().validate_full();
        assert!(valid.is_ok(), "what was decoded is not valid: {valid:?}");
    }
}

fn failed(error: impl std::error::Error) -> Error {
    Error::internal(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Replays the inputs of a target. None of them may make a library panic either: whoever uses the library elsewhere
    /// might not catch it.
    fn replay(target: &str, mut run: impl FnMut(&[u8]) -> Result<()>) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
        let mut inputs = 0;
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let answer = run(&fs::read(&path).unwrap());
            judge(&answer);
            assert!(!format!("{answer:?}").contains("panic"), "{}: {answer:?}", path.display());
            inputs += 1;
        }
        assert!(inputs >= 10, "{target} has {inputs} inputs");
    }

    #[test]
    fn the_corpus_is_replayed() {
        let root = tempfile::tempdir().unwrap();
        let fuzzed = Fuzzed::new(root.path()).unwrap();
        replay("messages", messages);
        replay("ticket", |bytes| fuzzed.ticket(bytes));
        replay("sql", |bytes| fuzzed.sql(bytes));
        replay("parquet", |bytes| fuzzed.parquet(bytes));
        replay("log", |bytes| fuzzed.log(bytes));
    }

    #[test]
    fn a_bug_is_judged_as_one() {
        judge(&Err(Error::invalid("the client's")));
        assert!(crate::error::contain(|| judge(&Err(Error::internal("ours")))).is_err());
    }
}
