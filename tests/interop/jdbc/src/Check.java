import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Objects;

/** Runs checks, and prints one line for each. */
final class Check {
    interface Body {
        void run(Check check) throws Exception;
    }

    interface Call {
        Object get() throws Exception;
    }

    static int passed;
    static int failed;
    static String address;
    /** The driver's version as one number: 18.3.0 is 1803. */
    static int version;

    private final List<String> wrong = new ArrayList<>();
    private int facts;

    static void run(String name, Body body) {
        Check check = new Check();
        try {
            body.run(check);
        } catch (Throwable error) {
            check.wrong.add(text(error));
        }
        if (check.wrong.isEmpty()) {
            passed++;
            System.out.println("ok " + name + ": " + check.facts + " facts");
        } else {
            failed++;
            System.out.println("FAIL " + name + ": " + String.join(" | ", check.wrong));
        }
        System.out.flush();
    }

    /** A check with a connection of its own. */
    static void connected(String name, ConnectedBody body) {
        run(name, check -> {
            try (Connection connection = connect()) {
                body.run(check, connection);
            }
        });
    }

    interface ConnectedBody {
        void run(Check check, Connection connection) throws Exception;
    }

    /** A connection with options, each written {@code name=value}. */
    static Connection connect(String... options) throws SQLException {
        StringBuilder url = new StringBuilder("jdbc:arrow-flight-sql://" + address + "/?useEncryption=false");
        for (String option : options) {
            url.append('&').append(option);
        }
        return DriverManager.getConnection(url.toString());
    }

    void same(String what, Object expected, Object actual) {
        facts++;
        Object one = expected instanceof byte[] bytes ? Arrays.toString(bytes) : expected;
        Object two = actual instanceof byte[] bytes ? Arrays.toString(bytes) : actual;
        if (!Objects.equals(one, two)) {
            wrong.add(what + ": expected " + shown(one) + ", got " + shown(two));
        }
    }

    /** As {@link #same}, where a call that throws is one more wrong value and not the end of the check. */
    void gives(String what, Object expected, Call call) {
        try {
            same(what, expected, call.get());
        } catch (Throwable error) {
            facts++;
            wrong.add(what + ": expected " + shown(expected) + ", got " + text(error));
        }
    }

    void yes(String what, boolean condition) {
        facts++;
        if (!condition) {
            wrong.add(what);
        }
    }

    /** Asserts that a call throws an exception of this class with these words in its messages or stack trace. */
    void fails(String what, Class<? extends Throwable> type, Call call, String... words) {
        facts++;
        Object value;
        try {
            value = call.get();
        } catch (Throwable error) {
            String text = text(error);
            if (!type.isInstance(error)) {
                wrong.add(what + ": expected " + type.getSimpleName() + ", got " + text);
            }
            for (String word : words) {
                if (!text.toLowerCase(Locale.ROOT).contains(word.toLowerCase(Locale.ROOT))) {
                    wrong.add(what + ": the error lacks '" + word + "': " + text);
                }
            }
            return;
        }
        wrong.add(what + ": expected " + type.getSimpleName() + ", got " + shown(value));
    }

    /** All messages of an exception and its causes, and where the first one was thrown. */
    static String text(Throwable error) {
        StringBuilder text = new StringBuilder();
        for (Throwable cause = error; cause != null && text.length() < 2000; cause = cause.getCause()) {
            text.append(text.isEmpty() ? "" : " <- ").append(cause);
            StackTraceElement[] trace = cause.getStackTrace();
            for (int i = 0; i < Math.min(3, trace.length); i++) {
                text.append(i == 0 ? " at " : ", ").append(trace[i].getClassName().replaceAll(".*\\.", ""));
                text.append('.').append(trace[i].getMethodName()).append(':').append(trace[i].getLineNumber());
            }
        }
        return text.toString().replaceAll("\\s+", " ");
    }

    private static String shown(Object value) {
        String text = value == null ? "null" : value + " (" + value.getClass().getSimpleName() + ")";
        return text.length() > 600 ? text.substring(0, 600) + "…" : text;
    }

    /** All rows, each as its values' texts joined by {@code |}. */
    static List<String> rows(ResultSet results, String... columns) throws SQLException {
        List<String> rows = new ArrayList<>();
        try (results) {
            int width = columns.length > 0 ? columns.length : results.getMetaData().getColumnCount();
            while (results.next()) {
                List<String> row = new ArrayList<>();
                for (int i = 0; i < width; i++) {
                    String value = columns.length > 0 ? results.getString(columns[i]) : results.getString(i + 1);
                    row.add(value);
                }
                rows.add(String.join("|", row.stream().map(String::valueOf).toList()));
            }
        }
        return rows;
    }

    static List<String> query(Connection connection, String sql) throws SQLException {
        try (var statement = connection.createStatement()) {
            return rows(statement.executeQuery(sql));
        }
    }

    static long update(Connection connection, String sql) throws SQLException {
        try (var statement = connection.createStatement()) {
            return statement.executeUpdate(sql);
        }
    }
}
