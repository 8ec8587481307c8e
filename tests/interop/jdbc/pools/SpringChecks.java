import com.zaxxer.hikari.HikariDataSource;
import java.math.BigDecimal;
import java.sql.Date;
import java.sql.Types;
import java.time.LocalDate;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.springframework.dao.DataAccessException;
import org.springframework.jdbc.core.JdbcTemplate;
import org.springframework.jdbc.core.namedparam.NamedParameterJdbcTemplate;
import org.springframework.jdbc.core.simple.SimpleJdbcInsert;
import org.springframework.jdbc.datasource.DataSourceTransactionManager;
import org.springframework.transaction.support.TransactionTemplate;

/** Spring's templates over a pool, as an application's repositories use them. */
final class SpringChecks {
    static void run() {
        HikariChecks.pooled("spring.queries", 2, SpringChecks::queries);
        HikariChecks.pooled("spring.changes", 2, SpringChecks::changes);
        HikariChecks.pooled("spring.transactions", 2, SpringChecks::transactions);
        HikariChecks.pooled("spring.inserts_by_metadata", 2, SpringChecks::inserts);
    }

    private static void queries(Check check, HikariDataSource pool) {
        JdbcTemplate template = new JdbcTemplate(pool);
        check.same("one value", 25, template.queryForObject("select count(*) from nation", Integer.class));
        check.same("with parameters", List.of("FRANCE", "GERMANY"), template.queryForList(
                "select n_name from nation where n_nationkey between ? and ? order by 1", String.class, 6, 7));
        Map<String, Object> row = template.queryForMap("select * from nation where n_name = ?", "FRANCE");
        check.same("a row", "[n_nationkey, n_name, n_regionkey, n_comment]", row.keySet().toString());
        check.same("by name", List.of("FRANCE", "GERMANY"), new NamedParameterJdbcTemplate(pool).queryForList(
                "select n_name from nation where n_nationkey in (:keys) order by n_name", Map.of("keys", List.of(6, 7)), String.class));
        check.same("a day", 4, template.queryForObject(
                "select count(*) from orders where o_orderdate = ?", Integer.class, Date.valueOf("1995-01-01")));
        check.same("a decimal", new BigDecimal("12.34"), template.queryForObject(
                "select cast(? as decimal(10, 2))", BigDecimal.class, new BigDecimal("12.34")));
        template.setFetchSize(1000);
        template.setMaxRows(10);
        check.same("at most ten rows", 10, template.queryForList("select * from lineitem").size());
        check.fails("a missing table", DataAccessException.class, () -> template.queryForList("select * from nowhere"), "nowhere");
        check.fails("bad SQL", DataAccessException.class, () -> template.queryForList("selec 1"), "selec");
    }

    private static void changes(Check check, HikariDataSource pool) {
        JdbcTemplate template = new JdbcTemplate(pool);
        template.execute("create table people (id bigint, name varchar, born date, height double)");
        String insert = "insert into people (id, name, born, height) values (?, ?, ?, ?)";
        check.gives("one row", 1, () -> template.update(insert, 1, "Ada", Date.valueOf(LocalDate.of(1815, 12, 10)), 1.65));
        check.gives("NULLs", 1, () -> template.update(insert, 2, null, null, null));
        check.gives("NULLs with types", 1, () -> template.update(insert, new Object[] {3, null, null, null},
                new int[] {Types.BIGINT, Types.VARCHAR, Types.DATE, Types.DOUBLE}));
        check.gives("several", "[1, 1]", () -> Arrays.toString(template.batchUpdate(insert, List.of(
                new Object[] {4, "Grace", Date.valueOf("1906-12-09"), 1.52}, new Object[] {5, "Edsger", null, 1.8}))));
        check.gives("changed", 1, () -> template.update("update people set height = ? where id = ?", 1.7, 1));
        check.gives("removed", 2, () -> template.update("delete from people where name is null"));
        check.same("what is left", List.of("Ada 1815-12-10 1.7", "Grace 1906-12-09 1.52", "Edsger null 1.8"),
                template.query("select * from people order by id",
                        (row, number) -> row.getString("name") + " " + row.getDate("born") + " " + row.getDouble("height")));
        template.execute("drop table people");
    }

    private static void transactions(Check check, HikariDataSource pool) {
        JdbcTemplate template = new JdbcTemplate(pool);
        TransactionTemplate transaction = new TransactionTemplate(new DataSourceTransactionManager(pool));
        template.execute("create table ledger (n bigint)");
        transaction.executeWithoutResult(status -> template.update("insert into ledger values (1)"));
        check.same("after a commit", 1, template.queryForObject("select count(*) from ledger", Integer.class));
        transaction.executeWithoutResult(status -> {
            template.update("insert into ledger values (2)");
            status.setRollbackOnly();
        });
        // The server has none, the driver only notes them: what was stored stays.
        check.same("after a rollback", 2, template.queryForObject("select count(*) from ledger", Integer.class));
        transaction.setReadOnly(true);
        check.same("read only", 2, transaction.execute(status ->
                template.queryForObject("select count(*) from ledger", Integer.class)));
        template.execute("drop table ledger");
    }

    /** SimpleJdbcInsert asks getTables and getColumns for the statement that it writes, unless it is told the columns. */
    private static void inserts(Check check, HikariDataSource pool) {
        JdbcTemplate template = new JdbcTemplate(pool);
        template.execute("create table tools (id bigint, name varchar, price decimal(10, 2))");
        Map<String, Object> saw = Map.of("id", 1, "name", "saw", "price", new BigDecimal("9.50"));
        // The driver always says that names are kept in capitals (storesUpperCaseIdentifiers), so that Spring asks for the
        // columns of AIRSTRIP.PUBLIC.TOOLS.
        check.fails("by its metadata", DataAccessException.class, () -> new SimpleJdbcInsert(pool).withSchemaName("public")
                .withTableName("tools").execute(saw), "Unable to locate columns for table 'tools'");
        // What an application writes instead.
        SimpleJdbcInsert insert = new SimpleJdbcInsert(pool).withSchemaName("public").withTableName("tools")
                .usingColumns("id", "name", "price").withoutTableColumnMetaDataAccess();
        check.gives("by a map", 1, () -> insert.execute(saw));
        check.same("stored", List.of("1|saw|9.50"), template.query("select * from tools",
                (row, number) -> row.getLong(1) + "|" + row.getString(2) + "|" + row.getBigDecimal(3)));
        template.execute("drop table tools");
    }
}
