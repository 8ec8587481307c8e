import java.util.List;
import org.apache.arrow.adbc.core.AdbcConnection;
import org.apache.arrow.adbc.core.AdbcInfoCode;
import org.apache.arrow.adbc.core.AdbcStatusCode;
import org.apache.arrow.vector.ipc.ArrowReader;

/** What the driver tells of the server and its tables. */
final class ObjectChecks {
    static void run() {
        Adbc.connected("metadata.info", (check, connection, allocator) -> {
            try (ArrowReader reader = connection.getInfo(new AdbcInfoCode[] {AdbcInfoCode.VENDOR_NAME, AdbcInfoCode.DRIVER_NAME})) {
                List<String> rows = Adbc.rows(reader);
                check.yes("vendor: " + rows, rows.contains("0|Airstrip"));
            }
            try (ArrowReader reader = connection.getInfo()) {
                check.yes("all of it", !Adbc.rows(reader).isEmpty());
            }
        });
        Adbc.connected("metadata.objects", (check, connection, allocator) -> {
            String catalogs = objects(connection, AdbcConnection.GetObjectsDepth.CATALOGS, null, null, null);
            check.yes("catalogs: " + catalogs, catalogs.contains("airstrip") && !catalogs.contains("public"));
            String schemas = objects(connection, AdbcConnection.GetObjectsDepth.DB_SCHEMAS, null, null, null);
            check.yes("schemas: " + schemas, schemas.contains("public") && schemas.contains("information_schema"));
            String tables = objects(connection, AdbcConnection.GetObjectsDepth.TABLES, "public", null, null);
            check.yes("tables: " + tables, tables.contains("lineitem") && !tables.contains("l_orderkey"));
            String pattern = objects(connection, AdbcConnection.GetObjectsDepth.TABLES, "public", "part%", null);
            check.yes("a pattern: " + pattern, pattern.contains("partsupp") && !pattern.contains("lineitem"));
            String views = objects(connection, AdbcConnection.GetObjectsDepth.TABLES, "public", null, new String[] {"VIEW"});
            check.yes("views: " + views, !views.contains("lineitem"));
            String columns = objects(connection, AdbcConnection.GetObjectsDepth.ALL, "public", "nation", null);
            check.yes("columns: " + columns, columns.contains("n_nationkey") && columns.contains("n_comment"));
        });
        Adbc.connected("metadata.not_in_the_driver", (check, connection, allocator) -> {
            Adbc.fails(check, "getTableSchema", AdbcStatusCode.NOT_IMPLEMENTED,
                    () -> connection.getTableSchema(null, "public", "nation"));
            Adbc.fails(check, "getTableTypes", AdbcStatusCode.NOT_IMPLEMENTED, connection::getTableTypes);
        });
    }

    private static String objects(
            AdbcConnection connection, AdbcConnection.GetObjectsDepth depth, String schema, String table, String[] types) throws Exception {
        try (ArrowReader reader = connection.getObjects(depth, null, schema, table, types, null)) {
            return String.join("\n", Adbc.rows(reader));
        }
    }
}
