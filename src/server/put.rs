//! DoPut: a client's stream becomes a dataset, or nothing at all.

use std::sync::Arc;

use arrow_flight::flight_descriptor::DescriptorType;
use arrow_flight::{FlightData, FlightDescriptor, PutResult};
use tonic::Streaming;
use tonic::metadata::MetadataMap;
use tracing::Instrument;

use super::acks::Acks;
use super::flight::Handler;
use super::headers::header;
use super::receive::Receiver;
use super::respond::Responses;
use super::rpc::Rpc;
use super::session::Client;
use super::status::status;
use super::target::Target;
use crate::catalog::{DatasetRef, PutMode, PutOptions, Receipt, Upload, parse_transaction};
use crate::engine::{Scope, cancelled};
use crate::error::{Error, Result};
use crate::proto;
use crate::storage::{Storing, blocking};

impl Handler {
    /// Starts the upload in a task of its own; the answer streams what it says.
    pub(super) fn put(
        &self,
        metadata: &MetadataMap,
        messages: Streaming<FlightData>,
        client: Client,
        rpc: &Rpc,
    ) -> Result<Responses<PutResult>> {
        let options = put_options(metadata)?;
        let (answers, answered) = Acks::new(Arc::clone(self.engine.catalog()));
        let receiver = Receiver::new(messages, rpc.clone(), self.options.idle_timeout);
        let handler = self.clone();
        let upload = Put { handler, receiver, options, client, answers: answers.clone(), rpc: rpc.clone() };
        // The task outlives the request where it must: a publish that began is carried to its end.
        let task = tokio::spawn(upload.run().instrument(rpc.span().clone()));
        tokio::spawn(async move {
            let last = match task.await {
                Ok(Ok(receipt)) => Ok(receipt),
                Ok(Err(error)) => Err(status(&error)),
                Err(join) => Err(status(&Error::internal(format!("the upload's task ended: {join}")))),
            };
            answers.end(last).await;
        });
        Ok(answered)
    }
}

struct Put {
    handler: Handler,
    receiver: Receiver,
    options: PutOptions,
    client: Client,
    answers: Acks,
    rpc: Rpc,
}

impl Put {
    /// Does what the stream asks for; the answer is its last.
    async fn run(mut self) -> Result<PutResult> {
        let descriptor = self.receiver.descriptor().await?;
        if descriptor.r#type() == DescriptorType::Path {
            return self.upload(&descriptor).await;
        }
        let scope = Scope::default();
        match Target::of_descriptor(&descriptor, scope, self.handler.engine.catalog()).await? {
            Target::Command(command) => {
                let Self { handler, receiver, options, client, answers, rpc } = self;
                tokio::select! {
                    done = handler.command_put(command, receiver, options, &client, &rpc) => done,
                    // What is being published then is carried to its end.
                    () = answers.closed() => Err(cancelled()),
                }
            }
            _ => Err(Error::invalid("an upload goes to a path: FlightDescriptor.for_path(name)")),
        }
    }

    async fn upload(&mut self, descriptor: &FlightDescriptor) -> Result<PutResult> {
        let dataset = DatasetRef::from_path(&descriptor.path)?;
        self.rpc.about(&dataset.to_string());
        let Some(schema) = self.receiver.schema().await? else {
            return Err(Error::invalid("the stream ended without a schema; nothing was stored"));
        };
        let (catalog, to, options) =
            (Arc::clone(self.handler.engine.catalog()), dataset.clone(), self.options.clone());
        let upload = blocking(move || Upload::begin(catalog, to, schema, options)).await?;
        let upload = self.store(upload).await?;
        // Only here, after the stream's true end, does anything become visible.
        let receipt = blocking(move || upload.commit()).await?;
        put_result(&dataset, &receipt)
    }

    /// Stores all batches. While one is stored the next is received.
    async fn store(&mut self, upload: Upload) -> Result<Upload> {
        let mut storing = Storing::new(upload);
        while let Some(received) = self.receiver.next().await? {
            if let Some(batch) = received.batch {
                storing = storing.write(batch).await?;
            }
            if !received.app_metadata.is_empty() {
                let patience = self.handler.options.idle_timeout;
                self.answers.acknowledge(&received.app_metadata, patience).await?;
            }
        }
        storing.finish().await
    }
}

/// The last PutResult: what became durable, in JSON.
fn put_result(dataset: &DatasetRef, receipt: &Receipt) -> Result<PutResult> {
    let receipt = proto::PutReceipt {
        name: dataset.name.to_wire(),
        schema: dataset.schema.as_str().to_owned(),
        rows: receipt.rows,
        bytes: receipt.bytes,
        version: receipt.version.as_str().to_owned(),
    };
    let json = serde_json::to_vec(&receipt)
        .map_err(|error| Error::internal(format!("writing a receipt: {error}")))?;
    Ok(PutResult { app_metadata: json.into() })
}

fn put_options(metadata: &MetadataMap) -> Result<PutOptions> {
    let mode = match header(metadata, "x-airstrip-mode")? {
        None | Some("replace") => PutMode::Replace,
        Some("create") => PutMode::Create,
        Some("append") => PutMode::Append,
        Some(other) => {
            return Err(Error::invalid(format!(
                "x-airstrip-mode is replace, create or append, not {other:?}"
            )));
        }
    };
    let expected_rows = header(metadata, "x-airstrip-expected-rows")?
        .map(|text| {
            text.parse()
                .map_err(|_| Error::invalid(format!("x-airstrip-expected-rows is a number, not {text:?}")))
        })
        .transpose()?;
    let if_version = header(metadata, "x-airstrip-if-version")?.map(str::to_owned);
    let merge_schema = match header(metadata, "x-airstrip-schema")? {
        None | Some("strict") => false,
        Some("merge") => true,
        Some(other) => {
            return Err(Error::invalid(format!("x-airstrip-schema is strict or merge, not {other:?}")));
        }
    };
    let transaction = header(metadata, "x-airstrip-txn")?.map(parse_transaction).transpose()?;
    let columns = header(metadata, "x-airstrip-partition-by")?;
    let partition_by = columns.map(|text| text.split(',').map(|name| name.trim().to_owned()).collect());
    let partition_by = partition_by.unwrap_or_default();
    Ok(PutOptions {
        mode,
        if_version,
        expected_rows,
        merge_schema,
        transaction,
        partition_by,
        as_delta: false,
    })
}
