//! SET, RESET and USE: what a statement changes in its session.

use datafusion::logical_expr::{LogicalPlan, Statement as PlanStatement};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{Expr, Set, Statement as SqlStatement, Use};

use super::parse::parse;
use crate::engine::Engine;
use crate::engine::session::{Environment, Scope};
use crate::error::{Error, Result};

/// A change of one option of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    name: String,
    /// `None` puts the default back.
    value: Option<String>,
}

impl Setting {
    /// Makes the change.
    pub fn apply(&self, scope: &mut Scope) -> Result<()> {
        match &self.value {
            Some(value) => scope.set(&self.name, value),
            None => scope.reset(&self.name),
        }
    }
}

impl Engine {
    /// Reads a statement of the kind [`Setting`](crate::engine::StatementKind::Setting).
    pub async fn setting(&self, sql: &str) -> Result<Setting> {
        let (sql, limits) = (sql.to_owned(), self.sql);
        let (state, _) = self.session(&Environment::default())?;
        let read = async move {
            let statement = parse(&sql, &limits)?;
            if let Statement::Statement(statement) = &statement {
                match statement.as_ref() {
                    SqlStatement::Use(used) => return schema(used),
                    SqlStatement::Set(Set::SetTimeZone { value, .. }) => return time_zone(value),
                    _ => {}
                }
            }
            match state.statement_to_plan(statement).await? {
                LogicalPlan::Statement(PlanStatement::SetVariable(set)) => {
                    Ok(Setting { name: set.variable, value: Some(set.value) })
                }
                LogicalPlan::Statement(PlanStatement::ResetVariable(reset)) => {
                    Ok(Setting { name: reset.variable, value: None })
                }
                _ => Err(Error::internal("a SET statement was planned as something else")),
            }
        };
        self.workers.run(read).await
    }
}

/// `SET [SESSION | LOCAL] TIME ZONE value`, which DataFusion reads only with an equals sign.
fn time_zone(value: &Expr) -> Result<Setting> {
    let value = match value {
        Expr::Value(value) => value.clone().into_string(),
        Expr::Identifier(name) if name.value.eq_ignore_ascii_case("default") => None,
        Expr::Identifier(name) => Some(name.value.clone()),
        _ => return Err(Error::invalid("a time zone is a name such as 'Europe/Berlin'")),
    };
    Ok(Setting { name: "time_zone".to_owned(), value })
}

fn schema(used: &Use) -> Result<Setting> {
    let name = match used {
        Use::Schema(name) | Use::Database(name) | Use::Object(name) => name.to_string(),
        Use::Default => return Ok(Setting { name: "schema".to_owned(), value: None }),
        _ => return Err(Error::invalid("USE takes the name of a schema")),
    };
    let value = Some(name.trim_matches('"').to_owned());
    Ok(Setting { name: "schema".to_owned(), value })
}
