import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;

/** What HikariCP sets and asks of connections that it opens, lends, checks and takes back. */
final class HikariChecks {
    /** A pool with the settings that applications commonly write. */
    static HikariDataSource pool(int size) {
        HikariConfig config = new HikariConfig();
        config.setJdbcUrl("jdbc:arrow-flight-sql://" + Check.address + "/?useEncryption=false");
        config.setDriverClassName("org.apache.arrow.driver.jdbc.ArrowFlightJdbcDriver");
        config.setUsername("app");
        config.setPassword("secret");
        config.setMaximumPoolSize(size);
        config.setMinimumIdle(1);
        config.setConnectionTimeout(20_000);
        return new HikariDataSource(config);
    }

    interface Body {
        void run(Check check, HikariDataSource pool) throws Exception;
    }

    static void pooled(String name, int size, Body body) {
        Check.run(name, check -> {
            try (HikariDataSource pool = pool(size)) {
                body.run(check, pool);
            }
        });
    }

    static void run() {
        pooled("hikari.lends", 3, HikariChecks::lends);
        pooled("hikari.resets_what_was_set", 1, HikariChecks::resets);
        pooled("hikari.keeps_statements", 1, HikariChecks::statements);
        pooled("hikari.batches", 1, HikariChecks::batches);
        pooled("hikari.many_threads", 4, HikariChecks::threads);
        Check.run("hikari.tests_with_a_query", check -> {
            try (HikariDataSource pool = pool(1)) {
                // Pools that are told to use a query instead of isValid.
                HikariConfig config = new HikariConfig();
                pool.copyStateTo(config);
                config.setConnectionTestQuery("SELECT 1");
                config.setConnectionInitSql("set time_zone = '+02:00'");
                config.setReadOnly(true);
                config.setAutoCommit(false);
                config.setCatalog("airstrip");
                try (HikariDataSource other = new HikariDataSource(config); Connection connection = other.getConnection()) {
                    check.same("its first statement ran", List.of("datafusion.execution.time_zone|+02:00"),
                            Check.query(connection, "show time zone"));
                    check.same("read only", true, connection.isReadOnly());
                    check.same("auto commit", false, connection.getAutoCommit());
                    connection.commit();
                }
            }
        });
    }

    private static void lends(Check check, HikariDataSource pool) throws SQLException {
        try (Connection one = pool.getConnection(); Connection two = pool.getConnection(); Connection three = pool.getConnection()) {
            int number = 0;
            for (Connection connection : List.of(one, two, three)) {
                check.same("valid", true, connection.isValid(5));
                check.same("rows", List.of("" + ++number), Check.query(connection, "select " + number));
            }
            check.same("a temporary table", 1L, Check.update(one, "create temporary table mine as select 1 as n"));
            check.fails("another connection's", SQLException.class, () -> Check.query(two, "select * from mine"), "mine");
        }
        check.same("all are back", 0, pool.getHikariPoolMXBean().getActiveConnections());
        check.fails("a statement that fails", SQLException.class, () -> {
            try (Connection connection = pool.getConnection()) {
                return Check.query(connection, "select * from nowhere");
            }
        }, "nowhere");
        int open = pool.getHikariPoolMXBean().getTotalConnections();
        for (int i = 0; i < 10; i++) {
            try (Connection connection = pool.getConnection()) {
                check.same("round " + i, List.of("25"), Check.query(connection, "select count(*) from nation"));
            }
        }
        check.yes("connections are kept", pool.getHikariPoolMXBean().getTotalConnections() <= Math.max(open, 3));
    }

    private static void resets(Check check, HikariDataSource pool) throws SQLException {
        int isolation;
        try (Connection connection = pool.getConnection()) {
            isolation = connection.getTransactionIsolation();
            check.same("isolation", Connection.TRANSACTION_NONE, isolation);
            connection.setAutoCommit(false);
            connection.setReadOnly(true);
            connection.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
            check.same("rows", List.of("5"), Check.query(connection, "select count(*) from region"));
            connection.commit();
            check.same("rows after a commit", List.of("5"), Check.query(connection, "select count(*) from region"));
            connection.rollback();
            check.same("no warnings", null, connection.getWarnings());
        }
        try (Connection connection = pool.getConnection()) {
            check.same("auto commit again", true, connection.getAutoCommit());
            check.same("read only no more", false, connection.isReadOnly());
            check.same("isolation again", isolation, connection.getTransactionIsolation());
            check.same("valid", true, connection.isValid(1));
        }
    }

    private static void statements(Check check, HikariDataSource pool) throws SQLException {
        try (Connection connection = pool.getConnection();
                PreparedStatement statement = connection.prepareStatement("select n_name from nation where n_nationkey = ?")) {
            for (int i = 0; i < 25; i++) {
                statement.setLong(1, i);
                check.same("row " + i, 1, Check.rows(statement.executeQuery()).size());
            }
            // A statement of the same connection in between does not disturb it.
            check.same("between", List.of("5"), Check.query(connection, "select count(*) from region"));
            statement.setLong(1, 24);
            check.same("again", List.of("UNITED STATES"), Check.rows(statement.executeQuery()));
        }
        try (Connection connection = pool.getConnection()) {
            // Left open: the pool closes it when the connection comes back.
            Statement forgotten = connection.createStatement();
            check.yes("a row", forgotten.executeQuery("select * from lineitem").next());
        }
        try (Connection connection = pool.getConnection()) {
            check.same("the next borrower", List.of("1"), Check.query(connection, "select 1"));
        }
    }

    private static void batches(Check check, HikariDataSource pool) throws SQLException {
        try (Connection connection = pool.getConnection()) {
            Check.update(connection, "create table batched (id bigint, name varchar, price decimal(10, 2))");
            connection.setAutoCommit(false);
            String insert = "insert into batched (id, name, price) values (?, ?, ?)";
            try (PreparedStatement statement = connection.prepareStatement(insert)) {
                for (int i = 0; i < 100; i++) {
                    statement.setLong(1, i);
                    statement.setString(2, i % 2 == 0 ? "even" : null);
                    statement.setBigDecimal(3, new java.math.BigDecimal(i).movePointLeft(2));
                    statement.addBatch();
                }
                int[] counts = statement.executeBatch();
                check.yes("counts " + Arrays.toString(counts), counts.length > 0);
                connection.commit();
            }
            connection.setAutoCommit(true);
            check.same("stored", List.of("100|50|49.50"),
                    Check.query(connection, "select count(*), count(name), sum(price) from batched"));
            try (Statement statement = connection.createStatement()) {
                statement.addBatch("insert into batched values (100, 'a', 1)");
                // ArrowFlightMetaImpl.prepareAndExecuteBatch sends nothing and returns null, on which Avatica stumbles.
                check.fails("a batch of texts", NullPointerException.class, statement::executeBatch, "updateCounts");
            }
            check.same("it stored nothing", List.of("100"), Check.query(connection, "select count(*) from batched"));
            Check.update(connection, "drop table batched");
        }
    }

    private static void threads(Check check, HikariDataSource pool) throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(8);
        List<Future<Long>> sums = new ArrayList<>();
        for (int thread = 0; thread < 8; thread++) {
            long own = thread;
            sums.add(threads.submit(() -> {
                long sum = 0;
                for (int i = 0; i < 10; i++) {
                    try (Connection connection = pool.getConnection();
                            PreparedStatement statement = connection.prepareStatement("select cast(? as bigint) + ?")) {
                        statement.setLong(1, own);
                        statement.setLong(2, i);
                        sum += Long.parseLong(Check.rows(statement.executeQuery()).get(0));
                    }
                }
                return sum;
            }));
        }
        for (int thread = 0; thread < 8; thread++) {
            check.same("thread " + thread, 10L * thread + 45, sums.get(thread).get(60, TimeUnit.SECONDS));
        }
        threads.shutdown();
    }
}
