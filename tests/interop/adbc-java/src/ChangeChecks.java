import java.util.List;
import java.util.Map;
import java.util.function.Function;
import org.apache.arrow.adbc.core.AdbcConnection;
import org.apache.arrow.adbc.core.AdbcDatabase;
import org.apache.arrow.adbc.core.AdbcDriver;
import org.apache.arrow.adbc.core.AdbcStatement;
import org.apache.arrow.adbc.core.AdbcStatusCode;
import org.apache.arrow.adbc.core.BulkIngestMode;
import org.apache.arrow.adbc.driver.flightsql.FlightSqlDriver;
import org.apache.arrow.adbc.sql.SqlQuirks;
import org.apache.arrow.memory.BufferAllocator;
import org.apache.arrow.memory.RootAllocator;
import org.apache.arrow.vector.BigIntVector;
import org.apache.arrow.vector.IntVector;
import org.apache.arrow.vector.VarCharVector;
import org.apache.arrow.vector.VectorSchemaRoot;
import org.apache.arrow.vector.types.pojo.ArrowType;

/** Statements that change something, with and without bound rows, and ingest, which this driver makes of CREATE and INSERT. */
final class ChangeChecks {
    static void run() {
        Adbc.connected("change.statements", (check, connection, allocator) -> {
            Adbc.update(connection, "create table adbc_changes (id bigint, name varchar)");
            check.gives("insert", 2L, () -> Adbc.update(connection, "insert into adbc_changes values (1, 'a'), (2, 'b')"));
            check.gives("update", 1L, () -> Adbc.update(connection, "update adbc_changes set name = 'c' where id = 2"));
            check.same("rows", List.of("1|a", "2|c"), Adbc.query(connection, "select * from adbc_changes order by id"));
            check.gives("delete", 2L, () -> Adbc.update(connection, "delete from adbc_changes"));
            Adbc.update(connection, "drop table adbc_changes");
        });
        Adbc.connected("change.bound_rows", (check, connection, allocator) -> {
            Adbc.update(connection, "create table adbc_bound (id bigint, name varchar)");
            try (AdbcStatement statement = connection.createStatement();
                    BigIntVector id = new BigIntVector("id", allocator);
                    VarCharVector name = new VarCharVector("name", allocator);
                    VectorSchemaRoot values = VectorSchemaRoot.of(id, name)) {
                statement.setSqlQuery("insert into adbc_bound values (?, ?)");
                statement.prepare();
                fill(id, name, values, 1000);
                statement.bind(values);
                check.gives("count", 1000L, () -> statement.executeUpdate().getAffectedRows());
            }
            check.same("stored", List.of("1000|499500|999"),
                    Adbc.query(connection, "select count(*), sum(id), count(name) from adbc_bound"));
            Adbc.update(connection, "drop table adbc_bound");
        });
        Check.run("ingest.modes", check -> {
            try (BufferAllocator allocator = new RootAllocator();
                    AdbcDatabase database = new FlightSqlDriver(allocator).open(withTypes());
                    AdbcConnection connection = database.connect()) {
                ingest(check, connection, allocator);
            }
        });
        Adbc.connected("ingest.with_the_drivers_types", (check, connection, allocator) -> {
            try (IntVector id = new IntVector("id", allocator);
                    VarCharVector name = new VarCharVector("name", allocator);
                    VectorSchemaRoot rows = VectorSchemaRoot.of(id, name);
                    AdbcStatement statement = connection.bulkIngest("adbc_plain", BulkIngestMode.CREATE)) {
                id.setSafe(0, 7);
                name.setSafe(0, "seven".getBytes());
                rows.setRowCount(1);
                statement.bind(rows);
                check.gives("INT and CLOB", 1L, () -> statement.executeUpdate().getAffectedRows());
                check.gives("stored", List.of("7|seven"), () -> Adbc.query(connection, "select * from adbc_plain"));
            }
        });
    }

    /** Options with types for its CREATE TABLE: by itself it writes INT for any integer, and CLOB. */
    private static Map<String, Object> withTypes() {
        Function<ArrowType, String> types = type -> type instanceof ArrowType.Int ? "BIGINT" : "VARCHAR";
        Map<String, Object> options = Adbc.options();
        options.put(AdbcDriver.PARAM_SQL_QUIRKS, SqlQuirks.builder().arrowToSqlTypeNameMapping(types).build());
        return options;
    }

    private static void ingest(Check check, AdbcConnection connection, BufferAllocator allocator) throws Exception {
        try (BigIntVector id = new BigIntVector("id", allocator);
                VarCharVector name = new VarCharVector("name", allocator);
                VectorSchemaRoot rows = VectorSchemaRoot.of(id, name)) {
            fill(id, name, rows, 3);
            for (BulkIngestMode mode : List.of(BulkIngestMode.CREATE, BulkIngestMode.APPEND)) {
                check.gives(mode.name(), 3L, () -> send(connection, mode, rows));
            }
            check.gives("stored", List.of("6|6|4"),
                    () -> Adbc.query(connection, "select count(*), sum(id), count(name) from adbc_ingested"));
            Adbc.fails(check, "CREATE of one that is there", AdbcStatusCode.ALREADY_EXISTS,
                    () -> send(connection, BulkIngestMode.CREATE, rows), "adbc_ingested");
        }
        Adbc.update(connection, "drop table adbc_ingested");
    }

    private static long send(AdbcConnection connection, BulkIngestMode mode, VectorSchemaRoot rows) throws Exception {
        try (AdbcStatement statement = connection.bulkIngest("adbc_ingested", mode)) {
            statement.bind(rows);
            return statement.executeUpdate().getAffectedRows();
        }
    }

    /** Numbers from 0, each with a name but the first. */
    private static void fill(BigIntVector id, VarCharVector name, VectorSchemaRoot rows, int count) {
        for (int i = 0; i < count; i++) {
            id.setSafe(i, i);
            if (i == 0) {
                name.setNull(i);
            } else {
                name.setSafe(i, ("row " + i).getBytes());
            }
        }
        rows.setRowCount(count);
    }
}
