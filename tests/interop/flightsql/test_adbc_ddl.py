"""Statements that change tables, views, schemas and the session, through the ADBC driver."""

import datetime as dt

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import samples
from helpers import fails, ingest, rows, run, table


def nullable(schema):
    return pa.schema([field.with_nullable(True) for field in schema])


def test_create_table_as(connection, name):
    run(connection, f"create table {name} as select id, name from people where id < 3")
    got = table(connection, f"select * from {name} order by id")
    # A query's columns may be NULL in the table that is made of it, as in other databases.
    assert got.equals(samples.PEOPLE.select(["id", "name"]).slice(0, 2).cast(nullable(got.schema)))
    with fails("ALREADY_EXISTS", name):
        run(connection, f"create table {name} as select 1 as n")
    run(connection, f"create table if not exists {name} as select 1 as n")
    assert rows(connection, f"select count(*) from {name}") == [(2,)]
    run(connection, f"create or replace table {name} as select 7 as n")
    assert rows(connection, f"select * from {name}") == [(7,)]


def test_a_change_says_how_many_rows_it_stored(connection, name):
    with connection.cursor() as cursor:
        cursor.execute(f"create table {name} as select * from people")
        assert cursor.rowcount == 4
        cursor.execute(f"drop table {name}")
        assert cursor.rowcount == 0


def test_create_table_with_columns(connection, name):
    run(
        connection,
        f"""create table {name} (i int not null, b bigint, t tinyint unsigned, s varchar(10), d double, f real,
            c decimal(10, 2), o boolean, y bytea, a date, m time, e timestamp)""",
    )
    got = table(connection, f"select * from {name}")
    assert got.num_rows == 0
    assert got.schema == pa.schema(
        [
            pa.field("i", pa.int32(), nullable=False),
            ("b", pa.int64()),
            ("t", pa.uint8()),
            ("s", pa.string()),
            ("d", pa.float64()),
            ("f", pa.float32()),
            ("c", pa.decimal128(10, 2)),
            ("o", pa.bool_()),
            ("y", pa.binary()),
            ("a", pa.date32()),
            ("m", pa.time64("ns")),
            ("e", pa.timestamp("ns")),
        ]
    )
    with fails("NOT_IMPLEMENTED", "an enforced PRIMARY KEY is not supported; write NOT ENFORCED"):
        run(connection, f"create table {name}2 (i int primary key)")
    with fails("NOT_IMPLEMENTED", "default values of columns are not supported"):
        run(connection, f"create table {name}2 (i int default 3)")


def test_drop_table(connection, name):
    with fails("NOT_FOUND", name):
        run(connection, f"drop table {name}")
    run(connection, f"drop table if exists {name}", f"create table {name} as select 1 as n", f"drop table {name}")
    with fails("NOT_FOUND", name):
        rows(connection, f"select * from {name}")


def test_rename_table(connection, name):
    run(connection, f"create table {name} as select 1 as n", f"create table {name}taken as select 2 as n")
    with fails("ALREADY_EXISTS", f"{name}taken"):
        run(connection, f"alter table {name} rename to {name}taken")
    run(connection, f"alter table {name} rename to {name}new")
    assert rows(connection, f"select n from {name}new") == [(1,)]
    with fails("NOT_FOUND", name):
        run(connection, f"alter table {name} rename to {name}other")
    with fails("NOT_IMPLEMENTED", "of ALTER TABLE only RENAME TO, ADD COLUMN, ALTER COLUMN"):
        run(connection, f"alter table {name}new drop column n")
    run(connection, f"alter table {name}new add column z int")
    assert rows(connection, f"select n, z from {name}new") == [(1, None)]


def test_a_renamed_table_stays_in_its_schema(connection, name):
    run(connection, f"create schema {name}", f"create table {name}.a as select 1 as n")
    run(connection, f"alter table {name}.a rename to b")
    assert rows(connection, f"select n from {name}.b") == [(1,)]


def test_truncate_keeps_the_columns(connection, name):
    run(connection, f"create table {name} as select * from people", f"truncate table {name}")
    got = table(connection, f"select * from {name}")
    assert got.num_rows == 0 and got.schema == nullable(samples.PEOPLE.schema)
    with fails("NOT_FOUND", f"{name}missing"):
        run(connection, f"truncate table {name}missing")


def test_schemas(connection, name):
    run(connection, f"create schema {name}")
    with fails("ALREADY_EXISTS", name):
        run(connection, f"create schema {name}")
    run(connection, f"create schema if not exists {name}", f"create table {name}.t as select 1 as n")
    assert rows(connection, f"select n from airstrip.{name}.t") == [(1,)]
    with fails("UNKNOWN", "not empty.*CASCADE"):
        run(connection, f"drop schema {name}")
    run(connection, f"drop schema {name} cascade")
    with fails("NOT_FOUND"):
        rows(connection, f"select n from {name}.t")
    with fails("NOT_FOUND", name):
        run(connection, f"drop schema {name}")
    run(connection, f"drop schema if exists {name}")
    with fails("NOT_FOUND", name):
        run(connection, f"create table {name}.t as select 1 as n")


def test_views(connection, name):
    run(connection, f"create view {name} as select id * 2 as twice from people")
    assert rows(connection, f"select max(twice) from {name}") == [(8,)]
    with fails("ALREADY_EXISTS", name):
        run(connection, f"create view {name} as select 1 as n")
    run(connection, f"create or replace view {name} (a, b) as select id, name from people")
    assert rows(connection, f"select b from {name} where a = 2") == [("Grace",)]
    with fails("UNKNOWN", f"{name} is a view"):
        run(connection, f"create table {name} as select 1 as n")
    with fails("INVALID_ARGUMENT", f"{name} is a view"):
        run(connection, f"drop table {name}")
    run(connection, f"drop view {name}", f"drop view if exists {name}")
    with fails("NOT_FOUND", name):
        run(connection, f"drop view {name}")


def test_a_view_of_a_view_follows_its_table(connection, name):
    run(
        connection,
        f"create table {name} as select 1 as n",
        f"create view {name}v as select n + 1 as n from {name}",
        f"create view {name}w as select n * 10 as n from {name}v",
    )
    assert rows(connection, f"select n from {name}w") == [(20,)]
    run(connection, f"create or replace table {name} as select 2 as n")
    assert rows(connection, f"select n from {name}w") == [(30,)]
    run(connection, f"drop table {name}")
    with fails("NOT_FOUND", name):
        rows(connection, f"select n from {name}w")


def test_a_view_means_the_same_in_every_session(connection, name):
    """Not what the reader's current schema or temporary tables would make of its names."""
    run(connection, f"create schema {name}", f"create table {name}.t as select 'in the schema' as n")
    run(connection, f"use {name}", "create view v as select n from t", "use public")
    assert rows(connection, f"select n from {name}.v") == [("in the schema",)]
    run(connection, "create temporary table t as select 'temporary' as n")
    assert rows(connection, f"select n from {name}.v") == [("in the schema",)]


def test_a_view_of_what_is_missing_is_refused(connection, name):
    with fails("NOT_FOUND", f"{name}missing"):
        run(connection, f"create view {name} as select * from {name}missing")


class TestTemporaryTables:
    def test_only_their_session_sees_them(self, shared, connection, name):
        run(connection, f"create temporary table {name} as select 1 as n")
        assert rows(connection, f"select n from {name}") == [(1,)]
        with shared.connect() as other:
            with fails("NOT_FOUND", name):
                rows(other, f"select n from {name}")
        assert [path for path in shared.root.rglob("*") if name in path.name] == []

    def test_create_replace_drop(self, connection, name):
        run(connection, f"create temp table {name} (i int)")
        assert table(connection, f"select * from {name}").schema == pa.schema([("i", pa.int32())])
        with fails("ALREADY_EXISTS", name):
            run(connection, f"create temporary table {name} as select 1 as n")
        run(connection, f"create temporary table if not exists {name} as select 1 as n")
        assert rows(connection, f"select * from {name}") == []
        run(connection, f"create or replace temporary table {name} as select 2 as n")
        assert rows(connection, f"select * from {name}") == [(2,)]
        run(connection, f"drop table {name}")
        with fails("NOT_FOUND"):
            rows(connection, f"select * from {name}")

    @pytest.fixture
    def hidden(self, connection, name):
        """A table behind a temporary one of the same name."""
        run(connection, f"create table {name} as select 'lasting' as n")
        run(connection, f"create temporary table {name} as select 'temporary' as n")
        assert rows(connection, f"select n from {name}") == [("temporary",)]
        return name

    @pytest.fixture
    def lasting(self, shared, hidden):
        """What everyone else sees under the hidden table's name."""

        def lasting():
            with shared.connect() as other:
                return rows(other, f"select n from {hidden}")

        return lasting

    def test_drop_table_takes_the_temporary_one_first(self, connection, hidden, lasting):
        run(connection, f"drop table {hidden}")
        assert rows(connection, f"select n from {hidden}") == lasting() == [("lasting",)]

    def test_truncate_does_not_reach_behind_it(self, connection, hidden, lasting):
        """A name means one thing: what SELECT reads is what TRUNCATE empties, or TRUNCATE refuses."""
        try:
            run(connection, f"truncate table {hidden}")
        except Exception as error:
            assert "temporary" in str(error)
        else:
            assert rows(connection, f"select n from {hidden}") == []
        assert lasting() == [("lasting",)]

    def test_rename_does_not_reach_behind_it(self, connection, hidden, lasting):
        try:
            run(connection, f"alter table {hidden} rename to {hidden}new")
        except Exception as error:
            assert "temporary" in str(error)
        else:
            assert rows(connection, f"select n from {hidden}new") == [("temporary",)]
        assert lasting() == [("lasting",)]

    @pytest.mark.parametrize("statement", ["truncate table {}", "alter table {} rename to {}new"])
    def test_what_they_do_not_support_is_not_called_missing(self, connection, name, statement):
        run(connection, f"create temporary table {name} as select 1 as n")
        try:
            run(connection, statement.format(name, name))
        except Exception as error:
            assert "temporary" in str(error)


def test_an_external_table_is_a_file_or_folder_below_the_root(shared, connection, name):
    folder = shared.root / "archive" / name
    folder.mkdir(parents=True)
    pq.write_table(samples.PEOPLE.slice(0, 2), folder / "1.parquet")
    pq.write_table(samples.PEOPLE.slice(2), folder / "2.parquet")
    run(connection, f"create external table {name} stored as parquet location 'archive/{name}'")
    assert table(connection, f"select * from {name} order by id").equals(samples.PEOPLE)
    with fails("ALREADY_EXISTS", name):
        run(connection, f"create external table {name} stored as parquet location 'archive/{name}/'")
    run(connection, f"create external table if not exists {name} stored as parquet location 'archive/{name}'")
    run(connection, f"create or replace external table {name} stored as parquet location 'archive/{name}/1.parquet'")
    assert rows(connection, f"select count(*) from {name}") == [(2,)]
    run(connection, f"drop table {name}")
    assert len(list(folder.iterdir())) == 2, "only the name is dropped, not what it named"


@pytest.mark.parametrize("location", ["/etc", "../outside", "file:///etc", "archive/missing", "s3://bucket/x"])
def test_an_external_table_reaches_nothing_else(connection, name, location):
    with pytest.raises(Exception) as error:
        run(connection, f"create external table {name} stored as parquet location '{location}'")
    assert error.value.status_code.name in ("INVALID_ARGUMENT", "NOT_FOUND", "UNKNOWN"), error.value
    with fails("NOT_FOUND"):
        rows(connection, f"select * from {name}")


def test_only_parquet_is_registered(connection, name):
    with fails("NOT_IMPLEMENTED", "only PARQUET"):
        run(connection, f"create external table {name} (a int) stored as csv location 'x.csv'")


REFUSED = [
    "copy people to 'x.parquet'",
    "begin",
    "commit",
    "prepare p as select 1",
    "create database x",
    "create index i on people (id)",
    "grant select on people to ada",
]


@pytest.mark.parametrize("sql", REFUSED)
def test_what_is_not_supported_says_so(connection, sql):
    with fails("NOT_IMPLEMENTED", "Airstrip does not run"):
        run(connection, sql)
    assert rows(connection, "select count(*) from people") == [(4,)]


@pytest.mark.parametrize(
    "sql",
    [
        "drop table system.queries",
        "create table system.t as select 1 as n",
        "create table information_schema.t as select 1 as n",
        "create schema system",
        "drop schema information_schema cascade",
        "drop schema public cascade",
    ],
)
def test_the_servers_own_schemas_stay(connection, sql):
    with pytest.raises(Exception) as error:
        run(connection, sql)
    assert error.value.status_code.name in ("INVALID_ARGUMENT", "UNKNOWN", "ALREADY_EXISTS"), error.value
    assert rows(connection, "select count(*) from people") == [(4,)]


class TestSettings:
    def test_set_show_reset(self, connection):
        assert rows(connection, "show types") == [("types", "compatible")]
        run(connection, "set types = 'native'")
        assert rows(connection, "show types") == [("types", "native")]
        run(connection, "reset types")
        assert rows(connection, "show types") == [("types", "compatible")]

    def test_use(self, connection, name):
        run(connection, f"create schema {name}", f"use {name}", "create table t as select 1 as n")
        assert rows(connection, "show schema") == [("schema", name)]
        assert rows(connection, f"select n from {name}.t") == rows(connection, "select n from t") == [(1,)]
        with fails("NOT_FOUND"):
            rows(connection, "select * from people")
        run(connection, "use public")
        assert rows(connection, "select count(*) from people") == [(4,)]

    def test_an_ingest_goes_to_the_schema_in_use(self, connection, name):
        run(connection, f"create schema {name}", f"use {name}")
        assert ingest(connection, "t", pa.table({"n": [1]})) == 1
        assert rows(connection, f"select n from {name}.t") == [(1,)]

    @pytest.mark.parametrize(
        "sql",
        [
            "set time_zone = 'Europe/Berlin'",
            "set timezone = 'Europe/Berlin'",
            "set datafusion.execution.time_zone = 'Europe/Berlin'",
            "set time zone 'Europe/Berlin'",
        ],
    )
    def test_the_time_zone(self, connection, sql):
        run(connection, sql)
        assert rows(connection, "show time_zone") == [("time_zone", "Europe/Berlin")]
        got = table(connection, "select timestamptz '2026-01-01T12:00:00' as t")
        assert got.schema.types == [pa.timestamp("ns", "Europe/Berlin")]
        utc = got["t"].cast(pa.timestamp("ns", "UTC")).cast(pa.timestamp("us", "UTC"))
        assert utc.to_pylist() == [dt.datetime(2026, 1, 1, 11, tzinfo=dt.timezone.utc)]

    def test_the_time_zone_that_is_shown_is_the_one_that_is_used(self, connection, name):
        assert rows(connection, "show time_zone") == [("time_zone", "UTC")]
        got = table(connection, "select timestamptz '2026-01-01T12:00:00+02' as t, now() as n, to_timestamp(0) as z")
        assert got.schema.types == [pa.timestamp("ns", "UTC")] * 3
        run(connection, f"create table {name} (t timestamp with time zone)")
        assert table(connection, f"select t from {name}").schema.types == [pa.timestamp("ns", "UTC")]

    def test_settings_of_the_engine(self, connection):
        run(connection, "set datafusion.execution.batch_size = 100")
        assert rows(connection, "show datafusion.execution.batch_size") == [("datafusion.execution.batch_size", "100")]
        with connection.cursor() as cursor:
            batches = list(cursor.execute("select n from numbers limit 1000").fetch_record_batch())
            assert sum(batch.num_rows for batch in batches) == 1000
        run(connection, "reset datafusion.execution.batch_size")
        assert rows(connection, "show datafusion.execution.batch_size") == [("datafusion.execution.batch_size", "32768")]

    @pytest.mark.parametrize(
        "sql, text",
        [
            ("set nonsense = 1", "nonsense.*there are catalog, schema, types"),
            ("reset nonsense", "nonsense"),
            ("set types = 'odd'", "compatible and native"),
            ("set time_zone = 'Nowhere/Land'", "Europe/Berlin"),
            ("set catalog = 'other'", "airstrip"),
            ("set datafusion.execution.batch_size = 0", "from 1 to"),
            ("set datafusion.execution.batch_size = 1000000000", "from 1 to"),
            ("set datafusion.catalog.information_schema = true", "not an option"),
            ("show nonsense", "nonsense"),
        ],
    )
    def test_wrong_ones_say_what_there_is(self, connection, sql, text):
        with fails("INVALID_ARGUMENT", text):
            run(connection, sql)


class TestSystemTables:
    def test_queries(self, connection, name):
        run(connection, f"create table {name} as select * from people")
        with fails("INVALID_ARGUMENT"):
            rows(connection, f"select 1 / 0 as {name} from {name}")
        table(connection, f"select id, name from {name}")
        sql = f"""select state, rows, "user", ended >= submitted from system.queries
                  where strpos(sql, '{name}') > 0 and strpos(sql, 'system') = 0 order by submitted"""
        assert rows(connection, sql) == [
            ("finished", 4, "anonymous", True),
            ("failed", 0, "anonymous", True),
            ("finished", 4, "anonymous", True),
        ]

    def test_sessions(self, server):
        with server.connect({"username": "ada"}) as one, server.connect() as other:
            run(one, "set types = 'native'", "create temporary table t as select 1 as n")
            sql = 'select "user", options, temporary_tables, idle_seconds < 5 from system.sessions'
            assert rows(other, sql) == [
                ("ada", "catalog=airstrip, schema=public, types=native, time_zone=UTC, endpoints=1", 1, True)
            ]

    def test_information_schema(self, server):
        with server.connect() as connection:
            run(connection, "create view v as select 1 as n", "create temporary table t as select 1 as n")
            sql = "select table_name, table_type from information_schema.tables where table_schema = 'public'"
            assert sorted(rows(connection, sql)) == [
                ("numbers", "BASE TABLE"),
                ("people", "BASE TABLE"),
                ("t", "LOCAL TEMPORARY"),
                ("types", "BASE TABLE"),
                ("v", "VIEW"),
            ]
            sql = (
                "select column_name, data_type, is_nullable from information_schema.columns where table_name = 'people'"
            )
            assert rows(connection, sql) == [
                ("id", "BIGINT", "NO"),
                ("name", "VARCHAR", "YES"),
                ("born", "DATE", "YES"),
                ("height", "DOUBLE", "YES"),
            ]
