import java.util.List;
import java.util.Map;
import org.apache.arrow.adbc.core.AdbcConnection;
import org.apache.arrow.adbc.core.AdbcDatabase;
import org.apache.arrow.adbc.core.AdbcDriver;
import org.apache.arrow.adbc.core.AdbcStatement;
import org.apache.arrow.adbc.core.AdbcStatusCode;
import org.apache.arrow.adbc.driver.flightsql.FlightSqlConnectionProperties;
import org.apache.arrow.adbc.drivermanager.AdbcDriverManager;
import org.apache.arrow.memory.BufferAllocator;
import org.apache.arrow.memory.RootAllocator;
import org.apache.arrow.vector.ipc.ArrowReader;

/** Connections, errors, cancelling. */
final class LifeChecks {
    static void run() {
        Check.run("connect.by_the_driver_manager", check -> {
            Map<String, Object> options = Adbc.options();
            AdbcDriver.PARAM_USERNAME.set(options, "ann");
            AdbcDriver.PARAM_PASSWORD.set(options, "sécret");
            options.put(FlightSqlConnectionProperties.RPC_CALL_HEADER_PREFIX + "x-request", "7");
            try (BufferAllocator allocator = new RootAllocator();
                    AdbcDatabase database = AdbcDriverManager.getInstance()
                            .connect("org.apache.arrow.adbc.driver.flightsql.FlightSqlDriverFactory", allocator, options);
                    AdbcConnection one = database.connect(); AdbcConnection two = database.connect()) {
                check.same("auto commit", true, one.getAutoCommit());
                Adbc.update(one, "create temporary table adbc_mine as select 1 as n");
                check.same("its maker finds it", List.of("1"), Adbc.query(one, "select n from adbc_mine"));
                Adbc.fails(check, "another connection's", AdbcStatusCode.NOT_FOUND, () -> Adbc.query(two, "select n from adbc_mine"));
            }
        });
        Adbc.connected("errors.statuses", (check, connection, allocator) -> {
            Adbc.fails(check, "a missing table", AdbcStatusCode.NOT_FOUND, () -> Adbc.query(connection, "select * from nowhere"), "nowhere");
            Adbc.fails(check, "syntax", AdbcStatusCode.INVALID_ARGUMENT, () -> Adbc.query(connection, "selec 1"), "selec");
            // While rows are read the driver lets Flight's own exception out.
            check.fails("a row that fails", RuntimeException.class,
                    () -> Adbc.query(connection, "select cast(n_name as int) from nation"), "INVALID_ARGUMENT", "ALGERIA");
            Adbc.fails(check, "a table that is there", AdbcStatusCode.ALREADY_EXISTS,
                    () -> Adbc.update(connection, "create table nation (n int)"), "nation");
            check.same("the connection goes on", List.of("1"), Adbc.query(connection, "select 1"));
        });
        Adbc.connected("cancel.by_closing_the_reader", (check, connection, allocator) -> {
            Adbc.fails(check, "cancel", AdbcStatusCode.NOT_IMPLEMENTED, () -> {
                try (AdbcStatement statement = connection.createStatement()) {
                    statement.cancel();
                    return null;
                }
            });
            String sql = "select a.l_comment from lineitem a, lineitem b where a.l_orderkey < b.l_orderkey";
            try (AdbcStatement statement = connection.createStatement()) {
                statement.setSqlQuery(sql);
                try (AdbcStatement.QueryResult result = statement.executeQuery(); ArrowReader reader = result.getReader()) {
                    check.yes("a first batch", reader.loadNextBatch());
                }
            }
            String state = "select state from system.queries where sql = '" + sql + "'";
            List<String> states = List.of();
            for (int i = 0; i < 100 && !states.equals(List.of("cancelled")); i++) {
                states = Adbc.query(connection, state);
                Thread.sleep(50);
            }
            check.same("its state", List.of("cancelled"), states);
        });
    }
}
