//! `airstrip demo`: the TPC-H tables as datasets.

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator,
    RegionGenerator, SupplierGenerator,
};
use tpchgen_arrow::{
    CustomerArrow, LineItemArrow, NationArrow, OrderArrow, PartArrow, PartSuppArrow, RecordBatchIterator,
    RegionArrow, SupplierArrow,
};

use crate::catalog::{Catalog, DatasetRef, PutOptions, Upload};
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::storage::{BatchSink, Root, cast_batch, without_views};

const BATCH_ROWS: usize = 65_536;

/// Reads a scale factor.
pub(super) fn scale(text: &str) -> std::result::Result<f64, String> {
    let scale: f64 = text.parse().map_err(|_| "a scale is a number".to_owned())?;
    if scale > 0.0 && scale <= 1000.0 {
        Ok(scale)
    } else {
        Err("a scale is above 0 and at most 1000".to_owned())
    }
}

/// Writes the eight tables to `root`, each atomically, as an upload would.
pub(super) fn demo(scale: f64, root: &Path) -> Result<()> {
    let options = Settings::default().resolve(1 << 30, 1)?.catalog;
    let catalog = Arc::new(Catalog::new(Root::open(root, false)?, options)?);
    for (name, batches) in tables(scale) {
        let rows = store(&catalog, name, batches)?;
        println!("{name}: {rows} rows");
    }
    Ok(())
}

type Batches = Box<dyn RecordBatchIterator>;

fn tables(scale: f64) -> [(&'static str, Batches); 8] {
    [
        ("region", Box::new(RegionArrow::new(RegionGenerator::new(scale, 1, 1)))),
        ("nation", Box::new(NationArrow::new(NationGenerator::new(scale, 1, 1)))),
        ("supplier", Box::new(SupplierArrow::new(SupplierGenerator::new(scale, 1, 1)))),
        ("customer", Box::new(CustomerArrow::new(CustomerGenerator::new(scale, 1, 1)))),
        ("part", Box::new(PartArrow::new(PartGenerator::new(scale, 1, 1)))),
        ("partsupp", Box::new(PartSuppArrow::new(PartSuppGenerator::new(scale, 1, 1)))),
        ("orders", Box::new(OrderArrow::new(OrderGenerator::new(scale, 1, 1)).with_batch_size(BATCH_ROWS))),
        (
            "lineitem",
            Box::new(LineItemArrow::new(LineItemGenerator::new(scale, 1, 1)).with_batch_size(BATCH_ROWS)),
        ),
    ]
}

/// Stores a table with plain strings: the generator makes views, which not every client reads.
fn store(catalog: &Arc<Catalog>, name: &str, batches: Batches) -> Result<u64> {
    let schema: SchemaRef = Arc::new(without_views(batches.schema()));
    let dataset = DatasetRef::parse("", name)?;
    let mut upload = Upload::begin(Arc::clone(catalog), dataset, Arc::clone(&schema), PutOptions::default())?;
    for batch in batches {
        upload.write(&plain(&batch, &schema)?)?;
    }
    upload.commit().map(|receipt| receipt.rows)
}

fn plain(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    cast_batch(batch, schema).map_err(|error| Error::internal(format!("generated data: {error}")))
}
