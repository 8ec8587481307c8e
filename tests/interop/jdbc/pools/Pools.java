/** Runs the checks of pools and frameworks over the driver: {@code Pools HOST:PORT LABEL}, where the label begins with its version. */
public final class Pools {
    public static void main(String[] args) {
        Check.address = args[0];
        String[] version = args[1].split("[. ]");
        Check.version = Integer.parseInt(version[0]) * 100 + Integer.parseInt(version[1]);
        HikariChecks.run();
        SpringChecks.run();
        CalciteChecks.run();
        System.out.println(Check.passed + " passed, " + Check.failed + " failed");
        System.out.flush();
        System.exit(Check.failed == 0 ? 0 : 1);
    }
}
