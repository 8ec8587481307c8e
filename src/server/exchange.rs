//! DoExchange: a query over the client's own stream, joined with the store, with nothing stored.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_flight::FlightData;
use datafusion::catalog::TableProvider;
use futures::StreamExt;
use tonic::Streaming;

use super::flight::Handler;
use super::receive::Receiver;
use super::respond::Responses;
use super::rpc::Rpc;
use super::target::Target;
use crate::engine::{InputTable, TypeProfile};
use crate::error::{Error, Result};

/// The name of the client's stream in the query.
const INPUT: &str = "input";

impl Handler {
    /// Runs the descriptor's SQL with the client's stream as the table `input`. The result flows while
    /// the stream still comes, where the query allows it.
    pub(super) async fn exchange(
        &self,
        messages: Streaming<FlightData>,
        profile: TypeProfile,
        rpc: Rpc,
    ) -> Result<Responses<FlightData>> {
        let mut receiver = Receiver::new(messages, rpc.clone(), self.options.idle_timeout);
        let descriptor = receiver.descriptor().await?;
        let target = Target::of_descriptor(&descriptor, profile, self.engine.catalog()).await?;
        rpc.about(&target.describe());
        let Target::Query(query) = target else {
            return Err(Error::invalid(
                "an exchange runs a query: FlightDescriptor.for_command(\"select … from input\")",
            ));
        };
        let deadline = rpc.deadline(self.options.query_timeout);
        let mut extra: HashMap<String, Arc<dyn TableProvider>> = HashMap::new();
        // A query that reads no input need not wait for one.
        if self.engine.reads_table(&query.sql, INPUT).await?
            && let Some(schema) = receiver.schema().await?
        {
            extra.insert(INPUT.to_owned(), InputTable::table(schema, batches(receiver))?);
        }
        let permit = self.engine.admit(deadline).await?;
        let planned = self.engine.plan(&query.sql, query.profile, extra, deadline).await?;
        self.stream_query(planned, permit, deadline, rpc).await
    }
}

fn batches(receiver: Receiver) -> futures::stream::BoxStream<'static, Result<arrow::array::RecordBatch>> {
    futures::stream::try_unfold(receiver, |mut receiver| async move {
        while let Some(received) = receiver.next().await? {
            if let Some(batch) = received.batch {
                return Ok(Some((batch, receiver)));
            }
        }
        Ok(None)
    })
    .boxed()
}
