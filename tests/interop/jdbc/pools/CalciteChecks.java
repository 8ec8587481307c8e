import com.zaxxer.hikari.HikariDataSource;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.util.List;
import java.util.Properties;
import org.apache.calcite.adapter.jdbc.JdbcSchema;
import org.apache.calcite.jdbc.CalciteConnection;
import org.apache.calcite.schema.SchemaPlus;

/** Calcite's JDBC adapter, which reads the tables' columns from DatabaseMetaData and sends SQL that it writes itself. */
final class CalciteChecks {
    interface Body {
        void run(Check check, Connection calcite) throws Exception;
    }

    static void run() {
        with("calcite.metadata", CalciteChecks::metadata);
        with("calcite.queries", CalciteChecks::queries);
        with("calcite.queries_that_are_pushed_down", CalciteChecks::pushed);
        with("calcite.parameters", CalciteChecks::parameters);
    }

    private static void with(String name, Body body) {
        HikariChecks.pooled(name, 2, (check, pool) -> {
            Properties properties = new Properties();
            properties.put("lex", "JAVA");
            try (Connection connection = DriverManager.getConnection("jdbc:calcite:", properties)) {
                CalciteConnection calcite = connection.unwrap(CalciteConnection.class);
                SchemaPlus root = calcite.getRootSchema();
                root.add("tpch", JdbcSchema.create(root, "tpch", pool, "airstrip", "public"));
                calcite.setSchema("tpch");
                body.run(check, connection);
            }
        });
    }

    private static void metadata(Check check, Connection calcite) throws Exception {
        List<String> tables = Check.rows(calcite.getMetaData().getTables(null, "tpch", "%", null), "TABLE_NAME");
        check.yes("tables: " + tables, tables.containsAll(List.of("customer", "lineitem", "nation", "region")));
        // 65536 is the longest VARCHAR of Calcite's own, where the server says the largest size that there is.
        check.same("columns", List.of("o_orderkey|BIGINT NOT NULL", "o_custkey|BIGINT NOT NULL", "o_orderstatus|VARCHAR(65536) NOT NULL",
                        "o_totalprice|DECIMAL(15, 2) NOT NULL", "o_orderdate|DATE NOT NULL"),
                Check.rows(calcite.getMetaData().getColumns(null, "tpch", "orders", "%"), "COLUMN_NAME", "TYPE_NAME").subList(0, 5));
    }

    private static void queries(Check check, Connection calcite) throws Exception {
        query(check, calcite, "select n_name from nation where n_nationkey = 6", "FRANCE");
        query(check, calcite, "select count(*), min(n_name) from nation", "25|ALGERIA");
        query(check, calcite, "select r_name, count(*) as n from nation join region on n_regionkey = r_regionkey"
                + " group by r_name having count(*) > 1 order by r_name", "AFRICA|5", "AMERICA|5", "ASIA|5", "EUROPE|5", "MIDDLE EAST|5");
        query(check, calcite, "select cast(sum(o_totalprice) as decimal(15, 2)) > 0 from orders where o_orderdate >= date '1995-01-01'"
                + " and o_orderdate < date '1996-01-01'", "true");
        query(check, calcite, "select n_name from nation where n_name like 'UNITED%' order by n_name desc", "UNITED STATES", "UNITED KINGDOM");
        query(check, calcite, "select case when n_regionkey in (0, 1) then 'a' else 'b' end, count(*) from nation"
                + " group by case when n_regionkey in (0, 1) then 'a' else 'b' end order by 1", "a|10", "b|15");
        query(check, calcite, "select r_name from region where r_regionkey not in (select n_regionkey from nation where n_nationkey < 20)"
                + " or r_name = 'ASIA'", "ASIA");
        query(check, calcite, "select n_name from nation union all select r_name from region order by 1 limit 2", "AFRICA", "ALGERIA");
    }

    /** The limit is sent as OFFSET … ROWS FETCH NEXT … ROWS ONLY. */
    private static void pushed(Check check, Connection calcite) throws Exception {
        query(check, calcite, "select n_name from nation order by n_name limit 2", "ALGERIA", "ARGENTINA");
        query(check, calcite, "select n_name from nation order by n_name limit 1 offset 2", "BRAZIL");
        String plan = String.join("\n", Check.query(calcite,
                "explain plan for select n_regionkey, count(*) from nation where n_nationkey > 3 group by n_regionkey"));
        for (String part : List.of("JdbcToEnumerableConverter", "JdbcAggregate", "JdbcFilter", "JdbcTableScan")) {
            check.yes(part + " is in " + plan, plan.contains(part));
        }
    }

    private static void parameters(Check check, Connection calcite) throws Exception {
        try (PreparedStatement statement = calcite.prepareStatement("select n_name from nation where n_nationkey = ? or n_name = ?")) {
            for (String name : List.of("GERMANY", "PERU")) {
                statement.setLong(1, 7);
                statement.setString(2, name);
                check.gives(name, name.equals("PERU") ? 2 : 1, () -> Check.rows(statement.executeQuery()).size());
            }
        }
    }

    private static void query(Check check, Connection calcite, String sql, String... rows) {
        check.gives(sql, List.of(rows), () -> Check.query(calcite, sql));
    }
}
