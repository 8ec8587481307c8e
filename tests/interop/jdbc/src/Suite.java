/** Runs every check against a server with the TPC-H tables of scale 0.01: {@code Suite HOST:PORT DRIVER-VERSION}. */
public final class Suite {
    public static void main(String[] args) {
        Check.address = args[0];
        String[] version = args[1].split("\\.");
        Check.version = Integer.parseInt(version[0]) * 100 + Integer.parseInt(version[1]);
        ConnectionChecks.run(args[1]);
        MetadataChecks.run();
        TypeChecks.run();
        StatementChecks.run();
        PreparedChecks.run();
        // Not by returning: the driver's threads would keep the process alive.
        System.out.println(Check.passed + " passed, " + Check.failed + " failed");
        System.out.flush();
        System.exit(Check.failed == 0 ? 0 : 1);
    }
}
