//! DoPut: a client's stream becomes a dataset, or nothing at all.

use std::sync::Arc;

use arrow_flight::flight_descriptor::DescriptorType;
use arrow_flight::{FlightData, FlightDescriptor, PutResult};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};
use tonic::Streaming;
use tonic::metadata::MetadataMap;
use tracing::Instrument;

use super::service::Handler;
use super::target::Target;
use super::terms::Terms;
use crate::catalog::{DatasetRef, Receipt, Upload};
use crate::engine::{Scope, cancelled};
use crate::error::{Error, ErrorKind, Result};
use crate::failpoint::Failpoint;
use crate::proto;
use crate::safeguard::Safeguard;
use crate::server::ipc::Receiver;
use crate::server::rpc::Rpc;
use crate::server::session::Client;
use crate::server::status::status;
use crate::server::stream::{Acks, Responses};
use crate::storage::{Storing, blocking};

impl Handler {
    /// Starts the upload in a task of its own; the answer streams what it says.
    pub(in crate::server) fn put(
        &self,
        metadata: &MetadataMap,
        messages: Streaming<FlightData>,
        client: Client,
        rpc: &Rpc,
    ) -> Result<Responses<PutResult>> {
        let terms = Terms::of_headers(metadata, client.behind_proxy, self.options.uploads)?;
        let (answers, answered) = Acks::new(Arc::clone(self.engine.catalog()));
        let receiver = Receiver::new(messages, rpc.clone(), self.options.idle_timeout);
        let handler = self.clone();
        let upload = Put { handler, receiver, terms, client, answers: answers.clone(), rpc: rpc.clone() };
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
    terms: Terms,
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
                let Self { handler, receiver, terms, client, answers, rpc } = self;
                let upload = Uploading { receiver, terms, answers: answers.clone() };
                tokio::select! {
                    biased;
                    // What is being published then is carried to its end.
                    () = answers.closed() => Err(cancelled()),
                    done = handler.command_put(command, upload, &client, &rpc) => done,
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
            (Arc::clone(self.handler.engine.catalog()), dataset.clone(), self.terms.put.clone());
        let upload = blocking(move || Upload::begin(catalog, to, schema, options)).await?;
        let upload = self.store(upload).await?;
        let look = LastLook::new(&self.answers, &self.terms);
        // Only here, after the stream's true end, does anything become visible.
        let receipt = blocking(move || upload.commit_after(&|| look.look())).await?;
        Failpoint::Answer.pass()?;
        put_result(&dataset, &receipt)
    }

    /// Stores all batches. While one is stored the next is received.
    async fn store(&mut self, upload: Upload) -> Result<Upload> {
        let mut storing = Storing::new(upload);
        while let Some(received) = self.receiver.next().await? {
            let is_ours = self.terms.whole.take(&received)?;
            if let Some(batch) = received.batch {
                storing = storing.write(batch).await?;
            }
            if !received.app_metadata.is_empty() && !is_ours {
                let patience = self.handler.options.idle_timeout;
                self.answers.acknowledge(&received.app_metadata, patience).await?;
            }
        }
        let upload = storing.finish().await?;
        self.terms.whole.check()?;
        Ok(upload)
    }
}

/// An upload that a command is about.
pub(in crate::server) struct Uploading {
    pub(in crate::server) receiver: Receiver,
    pub(in crate::server) terms: Terms,
    pub(in crate::server) answers: Acks,
}

/// A last look, right before an upload is published, at whether its stream was reset after its end.
///
/// HAProxy before 2.8 sends the server the regular end of a stream whose client has died, and the reset only after it. The
/// answer's stream is gone as soon as the reset is taken note of. That takes a moment, so that requests of proxies are
/// waited for; while rows are synced most of it passes by itself.
pub(in crate::server) struct LastLook {
    answers: Acks,
    due: Instant,
}

impl LastLook {
    /// A look at the stream of `answers`, made at the stream's end.
    pub(in crate::server) fn new(answers: &Acks, terms: &Terms) -> Self {
        Self { answers: answers.clone(), due: Instant::now() + terms.settling() }
    }

    /// Fails if the stream was reset. Blocks until that would have shown.
    pub(in crate::server) fn look(&self) -> Result<()> {
        if self.due > Instant::now() {
            let _ = Handle::current().block_on(timeout_at(self.due, self.answers.closed()));
        }
        if self.answers.is_closed() && Safeguard::LastLook.stands() {
            tracing::info!("the upload's stream was reset after its end: nothing is published");
            return Err(Error::new(
                ErrorKind::Aborted,
                "the stream was reset right after its end, so that it may be cut; nothing was stored",
            ));
        }
        Ok(())
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
        trashed: receipt.trashed.filter(|trashed| !trashed),
    };
    let json = serde_json::to_vec(&receipt)
        .map_err(|error| Error::internal(format!("writing a receipt: {error}")))?;
    Ok(PutResult { app_metadata: json.into() })
}
