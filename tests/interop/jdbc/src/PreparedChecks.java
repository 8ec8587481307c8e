import java.math.BigDecimal;
import java.sql.Connection;
import java.sql.Date;
import java.sql.ParameterMetaData;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Time;
import java.sql.Timestamp;
import java.sql.Types;
import java.util.List;
import java.util.Map;

/** Prepared statements. */
final class PreparedChecks {
    /** A value of each type, by the name of its column. */
    private static final Map<String, String> COLUMNS = Map.ofEntries(
            Map.entry("b", "true"), Map.entry("i8", "arrow_cast(8, 'Int8')"), Map.entry("i16", "arrow_cast(16, 'Int16')"),
            Map.entry("i32", "arrow_cast(32, 'Int32')"), Map.entry("i64", "arrow_cast(64, 'Int64')"),
            Map.entry("u32", "arrow_cast(33, 'UInt32')"), Map.entry("f32", "arrow_cast(0.5, 'Float32')"),
            Map.entry("f64", "arrow_cast(0.25, 'Float64')"), Map.entry("d", "cast(12.34 as decimal(10, 2))"),
            Map.entry("s", "'naïve ☃'"), Map.entry("bytes", "X'00ff'"), Map.entry("day", "date '2024-02-29'"),
            Map.entry("clock", "time '12:34:56'"), Map.entry("moment", "timestamp '2024-02-29 12:34:56'"));

    interface Setter {
        void set(PreparedStatement statement) throws SQLException;
    }

    static void run() {
        Check.connected("prepared.without_parameters", (check, connection) -> {
            try (PreparedStatement statement = connection.prepareStatement("select count(*) as many from nation")) {
                check.same("parameters", 0, statement.getParameterMetaData().getParameterCount());
                check.same("columns before it runs", 1, statement.getMetaData().getColumnCount());
                check.same("name before it runs", "many", statement.getMetaData().getColumnName(1));
                for (int i = 0; i < 3; i++) {
                    check.same("run " + i, List.of("25"), Check.rows(statement.executeQuery()));
                }
            }
        });
        Check.connected("prepared.rebound", (check, connection) -> {
            String sql = "select n_name from nation where n_nationkey >= ? and n_nationkey < ? order by n_nationkey";
            try (PreparedStatement statement = connection.prepareStatement(sql)) {
                ParameterMetaData parameters = statement.getParameterMetaData();
                check.same("count", 2, parameters.getParameterCount());
                check.same("type", Types.BIGINT, parameters.getParameterType(1));
                check.same("mode", ParameterMetaData.parameterModeIn, parameters.getParameterMode(1));
                statement.setLong(1, 0);
                statement.setLong(2, 2);
                check.same("first", List.of("ALGERIA", "ARGENTINA"), Check.rows(statement.executeQuery()));
                statement.setLong(2, 1);
                check.same("one value changed", List.of("ALGERIA"), Check.rows(statement.executeQuery()));
                check.same("the same again", List.of("ALGERIA"), Check.rows(statement.executeQuery()));
                statement.setLong(1, 24);
                statement.setLong(2, 99);
                check.same("others", List.of("UNITED STATES"), Check.rows(statement.executeQuery()));
                statement.setNull(2, Types.BIGINT);
                check.same("NULL", List.of(), Check.rows(statement.executeQuery()));
                statement.setLong(2, 25);
                check.same("execute", true, statement.execute());
                check.same("its rows", List.of("UNITED STATES"), Check.rows(statement.getResultSet()));
            }
        });
        Check.connected("prepared.two_at_once", (check, connection) -> {
            String sql = "select n_name from nation where n_nationkey = ?";
            try (PreparedStatement one = connection.prepareStatement(sql); PreparedStatement two = connection.prepareStatement(sql)) {
                one.setLong(1, 0);
                two.setLong(1, 1);
                check.same("two", List.of("ARGENTINA"), Check.rows(two.executeQuery()));
                check.same("one", List.of("ALGERIA"), Check.rows(one.executeQuery()));
            }
        });
        Check.connected("prepared.ten_and_more", (check, connection) -> {
            StringBuilder sql = new StringBuilder("select ");
            for (int i = 1; i <= 12; i++) {
                sql.append(i == 1 ? "" : ", ").append("n_nationkey + ? as c").append(i);
            }
            sql.append(" from nation where n_nationkey = 0");
            try (PreparedStatement statement = connection.prepareStatement(sql.toString())) {
                check.same("count", 12, statement.getParameterMetaData().getParameterCount());
                StringBuilder expected = new StringBuilder();
                for (int i = 1; i <= 12; i++) {
                    statement.setLong(i, i * 100L);
                    expected.append(i == 1 ? "" : "|").append(i * 100);
                }
                check.same("in order", List.of(expected.toString()), Check.rows(statement.executeQuery()));
            }
        });
        Check.connected("prepared.every_setter", (check, connection) -> {
            column(check, connection, "boolean", "b = ?", s -> s.setBoolean(1, true), true);
            column(check, connection, "byte", "i8 = ?", s -> s.setByte(1, (byte) 8), true);
            column(check, connection, "short", "i16 = ?", s -> s.setShort(1, (short) 16), true);
            column(check, connection, "int", "i32 = ?", s -> s.setInt(1, 32), true);
            column(check, connection, "long", "i64 = ?", s -> s.setLong(1, 64), true);
            column(check, connection, "unsigned", "u32 = ?", s -> s.setLong(1, 33), true);
            column(check, connection, "float", "f32 = ?", s -> s.setFloat(1, 0.5f), true);
            column(check, connection, "double", "f64 = ?", s -> s.setDouble(1, 0.25), true);
            column(check, connection, "decimal", "d = ?", s -> s.setBigDecimal(1, new BigDecimal("12.34")), true);
            column(check, connection, "string", "s = ?", s -> s.setString(1, "naïve ☃"), true);
            column(check, connection, "empty string", "s = ?", s -> s.setString(1, ""), false);
            column(check, connection, "bytes", "bytes = ?", s -> s.setBytes(1, new byte[] {0, -1}), true);
            column(check, connection, "object: int", "i32 = ?", s -> s.setObject(1, 32), true);
            column(check, connection, "object: string", "s = ?", s -> s.setObject(1, "naïve ☃"), true);
            column(check, connection, "object: decimal", "d = ?", s -> s.setObject(1, new BigDecimal("12.34")), true);
            column(check, connection, "another value", "i32 = ?", s -> s.setInt(1, 31), false);
            column(check, connection, "like", "s like ?", s -> s.setString(1, "naïve%"), true);
            column(check, connection, "in", "i32 in (1, ?, 3)", s -> s.setInt(1, 32), true);
            column(check, connection, "between", "f64 between 0 and ?", s -> s.setDouble(1, 0.3), true);
        });
        Check.connected("prepared.dates_and_times", (check, connection) -> {
            column(check, connection, "date", "day = ?", s -> s.setDate(1, Date.valueOf("2024-02-29")), true);
            column(check, connection, "date before", "day < ?", s -> s.setDate(1, Date.valueOf("2024-02-29")), false);
            column(check, connection, "text to date", "day = to_date(?)", s -> s.setString(1, "2024-02-29"), true);
            column(check, connection, "text to timestamp", "moment = cast(cast(? as varchar) as timestamp)",
                    s -> s.setString(1, "2024-02-29 12:34:56"), true);
            // TimestampAvaticaParameterConverter and its like for times write milliseconds into the vector,
            // whatever its unit is: so the server tells this driver that parameters are of milliseconds.
            column(check, connection, "timestamp", "moment = ?",
                    s -> s.setTimestamp(1, Timestamp.valueOf("2024-02-29 12:34:56")), true);
            column(check, connection, "timestamp before", "moment < ?",
                    s -> s.setTimestamp(1, Timestamp.valueOf("2024-02-29 12:34:56")), false);
            column(check, connection, "time", "clock = ?", s -> s.setTime(1, Time.valueOf("12:34:56")), true);
            column(check, connection, "timestamp of milliseconds", "arrow_cast(moment, 'Timestamp(Millisecond, None)') = ?",
                    s -> s.setTimestamp(1, Timestamp.valueOf("2024-02-29 12:34:56")), true);
            column(check, connection, "time of milliseconds", "arrow_cast(clock, 'Time32(Millisecond)') = ?",
                    s -> s.setTime(1, Time.valueOf("12:34:56")), true);
        });
        Check.connected("prepared.times_that_are_stored", (check, connection) -> {
            // As Spark appends rows: the table's units are none of the driver's.
            try (Statement statement = connection.createStatement()) {
                statement.executeUpdate("create table moments (us timestamp(6), ns timestamp(9), s timestamp(0), z timestamp(6) with time zone)");
                try (PreparedStatement insert = connection.prepareStatement("insert into moments values (?, ?, ?, ?)")) {
                    for (String moment : List.of("2024-02-29 12:34:56.789", "1969-12-31 23:59:59")) {
                        for (int i = 1; i <= 4; i++) {
                            insert.setTimestamp(i, Timestamp.valueOf(moment));
                        }
                        insert.addBatch();
                    }
                    insert.executeBatch();
                }
                check.same("stored", List.of("2024-02-29T12:34:56.789|2024-02-29T12:34:56.789|2024-02-29T12:34:56|2024"), Check.rows(
                        statement.executeQuery("select cast(us as varchar), cast(ns as varchar), cast(s as varchar), "
                                + "cast(extract(year from z) as varchar) from moments where us > '1970-01-01'")));
                statement.executeUpdate("drop table moments");
            }
        });
        Check.connected("prepared.null_of_every_type", (check, connection) -> {
            for (String column : List.of("b", "i8", "i16", "i32", "i64", "u32", "f32", "f64", "d", "s", "bytes", "day", "moment")) {
                column(check, connection, "NULL as " + column, column + " is not distinct from ?", s -> s.setNull(1, Types.NULL), false);
            }
        });
        Check.connected("prepared.parameters_without_a_type", (check, connection) -> {
            // Nothing says what it is: a text.
            try (PreparedStatement statement = connection.prepareStatement("select ? as a")) {
                check.same("type", Types.VARCHAR, statement.getParameterMetaData().getParameterType(1));
                statement.setString(1, "x");
                check.same("value", List.of("x"), Check.rows(statement.executeQuery()));
                statement.setNull(1, Types.VARCHAR);
                check.same("NULL", List.of("null"), Check.rows(statement.executeQuery()));
            }
        });
        Check.connected("prepared.limit", (check, connection) -> {
            try (PreparedStatement statement =
                    connection.prepareStatement("select n_name from nation order by n_nationkey limit ? offset ?")) {
                check.same("type", Types.BIGINT, statement.getParameterMetaData().getParameterType(1));
                statement.setLong(1, 2);
                statement.setLong(2, 1);
                check.same("rows", List.of("ARGENTINA", "BRAZIL"), Check.rows(statement.executeQuery()));
            }
        });
        Check.connected("prepared.a_cast_says_the_type", (check, connection) -> {
            // The driver sends the type that it is told, and has no other way to bind a number or a date.
            cast(check, connection, "bigint", Types.BIGINT, s -> s.setLong(1, 7), "7");
            cast(check, connection, "double", Types.DOUBLE, s -> s.setDouble(1, 0.5), "0.5");
            cast(check, connection, "decimal(10, 2)", Types.DECIMAL, s -> s.setBigDecimal(1, new BigDecimal("1.25")), "1.25");
            cast(check, connection, "date", Types.DATE, s -> s.setDate(1, Date.valueOf("2024-02-29")), "2024-02-29");
            cast(check, connection, "boolean", Types.BOOLEAN, s -> s.setBoolean(1, true), "true");
            cast(check, connection, "varchar", Types.VARCHAR, s -> s.setString(1, "x"), "x");
        });
        Check.connected("prepared.question_marks_in_text", (check, connection) -> {
            try (PreparedStatement statement =
                    connection.prepareStatement("select '?' as a, n_name as \"b?\" from nation where n_nationkey = ? -- ?")) {
                check.same("count", 1, statement.getParameterMetaData().getParameterCount());
                statement.setLong(1, 3);
                check.same("row", List.of("?|CANADA"), Check.rows(statement.executeQuery()));
            }
        });
        Check.connected("prepared.large_result", (check, connection) -> {
            try (PreparedStatement statement = connection.prepareStatement("select l_orderkey from lineitem where l_orderkey > ?")) {
                statement.setLong(1, 0);
                check.same("rows", 60175, Check.rows(statement.executeQuery()).size());
                statement.setLong(1, 1_000_000_000);
                check.same("none", 0, Check.rows(statement.executeQuery()).size());
            }
        });
        Check.connected("prepared.errors", (check, connection) -> {
            check.fails("a missing table", SQLException.class, () -> connection.prepareStatement("select * from nowhere where a = ?"), "nowhere");
            check.fails("syntax", SQLException.class, () -> connection.prepareStatement("selec ?"), "selec");
            check.fails("mixed marks", SQLException.class, () -> connection.prepareStatement("select ?, $1"), "mixes");
            try (PreparedStatement statement = connection.prepareStatement("select 1 where 1 = ?")) {
                if (Check.version >= 1900) {
                    // A parameter that was never set is NULL since 19.0, an error of the driver before.
                    check.same("no value", List.of(), Check.rows(statement.executeQuery()));
                } else {
                    check.fails("no value", SQLException.class, statement::executeQuery);
                }
                statement.setLong(1, 1);
                check.same("with one", List.of("1"), Check.rows(statement.executeQuery()));
            }
            // Before 19.0 the driver lets its own exception out instead of an SQLException.
            check.fails("a change with parameters", Exception.class, () -> {
                try (PreparedStatement statement = connection.prepareStatement("create table p as select ? as a")) {
                    statement.setString(1, "x");
                    return statement.execute();
                }
            }, "parameters");
            check.fails("and it did not run", SQLException.class, () -> Check.query(connection, "select * from p"), "p");
        });
        Check.connected("prepared.changes", (check, connection) -> {
            String create = "create table p as select * from region";
            try (PreparedStatement statement = connection.prepareStatement(create)) {
                check.gives("before it runs", 0, () -> statement.getParameterMetaData().getParameterCount());
                check.fails("preparing made nothing", SQLException.class, () -> Check.query(connection, "select * from p"), "p");
                check.gives("count", 5, statement::executeUpdate);
                check.gives("rows", List.of("5"), () -> Check.query(connection, "select count(*) from p"));
                check.gives("ran once", List.of("1"), () -> Check.query(connection,
                        "select count(*) from system.queries where sql = '" + create + "'"));
            }
            try (PreparedStatement statement = connection.prepareStatement("drop table p")) {
                // Before 19.0 whatever is prepared is a SELECT to ArrowFlightMetaImpl.newSignature, with a result.
                check.gives("DROP", Check.version < 1900, statement::execute);
            }
            check.fails("it is gone", SQLException.class, () -> Check.query(connection, "select * from p"), "p");
        });
    }

    private static void cast(Check check, Connection connection, String type, int jdbc, Setter setter, String text) {
        check.gives(type, jdbc + "|" + text, () -> {
            try (PreparedStatement statement = connection.prepareStatement("select cast(? as " + type + ")")) {
                setter.set(statement);
                return statement.getParameterMetaData().getParameterType(1) + "|" + Check.rows(statement.executeQuery()).get(0);
            }
        });
    }

    /** Whether a row of one value per type is found by a condition with one parameter. */
    private static void column(Check check, Connection connection, String what, String condition, Setter setter, boolean found) {
        String name = COLUMNS.keySet().stream().filter(n -> condition.matches(".*\\b" + n + "\\b.*")).findFirst().orElseThrow();
        String row = "select " + COLUMNS.get(name) + " as " + name;
        check.gives(what, List.of(found ? "1" : "0"), () -> {
            try (PreparedStatement statement =
                    connection.prepareStatement("select count(*) from (" + row + ") where " + condition)) {
                setter.set(statement);
                return Check.rows(statement.executeQuery());
            }
        });
    }
}
