//! The two steps that a transfer spends its time on, without the network: encoding batches into a Parquet
//! file as an upload does, and decoding a row group of that file as a download does.
//!
//! `cargo bench --bench pieces`, or `cargo bench --bench pieces -- decode` for one step. Encoding includes the
//! file's way to the disk; `TMPDIR=/dev/shm` leaves the disk out.

use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;

use airstrip::catalog::{Catalog, CatalogOptions, DatasetRef, PutOptions, RawScan, Upload};
use airstrip::config::Settings;
use airstrip::storage::{BatchSink, Codec, Root, Staging, StagingOptions, cast_batch, without_views};
use arrow::array::RecordBatch;
use clap::ValueEnum;
use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use tempfile::TempDir;
use tpchgen::generators::LineItemGenerator;
use tpchgen_arrow::{LineItemArrow, RecordBatchIterator};

/// The server's: what memory costs is part of both steps.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Batches as clients send them; together they are one row group.
const BATCH_ROWS: usize = 65_536;
const BATCHES: usize = 2;
/// Rows enough for these batches.
const SCALE: f64 = 0.05;
/// The server's target for a client that takes large messages.
const BATCH_BYTES: u64 = 24 << 20;
/// Decides only how much memory queries and caches may use.
const MEMORY: u64 = 1 << 30;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let mut criterion = Criterion::default().configure_from_args();
    let batches = lineitem()?;
    encode(&mut criterion, &batches)?;
    decode(&mut criterion, &batches)?;
    criterion.final_summary();
    Ok(())
}

/// The first rows of TPC-H's lineitem, with plain strings.
fn lineitem() -> Result<Vec<RecordBatch>> {
    let batches = LineItemArrow::new(LineItemGenerator::new(SCALE, 1, 1)).with_batch_size(BATCH_ROWS);
    let schema = Arc::new(without_views(batches.schema()));
    batches.take(BATCHES).map(|batch| Ok(cast_batch(&batch, &schema)?)).collect()
}

/// The settings of a server that stores with `codec`.
fn options(codec: Codec) -> Result<CatalogOptions> {
    let defaults = Settings::default().resolve(MEMORY, 1)?.catalog;
    Ok(CatalogOptions { staging: StagingOptions { codec, ..defaults.staging }, ..defaults })
}

/// A group of one benchmark per codec, which tells the rows a second.
fn group<'a>(
    criterion: &'a mut Criterion,
    name: &str,
    batches: &[RecordBatch],
) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    group.throughput(Throughput::Elements(rows as u64)).sample_size(20);
    group
}

/// Batches to a finished file in the staging directory.
fn encode(criterion: &mut Criterion, batches: &[RecordBatch]) -> Result<()> {
    let mut group = group(criterion, "encode", batches);
    for codec in Codec::value_variants() {
        let directory = TempDir::new()?;
        let root = Arc::new(Root::open(directory.path(), false)?);
        let staging = Staging::new(root, options(*codec)?.staging);
        let store = || -> Result<()> {
            let mut staged = staging.create(batches[0].schema())?;
            for batch in batches {
                staged.write(batch)?;
            }
            staged.finish()?;
            Ok(())
        };
        store()?; // What fails is to fail here, and not within a measurement.
        group.bench_function(format!("{codec:?}").to_lowercase(), |bencher| bencher.iter(|| store().is_ok()));
    }
    group.finish();
    Ok(())
}

/// A row group to batches.
fn decode(criterion: &mut Criterion, batches: &[RecordBatch]) -> Result<()> {
    let mut group = group(criterion, "decode", batches);
    for codec in Codec::value_variants() {
        let directory = TempDir::new()?;
        let catalog = Arc::new(Catalog::new(Root::open(directory.path(), false)?, options(*codec)?)?);
        let scan = stored(&catalog, batches)?;
        let pieces = scan.pieces(u64::MAX);
        let [piece] = pieces.as_slice() else {
            return Err(format!("{} row groups were stored, and not one", pieces.len()).into());
        };
        let read = || -> Result<usize> {
            let (mut reader, mut rows) = (scan.open(piece, BATCH_BYTES)?, 0);
            while let Some(batch) = reader.next_batch()? {
                rows += black_box(batch).num_rows();
            }
            Ok(rows)
        };
        if read()? as u64 != scan.rows() {
            return Err("not all rows came back".into());
        }
        group.bench_function(format!("{codec:?}").to_lowercase(), |bencher| bencher.iter(|| read().is_ok()));
    }
    group.finish();
    Ok(())
}

/// The batches as a dataset of `catalog`, ready to be read.
fn stored(catalog: &Arc<Catalog>, batches: &[RecordBatch]) -> Result<Arc<RawScan>> {
    let dataset = DatasetRef::parse("", "lineitem")?;
    let schema = batches[0].schema();
    let mut upload = Upload::begin(Arc::clone(catalog), dataset.clone(), schema, PutOptions::default())?;
    for batch in batches {
        upload.write(batch)?;
    }
    upload.commit()?;
    Ok(Arc::new(RawScan::new(Arc::new(catalog.snapshot(&dataset)?))))
}
