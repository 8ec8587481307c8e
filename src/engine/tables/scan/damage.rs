//! Errors of a scan that say which file it was.
//!
//! DataFusion's reader of Parquet tells what is wrong in a file, and not in which of many.

use std::sync::Arc;

use datafusion::common::{DataFusionError, Result as DfResult};
use datafusion::datasource::listing::PartitionedFile;
use datafusion_datasource::morsel::{Morsel, MorselPlan, MorselPlanner, Morselizer};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};

use arrow::array::RecordBatch;
use arrow::error::ArrowError;

use crate::error::Error;
use crate::storage::{Footer, HeldFile, exhausted_in, exhausted_in_text, find_damage};

/// Files whose errors name them.
#[derive(Debug)]
pub(super) struct NamedFiles(pub(super) Box<dyn Morselizer>);

impl Morselizer for NamedFiles {
    fn plan_file(&self, file: PartitionedFile) -> DfResult<Box<dyn MorselPlanner>> {
        let named = file.extension::<HeldFile>().cloned().zip(file.extension::<Arc<Footer>>().cloned());
        let Some((held, footer)) = named else { return self.0.plan_file(file) };
        let name = Name { held, footer };
        let inner = self.0.plan_file(file).map_err(|error| name.put_on(error))?;
        Ok(Box::new(Named { name, inner }))
    }
}

#[derive(Debug, Clone)]
struct Name {
    held: HeldFile,
    footer: Arc<Footer>,
}

impl Name {
    /// `error` with the name of the file, if it is of what is in the file.
    fn put_on(&self, error: DataFusionError) -> DataFusionError {
        if Error::find_in(&error).is_some() {
            return error;
        }
        let what = format!("read {}", self.held.path().display());
        if let Some(exhausted) = exhausted_in(&what, &error) {
            return exhausted.into();
        }
        let text = match error.find_root() {
            DataFusionError::ParquetError(inner) => inner.to_string(),
            DataFusionError::ArrowError(inner, _) => match inner.as_ref() {
                ArrowError::ParquetError(text) => text.clone(),
                _ => return error,
            },
            _ => return error,
        };
        if let Some(exhausted) = exhausted_in_text(&what, &text) {
            return exhausted.into();
        }
        if let Some(damage) = find_damage(&self.held, &self.footer.metadata) {
            return damage.into();
        }
        let text = text.trim_start_matches("Parquet error: ");
        Error::data_loss(format!("the file {} is damaged: {text}", self.held.path().display())).into()
    }
}

/// A part of the work on a file.
#[derive(Debug)]
struct Named<T: ?Sized> {
    name: Name,
    inner: Box<T>,
}

impl MorselPlanner for Named<dyn MorselPlanner> {
    fn plan(self: Box<Self>) -> DfResult<Option<MorselPlan>> {
        let Self { name, inner } = *self;
        let Some(mut plan) = inner.plan().map_err(|error| name.put_on(error))? else { return Ok(None) };
        let morsels = plan.take_morsels().into_iter();
        let morsels = morsels.map(|inner| Box::new(Named { name: name.clone(), inner }) as Box<dyn Morsel>);
        let planners = plan.take_ready_planners().into_iter();
        let planners =
            planners.map(|inner| Box::new(Named { name: name.clone(), inner }) as Box<dyn MorselPlanner>);
        let mut named = MorselPlan::new().with_morsels(morsels.collect()).with_planners(planners.collect());
        if let Some(pending) = plan.take_pending_planner() {
            named.set_pending_planner(async move {
                let inner = pending.await.map_err(|error| name.put_on(error))?;
                Ok(Box::new(Named { name, inner }) as Box<dyn MorselPlanner>)
            });
        }
        Ok(Some(named))
    }
}

impl Morsel for Named<dyn Morsel> {
    fn into_stream(self: Box<Self>) -> BoxStream<'static, DfResult<RecordBatch>> {
        let Self { name, inner } = *self;
        inner.into_stream().map_err(move |error| name.put_on(error)).boxed()
    }
}
