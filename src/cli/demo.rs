//! `airstrip demo`: the TPC-H tables as datasets.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator,
    RegionGenerator, SupplierGenerator,
};
use tpchgen_arrow::{
    CustomerArrow, LineItemArrow, NationArrow, OrderArrow, PartArrow, PartSuppArrow, RecordBatchIterator,
    RegionArrow, SupplierArrow,
};

use super::root;
use crate::catalog::{Catalog, DatasetRef, PutOptions, Receipt, Upload};
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::storage::{BatchSink, Root, Target, cast_batch, without_views};

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

/// Writes the eight tables to `root`, each atomically, as an upload would. They take the place of those that an earlier
/// demo wrote and nobody changed since, and of no others.
pub(super) fn demo(scale: f64, root: &Path) -> Result<()> {
    root::check(root)?;
    let options = Settings::default().resolve(1 << 30, 1)?.catalog;
    let catalog = Arc::new(Catalog::new(Root::open(root, false)?, options)?);
    let mut written = Written::read(catalog.root())?;
    let tables = tables(scale);
    let foreign = tables.iter().map(|(name, _)| *name).filter_map(|name| {
        let is_free = is_free(&catalog, name, &written);
        is_free.map(|is_free| (!is_free).then_some(name)).transpose()
    });
    let foreign = foreign.collect::<Result<Vec<_>>>()?;
    if !foreign.is_empty() {
        return Err(Error::precondition(format!(
            "{} has {} that no demo wrote, or that were changed since; nothing was written: give another directory, or \
             rename or drop them first",
            root.display(),
            foreign.join(", ")
        )));
    }
    for (name, batches) in tables {
        let receipt = store(&catalog, name, batches)?;
        println!("{name}: {} rows", receipt.rows);
        written.0.insert(name.to_owned(), receipt.version.to_string());
        written.store(catalog.root())?;
    }
    Ok(())
}

/// Whether there is no dataset or view of this name, or the very one that an earlier demo wrote.
fn is_free(catalog: &Catalog, name: &str, written: &Written) -> Result<bool> {
    let dataset = DatasetRef::parse("", name)?;
    if !catalog.exists(&dataset)? {
        return Ok(catalog.view(&dataset)?.is_none());
    }
    let now = catalog.describe(&dataset).ok().map(|found| found.version().to_string());
    Ok(now.is_some() && now.as_ref() == written.0.get(name))
}

/// The versions of the datasets that a demo wrote, by name.
#[derive(Default, Serialize, Deserialize)]
struct Written(BTreeMap<String, String>);

impl Written {
    /// Where they are noted.
    const PATH: &str = ".airstrip/demo.json";

    fn read(root: &Root) -> Result<Self> {
        let Some(file) = root.area().open_if_there(Path::new(Self::PATH))? else {
            return Ok(Self::default());
        };
        // What cannot be read says of no dataset that it may go.
        Ok(serde_json::from_reader(std::io::BufReader::new(file)).unwrap_or_default())
    }

    fn store(&self, root: &Root) -> Result<()> {
        let text = serde_json::to_vec(self)
            .map_err(|error| Error::internal(format!("writing {}: {error}", Self::PATH)))?;
        root.write_small(Path::new(Self::PATH), &text, Target::Replace)
    }
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
fn store(catalog: &Arc<Catalog>, name: &str, batches: Batches) -> Result<Receipt> {
    let schema: SchemaRef = Arc::new(without_views(batches.schema()));
    let dataset = DatasetRef::parse("", name)?;
    let mut upload = Upload::begin(Arc::clone(catalog), dataset, Arc::clone(&schema), PutOptions::default())?;
    for batch in batches {
        upload.write(&plain(&batch, &schema)?)?;
    }
    upload.commit()
}

fn plain(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    cast_batch(batch, schema).map_err(|error| Error::internal(format!("generated data: {error}")))
}
