import java.util.List;
import org.apache.arrow.adbc.core.AdbcStatement;
import org.apache.arrow.adbc.core.PartitionDescriptor;
import org.apache.arrow.vector.BigIntVector;
import org.apache.arrow.vector.VarCharVector;
import org.apache.arrow.vector.VectorSchemaRoot;
import org.apache.arrow.vector.ipc.ArrowReader;
import org.apache.arrow.vector.types.pojo.Schema;

/** Queries and bound values. */
final class QueryChecks {
    static void run() {
        Adbc.connected("query.rows", (check, connection, allocator) -> {
            check.same("one", List.of("1"), Adbc.query(connection, "select 1"));
            check.same("none", List.of(), Adbc.query(connection, "select n_name from nation where n_nationkey < 0"));
            check.same("two columns", List.of("AFRICA|0", "AMERICA|1"),
                    Adbc.query(connection, "select r_name, r_regionkey from region order by 2 limit 2"));
            check.same("many", 60175, Adbc.query(connection, "select l_orderkey from lineitem").size());
        });
        Adbc.connected("query.types", (check, connection, allocator) -> check.same("values",
                List.of("true|8|16|32|64|0.5|0.25|12.34|naïve ☃|19782|2024-02-29T12:34:56.789|[1,null]|{\"a\":1}|null"),
                Adbc.query(connection, """
                        select true, arrow_cast(8, 'Int8'), arrow_cast(16, 'Int16'), arrow_cast(32, 'Int32'), 64,
                          arrow_cast(0.5, 'Float32'), 0.25, cast(12.34 as decimal(10, 2)), 'naïve ☃', date '2024-02-29',
                          timestamp '2024-02-29 12:34:56.789', [1, null], named_struct('a', 1), cast(null as varchar)""")));
        Adbc.connected("query.schema", (check, connection, allocator) -> {
            try (AdbcStatement statement = connection.createStatement()) {
                statement.setSqlQuery("select r_regionkey, r_name from region");
                Schema ahead = statement.executeSchema();
                check.same("names", "[r_regionkey, r_name]", ahead.getFields().stream().map(f -> f.getName()).toList().toString());
                try (AdbcStatement.QueryResult result = statement.executeQuery(); ArrowReader reader = result.getReader()) {
                    check.same("ahead and then", ahead.getFields(), reader.getVectorSchemaRoot().getSchema().getFields());
                    check.same("rows", 5, Adbc.rows(reader).size());
                }
            }
        });
        Adbc.connected("query.partitions", (check, connection, allocator) -> {
            try (AdbcStatement statement = connection.createStatement()) {
                statement.setSqlQuery("select * from orders");
                AdbcStatement.PartitionResult result = statement.executePartitioned();
                int rows = 0;
                for (PartitionDescriptor partition : result.getPartitionDescriptors()) {
                    try (ArrowReader reader = connection.readPartition(partition.getDescriptor())) {
                        rows += Adbc.rows(reader).size();
                    }
                }
                check.same("rows", 15000, rows);
            }
        });
        Adbc.connected("bind.rows_of_a_query", (check, connection, allocator) -> {
            try (AdbcStatement statement = connection.createStatement();
                    BigIntVector key = new BigIntVector("key", allocator);
                    VarCharVector name = new VarCharVector("name", allocator);
                    VectorSchemaRoot values = VectorSchemaRoot.of(key, name)) {
                statement.setSqlQuery("select n_name from nation where n_nationkey = ? or n_name = ?");
                statement.prepare();
                check.same("parameters", "[Int(64, true), Utf8]",
                        statement.getParameterSchema().getFields().stream().map(f -> f.getType()).toList().toString());
                key.setSafe(0, 6);
                key.setSafe(1, 99);
                key.setNull(2);
                name.setSafe(0, "PERU".getBytes());
                name.setSafe(1, "CHINA".getBytes());
                name.setNull(2);
                values.setRowCount(3);
                for (int time = 0; time < 2; time++) {
                    statement.bind(values);
                    try (AdbcStatement.QueryResult result = statement.executeQuery(); ArrowReader reader = result.getReader()) {
                        check.same("time " + time, List.of("CHINA", "FRANCE", "PERU"), Adbc.rows(reader).stream().sorted().toList());
                    }
                }
            }
        });
    }
}
