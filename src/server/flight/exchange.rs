//! DoExchange: a query over the client's own stream, joined with the store, with nothing stored.

use arrow_flight::FlightData;
use arrow_flight::sql::Command;
use tonic::Streaming;

use super::service::Handler;
use super::target::{SqlQuery, Target};
use crate::engine::{InputTable, Source};
use crate::error::{Error, Result};
use crate::server::ipc::Receiver;
use crate::server::rpc::Rpc;
use crate::server::session::Client;
use crate::server::stream::{Responses, flight_data};

/// The name of the client's stream in the query.
const INPUT: &str = "input";

impl Handler {
    /// Runs the descriptor's SQL with the client's stream as the table `input`. The result flows while
    /// the stream still comes, where the query allows it.
    pub(in crate::server) async fn exchange(
        &self,
        messages: Streaming<FlightData>,
        client: &Client,
        rpc: Rpc,
    ) -> Result<Responses<FlightData>> {
        let mut receiver = Receiver::new(messages, rpc.clone(), self.options.idle_timeout);
        let descriptor = receiver.descriptor().await?;
        let scope = self.sessions.environment(client).scope;
        let target = match Target::of_descriptor(&descriptor, scope.clone(), self.engine.catalog()).await? {
            Target::Command(Command::CommandStatementQuery(command)) => {
                Target::Query(SqlQuery::new(command.query, scope, None))
            }
            target => target,
        };
        rpc.about(&target.describe());
        let Target::Query(query) = target else {
            return Err(Error::invalid(
                "an exchange runs a query: FlightDescriptor.for_command(\"select … from input\")",
            ));
        };
        let mut environment = self.environment(&query, client);
        // A query that reads no input need not wait for one.
        if let Source::Sql(sql) = &query.source
            && self.engine.reads_table(sql, INPUT).await?
            && let Some(schema) = receiver.schema().await?
        {
            let input = InputTable::table(schema, receiver.batches())?;
            environment.input = Some((INPUT.to_owned(), input));
        }
        self.run_query(query, environment, client, rpc).await.map(flight_data)
    }
}
