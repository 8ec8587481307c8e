//! What a session is: `current_schema()`, `current_user()`, … and `version()`.
//!
//! They are asked when a statement runs, of the session that runs it, so that a view says what its reader's session is.

use std::any::Any;

use arrow::datatypes::DataType;
use datafusion::common::config::{ConfigEntry, ConfigExtension, ConfigOptions, ExtensionOptions};
use datafusion::common::{DataFusionError, Result, ScalarValue, plan_err};
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::engine::tables::CATALOG;

/// The values that SQL writes without parentheses, where no column has the name.
pub(in crate::engine) const SESSION_VALUES: [&str; 6] =
    ["current_catalog", "current_role", "current_schema", "current_user", "session_user", "user"];

/// Who runs a statement, among its options.
#[derive(Debug, Clone, Default)]
pub(in crate::engine) struct SessionUser(pub(in crate::engine) String);

impl ConfigExtension for SessionUser {
    const PREFIX: &'static str = "airstrip_session";
}

impl ExtensionOptions for SessionUser {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, key: &str, _: &str) -> Result<()> {
        plan_err!("{key} cannot be set")
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        Vec::new()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Asks {
    Catalog,
    Schema,
    User,
    Version,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SessionValue {
    name: &'static str,
    aliases: Vec<String>,
    asks: Asks,
    signature: Signature,
}

/// Registers the functions.
pub(super) fn register(state: &mut SessionState) -> Result<()> {
    let all: [(&'static str, &[&str], Asks, Volatility); 9] = [
        ("current_catalog", &[], Asks::Catalog, Volatility::Stable),
        ("current_database", &["database"], Asks::Catalog, Volatility::Stable),
        ("current_schema", &["schema"], Asks::Schema, Volatility::Stable),
        ("current_user", &[], Asks::User, Volatility::Stable),
        ("current_role", &[], Asks::User, Volatility::Stable),
        ("session_user", &[], Asks::User, Volatility::Stable),
        ("system_user", &[], Asks::User, Volatility::Stable),
        ("user", &[], Asks::User, Volatility::Stable),
        ("version", &[], Asks::Version, Volatility::Immutable),
    ];
    for (name, aliases, asks, volatility) in all {
        let aliases = aliases.iter().map(ToString::to_string).collect();
        let signature = Signature::nullary(volatility);
        state.register_udf(ScalarUDF::from(SessionValue { name, aliases, asks, signature }).into())?;
    }
    Ok(())
}

impl SessionValue {
    fn value(&self, options: &ConfigOptions) -> String {
        match self.asks {
            Asks::Catalog => CATALOG.to_owned(),
            Asks::Schema => options.catalog.default_schema.clone(),
            Asks::User => options.extensions.get::<SessionUser>().cloned().unwrap_or_default().0,
            Asks::Version => format!("Airstrip {}", env!("CARGO_PKG_VERSION")),
        }
    }
}

impl ScalarUDFImpl for SessionValue {
    fn name(&self) -> &'static str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn display_name(&self, _: &[Expr]) -> Result<String> {
        Ok(self.column_name())
    }

    fn schema_name(&self, _: &[Expr]) -> Result<String> {
        Ok(self.column_name())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue, DataFusionError> {
        let value = self.value(&arguments.config_options);
        Ok(ColumnarValue::Scalar(ScalarValue::Utf8(Some(value))))
    }
}

impl SessionValue {
    /// The name of the column that it is: what SQL writes without parentheses is named so.
    fn column_name(&self) -> String {
        if SESSION_VALUES.contains(&self.name) { self.name.to_owned() } else { format!("{}()", self.name) }
    }
}
