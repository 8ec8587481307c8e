import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Types;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;

/** DatabaseMetaData, as DBeaver and DataGrip ask it. */
final class MetadataChecks {
    private static final List<String> TPCH =
            List.of("customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier");

    static void run() {
        getters();
        lists();
        columns();
        keys();
    }

    private static void getters() {
        Check.connected("metadata.every_getter", (check, connection) -> {
            DatabaseMetaData metadata = connection.getMetaData();
            Map<String, Object> values = new TreeMap<>();
            Set<Class<?>> types = Set.of(boolean.class, int.class, long.class, String.class);
            for (Method method : DatabaseMetaData.class.getMethods()) {
                if (method.getParameterCount() > 0 || !types.contains(method.getReturnType())) {
                    continue;
                }
                try {
                    Object value = method.invoke(metadata);
                    values.put(method.getName(), value);
                    check.yes(method.getName() + " is null",
                            value != null || method.getReturnType() != String.class || method.getName().equals("getUserName"));
                } catch (InvocationTargetException error) {
                    check.yes(method.getName() + " throws " + Check.text(error.getCause()), false);
                }
            }
            Map<String, Object> expected = new TreeMap<>(Map.of(
                    "getDatabaseProductName", "Airstrip",
                    "getIdentifierQuoteString", "\"",
                    "getSearchStringEscape", "\\",
                    "getSchemaTerm", "schema",
                    "getCatalogTerm", "catalog",
                    "isCatalogAtStart", true,
                    "isReadOnly", false,
                    "getSystemFunctions", "version",
                    "getExtraNameCharacters", "",
                    "getDefaultTransactionIsolation", Connection.TRANSACTION_NONE));
            for (String yes : List.of("supportsGroupBy", "supportsGroupByUnrelated", "supportsUnion", "supportsUnionAll",
                    "supportsOuterJoins", "supportsFullOuterJoins", "supportsColumnAliasing", "supportsConvert",
                    "supportsSubqueriesInExists", "supportsSubqueriesInIns", "supportsSubqueriesInComparisons",
                    "supportsCorrelatedSubqueries", "supportsLikeEscapeClause", "supportsANSI92EntryLevelSQL",
                    "supportsNonNullableColumns", "supportsExpressionsInOrderBy", "supportsOrderByUnrelated",
                    "supportsMinimumSQLGrammar", "supportsCoreSQLGrammar", "supportsTableCorrelationNames",
                    "supportsSchemasInTableDefinitions", "supportsCatalogsInTableDefinitions",
                    "supportsSchemasInDataManipulation", "supportsCatalogsInDataManipulation",
                    "supportsMixedCaseQuotedIdentifiers", "allTablesAreSelectable")) {
                expected.put(yes, true);
            }
            for (String no : List.of("supportsTransactions", "supportsSavepoints", "supportsBatchUpdates",
                    "supportsStoredProcedures", "supportsSelectForUpdate", "supportsPositionedDelete",
                    "supportsPositionedUpdate", "usesLocalFiles",
                    "supportsIntegrityEnhancementFacility", "dataDefinitionCausesTransactionCommit")) {
                expected.put(no, false);
            }
            for (String unlimited : List.of("getMaxColumnsInSelect", "getMaxColumnsInTable", "getMaxConnections",
                    "getMaxRowSize", "getMaxStatements", "getMaxTablesInSelect", "getMaxColumnNameLength")) {
                expected.put(unlimited, 0);
            }
            expected.put("getMaxStatementLength", 1 << 20);
            expected.put("getMaxTableNameLength", 200);
            expected.put("getMaxSchemaNameLength", 200);
            // Avatica answers these by itself, whatever the server's SqlInfo says.
            expected.putAll(AVATICA);
            expected.forEach((name, value) -> check.same(name, value, values.get(name)));
        });
        Check.connected("metadata.words", (check, connection) -> {
            DatabaseMetaData metadata = connection.getMetaData();
            check.yes("version " + metadata.getDatabaseProductVersion(),
                    metadata.getDatabaseProductVersion().matches("\\d+\\.\\d+\\.\\d+.*"));
            List<String> keywords = split(metadata.getSQLKeywords());
            check.yes("keywords: " + keywords, keywords.containsAll(List.of("EXPLAIN", "LIMIT", "ILIKE")));
            List<String> numeric = split(metadata.getNumericFunctions());
            check.yes("numeric: " + numeric, numeric.containsAll(List.of("abs", "ceil", "power", "round", "sqrt")));
            List<String> text = split(metadata.getStringFunctions());
            check.yes("string: " + text, text.containsAll(List.of("concat", "lower", "substr", "upper")));
            List<String> times = split(metadata.getTimeDateFunctions());
            check.yes("time: " + times, times.containsAll(List.of("date_trunc", "now", "date_part")));
            for (List<String> words : List.of(keywords, numeric, text, times)) {
                check.same("words are there once", words.size(), new HashSet<>(words).size());
            }
        });
        Check.connected("metadata.questions", (check, connection) -> {
            DatabaseMetaData metadata = connection.getMetaData();
            check.same("forward only", true, metadata.supportsResultSetType(ResultSet.TYPE_FORWARD_ONLY));
            check.same("scrolling", false, metadata.supportsResultSetType(ResultSet.TYPE_SCROLL_INSENSITIVE));
            check.same("no transactions", true, metadata.supportsTransactionIsolationLevel(Connection.TRANSACTION_NONE));
            check.same("serializable", false,
                    metadata.supportsTransactionIsolationLevel(Connection.TRANSACTION_SERIALIZABLE));
            check.same("integer to varchar", true, metadata.supportsConvert(Types.INTEGER, Types.VARCHAR));
            check.same("varchar to date", true, metadata.supportsConvert(Types.VARCHAR, Types.DATE));
            check.same("date to integer", false, metadata.supportsConvert(Types.DATE, Types.INTEGER));
        });
    }

    /** What Avatica's AvaticaDatabaseMetaData has written in, and does not ask the server. */
    private static final Map<String, Object> AVATICA = Map.of(
            // The server says lower case (SQL_IDENTIFIER_CASE): ArrowDatabaseMetadata never reads it.
            "storesUpperCaseIdentifiers", true,
            "storesLowerCaseIdentifiers", false,
            "nullsAreSortedAtEnd", true);

    private static void lists() {
        Check.connected("metadata.catalogs", (check, connection) ->
                check.same("catalogs", List.of("airstrip"), Check.rows(connection.getMetaData().getCatalogs(), "TABLE_CAT")));
        Check.connected("metadata.schemas", (check, connection) -> {
            DatabaseMetaData metadata = connection.getMetaData();
            List<String> all = List.of("information_schema|airstrip", "public|airstrip", "system|airstrip");
            check.same("all", all, schemas(metadata.getSchemas()));
            check.same("nulls", all, schemas(metadata.getSchemas(null, null)));
            check.same("any", all, schemas(metadata.getSchemas("airstrip", "%")));
            check.same("by name", List.of("public|airstrip"), schemas(metadata.getSchemas("airstrip", "public")));
            check.same("by pattern", List.of("public|airstrip"), schemas(metadata.getSchemas(null, "p_bl%")));
            check.same("escaped", List.of("information_schema|airstrip"),
                    schemas(metadata.getSchemas(null, "information\\_schema")));
            check.same("none", List.of(), schemas(metadata.getSchemas(null, "nowhere")));
            check.same("another catalog", List.of(), schemas(metadata.getSchemas("nowhere", null)));
        });
        Check.connected("metadata.table_types", (check, connection) ->
                check.same("types", List.of("LOCAL TEMPORARY", "SYSTEM TABLE", "TABLE", "VIEW"),
                        Check.rows(connection.getMetaData().getTableTypes(), "TABLE_TYPE")));
        Check.connected("metadata.tables", (check, connection) -> {
            DatabaseMetaData metadata = connection.getMetaData();
            Check.update(connection, "create view big_nations as select * from nation where n_nationkey > 20");
            Check.update(connection, "create table \"Mixed Case\" (\"A b\" int)");
            try {
                List<String> public_ = new ArrayList<>(TPCH);
                public_.addAll(List.of("Mixed Case", "big_nations"));
                public_.sort(null);
                check.same("in public", public_, sorted(tables(metadata, "airstrip", "public", "%")));
                check.same("null patterns", true, tables(metadata, null, null, null).containsAll(public_));
                check.same("tables only", 9, tables(metadata, null, "public", "%", "TABLE").size());
                check.same("views only", List.of("big_nations"), tables(metadata, null, "public", "%", "VIEW"));
                check.same("both", public_, sorted(tables(metadata, null, "public", null, "TABLE", "VIEW")));
                check.same("BASE TABLE", 9, tables(metadata, null, "public", "%", "BASE TABLE").size());
                check.same("an unknown type", List.of(), tables(metadata, null, null, "%", "SYNONYM"));
                check.same("one of two unknown", List.of("big_nations"),
                        tables(metadata, null, "public", "%", "SYNONYM", "VIEW"));
                check.same("system tables", true,
                        tables(metadata, null, "%", "%", "SYSTEM TABLE").containsAll(List.of("queries", "tables", "columns")));
                check.same("pattern %", List.of("part", "partsupp"), sorted(tables(metadata, null, "public", "part%")));
                check.same("pattern _", List.of("nation"), tables(metadata, null, "public", "n_t_on"));
                check.same("escaped", List.of("big_nations"), tables(metadata, null, "public", "big\\_nations"));
                check.same("an escaped character that does not fit", List.of(), tables(metadata, null, "public", "n\\_tion"));
                check.same("case counts", List.of(), tables(metadata, null, "public", "NATION"));
                check.same("mixed case", List.of("Mixed Case"), tables(metadata, null, "public", "Mixed Case"));
                check.same("another schema", List.of(), tables(metadata, null, "nowhere", "%"));
                check.same("another catalog", List.of(), tables(metadata, "nowhere", null, "%"));
                ResultSet one = metadata.getTables(null, "public", "nation", null);
                List<String> names = new ArrayList<>();
                for (int i = 1; i <= one.getMetaData().getColumnCount(); i++) {
                    names.add(one.getMetaData().getColumnName(i));
                }
                check.same("columns", List.of("TABLE_CAT", "TABLE_SCHEM", "TABLE_NAME", "TABLE_TYPE", "REMARKS",
                        "TYPE_CAT", "TYPE_SCHEM", "TYPE_NAME", "SELF_REFERENCING_COL_NAME", "REF_GENERATION"), names);
                check.same("one row", List.of("airstrip|public|nation|TABLE|null|null|null|null|null|null"), Check.rows(one));
            } finally {
                Check.update(connection, "drop view big_nations");
                Check.update(connection, "drop table \"Mixed Case\"");
            }
        });
    }

    private static void columns() {
        Check.connected("metadata.columns_of_a_table", (check, connection) -> {
            ResultSet results = connection.getMetaData().getColumns(null, "public", "lineitem", "%");
            check.same("values", List.of(
                    "airstrip|public|lineitem|l_orderkey|-5|BIGINT|19|0|10|0|null|1|NO|NO",
                    "airstrip|public|lineitem|l_partkey|-5|BIGINT|19|0|10|0|null|2|NO|NO",
                    "airstrip|public|lineitem|l_suppkey|-5|BIGINT|19|0|10|0|null|3|NO|NO",
                    "airstrip|public|lineitem|l_linenumber|4|INTEGER|10|0|10|0|null|4|NO|NO",
                    "airstrip|public|lineitem|l_quantity|3|DECIMAL|15|2|10|0|null|5|NO|NO",
                    "airstrip|public|lineitem|l_extendedprice|3|DECIMAL|15|2|10|0|null|6|NO|NO",
                    "airstrip|public|lineitem|l_discount|3|DECIMAL|15|2|10|0|null|7|NO|NO",
                    "airstrip|public|lineitem|l_tax|3|DECIMAL|15|2|10|0|null|8|NO|NO",
                    "airstrip|public|lineitem|l_returnflag|12|VARCHAR|2147483647|0|null|0|null|9|NO|NO",
                    "airstrip|public|lineitem|l_linestatus|12|VARCHAR|2147483647|0|null|0|null|10|NO|NO",
                    "airstrip|public|lineitem|l_shipdate|91|DATE|10|0|null|0|null|11|NO|NO",
                    "airstrip|public|lineitem|l_commitdate|91|DATE|10|0|null|0|null|12|NO|NO",
                    "airstrip|public|lineitem|l_receiptdate|91|DATE|10|0|null|0|null|13|NO|NO",
                    "airstrip|public|lineitem|l_shipinstruct|12|VARCHAR|2147483647|0|null|0|null|14|NO|NO",
                    "airstrip|public|lineitem|l_shipmode|12|VARCHAR|2147483647|0|null|0|null|15|NO|NO",
                    "airstrip|public|lineitem|l_comment|12|VARCHAR|2147483647|0|null|0|null|16|NO|NO"),
                    Check.rows(results, "TABLE_CAT", "TABLE_SCHEM", "TABLE_NAME", "COLUMN_NAME", "DATA_TYPE", "TYPE_NAME",
                            "COLUMN_SIZE", "DECIMAL_DIGITS", "NUM_PREC_RADIX", "NULLABLE", "REMARKS", "ORDINAL_POSITION",
                            "IS_NULLABLE", "IS_AUTOINCREMENT"));
        });
        Check.connected("metadata.columns_of_every_type", (check, connection) -> {
            Check.update(connection, "create table wide as select " + TypeChecks.columns());
            try {
                List<String> actual = Check.rows(connection.getMetaData().getColumns("airstrip", "public", "wide", null),
                        "COLUMN_NAME", "DATA_TYPE", "TYPE_NAME", "COLUMN_SIZE", "DECIMAL_DIGITS");
                List<String> expected = TypeChecks.described();
                check.same("columns", expected.size(), actual.size());
                for (int i = 0; i < Math.min(expected.size(), actual.size()); i++) {
                    check.same("column " + i, expected.get(i), actual.get(i));
                }
            } finally {
                Check.update(connection, "drop table wide");
            }
        });
        Check.connected("metadata.columns_by_pattern", (check, connection) -> {
            DatabaseMetaData metadata = connection.getMetaData();
            check.same("one", List.of("n_name"),
                    Check.rows(metadata.getColumns(null, "public", "nation", "n_name"), "COLUMN_NAME"));
            check.same("ordinal", List.of("2"),
                    Check.rows(metadata.getColumns(null, "public", "nation", "n_name"), "ORDINAL_POSITION"));
            check.same("of all tables", 61, Check.rows(metadata.getColumns(null, "public", "%", "%")).size());
            check.same("keys", List.of("n_nationkey", "n_regionkey"),
                    Check.rows(metadata.getColumns("airstrip", "pub%", "nat%", "%key"), "COLUMN_NAME"));
            check.same("none", List.of(), Check.rows(metadata.getColumns(null, "public", "nowhere", "%")));
            check.same("another catalog", List.of(), Check.rows(metadata.getColumns("nowhere", null, "%", "%")));
            // One column that the driver cannot describe would fail the whole call.
            List<String> everything = Check.rows(metadata.getColumns(null, null, null, null), "TABLE_SCHEM", "TABLE_NAME");
            check.yes("of all schemas: " + everything.size(), everything.size() > 100
                    && everything.contains("information_schema|columns") && everything.contains("system|queries"));
        });
        Check.connected("metadata.columns_nullable", (check, connection) -> {
            Check.update(connection, "create table nullable (a int not null, b varchar)");
            try {
                check.same("values", List.of("a|0|NO", "b|1|YES"), Check.rows(
                        connection.getMetaData().getColumns(null, null, "nullable", null), "COLUMN_NAME", "NULLABLE", "IS_NULLABLE"));
            } finally {
                Check.update(connection, "drop table nullable");
            }
        });
        Check.connected("metadata.columns_of_a_view", (check, connection) -> {
            Check.update(connection, "create view seen as select n_name as name, count(*) as many from nation group by 1");
            try {
                check.same("values", List.of("name|VARCHAR|1", "many|BIGINT|2"), Check.rows(
                        connection.getMetaData().getColumns(null, null, "seen", null), "COLUMN_NAME", "TYPE_NAME", "ORDINAL_POSITION"));
            } finally {
                Check.update(connection, "drop view seen");
            }
        });
    }

    private static void keys() {
        Check.connected("metadata.keys", (check, connection) -> {
            DatabaseMetaData metadata = connection.getMetaData();
            check.same("primary", List.of(), Check.rows(metadata.getPrimaryKeys("airstrip", "public", "nation")));
            check.same("imported", List.of(), Check.rows(metadata.getImportedKeys("airstrip", "public", "nation")));
            check.same("exported", List.of(), Check.rows(metadata.getExportedKeys(null, "public", "nation")));
            check.same("cross", List.of(), Check.rows(
                    metadata.getCrossReference("airstrip", "public", "nation", null, null, "region")));
        });
        Check.connected("metadata.keys_that_are_declared", (check, connection) -> {
            Check.update(connection, "create table parents (id int, part int, primary key (part, id) not enforced)");
            Check.update(connection, "create table children (parent int, part int, "
                    + "constraint of_parent foreign key (part, parent) references parents on delete cascade not enforced)");
            try {
                DatabaseMetaData metadata = connection.getMetaData();
                check.same("primary", List.of("public|parents|id|2|parents_pkey", "public|parents|part|1|parents_pkey"), Check.rows(
                        metadata.getPrimaryKeys("airstrip", "public", "parents"),
                        "TABLE_SCHEM", "TABLE_NAME", "COLUMN_NAME", "KEY_SEQ", "PK_NAME"));
                List<String> keys = List.of("parents|part|children|part|1|of_parent|parents_pkey|0", "parents|id|children|parent|2|of_parent|parents_pkey|0");
                String[] columns = {
                    "PKTABLE_NAME", "PKCOLUMN_NAME", "FKTABLE_NAME", "FKCOLUMN_NAME", "KEY_SEQ", "FK_NAME", "PK_NAME", "DELETE_RULE"};
                check.same("imported", keys, Check.rows(metadata.getImportedKeys(null, "public", "children"), columns));
                check.same("exported", keys, Check.rows(metadata.getExportedKeys(null, null, "parents"), columns));
                check.same("cross", keys, Check.rows(
                        metadata.getCrossReference(null, null, "parents", null, null, "children"), columns));
                check.same("other cross", List.of(), Check.rows(
                        metadata.getCrossReference(null, null, "children", null, null, "parents"), columns));
            } finally {
                Check.update(connection, "drop table parents");
                Check.update(connection, "drop table children");
            }
        });
        Check.connected("metadata.what_the_driver_leaves_empty", (check, connection) -> {
            DatabaseMetaData metadata = connection.getMetaData();
            // Avatica's MetaImpl answers these with no rows and asks no server.
            check.gives("getTypeInfo", List.of(), () -> Check.rows(metadata.getTypeInfo()));
            check.gives("getIndexInfo", List.of(), () -> Check.rows(metadata.getIndexInfo(null, "public", "nation", false, true)));
            check.gives("getProcedures", List.of(), () -> Check.rows(metadata.getProcedures(null, null, "%")));
            check.gives("getFunctions", List.of(), () -> Check.rows(metadata.getFunctions(null, null, "%")));
            check.gives("getUDTs", List.of(), () -> Check.rows(metadata.getUDTs(null, null, "%", null)));
            check.gives("getSuperTables", List.of(), () -> Check.rows(metadata.getSuperTables(null, null, "%")));
            check.gives("getTablePrivileges", List.of(), () -> Check.rows(metadata.getTablePrivileges(null, null, "%")));
            check.gives("getColumnPrivileges", List.of(), () -> Check.rows(metadata.getColumnPrivileges(null, "public", "nation", "%")));
            check.gives("getBestRowIdentifier", List.of(), () -> Check.rows(
                    metadata.getBestRowIdentifier(null, "public", "nation", DatabaseMetaData.bestRowSession, true)));
            check.gives("getVersionColumns", List.of(), () -> Check.rows(metadata.getVersionColumns(null, "public", "nation")));
        });
    }

    private static List<String> schemas(ResultSet results) throws SQLException {
        return Check.rows(results, "TABLE_SCHEM", "TABLE_CATALOG");
    }

    private static List<String> tables(DatabaseMetaData metadata, String catalog, String schema, String table,
            String... types) throws SQLException {
        return Check.rows(metadata.getTables(catalog, schema, table, types.length == 0 ? null : types), "TABLE_NAME");
    }

    private static List<String> sorted(List<String> list) {
        return list.stream().sorted().toList();
    }

    private static List<String> split(String list) {
        return Arrays.stream(list.split(",")).map(String::strip).toList();
    }
}
