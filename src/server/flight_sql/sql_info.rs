//! GetSqlInfo: what this server can do, in the words of FlightSql.proto.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, MapArray, RecordBatch, StructArray, UnionArray};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, UnionFields};
use arrow::error::ArrowError;
use arrow_flight::sql::SqlInfo as Id;
use arrow_flight::sql::metadata::{SqlInfoData, SqlInfoDataBuilder};

use crate::error::{Error, Result};

/// What depends on how the server was started.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    /// Whether it never writes.
    pub(super) read_only: bool,
    /// The longest SQL text, in bytes.
    pub(super) max_sql_bytes: usize,
    /// The longest that a statement may take, in seconds.
    pub(super) query_seconds: u64,
}

/// All infos. Every id of the specification is there: older JDBC drivers fail on one that is missing.
pub(super) fn sql_info(facts: Facts, functions: &Functions) -> Result<SqlInfoData> {
    let mut infos = SqlInfoDataBuilder::new();
    server(&mut infos, facts);
    syntax(&mut infos, facts, functions);
    support(&mut infos);
    limits(&mut infos, facts);
    transactions(&mut infos);
    infos.build().map_err(|error| Error::internal(format!("listing infos: {error}")))
}

/// The functions and keywords of the dialect.
#[derive(Debug, Default)]
pub(in crate::server) struct Functions {
    pub(super) keywords: Vec<String>,
    pub(super) numeric: Vec<String>,
    pub(super) string: Vec<String>,
    pub(super) datetime: Vec<String>,
}

fn server(infos: &mut SqlInfoDataBuilder, facts: Facts) {
    infos.append(Id::FlightSqlServerName, "Airstrip");
    infos.append(Id::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    infos.append(Id::FlightSqlServerArrowVersion, arrow::ARROW_VERSION);
    infos.append(Id::FlightSqlServerReadOnly, facts.read_only);
    infos.append(Id::FlightSqlServerSql, true);
    infos.append(Id::FlightSqlServerSubstrait, cfg!(feature = "substrait"));
    infos.append(Id::FlightSqlServerSubstraitMinVersion, "");
    infos.append(Id::FlightSqlServerSubstraitMaxVersion, "");
    // SqlSupportedTransaction: none.
    infos.append(Id::FlightSqlServerTransaction, 0_i32);
    infos.append(Id::FlightSqlServerCancel, true);
    infos.append(Id::FlightSqlServerBulkIngestion, !facts.read_only);
    infos.append(Id::FlightSqlServerIngestTransactionsSupported, false);
    let milliseconds = i32::try_from(facts.query_seconds.saturating_mul(1000)).unwrap_or(i32::MAX);
    infos.append(Id::FlightSqlServerStatementTimeout, milliseconds);
    infos.append(Id::FlightSqlServerTransactionTimeout, 0_i32);
}

fn syntax(infos: &mut SqlInfoDataBuilder, facts: Facts, functions: &Functions) {
    infos.append(Id::SqlDdlCatalog, false);
    infos.append(Id::SqlDdlSchema, !facts.read_only);
    infos.append(Id::SqlDdlTable, !facts.read_only);
    // SqlSupportedCaseSensitivity: unquoted names fold to lower case. As int64, as the reference servers
    // send it and the drivers read it.
    infos.append(Id::SqlIdentifierCase, 3_i64);
    infos.append(Id::SqlIdentifierQuoteChar, "\"");
    infos.append(Id::SqlQuotedIdentifierCase, 0_i64);
    infos.append(Id::SqlAllTablesAreSelectable, true);
    infos.append(Id::SqlNullOrdering, 0_i64);
    infos.append(Id::SqlKeywords, functions.keywords.clone());
    infos.append(Id::SqlNumericFunctions, functions.numeric.clone());
    infos.append(Id::SqlStringFunctions, functions.string.clone());
    infos.append(Id::SqlSystemFunctions, vec!["version".to_owned()]);
    infos.append(Id::SqlDatetimeFunctions, functions.datetime.clone());
    infos.append(Id::SqlSearchStringEscape, "\\");
    infos.append(Id::SqlExtraNameCharacters, "");
    infos.append(Id::SqlSupportsColumnAliasing, true);
    infos.append(Id::SqlNullPlusNullIsNull, true);
    infos.append(Id::SqlSupportsConvert, conversions());
    infos.append(Id::SqlSupportsTableCorrelationNames, true);
    infos.append(Id::SqlSupportsDifferentTableCorrelationNames, false);
    infos.append(Id::SqlSupportsExpressionsInOrderBy, true);
    infos.append(Id::SqlSupportsOrderByUnrelated, true);
}

/// SqlSupportsConvert: which types CAST leads from, and to which.
fn conversions() -> BTreeMap<i32, Vec<i32>> {
    use arrow_flight::sql::SqlSupportsConvert as Convert;
    let numbers = [
        Convert::SqlConvertTinyint,
        Convert::SqlConvertSmallint,
        Convert::SqlConvertInteger,
        Convert::SqlConvertBigint,
        Convert::SqlConvertReal,
        Convert::SqlConvertFloat,
        Convert::SqlConvertDecimal,
        Convert::SqlConvertNumeric,
    ]
    .map(|number| number as i32);
    let (text, bit) = (Convert::SqlConvertVarchar as i32, Convert::SqlConvertBit as i32);
    let times = [Convert::SqlConvertDate, Convert::SqlConvertTime, Convert::SqlConvertTimestamp]
        .map(|time| time as i32);
    let mut map = BTreeMap::new();
    for number in numbers {
        map.insert(number, numbers.into_iter().chain([text, bit]).collect());
    }
    map.insert(bit, numbers.into_iter().chain([text]).collect());
    map.insert(text, numbers.into_iter().chain([bit]).chain(times).collect());
    for time in times {
        map.insert(time, vec![text, Convert::SqlConvertTimestamp as i32]);
    }
    map
}

fn support(infos: &mut SqlInfoDataBuilder) {
    // Bit masks and enums as FlightSql.proto numbers them.
    infos.append(Id::SqlSupportedGroupBy, 0b11_i32);
    infos.append(Id::SqlSupportsLikeEscapeClause, true);
    infos.append(Id::SqlSupportsNonNullableColumns, true);
    infos.append(Id::SqlSupportedGrammar, 0b111_i32);
    infos.append(Id::SqlAnsi92SupportedLevel, 1_i32);
    infos.append(Id::SqlSupportsIntegrityEnhancementFacility, false);
    infos.append(Id::SqlOuterJoinsSupportLevel, 0b110_i32);
    infos.append(Id::SqlSchemaTerm, "schema");
    infos.append(Id::SqlProcedureTerm, "");
    infos.append(Id::SqlCatalogTerm, "catalog");
    infos.append(Id::SqlCatalogAtStart, true);
    infos.append(Id::SqlSchemasSupportedActions, 0_i32);
    infos.append(Id::SqlCatalogsSupportedActions, 0_i32);
    infos.append(Id::SqlSupportedPositionedCommands, 0_i32);
    infos.append(Id::SqlSelectForUpdateSupported, false);
    infos.append(Id::SqlStoredProceduresSupported, false);
    infos.append(Id::SqlSupportedSubqueries, 0b111_i32);
    infos.append(Id::SqlCorrelatedSubqueriesSupported, true);
    infos.append(Id::SqlSupportedUnions, 0b11_i32);
}

fn limits(infos: &mut SqlInfoDataBuilder, facts: Facts) {
    // 0: no limit, or none that is known.
    for id in [
        Id::SqlMaxBinaryLiteralLength,
        Id::SqlMaxCharLiteralLength,
        Id::SqlMaxColumnNameLength,
        Id::SqlMaxColumnsInGroupBy,
        Id::SqlMaxColumnsInIndex,
        Id::SqlMaxColumnsInOrderBy,
        Id::SqlMaxColumnsInSelect,
        Id::SqlMaxColumnsInTable,
        Id::SqlMaxConnections,
        Id::SqlMaxCursorNameLength,
        Id::SqlMaxIndexLength,
        Id::SqlMaxProcedureNameLength,
        Id::SqlMaxCatalogNameLength,
        Id::SqlMaxRowSize,
        Id::SqlMaxStatements,
        Id::SqlMaxTablesInSelect,
        Id::SqlMaxUsernameLength,
    ] {
        infos.append(id, 0_i64);
    }
    infos.append(Id::SqlDbSchemaNameLength, 200_i64);
    infos.append(Id::SqlMaxTableNameLength, 200_i64);
    infos.append(Id::SqlMaxStatementLength, i64::try_from(facts.max_sql_bytes).unwrap_or(0));
    infos.append(Id::SqlMaxRowSizeIncludesBlobs, true);
}

fn transactions(infos: &mut SqlInfoDataBuilder) {
    infos.append(Id::SqlDefaultTransactionIsolation, 0_i64);
    infos.append(Id::SqlTransactionsSupported, false);
    // Isolation: none. Result sets: forward only, read only.
    infos.append(Id::SqlSupportedTransactionsIsolationLevels, 1_i32);
    infos.append(Id::SqlDataDefinitionCausesTransactionCommit, false);
    infos.append(Id::SqlDataDefinitionsInTransactionsIgnored, false);
    infos.append(Id::SqlSupportedResultSetTypes, 0b10_i32);
    infos.append(Id::SqlSupportedConcurrenciesForResultSetUnspecified, 0_i32);
    infos.append(Id::SqlSupportedConcurrenciesForResultSetForwardOnly, 0b10_i32);
    infos.append(Id::SqlSupportedConcurrenciesForResultSetScrollSensitive, 0_i32);
    infos.append(Id::SqlSupportedConcurrenciesForResultSetScrollInsensitive, 0_i32);
    infos.append(Id::SqlBatchUpdatesSupported, false);
    infos.append(Id::SqlSavepointsSupported, false);
    infos.append(Id::SqlNamedParametersSupported, true);
    infos.append(Id::SqlLocatorsUpdateCopy, false);
    infos.append(Id::SqlStoredFunctionsUsingCallSyntaxSupported, false);
}

/// `batch` with the map's fields called `key` and `value`, as the specification has it: Java's clients
/// look them up by name. arrow-flight calls them `keys` and `values`.
pub(super) fn with_named_map(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let (fields, type_ids, offsets, mut children) = batch.column(1).as_union().clone().into_parts();
    let (mut ids, mut named): (Vec<i8>, Vec<FieldRef>) =
        fields.iter().map(|(id, field)| (id, field.clone())).unzip();
    let map = ids.iter().zip(&named).position(|(_, field)| matches!(field.data_type(), DataType::Map(..)));
    let map = map.ok_or_else(|| ArrowError::SchemaError("the union has no map".to_owned()))?;
    let (_, map_offsets, entries, nulls, sorted) = children[map].as_map().clone().into_parts();
    let (inner, columns, validity) = entries.into_parts();
    let inner: Fields =
        inner.iter().zip(["key", "value"]).map(|(field, name)| Field::clone(field).with_name(name)).collect();
    let entries = StructArray::try_new(inner, columns, validity)?;
    let field = Arc::new(Field::new("entries", entries.data_type().clone(), false));
    children[map] = Arc::new(MapArray::try_new(field, map_offsets, entries, nulls, sorted)?);
    named[map] = Arc::new(Field::clone(&named[map]).with_data_type(children[map].data_type().clone()));
    let union = UnionFields::try_new(ids.drain(..), named)?;
    let values = UnionArray::try_new(union, type_ids, offsets, children)?;
    let schema = Schema::new(vec![
        Arc::clone(&batch.schema().fields()[0]),
        Arc::new(Field::clone(&batch.schema().fields()[1]).with_data_type(values.data_type().clone())),
    ]);
    RecordBatch::try_new(Arc::new(schema), vec![Arc::clone(batch.column(0)), Arc::new(values)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_of_the_specification_has_a_value() {
        let facts = Facts { read_only: false, max_sql_bytes: 1 << 20, query_seconds: 3600 };
        let infos = sql_info(facts, &Functions::default()).unwrap();
        let ids = (0..=11).chain([100, 101]).chain(500..=576);
        for id in ids {
            assert!(Id::try_from(id).is_ok(), "{id} is no id");
            let only = infos.record_batch([u32::try_from(id).unwrap()]).unwrap();
            assert_eq!(only.num_rows(), 1, "{id}");
        }
        let all = with_named_map(&infos.record_batch(None).unwrap()).unwrap();
        assert_eq!(all.num_rows(), 12 + 2 + 77);
        assert!(all.schema().field(1).data_type().to_string().contains("\"key\""), "{}", all.schema());
    }
}
