//! The Flight service: each method decodes, calls and encodes.

use std::sync::Arc;

use arrow_flight::flight_service_server::FlightService;
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest,
    HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
};
use base64::Engine as _;
use futures::StreamExt;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::{Request, Response, Status, Streaming};

use super::actions::action_types;
use super::respond::Responses;
use super::rpc::Rpc;
use super::serve::ServerOptions;
use super::status::status;
use super::target::Target;
use crate::engine::{Engine, TypeProfile};
use crate::error::{Error, Result};

/// What all methods work with.
#[derive(Debug, Clone)]
pub(super) struct Handler {
    pub(super) engine: Arc<Engine>,
    pub(super) options: Arc<ServerOptions>,
}

impl Handler {
    async fn target(&self, descriptor: &FlightDescriptor, profile: TypeProfile) -> Result<Target, Status> {
        let target = Target::of_descriptor(descriptor, profile, self.engine.catalog()).await;
        target.map_err(|error| status(&error))
    }
}

// By value, for `map_err`.
#[allow(clippy::needless_pass_by_value)]
fn fail(error: Error) -> Status {
    status(&error)
}

/// The type profile that the client asks for with a header.
fn profile(metadata: &MetadataMap) -> Result<TypeProfile, Status> {
    let text = metadata.get("x-airstrip-types").map_or(Ok(""), |value| value.to_str());
    let text = text.map_err(|_| fail(Error::invalid("the header x-airstrip-types is not ASCII text")))?;
    TypeProfile::parse(text).map_err(fail)
}

#[tonic::async_trait]
impl FlightService for Handler {
    type HandshakeStream = Responses<HandshakeResponse>;
    type ListFlightsStream = Responses<FlightInfo>;
    type DoGetStream = Responses<FlightData>;
    type DoPutStream = Responses<PutResult>;
    type DoExchangeStream = Responses<FlightData>;
    type DoActionStream = Responses<arrow_flight::Result>;
    type ListActionsStream = Responses<ActionType>;

    /// Lets everyone in. A client that brings Basic credentials expects a bearer token, and one that
    /// brings a token expects it back.
    async fn handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        let token = bearer(request.metadata());
        let mut messages = request.into_inner();
        // Zero messages, an empty one, or one with credentials: all are fine.
        let first = tokio::time::timeout(self.options.idle_timeout, messages.next()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no handshake came"))?.transpose()?;
        let answer = first.map(|first| {
            Ok(HandshakeResponse { protocol_version: first.protocol_version, ..Default::default() })
        });
        let mut response = Response::new(futures::stream::iter(answer).boxed());
        if let Some(token) = token {
            response.metadata_mut().insert("authorization", token);
        }
        Ok(response)
    }

    async fn list_flights(
        &self,
        request: Request<Criteria>,
    ) -> Result<Response<Self::ListFlightsStream>, Status> {
        let rpc = Rpc::of(&request)?;
        let criteria = request.into_inner().expression;
        self.list(&criteria, &rpc).await.map(Response::new).map_err(fail)
    }

    async fn get_flight_info(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let (rpc, profile) = (Rpc::of(&request)?, profile(request.metadata())?);
        let descriptor = request.into_inner();
        let target = self.target(&descriptor, profile).await?;
        self.info(descriptor, target, &rpc).await.map(Response::new).map_err(fail)
    }

    /// Nothing runs before its ticket is redeemed, so every poll finds all there is to know.
    async fn poll_flight_info(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<PollInfo>, Status> {
        let info = self.get_flight_info(request).await?.into_inner();
        Ok(Response::new(PollInfo { info: Some(info), progress: Some(1.0), ..Default::default() }))
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        let (rpc, profile) = (Rpc::of(&request)?, profile(request.metadata())?);
        let target = self.target(&request.into_inner(), profile).await?;
        let schema = self.schema(target, &rpc).await.map_err(fail)?;
        Ok(Response::new(SchemaResult { schema }))
    }

    async fn do_get(&self, request: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        let (rpc, profile) = (Rpc::of(&request)?, profile(request.metadata())?);
        let target = Target::of_ticket(&request.into_inner(), profile, self.engine.catalog()).await;
        self.get(target.map_err(fail)?, rpc).await.map(Response::new).map_err(fail)
    }

    async fn do_put(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoPutStream>, Status> {
        let rpc = Rpc::of(&request)?;
        let (metadata, _, messages) = request.into_parts();
        self.put(&metadata, messages, &rpc).map(Response::new).map_err(fail)
    }

    async fn do_exchange(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        let (rpc, profile) = (Rpc::of(&request)?, profile(request.metadata())?);
        self.exchange(request.into_inner(), profile, rpc).await.map(Response::new).map_err(fail)
    }

    async fn do_action(&self, request: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        let rpc = Rpc::of(&request)?;
        let body = self.act(&request.into_inner(), &rpc).await.map_err(fail)?;
        let answer = futures::stream::iter([Ok(arrow_flight::Result { body })]);
        Ok(Response::new(answer.boxed()))
    }

    async fn list_actions(&self, _: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        Ok(Response::new(futures::stream::iter(action_types().map(Ok)).boxed()))
    }
}

/// The token for a client that brought credentials: its own if it is one, else the user's name.
fn bearer(metadata: &MetadataMap) -> Option<AsciiMetadataValue> {
    let given = metadata.get("authorization")?;
    let text = given.to_str().ok()?;
    let Some(basic) = text.strip_prefix("Basic ") else { return Some(given.clone()) };
    // Clients write Base64 with and without padding.
    let decoded =
        base64::engine::general_purpose::STANDARD_NO_PAD.decode(basic.trim_end_matches('=')).ok()?;
    let user = String::from_utf8(decoded).ok()?;
    let user = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(user.split(':').next()?);
    AsciiMetadataValue::try_from(format!("Bearer anonymous.{user}")).ok()
}
