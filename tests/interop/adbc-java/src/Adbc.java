import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.arrow.adbc.core.AdbcConnection;
import org.apache.arrow.adbc.core.AdbcDatabase;
import org.apache.arrow.adbc.core.AdbcDriver;
import org.apache.arrow.adbc.core.AdbcException;
import org.apache.arrow.adbc.core.AdbcStatement;
import org.apache.arrow.adbc.core.AdbcStatusCode;
import org.apache.arrow.adbc.driver.flightsql.FlightSqlConnectionProperties;
import org.apache.arrow.adbc.driver.flightsql.FlightSqlDriver;
import org.apache.arrow.memory.BufferAllocator;
import org.apache.arrow.memory.RootAllocator;
import org.apache.arrow.vector.FieldVector;
import org.apache.arrow.vector.VectorSchemaRoot;
import org.apache.arrow.vector.ipc.ArrowReader;

/** The few steps that most checks share. */
final class Adbc {
    interface Body {
        void run(Check check, AdbcConnection connection, BufferAllocator allocator) throws Exception;
    }

    /** A check with a connection of its own, which fails too where the driver keeps memory. */
    static void connected(String name, Body body) {
        Check.run(name, check -> {
            try (BufferAllocator allocator = new RootAllocator();
                    AdbcDatabase database = new FlightSqlDriver(allocator).open(options());
                    AdbcConnection connection = database.connect()) {
                body.run(check, connection, allocator);
            }
        });
    }

    /** A connection's options; without the middleware for cookies each call may be of another session. */
    static Map<String, Object> options() {
        Map<String, Object> options = new HashMap<>();
        AdbcDriver.PARAM_URI.set(options, "grpc+tcp://" + Check.address);
        FlightSqlConnectionProperties.WITH_COOKIE_MIDDLEWARE.set(options, true);
        return options;
    }

    /** All rows, each as its values' texts joined by {@code |}. */
    static List<String> rows(ArrowReader reader) throws Exception {
        List<String> rows = new ArrayList<>();
        VectorSchemaRoot root = reader.getVectorSchemaRoot();
        while (reader.loadNextBatch()) {
            for (int row = 0; row < root.getRowCount(); row++) {
                List<String> values = new ArrayList<>();
                for (FieldVector vector : root.getFieldVectors()) {
                    values.add(String.valueOf(vector.getObject(row)));
                }
                rows.add(String.join("|", values));
            }
        }
        return rows;
    }

    static List<String> query(AdbcConnection connection, String sql) throws Exception {
        try (AdbcStatement statement = connection.createStatement()) {
            statement.setSqlQuery(sql);
            try (AdbcStatement.QueryResult result = statement.executeQuery(); ArrowReader reader = result.getReader()) {
                return rows(reader);
            }
        }
    }

    static long update(AdbcConnection connection, String sql) throws Exception {
        try (AdbcStatement statement = connection.createStatement()) {
            statement.setSqlQuery(sql);
            return statement.executeUpdate().getAffectedRows();
        }
    }

    /** Asserts that a call ends with this status, and these words in its message. */
    static void fails(Check check, String what, AdbcStatusCode status, Check.Call call, String... words) {
        check.fails(what, AdbcException.class, () -> {
            try {
                return call.get();
            } catch (AdbcException error) {
                check.same("the status of " + what, status, error.getStatus());
                throw error;
            }
        }, words);
    }
}
