/** Runs every check against a server with the TPC-H tables of scale 0.01: {@code AdbcSuite HOST:PORT DRIVER-VERSION}. */
public final class AdbcSuite {
    public static void main(String[] args) {
        Check.address = args[0];
        QueryChecks.run();
        ChangeChecks.run();
        ObjectChecks.run();
        LifeChecks.run();
        System.out.println(Check.passed + " passed, " + Check.failed + " failed");
        System.out.flush();
        System.exit(Check.failed == 0 ? 0 : 1);
    }
}
