"""What Spark reads: types, partitions, filters."""

import datetime as dt
from decimal import Decimal

import pytest

TYPES = """(select true as boolean, arrow_cast(8, 'Int8') as int8, arrow_cast(16, 'Int16') as int16,
  arrow_cast(32, 'Int32') as int32, arrow_cast(64, 'Int64') as int64, arrow_cast(0.5, 'Float32') as float32,
  arrow_cast(0.25, 'Float64') as float64, cast(12.34 as decimal(10, 2)) as decimal,
  cast('12345678901234567890.123456789' as decimal(38, 9)) as wide, 'naïve ☃' as text, X'00ff' as bytes, date '2024-02-29' as day,
  timestamp '2024-02-29 12:34:56.789' as moment, cast(null as varchar) as missing) as t"""

TABLE = """create table {} as select column1 as n, column2 as name, cast(column3 as decimal(10, 2)) as price,
  cast(column4 as timestamp) as moment, cast(column5 as date) as day from (values
  (1, 'Ada', 1.50, '2024-02-29 12:34:56.789', '2024-02-29'), (2, 'it''s', 2.25, '1969-12-31 23:59:59.999', '1969-12-31'),
  (3, '100%', 10.00, '2030-01-01 00:00:00', '2030-01-01'), (4, null, null, null, null)) as v"""


@pytest.fixture(scope="module")
def table(server):
    server.run(TABLE.format("read_by_spark"))
    return "read_by_spark"


def test_types(jdbc):
    frame = jdbc.read(TYPES)
    types = dict(frame.dtypes)
    assert types["boolean"] == "boolean"
    # Nothing tells the driver's results that integers have a sign, so that Spark takes types that hold them without one.
    assert (types["int32"], types["int64"], types["float64"]) == ("bigint", "decimal(20,0)", "double")
    assert (types["text"], types["bytes"], types["day"], types["moment"]) == ("string", "binary", "date", "timestamp")
    [row] = frame.collect()
    assert row.boolean is True
    assert (row.int8, row.int16, row.int32, row.int64, row.float32, row.float64) == (8, 16, 32, 64, 0.5, 0.25)
    assert (row.text, bytes(row.bytes), row.missing) == ("naïve ☃", b"\x00\xff", None)
    assert (row.day, row.moment) == (dt.date(2024, 2, 29), dt.datetime(2024, 2, 29, 12, 34, 56, 789000))


def test_decimals_keep_their_precision_and_scale(jdbc):
    frame = jdbc.read(TYPES).select("decimal", "wide")
    assert dict(frame.dtypes) == {"decimal": "decimal(10,2)", "wide": "decimal(38,9)"}
    assert frame.collect() == [(Decimal("12.34"), Decimal("12345678901234567890.123456789"))]


@pytest.mark.parametrize(
    "condition, found",
    [
        ("n = 2", [2]),
        ("n in (1, 3) and n <> 3", [1]),
        ("name = \"it's\"", [2]),
        ("name like 'A%'", [1]),
        ("name like '%0\\%'", [3]),
        ("name is null", [4]),
        ("price >= 2.25", [2, 3]),
        ("moment < timestamp '1970-01-01 00:00:00'", [2]),
        ("moment = timestamp '2024-02-29 12:34:56.789'", [1]),
        ("day > date '1995-01-01' and not (day = date '2030-01-01')", [1]),
    ],
)
def test_filters_are_pushed_down(jdbc, table, condition, found):
    frame = jdbc.read(table).where(condition).select("n")
    assert sorted(row.n for row in frame.collect()) == found
    # No filter is left to Spark alone: the server is asked for these rows only.
    assert all("WHERE" in sql for sql in jdbc.server.queries(f'"n" FROM {table} ') if "1=0" not in sql)


def test_only_the_columns_that_are_asked_for(jdbc, table):
    assert jdbc.read(table).where("n > 3").select("day").collect() == [(None,)]
    [sql] = [sql for sql in jdbc.server.queries(f'SELECT "day" FROM {table}')]
    assert '"name"' not in sql and '"n" > 3' in sql


def test_partitioned_reads(jdbc):
    source = "(select value as n, value % 7 as m from generate_series(1, 10000)) as series"
    bounds = {"partitionColumn": "n", "lowerBound": "1", "upperBound": "10000", "numPartitions": "4"}
    frame = jdbc.read(source, **bounds)
    assert frame.rdd.getNumPartitions() == 4
    assert frame.selectExpr("count(*)", "count(distinct n)", "sum(n)").collect() == [(10000, 10000, 50005000)]


def test_predicates_as_partitions(jdbc, table):
    frame = jdbc.spark.read.jdbc(
        jdbc.server.url, table, predicates=["n <= 2", "n > 2"], properties={"driver": "org.apache.arrow.driver.jdbc.ArrowFlightJdbcDriver"}
    )
    assert frame.rdd.getNumPartitions() == 2
    assert sorted(row.n for row in frame.collect()) == [1, 2, 3, 4]


def test_the_catalog(jdbc, table):
    """Spark's catalog of a JDBC source."""
    spark = jdbc.spark
    # Spark leaves the rows of getTables open, which the driver takes for a leak when the connection closes.
    with pytest.raises(Exception, match="Exception while closing: Memory was leaked"):
        spark.sql("show tables in airstrip.public")
    assert spark.catalog.tableExists(f"airstrip.public.{table}")
    assert spark.sql(f"select count(*), max(price) from airstrip.public.{table} where n < 4").collect() == [(3, Decimal("10.00"))]
    assert len(spark.sql(f"select n from airstrip.public.{table} limit 2").collect()) == 2
    # Though the catalog's options ask for it, Spark pushes aggregates and limits to databases whose dialect it knows only.
    assert jdbc.server.queries(f'SELECT "price" FROM "public"."{table}"  WHERE ("n" IS NOT NULL) AND ("n" < 4)')
    assert not jdbc.server.queries("MAX(") and not jdbc.server.queries("LIMIT")


def test_moments_with_a_zone_are_cast(jdbc):
    zoned = "(select arrow_cast('2024-02-29T12:34:56Z', 'Timestamp(Microsecond, Some(\"UTC\"))') as t) as z"
    # The driver says TIMESTAMP_WITH_TIMEZONE, a type that Spark's JDBC source does not have.
    with pytest.raises(Exception, match="UNRECOGNIZED_SQL_TYPE"):
        jdbc.read(zoned)
    cast = zoned.replace("as t)", "::timestamp as t)")
    assert jdbc.read(cast).collect() == [(dt.datetime(2024, 2, 29, 12, 34, 56),)]


def test_errors(jdbc):
    with pytest.raises(Exception, match="nowhere"):
        jdbc.read("nowhere")
    with pytest.raises(Exception, match="Cannot cast|cast"):
        jdbc.read("(select cast(name as int) as n from read_by_spark) as t").collect()
