import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/** Statements that change something, errors, and the end of long queries. */
final class StatementChecks {
    /** Takes far longer than any check may. */
    private static final String LONG =
            "select sum((a.l_orderkey * b.l_partkey + c.l_suppkey) % 7) from lineitem a, lineitem b, lineitem c";

    static void run() {
        Check.connected("change.execute_update", (check, connection) -> {
            check.same("CREATE TABLE AS", 25L, Check.update(connection, "create table made as select * from nation"));
            check.same("its rows", List.of("25"), Check.query(connection, "select count(*) from made"));
            check.same("ran once", List.of("1"), runs(connection, "create table made as select * from nation"));
            check.fails("once more", SQLException.class,
                    () -> Check.update(connection, "create table made as select * from nation"), "made", "exists");
            check.same("CREATE OR REPLACE", 5L, Check.update(connection, "create or replace table made as select * from region"));
            check.same("its rows now", List.of("5"), Check.query(connection, "select count(*) from made"));
            check.same("ALTER TABLE", 0L, Check.update(connection, "alter table made rename to renamed"));
            check.same("ALTER ran once", List.of("1"), runs(connection, "alter table made rename to renamed"));
            check.same("the new name", List.of("5"), Check.query(connection, "select count(*) from renamed"));
            check.fails("the old name", SQLException.class, () -> Check.query(connection, "select * from made"), "made");
            check.same("CREATE VIEW", 0L, Check.update(connection, "create view looked as select * from renamed where r_regionkey > 2"));
            check.same("the view", List.of("2"), Check.query(connection, "select count(*) from looked"));
            check.same("DROP VIEW", 0L, Check.update(connection, "drop view looked"));
            check.same("DROP TABLE", 0L, Check.update(connection, "drop table renamed"));
            check.same("DROP ran once", List.of("1"), runs(connection, "drop table renamed"));
            check.fails("DROP once more", SQLException.class, () -> Check.update(connection, "drop table renamed"), "renamed");
            check.same("DROP IF EXISTS", 0L, Check.update(connection, "drop table if exists renamed"));
            check.same("CREATE TABLE", 0L, Check.update(connection, "create table bare (a int, b varchar)"));
            check.same("it is empty", List.of(), Check.query(connection, "select * from bare"));
            check.same("DROP of it", 0L, Check.update(connection, "drop table bare"));
        });
        Check.connected("change.execute", (check, connection) -> {
            try (Statement statement = connection.createStatement()) {
                check.same("a query", true, statement.execute("select 1 as one"));
                check.same("its count", -1, statement.getUpdateCount());
                check.same("its rows", List.of("1"), Check.rows(statement.getResultSet()));
                check.same("CREATE TABLE AS", false, statement.execute("create table done as values (1), (2), (3)"));
                check.same("count", 3, statement.getUpdateCount());
                check.same("no rows", null, statement.getResultSet());
                check.same("nothing more", false, statement.getMoreResults());
                check.same("ran once", List.of("1"), runs(connection, "create table done as values (1), (2), (3)"));
                check.same("a setting", false, statement.execute("set time_zone = 'UTC'"));
                check.same("DROP", false, statement.execute("drop table done"));
                check.same("DROP's count", 0, statement.getUpdateCount());
                check.same("a query again", List.of("2"), Check.rows(statement.executeQuery("select 2")));
            }
        });
        Check.connected("change.the_wrong_method", (check, connection) -> {
            try (Statement statement = connection.createStatement()) {
                // Avatica does not object: the query runs, and its count is none.
                check.gives("executeUpdate of a query", -1, () -> statement.executeUpdate("select 1"));
                check.fails("executeQuery of a change", SQLException.class,
                        () -> statement.executeQuery("create table wrong as select 1"));
            }
            // The driver runs the statement before it looks at what it is.
            check.same("it ran once", List.of("1"), runs(connection, "create table wrong as select 1"));
            Check.update(connection, "drop table wrong");
        });
        Check.connected("statements.many_on_one_connection", (check, connection) -> {
            try (Statement one = connection.createStatement(); Statement two = connection.createStatement()) {
                ResultSet a = one.executeQuery("select n_nationkey from nation order by 1");
                check.yes("first of one", a.next());
                ResultSet b = two.executeQuery("select r_regionkey from region order by 1 desc");
                check.yes("first of two", b.next());
                check.same("two", 4, b.getInt(1));
                check.yes("second of one", a.next());
                check.same("one", 1, a.getInt(1));
                ResultSet again = one.executeQuery("select 42");
                check.same("a new result closes the old", true, a.isClosed());
                check.yes("a row", again.next());
                check.same("42", 42, again.getInt(1));
                check.yes("two goes on", b.next());
            }
            for (int i = 0; i < 20; i++) {
                check.same("round " + i, List.of("" + i), Check.query(connection, "select " + i));
            }
        });
        Check.connected("errors.messages", (check, connection) -> {
            check.fails("syntax", SQLException.class, () -> Check.query(connection, "selec 1"), "selec", "Line: 1");
            check.fails("an early end", SQLException.class, () -> Check.query(connection, "select 1 from"), "Line: 1");
            check.fails("a missing table", SQLException.class, () -> Check.query(connection, "select * from nowhere"), "there is no dataset nowhere");
            check.fails("a missing column", SQLException.class, () -> Check.query(connection, "select nothing from nation"), "nothing");
            check.fails("a missing schema", SQLException.class, () -> Check.query(connection, "select * from no.table_"), "no.table_");
            check.fails("INSERT", SQLException.class, () -> Check.update(connection, "insert into nation values (1)"),
                    "expected 4");
            check.fails("COPY", SQLException.class, () -> Check.update(connection, "copy nation to 'x'"),
                    "Airstrip does not run COPY");
            check.fails("two statements", SQLException.class, () -> Check.query(connection, "select 1; select 2"), "holds 2");
            check.fails("none", SQLException.class, () -> Check.query(connection, ""), "no statement");
            check.fails("while it runs", SQLException.class,
                    () -> Check.query(connection, "select 1 / (n_nationkey - 3) from nation"), "divide by zero");
            check.fails("a bad cast", SQLException.class,
                    () -> Check.query(connection, "select cast(n_name as int) from nation"), "ALGERIA");
            check.same("the connection still works", List.of("1"), Check.query(connection, "select 1"));
        });
        Check.connected("cancel.from_another_thread", (check, connection) -> {
            try (Connection watcher = Check.connect(); Statement statement = connection.createStatement()) {
                CompletableFuture<String> running = CompletableFuture.supplyAsync(() -> {
                    try {
                        return "gave " + Check.rows(statement.executeQuery(LONG));
                    } catch (Throwable error) {
                        return "failed: " + Check.text(error);
                    }
                });
                check.yes("it runs", until(watcher, 1));
                long start = System.nanoTime();
                statement.cancel();
                String end = running.get(10, TimeUnit.SECONDS);
                check.yes("it ended: " + end, end.startsWith("failed: java.sql.SQLException") || end.startsWith("failed: java.sql.SQLTimeout"));
                check.yes("within 5 s", System.nanoTime() - start < 5_000_000_000L);
                check.yes("the server stopped it", until(watcher, 0));
            }
            check.same("the connection still works", List.of("1"), Check.query(connection, "select 1"));
        });
        Check.run("cancel.by_a_query_timeout", check -> {
            try (Connection watcher = Check.connect()) {
                try (Connection connection = Check.connect(); Statement statement = connection.createStatement()) {
                    statement.setQueryTimeout(1);
                    check.fails("timeout", SQLException.class, () -> Check.rows(statement.executeQuery(LONG)), "timeout");
                }
                check.yes("the server stopped it", until(watcher, 0));
            }
        });
        Check.run("cancel.by_closing", check -> {
            try (Connection watcher = Check.connect()) {
                Connection connection = Check.connect();
                Statement statement = connection.createStatement();
                CompletableFuture<String> running = CompletableFuture.supplyAsync(() -> {
                    try {
                        return "gave " + Check.rows(statement.executeQuery(LONG));
                    } catch (Throwable error) {
                        return "failed: " + Check.text(error);
                    }
                });
                check.yes("it runs", until(watcher, 1));
                if (Check.version < 1900) {
                    // Before 19.0 closing a connection leaves its statements' streams open, waits 10 s for their
                    // end, and leaves them to run: the caller must close the statements first.
                    statement.close();
                }
                try {
                    connection.close();
                } catch (SQLException error) {
                    // The driver may find its buffers still in use: what counts is the server.
                }
                check.yes("the server stopped it", until(watcher, 0));
                String end = running.get(10, TimeUnit.SECONDS);
                check.yes("it ended: " + end, end.startsWith("failed"));
            }
        });
    }

    /** How often the server ran exactly this text. */
    private static List<String> runs(Connection connection, String sql) throws SQLException {
        return Check.query(connection, "select count(*) from system.queries where state = 'finished' and sql = '"
                + sql.replace("'", "''") + "'");
    }

    /** Whether within 10 s as many queries of the long text run as this. */
    private static boolean until(Connection watcher, int count) throws Exception {
        for (int i = 0; i < 100; i++) {
            String sql = "select count(*) from system.queries where state = 'running' and sql like 'select sum((a.%'";
            if (Check.query(watcher, sql).equals(List.of("" + count))) {
                return true;
            }
            Thread.sleep(100);
        }
        return false;
    }
}
