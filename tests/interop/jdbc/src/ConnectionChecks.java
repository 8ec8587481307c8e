import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.SQLException;
import java.util.List;
import java.util.Properties;

/** Connecting, sessions and closing. */
final class ConnectionChecks {
    static void run(String driver) {
        Check.run("connect.plain", check -> {
            Connection connection = Check.connect();
            check.same("driver", driver, connection.getMetaData().getDriverVersion());
            check.same("closed", false, connection.isClosed());
            check.same("valid", true, connection.isValid(5));
            check.same("select 1", List.of("1"), Check.query(connection, "select 1"));
            connection.close();
            check.same("closed at the end", true, connection.isClosed());
            check.fails("a statement after close", SQLException.class, () -> Check.query(connection, "select 1"));
        });
        Check.run("connect.user_and_password", check -> {
            Properties properties = new Properties();
            properties.put("user", "alice");
            properties.put("password", "sécret:with colon");
            properties.put("useEncryption", "false");
            try (Connection connection =
                    DriverManager.getConnection("jdbc:arrow-flight-sql://" + Check.address, properties)) {
                check.same("rows", List.of("25"), Check.query(connection, "select count(*) from nation"));
                check.same("tables", 8, Check.rows(connection.getMetaData()
                        .getTables(null, "public", "%", new String[] {"TABLE"})).size());
            }
        });
        Check.run("connect.token", check -> {
            try (Connection connection = Check.connect("token=any-token")) {
                check.same("rows", List.of("5"), Check.query(connection, "select count(*) from region"));
            }
        });
        Check.run("connect.unknown_properties_are_headers", check -> {
            try (Connection connection = Check.connect("schema=public", "x-anything=1")) {
                check.same("rows", List.of("5"), Check.query(connection, "select count(*) from region"));
            }
        });
        Check.run("connect.catalog", check -> {
            Connection connection = Check.connect("catalog=airstrip");
            check.same("rows", List.of("5"), Check.query(connection, "select count(*) from region"));
            check.same("qualified", List.of("5"), Check.query(connection, "select count(*) from airstrip.public.region"));
            closeSession(check, connection);
            connection = Check.connect("catalog=airstrip", "user=bob", "password=secret");
            check.same("with a user", List.of("5"), Check.query(connection, "select count(*) from region"));
            closeSession(check, connection);
            // The driver turns any error of SetSessionOptions into this one.
            check.fails("another catalog", Exception.class, () -> Check.connect("catalog=nowhere"),
                    "Cannot set session option for catalog");
        });
        Check.run("connect.encryption_where_there_is_none", check ->
                check.fails("TLS", SQLException.class, () -> DriverManager.getConnection(
                        "jdbc:arrow-flight-sql://" + Check.address + "/?useEncryption=true&user=a&password=b")));
        Check.run("connect.nobody_listens", check ->
                check.fails("port 1", SQLException.class, () -> {
                    try (Connection connection = DriverManager.getConnection(
                            "jdbc:arrow-flight-sql://127.0.0.1:1/?useEncryption=false")) {
                        return Check.query(connection, "select 1");
                    }
                }));
        Check.run("connect.ten_times", check -> {
            for (int i = 0; i < 10; i++) {
                String[] options = i % 2 == 0 ? new String[0] : new String[] {"user=alice", "password=secret"};
                try (Connection connection = Check.connect(options)) {
                    check.same("round " + i, List.of("" + i), Check.query(connection, "select " + i));
                }
            }
        });
        Check.run("connect.two_at_once", check -> {
            try (Connection one = Check.connect(); Connection two = Check.connect()) {
                try (var a = one.createStatement(); var b = two.createStatement();
                        var left = a.executeQuery("select n_nationkey from nation order by 1");
                        var right = b.executeQuery("select n_nationkey from nation order by 1 desc")) {
                    for (int i = 0; i < 25; i++) {
                        check.yes("row " + i, left.next() && right.next());
                        check.same("left " + i, i, left.getInt(1));
                        check.same("right " + i, 24 - i, right.getInt(1));
                    }
                    check.yes("the end", !left.next() && !right.next());
                }
            }
        });
        Check.run("session.temporary_tables_are_of_one_connection", check -> {
            try (Connection one = Check.connect(); Connection two = Check.connect()) {
                check.same("count", 2L, Check.update(one, "create temporary table scratch as values (1), (2)"));
                check.same("seen by its maker", List.of("2"), Check.query(one, "select count(*) from scratch"));
                check.same("its type", List.of("scratch|LOCAL TEMPORARY"), Check.rows(
                        one.getMetaData().getTables(null, null, "scratch", null), "TABLE_NAME", "TABLE_TYPE"));
                check.fails("seen by another", SQLException.class, () -> Check.query(two, "select * from scratch"),
                        "scratch");
                check.same("listed to another", List.of(),
                        Check.rows(two.getMetaData().getTables(null, null, "scratch", null)));
            }
        });
        Check.run("session.settings_are_of_one_connection", check -> {
            try (Connection one = Check.connect(); Connection two = Check.connect()) {
                check.same("create schema", 0L, Check.update(one, "create schema other"));
                check.same("use", 0L, Check.update(one, "use other"));
                Check.update(one, "create table here as select 7 as seven");
                check.same("its maker finds it", List.of("7"), Check.query(one, "select seven from here"));
                check.fails("another does not", SQLException.class, () -> Check.query(two, "select * from here"), "here");
                check.same("by its full name", List.of("7"), Check.query(two, "select seven from other.here"));
                check.same("set", 0L, Check.update(two, "set time_zone = '+02:00'"));
                check.same("show", List.of("datafusion.execution.time_zone|+02:00"), Check.query(two, "show time zone"));
                check.same("show to the other", false,
                        Check.query(one, "show time zone").equals(Check.query(two, "show time zone")));
                Check.update(one, "drop table other.here");
                Check.update(one, "use public");
                check.same("drop schema", 0L, Check.update(one, "drop schema other"));
            }
        });
        Check.connected("session.set_time_zone", (check, connection) -> {
            check.gives("SET TIME ZONE", 0L, () -> Check.update(connection, "set time zone '+03:00'"));
            check.gives("SHOW", List.of("datafusion.execution.time_zone|+03:00"), () -> Check.query(connection, "show time zone"));
            check.gives("RESET", 0L, () -> Check.update(connection, "reset time_zone"));
        });
        Check.connected("session.catalog_and_schema_of_the_connection", (check, connection) -> {
            check.same("catalog at first", null, connection.getCatalog());
            check.same("schema at first", null, connection.getSchema());
            connection.setCatalog("airstrip");
            check.same("catalog", "airstrip", connection.getCatalog());
            check.same("rows", List.of("25"), Check.query(connection, "select count(*) from nation"));
            // The driver keeps the schema to itself: it is never sent, so names are looked up as before.
            connection.setSchema("information_schema");
            check.same("schema", "information_schema", connection.getSchema());
            check.same("rows after setSchema", List.of("25"), Check.query(connection, "select count(*) from nation"));
        });
        Check.connected("session.a_catalog_that_is_not_there", (check, connection) -> {
            Check.Call call = () -> {
                connection.setCatalog("nowhere");
                return Check.query(connection, "select 1");
            };
            if (Check.version >= 1900) {
                check.fails("setCatalog", Exception.class, call, "Cannot set session option for catalog");
            } else {
                // Before 19.0 the driver kept the catalog to itself too.
                check.gives("setCatalog", List.of("1"), call);
            }
        });
        Check.connected("session.transactions", (check, connection) -> {
            check.same("auto commit", true, connection.getAutoCommit());
            check.same("isolation", Connection.TRANSACTION_NONE, connection.getTransactionIsolation());
            // Stubs of the driver: nothing is sent, nothing happens.
            connection.setAutoCommit(false);
            connection.commit();
            connection.rollback();
            connection.setAutoCommit(true);
            check.same("rows", List.of("1"), Check.query(connection, "select 1"));
            check.fails("BEGIN", SQLException.class, () -> Check.query(connection, "begin"), "transactions");
        });
    }

    /** Closes a connection that was opened with {@code catalog=}. */
    private static void closeSession(Check check, Connection connection) throws SQLException {
        if (Check.version >= 1900) {
            connection.close();
        } else {
            // ArrowFlightConnection.close closes its client twice before 19.0, and each time sends
            // CloseSession: the second one finds the channel shut down. The first has closed the session.
            check.fails("close", SQLException.class, () -> {
                connection.close();
                return null;
            }, "Channel shutdown invoked", "ArrowFlightConnection.close");
        }
    }
}
