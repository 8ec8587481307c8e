//! The Flight service: each method decodes, calls and encodes.

use std::sync::Arc;

use arrow_flight::flight_service_server::FlightService;
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest,
    HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
};
use futures::StreamExt;
use tonic::{Request, Response, Status, Streaming};

use super::actions::{action_types, check_action};
use super::target::Target;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::server::flight_sql::{Functions, Statements};
use crate::server::rpc::Rpc;
use crate::server::serve::ServerOptions;
use crate::server::session::{ANONYMOUS, Client, Sessions, sessions_schema};
use crate::server::status::status;
use crate::server::stream::{Chunks, Downloads, Responses, flight_data};
use crate::server::transport::early;

/// What all methods work with.
#[derive(Debug, Clone)]
pub(in crate::server) struct Handler {
    pub(in crate::server) engine: Arc<Engine>,
    pub(in crate::server) options: Arc<ServerOptions>,
    pub(in crate::server) sessions: Sessions,
    pub(in crate::server) statements: Statements,
    pub(in crate::server) downloads: Downloads,
    /// For GetSqlInfo.
    pub(in crate::server) functions: Arc<Functions>,
}

impl Handler {
    /// A handler of what `engine` knows.
    pub(in crate::server) fn new(engine: Arc<Engine>, options: ServerOptions) -> Result<Self> {
        let sessions = Sessions::new(options.sessions);
        let listed = sessions.clone();
        engine.add_system_table("sessions", sessions_schema(), Box::new(move || listed.table()));
        let downloads = Downloads::new(options.downloads)?;
        let cached = downloads.clone();
        engine.add_relief(Box::new(move || cached.release_memory()));
        Ok(Self {
            sessions,
            statements: Statements::new(options.statements),
            downloads,
            functions: Arc::new(Functions::of(&engine)),
            engine,
            options: Arc::new(options),
        })
    }

    /// A response that tells a client how to come back to its session from another connection.
    fn answer<T>(&self, message: T, client: &Client) -> Response<T> {
        let mut response = Response::new(message);
        if let Some(cookie) = self.sessions.offer(client) {
            response.metadata_mut().insert("set-cookie", cookie);
        }
        response
    }

    /// What DoGet answers, in messages that are not yet copied together.
    pub(in crate::server) async fn chunks(&self, request: Request<Ticket>) -> Result<Chunks, Status> {
        let (rpc, client) = origin(&request)?;
        let scope = self.sessions.environment(&client).scope;
        let (handler, ticket) = (self.clone(), request.into_inner());
        early(async move {
            let target = Target::of_ticket(&ticket, scope, handler.engine.catalog()).await;
            handler.get(target.map_err(fail)?, &client, rpc).await.map_err(fail)
        })
        .await
    }

    async fn target(&self, descriptor: &FlightDescriptor, client: &Client) -> Result<Target, Status> {
        let scope = self.sessions.environment(client).scope;
        Target::of_descriptor(descriptor, scope, self.engine.catalog()).await.map_err(fail)
    }
}

// By value, for `map_err`.
#[allow(clippy::needless_pass_by_value)]
fn fail(error: Error) -> Status {
    status(&error)
}

/// What every method needs to know of its request.
fn origin<T>(request: &Request<T>) -> Result<(Rpc, Client), Status> {
    let (rpc, client) = (Rpc::of(request)?, Client::of_request(request).map_err(fail)?);
    if client.user != ANONYMOUS {
        rpc.is_of(&client.user);
    }
    Ok((rpc, client))
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

    async fn handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        self.shake_hands(request).await
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
        let (rpc, client) = origin(&request)?;
        let descriptor = request.into_inner();
        let target = self.target(&descriptor, &client).await?;
        self.info(descriptor, target, &client, &rpc)
            .await
            .map(|info| self.answer(info, &client))
            .map_err(fail)
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
        let (rpc, client) = origin(&request)?;
        let target = self.target(&request.into_inner(), &client).await?;
        let schema = self.schema(target, &client, &rpc).await.map_err(fail)?;
        Ok(Response::new(SchemaResult { schema }))
    }

    async fn do_get(&self, request: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        self.chunks(request).await.map(|chunks| Response::new(flight_data(chunks)))
    }

    async fn do_put(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoPutStream>, Status> {
        let (rpc, client) = origin(&request)?;
        let (metadata, _, messages) = request.into_parts();
        let answers = self.put(&metadata, messages, client.clone(), &rpc).map_err(fail)?;
        // What it will do is not known yet; it may be to begin a session.
        Ok(self.answer(answers, &client))
    }

    async fn do_exchange(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        let (rpc, client) = origin(&request)?;
        let (handler, messages) = (self.clone(), request.into_inner());
        let answer =
            early(async move { handler.exchange(messages, &client, rpc).await.map_err(fail) }).await?;
        Ok(Response::new(answer))
    }

    async fn do_action(&self, request: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        let (rpc, client) = origin(&request)?;
        check_action(request.metadata(), &request.get_ref().r#type).map_err(fail)?;
        let action = request.into_inner();
        rpc.does(&action.r#type);
        let body = self.act(&action, &client, &rpc).await.map_err(fail)?;
        let results = body.map(|body| Ok(arrow_flight::Result { body }));
        Ok(self.answer(futures::stream::iter(results).boxed(), &client))
    }

    async fn list_actions(&self, _: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        Ok(Response::new(futures::stream::iter(action_types().map(Ok)).boxed()))
    }
}
