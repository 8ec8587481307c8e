//! The actions of Flight and of Flight SQL.
//!
//! Bodies of Flight's own actions are plain messages, those of Flight SQL's travel in an `Any`.

use std::collections::HashMap;
use std::time::SystemTime;

use arrow_flight::sql::{
    ActionCancelQueryRequest, ActionCancelQueryResult, ActionClosePreparedStatementRequest,
    ActionCreatePreparedStatementRequest, ActionCreatePreparedSubstraitPlanRequest, Any, ProstMessageExt,
};
use arrow_flight::{
    ActionType, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightInfo,
    RenewFlightEndpointRequest,
};
use bytes::Bytes;
use prost::Message;

use super::super::flight::{Handler, queries_of, renewed};
use super::super::rpc::Rpc;
use super::super::session::Client;
use super::{substrait, wrapped};
use crate::engine::Source;
use crate::error::{Error, Result};
use crate::proto::flight::session_option_value::OptionValue;
use crate::proto::flight::set_session_options_result::{Error as OptionError, ErrorValue};
use crate::proto::flight::{
    CloseSessionResult, GetSessionOptionsResult, SessionOptionValue, SetSessionOptionsRequest,
    SetSessionOptionsResult, close_session_result,
};

const PREPARED_RESULT: &str =
    "type.googleapis.com/arrow.flight.protocol.sql.ActionCreatePreparedStatementResult";

/// The actions, with descriptions that say what their bodies are.
const ACTIONS: [(&str, &str); 11] = [
    ("CreatePreparedStatement", "Prepare a statement. Body: Any(ActionCreatePreparedStatementRequest)."),
    (
        "ClosePreparedStatement",
        "Forget a prepared statement. Body: Any(ActionClosePreparedStatementRequest).",
    ),
    ("CreatePreparedSubstraitPlan", "Prepare a plan. Body: Any(ActionCreatePreparedSubstraitPlanRequest)."),
    ("CancelQuery", "Stop a query. Body: Any(ActionCancelQueryRequest)."),
    ("BeginTransaction", "Not supported: each statement takes effect by itself."),
    ("EndTransaction", "Not supported: each statement takes effect by itself."),
    ("CancelFlightInfo", "Stop the queries of a FlightInfo. Body: CancelFlightInfoRequest."),
    ("RenewFlightEndpoint", "Make an endpoint's ticket last longer. Body: RenewFlightEndpointRequest."),
    ("SetSessionOptions", "Set options of the session: catalog, schema, types, time_zone, datafusion.*."),
    ("GetSessionOptions", "The options of the session."),
    ("CloseSession", "Forget the session, its options and its temporary tables."),
];

/// The actions for ListActions.
pub(in crate::server) fn action_types() -> impl Iterator<Item = ActionType> {
    ACTIONS.into_iter().map(|(name, description)| ActionType {
        r#type: name.to_owned(),
        description: description.to_owned(),
    })
}

/// The body of an action's one result, if it has one.
pub(in crate::server) type Answer = Option<Bytes>;

impl Handler {
    /// Does an action of Flight's or Flight SQL's, or gives `None` if there is none of this name.
    pub(in crate::server) async fn flight_action(
        &self,
        action: &arrow_flight::Action,
        client: &Client,
        rpc: &Rpc,
    ) -> Result<Option<Answer>> {
        let body = &action.body;
        Ok(Some(match action.r#type.as_str() {
            "CreatePreparedStatement" => {
                let request: ActionCreatePreparedStatementRequest = unwrapped(body)?;
                self.prepared_answer(request.query.into(), client, rpc).await?
            }
            "CreatePreparedSubstraitPlan" => {
                let request: ActionCreatePreparedSubstraitPlanRequest = unwrapped(body)?;
                self.prepared_answer(substrait(request.plan)?, client, rpc).await?
            }
            "ClosePreparedStatement" => {
                let request: ActionClosePreparedStatementRequest = unwrapped(body)?;
                self.statements.close(&request.prepared_statement_handle, client);
                None
            }
            "CancelQuery" => {
                let request: ActionCancelQueryRequest = unwrapped(body)?;
                let info = FlightInfo::decode(request.info)
                    .map_err(|_| Error::invalid("the body holds no FlightInfo"))?;
                let result = self.cancel(&info, rpc) as i32;
                Some(wrapped(&ActionCancelQueryResult { result }))
            }
            "BeginTransaction" | "EndTransaction" | "BeginSavepoint" | "EndSavepoint" => {
                return Err(Error::unimplemented(
                    "transactions are not supported: each statement takes effect by itself, as a whole",
                ));
            }
            "CancelFlightInfo" => {
                let request: CancelFlightInfoRequest = plain(body)?;
                let status = self.cancel(&request.info.unwrap_or_default(), rpc) as i32;
                Some(CancelFlightInfoResult { status }.encode_to_vec().into())
            }
            "RenewFlightEndpoint" => {
                let request: RenewFlightEndpointRequest = plain(body)?;
                let endpoint =
                    request.endpoint.ok_or_else(|| Error::invalid("the body holds no endpoint"))?;
                let until = SystemTime::now() + self.options.ticket_lifetime;
                Some(renewed(endpoint, until)?.encode_to_vec().into())
            }
            "SetSessionOptions" => Some(self.set_options(plain(body)?, client)?.encode_to_vec().into()),
            "GetSessionOptions" => {
                let options = self.sessions.environment(client).scope.options();
                let value =
                    |value| SessionOptionValue { option_value: Some(OptionValue::StringValue(value)) };
                let session_options = options.into_iter().map(|(name, text)| (name, value(text))).collect();
                Some(GetSessionOptionsResult { session_options }.encode_to_vec().into())
            }
            "CloseSession" => {
                self.sessions.close(client);
                let status = close_session_result::Status::Closed.into();
                Some(CloseSessionResult { status }.encode_to_vec().into())
            }
            _ => return Ok(None),
        }))
    }

    async fn prepared_answer(&self, source: Source, client: &Client, rpc: &Rpc) -> Result<Answer> {
        let prepared = self.prepare(source, client, rpc).await?;
        let any = Any { type_url: PREPARED_RESULT.to_owned(), value: prepared.encode_to_vec().into() };
        Ok(Some(any.encode_to_vec().into()))
    }

    /// Stops the queries that `info` leads to, now and later.
    fn cancel(&self, info: &FlightInfo, rpc: &Rpc) -> CancelStatus {
        let tickets = info.endpoint.iter().filter_map(|endpoint| endpoint.ticket.as_ref());
        let ids: Vec<String> = tickets.filter_map(queries_of).collect();
        rpc.about(&ids.join(", "));
        for id in &ids {
            self.engine.cancel(id);
        }
        if ids.is_empty() { CancelStatus::NotCancellable } else { CancelStatus::Cancelled }
    }

    fn set_options(
        &self,
        request: SetSessionOptionsRequest,
        client: &Client,
    ) -> Result<SetSessionOptionsResult> {
        let session = self.sessions.open(client)?;
        let mut errors = HashMap::new();
        for (name, value) in request.session_options {
            let changed = session.change(|scope| match &value.option_value {
                None => scope.reset(&name),
                Some(value) => scope.set(&name, &text(value)?).and_then(|()| self.check_scope(scope)),
            });
            if changed.is_err() {
                let known = session.scope().reset(&name).is_ok();
                let value = if known { ErrorValue::InvalidValue } else { ErrorValue::InvalidName };
                errors.insert(name, OptionError { value: value.into() });
            }
        }
        Ok(SetSessionOptionsResult { errors })
    }
}

/// An option's value as text.
fn text(value: &OptionValue) -> Result<String> {
    Ok(match value {
        OptionValue::StringValue(value) => value.clone(),
        OptionValue::BoolValue(value) => value.to_string(),
        OptionValue::Int64Value(value) => value.to_string(),
        OptionValue::DoubleValue(value) => value.to_string(),
        OptionValue::StringListValue(_) => return Err(Error::invalid("no option takes a list")),
    })
}

fn plain<M: Message + Default>(body: &Bytes) -> Result<M> {
    M::decode(body.clone()).map_err(|error| Error::invalid(format!("the action's body is damaged: {error}")))
}

fn unwrapped<M: ProstMessageExt>(body: &Bytes) -> Result<M> {
    let any: Any = plain(body)?;
    let message =
        any.unpack().map_err(|error| Error::invalid(format!("the action's body is damaged: {error}")))?;
    message.ok_or_else(|| {
        Error::invalid(format!("the action takes Any({}), not {:?}", M::type_url(), any.type_url))
    })
}
