import java.util.List;
import org.apache.arrow.adbc.core.AdbcConnection;
import org.apache.arrow.adbc.core.AdbcInfoCode;
import org.apache.arrow.adbc.core.AdbcStatusCode;
import org.apache.arrow.vector.ipc.ArrowReader;

/** What the driver tells of the server and its tables. */
final class ObjectChecks {
    static void run() {
        Adbc.connected("metadata.info", (check, connection, allocator) -> {
            // The driver empties the server's batch (GetInfoMetadataReader.processRootFromStream) before it reads it.
            try (ArrowReader reader = connection.getInfo(new AdbcInfoCode[] {AdbcInfoCode.VENDOR_NAME, AdbcInfoCode.DRIVER_NAME})) {
                check.same("without the vendor", List.of("100|ADBC Flight SQL Driver"), Adbc.rows(reader));
            }
            try (ArrowReader reader = connection.getInfo()) {
                check.yes("all of it", !Adbc.rows(reader).isEmpty());
            }
        });
        // The driver cannot load the batch that it made itself: its BaseFlightReader.loadRoot.
        Adbc.connected("metadata.objects", (check, connection, allocator) ->
                check.fails("one of the depths", IllegalArgumentException.class, () -> {
                    for (AdbcConnection.GetObjectsDepth depth : AdbcConnection.GetObjectsDepth.values()) {
                        try (ArrowReader reader = connection.getObjects(depth, null, "public", null, null, null)) {
                            Adbc.rows(reader);
                        }
                    }
                    return null;
                }, "not all nodes"));
        Adbc.connected("metadata.not_in_the_driver", (check, connection, allocator) -> {
            Adbc.fails(check, "getTableSchema", AdbcStatusCode.NOT_IMPLEMENTED,
                    () -> connection.getTableSchema(null, "public", "nation"));
            Adbc.fails(check, "getTableTypes", AdbcStatusCode.NOT_IMPLEMENTED, connection::getTableTypes);
        });
    }
}
