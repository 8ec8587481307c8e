import java.io.StringWriter;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.Date;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.Time;
import java.sql.Timestamp;
import java.sql.Types;
import java.time.Instant;
import java.time.LocalDateTime;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.TimeZone;
import java.util.stream.Collectors;

/** Results: every type of SQL, NULLs, metadata, sizes. */
final class TypeChecks {
    /**
     * A value of a type.
     *
     * @param sql an expression of this type
     * @param jdbc what ResultSetMetaData and getColumns call the type
     * @param name the type's name in getColumns
     * @param size precision and scale in getColumns, as texts
     * @param text what getString gives
     * @param object what getObject gives; a text stands for what the object's toString gives
     */
    record Value(String column, String sql, int jdbc, String name, String size, String text, Object object) {}

    private static final List<Value> VALUES = List.of(
            new Value("b", "true", Types.BOOLEAN, "BOOLEAN", "1|0", "true", true),
            new Value("i8", "arrow_cast(-128, 'Int8')", Types.TINYINT, "TINYINT", "3|0", "-128", (byte) -128),
            new Value("i16", "cast(-32768 as smallint)", Types.SMALLINT, "SMALLINT", "5|0", "-32768", (short) -32768),
            new Value("i32", "cast(-2147483648 as int)", Types.INTEGER, "INTEGER", "10|0", "-2147483648", Integer.MIN_VALUE),
            new Value("i64", "9223372036854775807", Types.BIGINT, "BIGINT", "19|0", "9223372036854775807", Long.MAX_VALUE),
            // The driver has no unsigned JDBC types: getObject is right for what fits the signed type.
            new Value("u8", "arrow_cast(127, 'UInt8')", Types.TINYINT, "TINYINT UNSIGNED", "3|0", "127", (byte) 127),
            new Value("u16", "arrow_cast(32767, 'UInt16')", Types.SMALLINT, "SMALLINT UNSIGNED", "5|0", "32767", (short) 32767),
            new Value("u32", "arrow_cast(2147483647, 'UInt32')", Types.INTEGER, "INTEGER UNSIGNED", "10|0", "2147483647", Integer.MAX_VALUE),
            new Value("u64", "arrow_cast(9223372036854775807, 'UInt64')", Types.BIGINT, "BIGINT UNSIGNED", "20|0", "9223372036854775807", Long.MAX_VALUE),
            // The driver calls Float32 java.sql.Types.FLOAT, which to JDBC is a double.
            new Value("f32", "cast(0.5 as real)", Types.FLOAT, "REAL", "7|0", "0.5", 0.5f),
            new Value("f64", "cast(0.1 as double)", Types.DOUBLE, "DOUBLE", "15|0", "0.1", 0.1),
            new Value("d", "cast(-12345.67 as decimal(10, 2))", Types.DECIMAL, "DECIMAL", "10|2", "-12345.67", new BigDecimal("-12345.67")),
            new Value("big", "cast('12345678901234567890123456789012345678' as decimal(38, 0))", Types.DECIMAL, "DECIMAL", "38|0", "12345678901234567890123456789012345678", new BigDecimal("12345678901234567890123456789012345678")),
            new Value("s", "'naïve ☃'", Types.VARCHAR, "VARCHAR", "2147483647|0", "naïve ☃", "naïve ☃"),
            new Value("bytes", "X'00ff10'", Types.VARBINARY, "VARBINARY", "2147483647|0", null, new byte[] {0, -1, 16}),
            new Value("day", "date '2024-02-29'", Types.DATE, "DATE", "10|0", "2024-02-29", Date.valueOf("2024-02-29")),
            new Value("clock", "time '12:34:56'", Types.TIME, "TIME", "18|9", "12:34:56", Time.valueOf("12:34:56")),
            new Value("moment", "timestamp '2024-02-29 12:34:56.789'", Types.TIMESTAMP, "TIMESTAMP", "29|9", null, Timestamp.valueOf("2024-02-29 12:34:56.789")),
            new Value("instant", "arrow_cast('2024-02-29T12:34:56Z', 'Timestamp(Microsecond, Some(\"UTC\"))')", Types.TIMESTAMP_WITH_TIMEZONE, "TIMESTAMP WITH TIME ZONE", "26|6", null, null),
            new Value("list", "[1, 2, 3]", Types.ARRAY, "ARRAY", "null|null", null, null),
            new Value("record", "named_struct('a', 1, 'b', 'x')", Types.JAVA_OBJECT, "STRUCT", "null|null", "{\"a\":1,\"b\":\"x\"}", "{\"a\":1,\"b\":\"x\"}"),
            new Value("pairs", "map(['k', 'l'], [1, 2])", Types.JAVA_OBJECT, "MAP", "null|null", "{\"k\":1,\"l\":2}", "{\"k\":1,\"l\":2}"));

    /** A select list of all types. */
    static String columns() {
        return VALUES.stream().map(v -> v.sql + " as " + v.column).collect(Collectors.joining(", "));
    }

    /** What getColumns says of them. */
    static List<String> described() {
        return VALUES.stream().map(v -> v.column + "|" + v.jdbc + "|" + v.name + "|" + v.size).toList();
    }

    static void run() {
        Check.connected("types.getters", (check, connection) -> {
            try (var statement = connection.createStatement();
                    ResultSet row = statement.executeQuery("select " + columns())) {
                check.yes("a row", row.next());
                for (int i = 0; i < VALUES.size(); i++) {
                    Value value = VALUES.get(i);
                    int column = i + 1;
                    if (value.text != null) {
                        check.gives(value.column + ".getString", value.text, () -> row.getString(column));
                    }
                    if (value.object != null) {
                        check.gives(value.column + ".getObject", value.object, () -> {
                            Object object = row.getObject(value.column);
                            boolean as = value.object.getClass().isInstance(object) || !(value.object instanceof String);
                            return as ? object : object.toString();
                        });
                    }
                    check.gives(value.column + ".wasNull", false, row::wasNull);
                }
                check.gives("boolean", true, () -> row.getBoolean("b"));
                check.gives("byte", (byte) -128, () -> row.getByte("i8"));
                check.gives("short", (short) -32768, () -> row.getShort("i16"));
                check.gives("int", Integer.MIN_VALUE, () -> row.getInt("i32"));
                check.gives("int as long", (long) Integer.MIN_VALUE, () -> row.getLong("i32"));
                check.gives("long", Long.MAX_VALUE, () -> row.getLong("i64"));
                check.gives("float", 0.5f, () -> row.getFloat("f32"));
                check.gives("double", 0.1, () -> row.getDouble("f64"));
                check.gives("decimal", new BigDecimal("-12345.67"), () -> row.getBigDecimal("d"));
                check.gives("decimal as double", -12345.67, () -> row.getDouble("d"));
                check.gives("bytes", new byte[] {0, -1, 16}, () -> row.getBytes("bytes"));
                check.gives("text as bytes", "naïve ☃".getBytes(StandardCharsets.UTF_8), () -> row.getBytes("s"));
                check.gives("stream", "naïve ☃", () -> {
                    var text = new StringWriter();
                    row.getCharacterStream("s").transferTo(text);
                    return text.toString();
                });
                check.gives("date", Date.valueOf("2024-02-29"), () -> row.getDate("day"));
                check.gives("date as timestamp", Timestamp.valueOf("2024-02-29 00:00:00"), () -> row.getTimestamp("day"));
                check.gives("time", Time.valueOf("12:34:56"), () -> row.getTime("clock"));
                check.gives("timestamp", Timestamp.valueOf("2024-02-29 12:34:56.789"), () -> row.getTimestamp("moment"));
                check.gives("timestamp as date", Date.valueOf("2024-02-29").toString(), () -> row.getDate("moment").toString());
                check.gives("instant", 1709210096000L, () -> row.getTimestamp("instant").getTime());
                check.gives("array", List.of(1L, 2L, 3L), () -> Arrays.asList((Object[]) row.getArray("list").getArray()));
                check.gives("array's type", Types.BIGINT, () -> row.getArray("list").getBaseType());
                if (Check.version >= 1900) {
                    check.gives("array as rows", List.of("1|1", "2|2", "3|3"),
                            () -> Check.rows(row.getArray("list").getResultSet()));
                }
                check.yes("one row", !row.next());
            }
        });
        Check.run("types.timestamps_in_another_zone", check -> {
            TimeZone before = TimeZone.getDefault();
            TimeZone.setDefault(TimeZone.getTimeZone("America/New_York"));
            try (Connection connection = Check.connect(); var statement = connection.createStatement();
                    ResultSet row = statement.executeQuery("select " + columns())) {
                row.next();
                check.gives("date", "2024-02-29", () -> row.getDate("day").toString());
                check.gives("timestamp", "2024-02-29T12:34:56.789", () -> row.getObject("moment", LocalDateTime.class).toString());
                check.gives("instant", "2024-02-29T12:34:56Z", () -> row.getObject("instant", Instant.class).toString());
                // The classes of java.sql are off by the zone's distance from UTC, the instant by twice of it:
                // ArrowFlightJdbcTimeStampVectorAccessor.getTimestampWithOffset subtracts what it should add.
                check.gives("java.sql timestamp", "2024-02-29 17:34:56.789", () -> row.getTimestamp("moment").toString());
                check.gives("java.sql instant", 1709210096000L + 10 * 3_600_000, () -> row.getTimestamp("instant").getTime());
                check.gives("java.sql time", "07:34:56", () -> row.getTime("clock").toString());
            } finally {
                TimeZone.setDefault(before);
            }
        });
        Check.connected("types.unsigned", (check, connection) -> {
            try (var statement = connection.createStatement();
                    ResultSet row = statement.executeQuery("select arrow_cast(255, 'UInt8') as a, arrow_cast(65535, 'UInt16') as b, "
                            + "arrow_cast(4294967295, 'UInt32') as c, arrow_cast('18446744073709551615', 'UInt64') as d")) {
                row.next();
                check.gives("u16", "65535", () -> row.getString(2));
                check.gives("u16 as int", 65535, () -> row.getInt(2));
                check.gives("u64", "18446744073709551615", () -> row.getString(4));
                // ArrowFlightJdbcBaseIntVectorAccessor reads UInt8 and UInt32 as signed numbers, and takes
                // any of them for unsigned 64 bits only where it makes a text.
                check.gives("u8", "18446744073709551615", () -> row.getString(1));
                check.gives("u8 as int", -1, () -> row.getInt(1));
                check.gives("u32", "18446744073709551615", () -> row.getString(3));
                check.gives("u32 as long", -1L, () -> row.getLong(3));
                check.gives("u64 as decimal", new BigDecimal(-1), () -> row.getBigDecimal(4));
            }
        });
        Check.connected("types.intervals", (check, connection) -> {
            try (var statement = connection.createStatement();
                    ResultSet row = statement.executeQuery("select interval '1 month 2 days 3 hours' as a, "
                            + "timestamp '2024-01-02 00:00:00' - timestamp '2024-01-01 00:00:00' as b")) {
                check.same("type", Types.JAVA_OBJECT, row.getMetaData().getColumnType(1));
                row.next();
                check.gives("months, days and nanoseconds", "P1M2D PT3H", () -> row.getObject(1).toString());
                check.gives("duration", "PT24H", () -> row.getObject(2).toString());
            }
        });
        Check.connected("types.views_and_others_are_made_plain", (check, connection) -> {
            String sql = "select arrow_cast('view', 'Utf8View') as a, arrow_cast(arrow_cast('bytes', 'Binary'), 'BinaryView') as b, "
                    + "arrow_cast('word', 'Dictionary(Int32, Utf8)') as c, arrow_cast(0.5, 'Float16') as d, "
                    + "arrow_cast('large', 'LargeUtf8') as e, arrow_cast(1.5, 'Decimal256(50, 2)') as f, "
                    + "arrow_cast(arrow_cast('abc', 'Binary'), 'FixedSizeBinary(3)') as g, "
                    + "arrow_cast([1, 2], 'LargeList(Int64)') as h, arrow_cast([1, 2], 'FixedSizeList(2, Int64)') as i, "
                    + "[['a'], []] as j, arrow_cast(1.25, 'Decimal64(10, 2)') as k";
            try (var statement = connection.createStatement(); ResultSet row = statement.executeQuery(sql)) {
                row.next();
                check.gives("view", "view", () -> row.getString("a"));
                check.gives("binary view", "bytes", () -> new String(row.getBytes("b"), StandardCharsets.UTF_8));
                check.gives("dictionary", "word", () -> row.getString("c"));
                check.gives("half", 0.5f, () -> row.getFloat("d"));
                check.gives("large", "large", () -> row.getString("e"));
                check.gives("wide decimal", new BigDecimal("1.50"), () -> row.getBigDecimal("f"));
                check.gives("bytes of one size", "abc", () -> new String(row.getBytes("g"), StandardCharsets.UTF_8));
                check.gives("large list", List.of(1L, 2L), () -> Arrays.asList((Object[]) row.getArray("h").getArray()));
                check.gives("list of one size", List.of(1L, 2L), () -> Arrays.asList((Object[]) row.getArray("i").getArray()));
                check.gives("list of lists", "[[\"a\"],[]]", () -> Arrays.toString((Object[]) row.getArray("j").getArray()).replace(" ", ""));
                check.gives("narrow decimal", new BigDecimal("1.25"), () -> row.getBigDecimal("k"));
            }
        });
        Check.connected("types.nulls", (check, connection) -> {
            String nulls = VALUES.stream()
                    .map(v -> "case when x > 1 then " + v.sql + " end as " + v.column).collect(Collectors.joining(", "));
            try (var statement = connection.createStatement();
                    ResultSet row = statement.executeQuery("select " + nulls + " from (values (1)) as t(x)")) {
                check.yes("a row", row.next());
                for (Value value : VALUES) {
                    // Intervals, lists and all else: null as an object, as a text, and seen by wasNull.
                    check.gives(value.column + ".getObject", null, () -> row.getObject(value.column));
                    check.gives(value.column + ".wasNull", true, row::wasNull);
                    check.gives(value.column + ".getString", null, () -> row.getString(value.column));
                }
                check.gives("int", 0, () -> row.getInt("i32"));
                check.gives("int.wasNull", true, row::wasNull);
                check.gives("boolean", false, () -> row.getBoolean("b"));
                check.gives("decimal", null, () -> row.getBigDecimal("d"));
                check.gives("date", null, () -> row.getDate("day"));
                check.gives("timestamp", null, () -> row.getTimestamp("moment"));
                check.gives("array", null, () -> row.getArray("list"));
            }
            try (var statement = connection.createStatement(); ResultSet row = statement.executeQuery("select null as n, 1 as one")) {
                check.yes("a row of NULL", row.next());
                check.gives("NULL", null, () -> row.getObject(1));
                check.gives("beside it", 1L, () -> row.getObject(2));
            }
        });
        Check.connected("results.metadata", (check, connection) -> {
            try (var statement = connection.createStatement(); ResultSet results = statement.executeQuery("select " + columns())) {
                ResultSetMetaData metadata = results.getMetaData();
                check.same("columns", VALUES.size(), metadata.getColumnCount());
                for (int i = 1; i <= Math.min(VALUES.size(), metadata.getColumnCount()); i++) {
                    Value value = VALUES.get(i - 1);
                    check.same("name " + i, value.column, metadata.getColumnName(i));
                    check.same("label " + i, value.column, metadata.getColumnLabel(i));
                    check.same(value.column + "'s type", value.jdbc, metadata.getColumnType(i));
                    check.same(value.column + " is found", i, results.findColumn(value.column));
                }
            }
        });
        Check.connected("results.metadata_of_decimals", (check, connection) -> {
            try (var statement = connection.createStatement();
                    ResultSet results = statement.executeQuery(
                            "select cast(l_extendedprice as decimal(12, 2)) as price, l_comment as c from lineitem limit 1")) {
                ResultSetMetaData metadata = results.getMetaData();
                // The driver takes them from the metadata of the stream's fields (ARROW:FLIGHT:SQL:PRECISION and so on),
                // not from the decimal's own type.
                check.same("precision", 12, metadata.getPrecision(1));
                check.same("scale", 2, metadata.getScale(1));
                // It has no table: its field has no metadata of one, which the driver shows as null where JDBC says "".
                check.same("table of a computed column", null, metadata.getTableName(1));
                check.same("table", "lineitem", metadata.getTableName(2));
                check.same("schema", "public", metadata.getSchemaName(2));
            }
        });
        Check.connected("results.names_that_are_there_twice", (check, connection) ->
                check.same("rows", List.of("1|1|2"), Check.query(connection,
                        "select a.x, b.x, b.\"X\" from (select 1 as x) a, (select 1 as x, 2 as \"X\") b")));
        Check.connected("results.empty", (check, connection) -> {
            try (var statement = connection.createStatement();
                    ResultSet results = statement.executeQuery("select * from lineitem where l_orderkey < 0")) {
                // ArrowFlightStatement.executeFlightInfoQuery adds the columns to a signature that has them already.
                // Rows put it right; FlightEndpointDataQueue passes over streams that have none.
                check.same("columns", 32, results.getMetaData().getColumnCount());
                check.same("name", "l_orderkey", results.getMetaData().getColumnName(1));
                check.same("again", "l_orderkey", results.getMetaData().getColumnName(17));
                check.same("type", Types.DECIMAL, results.getMetaData().getColumnType(5));
                check.yes("no row", !results.next());
            }
            try (var statement = connection.prepareStatement("select * from lineitem where l_orderkey < 0");
                    ResultSet results = statement.executeQuery()) {
                check.same("columns when prepared", 16, results.getMetaData().getColumnCount());
                check.yes("no row when prepared", !results.next());
            }
            check.same("limit 0", List.of(), Check.query(connection, "select * from nation limit 0"));
        });
        Check.connected("results.large", (check, connection) -> {
            long rows = 0;
            long keys = 0;
            BigDecimal quantity = BigDecimal.ZERO;
            BigDecimal price = BigDecimal.ZERO;
            long letters = 0;
            Set<String> modes = new HashSet<>();
            try (var statement = connection.createStatement(); ResultSet results = statement.executeQuery("select * from lineitem")) {
                while (results.next()) {
                    rows++;
                    keys += results.getLong("l_orderkey");
                    quantity = quantity.add(results.getBigDecimal("l_quantity"));
                    price = price.add(results.getBigDecimal("l_extendedprice"));
                    letters += results.getString("l_comment").length();
                    modes.add(results.getString("l_shipmode"));
                }
            }
            check.same("rows", 60175L, rows);
            check.same("sums", List.of(rows + "|" + keys + "|" + quantity.toPlainString() + "|" + price.toPlainString() + "|" + letters + "|" + modes.size()),
                    Check.query(connection, "select count(*), sum(l_orderkey), sum(l_quantity), sum(l_extendedprice), "
                            + "sum(character_length(l_comment)), count(distinct l_shipmode) from lineitem"));
        });
        Check.connected("results.left_unread", (check, connection) -> {
            try (var statement = connection.createStatement()) {
                for (int i = 0; i < 3; i++) {
                    ResultSet results = statement.executeQuery("select * from lineitem");
                    check.yes("a row", results.next());
                    results.close();
                }
                statement.setMaxRows(7);
                check.same("max rows", 7, Check.rows(statement.executeQuery("select * from lineitem")).size());
            }
            check.same("the connection still works", List.of("25"), Check.query(connection, "select count(*) from nation"));
        });
        Check.connected("results.order", (check, connection) -> {
            List<Integer> numbers = new ArrayList<>();
            try (var statement = connection.createStatement();
                    ResultSet results = statement.executeQuery("select o_orderkey from orders order by o_orderkey")) {
                while (results.next()) {
                    numbers.add(results.getInt(1));
                }
            }
            check.same("rows", 15000, numbers.size());
            check.same("sorted", numbers.stream().sorted().toList(), numbers);
        });
    }
}
