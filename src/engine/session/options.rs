//! What a session sets for its statements: where names are looked up, and how they run.

use std::collections::BTreeMap;
use std::str::FromStr;

use arrow::array::timezone::Tz;
use datafusion::common::config::ConfigOptions;
use datafusion::prelude::SessionConfig;

use crate::catalog::SchemaName;
use crate::engine::query::TypeProfile;
use crate::engine::tables::CATALOG;
use crate::error::{Error, Result};

/// The zone of a session that never set one.
pub(in crate::engine) const DEFAULT_TIME_ZONE: &str = "UTC";

const TIME_ZONE: &str = "datafusion.execution.time_zone";

/// DataFusion's settings that a session may have for itself, with the largest number where one would
/// take memory or threads from everyone else. None of them reaches a file or changes a result's types
/// behind the profile's back.
const ALLOWED: [(&str, Option<usize>); 26] = [
    ("datafusion.execution.batch_size", Some(65_536)),
    ("datafusion.execution.coalesce_batches", None),
    ("datafusion.execution.collect_statistics", None),
    ("datafusion.execution.keep_partition_by_columns", None),
    ("datafusion.execution.parquet.bloom_filter_on_read", None),
    ("datafusion.execution.parquet.enable_page_index", None),
    ("datafusion.execution.parquet.pruning", None),
    ("datafusion.execution.parquet.pushdown_filters", None),
    ("datafusion.execution.parquet.reorder_filters", None),
    ("datafusion.execution.target_partitions", Some(256)),
    (TIME_ZONE, None),
    ("datafusion.explain.format", None),
    ("datafusion.explain.logical_plan_only", None),
    ("datafusion.explain.physical_plan_only", None),
    ("datafusion.explain.show_schema", None),
    ("datafusion.explain.show_sizes", None),
    ("datafusion.explain.show_statistics", None),
    ("datafusion.optimizer.hash_join_single_partition_threshold", None),
    ("datafusion.optimizer.hash_join_single_partition_threshold_rows", None),
    ("datafusion.optimizer.prefer_hash_join", None),
    ("datafusion.optimizer.repartition_aggregations", None),
    ("datafusion.optimizer.repartition_joins", None),
    ("datafusion.optimizer.repartition_sorts", None),
    ("datafusion.optimizer.repartition_windows", None),
    ("datafusion.sql_parser.enable_ident_normalization", None),
    ("datafusion.sql_parser.parse_float_as_decimal", None),
];

/// How many endpoints the FlightInfo of a dataset may have: one, if nobody asks for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoints(u16);

impl Default for Endpoints {
    fn default() -> Self {
        Self(1)
    }
}

impl Endpoints {
    /// The most: a FlightInfo holds them all.
    const MOST: u16 = 1024;

    /// Reads a number of endpoints.
    pub fn parse(text: &str) -> Result<Self> {
        match text.parse() {
            Ok(count) if (1..=Self::MOST).contains(&count) => Ok(Self(count)),
            _ => Err(Error::invalid(format!("endpoints is a number from 1 to {}, not {text:?}", Self::MOST))),
        }
    }
}

impl From<Endpoints> for usize {
    fn from(endpoints: Endpoints) -> Self {
        endpoints.0.into()
    }
}

/// The options of a session. The default is what a client has that never set any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// The types that results have.
    pub types: TypeProfile,
    /// Where tables without a schema are looked up.
    pub schema: SchemaName,
    /// The endpoints that the FlightInfo of a dataset may have.
    pub endpoints: Endpoints,
    /// DataFusion's settings that are not at their default, by name.
    settings: BTreeMap<String, String>,
}

impl Scope {
    /// Sets an option: `catalog`, `schema`, `types`, `endpoints`, `time_zone`, or a setting of DataFusion's.
    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        match full_name(name).as_str() {
            "catalog" if value == CATALOG => {}
            "catalog" => {
                return Err(Error::invalid(format!("there is no catalog {value:?}; there is {CATALOG}")));
            }
            "schema" => self.schema = SchemaName::parse(value)?,
            "types" => self.types = TypeProfile::parse(value)?,
            "endpoints" => self.endpoints = Endpoints::parse(value)?,
            full => {
                check(full, value)?;
                self.settings.insert(full.to_owned(), value.to_owned());
            }
        }
        Ok(())
    }

    /// Puts an option back to its default.
    pub fn reset(&mut self, name: &str) -> Result<()> {
        match full_name(name).as_str() {
            "catalog" => {}
            "schema" => self.schema = SchemaName::default(),
            "types" => self.types = TypeProfile::default(),
            "endpoints" => self.endpoints = Endpoints::default(),
            full => {
                allowed(full)?;
                self.settings.remove(full);
            }
        }
        Ok(())
    }

    /// The session's own options with their values, and DataFusion's settings that were set.
    pub fn options(&self) -> Vec<(String, String)> {
        let own = ["catalog", "schema", "types", "time_zone", "endpoints"];
        let own = own.into_iter().filter_map(|name| Some((name.to_owned(), self.own(name)?)));
        own.chain(self.settings().filter(|(name, _)| name != TIME_ZONE)).collect()
    }

    /// DataFusion's settings that were set.
    pub fn settings(&self) -> impl Iterator<Item = (String, String)> + '_ {
        self.settings.iter().map(|(name, value)| (name.clone(), value.clone()))
    }

    /// The value of an option that is the session's own and none of DataFusion's.
    pub(in crate::engine) fn own(&self, name: &str) -> Option<String> {
        Some(match name {
            "catalog" => CATALOG.to_owned(),
            "schema" | "search_path" => self.schema.as_str().to_owned(),
            "types" => self.types.as_str().to_owned(),
            "endpoints" => self.endpoints.0.to_string(),
            "time_zone" | "timezone" => {
                self.settings.get(TIME_ZONE).map_or(DEFAULT_TIME_ZONE, String::as_str).to_owned()
            }
            _ => return None,
        })
    }

    /// Puts the options into a configuration.
    pub(in crate::engine) fn apply(&self, config: &mut SessionConfig) -> Result<()> {
        self.schema.as_str().clone_into(&mut config.options_mut().catalog.default_schema);
        for (name, value) in &self.settings {
            config.options_mut().set(name, value)?;
        }
        Ok(())
    }
}

/// The name of an option as DataFusion spells it, or our own.
fn full_name(name: &str) -> String {
    let name = name.trim().to_lowercase();
    match name.as_str() {
        "time_zone" | "timezone" => TIME_ZONE.to_owned(),
        "search_path" => "schema".to_owned(),
        _ => name,
    }
}

fn allowed(name: &str) -> Result<Option<usize>> {
    let found = ALLOWED.iter().find(|(allowed, _)| *allowed == name);
    found.map(|(_, most)| *most).ok_or_else(|| {
        let names = ALLOWED.map(|(name, _)| name).join(", ");
        Error::invalid(format!(
            "{name:?} is not an option that a session can set; there are catalog, schema, types, endpoints, time_zone, {names}"
        ))
    })
}

fn check(name: &str, value: &str) -> Result<()> {
    if let Some(most) = allowed(name)? {
        let number: usize =
            value.parse().map_err(|_| Error::invalid(format!("{name} is a number, not {value:?}")))?;
        if number == 0 || number > most {
            return Err(Error::invalid(format!("{name} is from 1 to {most}, not {number}")));
        }
    }
    if name == TIME_ZONE {
        Tz::from_str(value).map_err(|_| {
            Error::invalid(format!("{value:?} is no time zone; give one such as Europe/Berlin or +02:00"))
        })?;
    }
    ConfigOptions::new()
        .set(name, value)
        .map_err(|error| Error::invalid(format!("{name} cannot be {value:?}: {}", error.strip_backtrace())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_set_checked_and_reset() {
        let mut scope = Scope::default();
        scope.set("schema", "finance").unwrap();
        scope.set("TYPES", "native").unwrap();
        scope.set("time_zone", "Europe/Berlin").unwrap();
        scope.set("datafusion.execution.batch_size", "100").unwrap();
        assert_eq!(scope.own("schema").unwrap(), "finance");
        assert_eq!(scope.own("time_zone").unwrap(), "Europe/Berlin");
        assert_eq!(scope.settings().count(), 2);
        for (name, value) in [
            ("catalog", "other"),
            ("schema", "a/b"),
            ("types", "odd"),
            ("time_zone", "Nowhere/Land"),
            ("datafusion.execution.batch_size", "0"),
            ("datafusion.execution.batch_size", "100000000"),
            ("datafusion.execution.batch_size", "many"),
            ("datafusion.optimizer.prefer_hash_join", "perhaps"),
            ("datafusion.catalog.information_schema", "true"),
            ("nonsense", "1"),
        ] {
            assert!(scope.set(name, value).is_err(), "{name} = {value}");
        }
        for (name, _) in scope.options() {
            scope.reset(&name).unwrap();
        }
        assert_eq!(scope, Scope::default());
    }

    #[test]
    fn every_allowed_setting_exists() {
        let known: Vec<_> = ConfigOptions::new().entries().into_iter().map(|entry| entry.key).collect();
        for (name, _) in ALLOWED {
            assert!(known.iter().any(|known| known == name), "{name}");
        }
    }
}
