"""Which exception and status each failure gives, and that its text helps."""

import adbc_driver_flightsql.dbapi as dbapi
import pyarrow as pa
import pytest

from helpers import fails, ingest, rows, run

KINDS = {
    "syntax": ("selec 1", dbapi.ProgrammingError, "INVALID_ARGUMENT", r"selec at Line: 1, Column: 1"),
    "syntax further down": ("select 1\nfrom people\n  )", dbapi.ProgrammingError, "INVALID_ARGUMENT", r"Line: 3"),
    "the text ends too early": ("select\n 1 +", dbapi.ProgrammingError, "INVALID_ARGUMENT", r"Line: 2, Column: \d+"),
    "two statements": ("select 1; select 2", dbapi.ProgrammingError, "INVALID_ARGUMENT", "one statement"),
    "no statement": ("-- nothing", dbapi.ProgrammingError, "INVALID_ARGUMENT", "no statement"),
    "no such table": ("select * from poeple", dbapi.ProgrammingError, "NOT_FOUND", "poeple.*people"),
    "no such schema": ("select * from nowhere.t", dbapi.ProgrammingError, "NOT_FOUND", "nowhere"),
    "no such catalog": ("select * from other.public.t", dbapi.ProgrammingError, "NOT_FOUND", "other"),
    "no such column": (
        "select nmae\nfrom people",
        dbapi.ProgrammingError,
        "INVALID_ARGUMENT",
        "(?s)name.*Line: 1, Column: 8",
    ),
    "no such function": ("select uppr('x')", dbapi.ProgrammingError, "INVALID_ARGUMENT", "upper.*Line: 1, Column: 8"),
    "a type that does not fit": ("select name + 1 from people", dbapi.ProgrammingError, "INVALID_ARGUMENT", "Utf8"),
    "a cast that fails": ("select cast('x' as int)", dbapi.ProgrammingError, "INVALID_ARGUMENT", "'x'"),
    "a division by zero": ("select 1 / (id - 1) from people", dbapi.ProgrammingError, "INVALID_ARGUMENT", "(?i)zero"),
    "exists": ("create table people as select 1 as n", dbapi.ProgrammingError, "ALREADY_EXISTS", "people exists"),
    "not supported": ("alter table people drop column id", dbapi.NotSupportedError, "NOT_IMPLEMENTED", "CREATE OR REPLACE"),
    "precondition": ("drop schema public", dbapi.OperationalError, "UNKNOWN", "FailedPrecondition"),
    "Parquet cannot hold it": (
        "create table t as select interval '1 day' as length",
        dbapi.ProgrammingError,
        "INVALID_ARGUMENT",
        "length.*cast",
    ),
    "two columns of one name": (
        "create table t as select id, id from people",
        dbapi.ProgrammingError,
        "INVALID_ARGUMENT",
        "id",
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_failure_has_its_kind_and_a_text(connection, kind):
    sql, exception, status, text = KINDS[kind]
    with fails(status, text, exception) as error:
        rows(connection, sql)
    # What a person should not have to read.
    for noise in ("Some(", "Span", "DataFusionError", "backtrace", "panic", "This feature is not implemented:"):
        assert noise not in str(error.value)
    # The connection lives on.
    assert rows(connection, "select 1") == [(1,)]


def test_a_failure_while_rows_flow_is_an_error_not_an_early_end(connection):
    with connection.cursor() as cursor:
        cursor.execute("select 1 / (150000 - n) as q from numbers")
        with pytest.raises(Exception, match="(?i)zero"):
            cursor.fetch_arrow_table()


def test_too_long_a_text(connection):
    sql = "select '" + "x" * (1 << 20) + "'"
    with pytest.raises(dbapi.Error, match="(?i)bytes") as error:
        rows(connection, sql)
    assert error.value.status_code.name in ("INVALID_ARGUMENT", "INTERNAL")


def test_too_deep_a_text(connection):
    with fails("INVALID_ARGUMENT", "(?i)deep|nest|depth|recursion"):
        rows(connection, "select " + "(" * 2000 + "1" + ")" * 2000)


def test_a_damaged_file_says_which_and_breaks_no_other(server):
    (server.root / "broken.parquet").write_bytes(b"PAR1 this is not Parquet PAR1")
    with server.connect() as connection:
        with fails("IO", "broken", dbapi.OperationalError):
            rows(connection, "select * from broken")
        assert rows(connection, "select count(*) from people") == [(4,)]
        objects = connection.adbc_get_objects(depth="all", db_schema_filter="public").read_all().to_pylist()
        [schema] = objects[0]["catalog_db_schemas"]
        assert [found["table_name"] for found in schema["db_schema_tables"]] == ["numbers", "people", "types"]
        run(connection, "drop table broken")
    assert not (server.root / "broken.parquet").exists()


def test_a_server_that_is_not_there():
    with dbapi.connect("grpc://127.0.0.1:1", autocommit=True) as connection:
        with fails("IO", "refused", dbapi.OperationalError):
            rows(connection, "select 1")


NAMES = ["../x", "a/b", ".hidden", "a\nb", "x" * 201]


@pytest.mark.parametrize("bad", NAMES, ids=lambda name: repr(name)[:20])
def test_bad_names(server, bad):
    with server.connect() as connection:
        with fails("INVALID_ARGUMENT", "not a dataset name"):
            ingest(connection, bad, pa.table({"n": [1]}))
        with fails("INVALID_ARGUMENT", "not a dataset"):
            run(connection, f'create table "{bad}" as select 1 as n')
    assert {path.name for path in server.root.parent.iterdir()} == {server.root.name}


@pytest.mark.parametrize("good", ["Größe", "with space", "o'clock", 'say "hi"', "50%", "a_b", "select"])
def test_good_names(connection, good):
    """Quoted in SQL, bare in ADBC's own calls."""
    quoted = '"' + good.replace('"', '""') + '"'
    data = pa.table({good: [1]})
    assert ingest(connection, good, data) == 1
    assert rows(connection, f"select {quoted} from {quoted}") == [(1,)]
    assert connection.adbc_get_table_schema(good).names == [good]
    run(connection, f"drop table {quoted}")
