"""What Spark writes, as it and other clients read it then."""

import datetime as dt
from decimal import Decimal

import pytest

SCHEMA = """id bigint, small int, flag boolean, price decimal(12, 2), moment timestamp, local timestamp_ntz, day date,
  name string, ratio double, raw binary"""
MOMENT = dt.datetime(2024, 2, 29, 12, 34, 56, 789000)
OLD = dt.datetime(1969, 7, 20, 20, 17, 40)
ROWS = [
    (1, 7, True, Decimal("1.10"), MOMENT, MOMENT, dt.date(2024, 2, 29), "naïve ☃", 1.5, bytearray(b"\x00\xff")),
    (2, -7, False, Decimal("-9999999999.99"), OLD, OLD, dt.date(1969, 7, 20), "", -0.25, bytearray()),
    (3, None, None, None, None, None, None, None, None, None),
]


@pytest.fixture
def frame(spark):
    return spark.createDataFrame(ROWS, SCHEMA)


@pytest.fixture
def written(jdbc, frame, name):
    """A table with Spark's own columns, to which the frame was appended."""
    jdbc.create(frame, name)
    jdbc.write(frame, name, "append")
    return name


def test_types_come_back(jdbc, written):
    assert sorted(map(tuple, jdbc.read(written).collect())) == ROWS


def test_moments_are_stored_as_they_are(jdbc, written):
    columns = "cast(moment as varchar) as moment, cast(local as varchar) as local, cast(day as varchar) as day"
    rows = jdbc.server.sql(f"select {columns} from {written} where id < 3 order by id")
    assert [row["moment"] for row in rows] == ["2024-02-29T12:34:56.789", "1969-07-20T20:17:40"]
    assert [row["local"] for row in rows] == [row["moment"] for row in rows]
    assert [row["day"] for row in rows] == ["2024-02-29", "1969-07-20"]


def test_decimals_are_stored_as_they_are(jdbc, written):
    rows = jdbc.server.sql(f"select cast(price as varchar) as price, arrow_typeof(price) as type from {written} where id < 3 order by id")
    assert [row["price"] for row in rows] == ["1.10", "-9999999999.99"]
    assert {row["type"] for row in rows} == {"Decimal128(12, 2)"}


def test_moments_are_found_by_what_spark_wrote(jdbc, written):
    frame = jdbc.read(written)
    assert [row.id for row in frame.where("moment > timestamp '2024-01-01 00:00:00'").collect()] == [1]
    assert [row.id for row in frame.where("moment < timestamp '1970-01-01 00:00:00'").collect()] == [2]


def test_several_appends(jdbc, spark, name):
    first = spark.range(0, 2500, 1, 2).selectExpr("id", "concat('row ', id) as name")
    jdbc.create(first, name)
    for start in (0, 2500):
        jdbc.write(first.selectExpr(f"id + {start} as id", "name"), name, "append", batchsize="1000")
    [row] = jdbc.server.sql(f"select count(*) as n, count(distinct id) as ids, max(id) as last, count(name) as names from {name}")
    assert row == {"n": 5000, "ids": 5000, "last": 4999, "names": 5000}


def test_overwrite(jdbc, frame, written):
    jdbc.write(frame.where("id = 1"), written, "overwrite")
    assert [row["id"] for row in jdbc.server.sql(f"select id from {written}")] == [1]
    assert list(map(tuple, jdbc.read(written).collect())) == ROWS[:1]


def test_a_table_that_is_there_is_not_written_by_default(jdbc, frame, written):
    with pytest.raises(Exception, match="already exists"):
        jdbc.write(frame, written, "errorifexists")
    jdbc.write(frame, written, "ignore")
    assert jdbc.read(written).count() == 3


def test_a_table_that_is_not_there_is_created_first(jdbc, frame, name):
    """Spark from 4.1 on takes an error for "not there" by an SQLState that begins with 42; the driver sends none."""
    with pytest.raises(Exception, match=name):
        jdbc.write(frame, name, "errorifexists")
    assert "CREATE" not in "".join(jdbc.server.queries(name))
