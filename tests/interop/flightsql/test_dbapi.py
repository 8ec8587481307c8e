"""flightsql-dbapi: its DB-API, and its dialect for SQLAlchemy 1.4."""

import flightsql
import flightsql.sqlalchemy  # registers the dialect
import pandas as pd
import pyarrow as pa
import pytest
from flightsql import FlightSQLClient
from sqlalchemy import (
    Column,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    bindparam,
    create_engine,
    exc,
    inspect,
    select,
    text,
    types,
)

from helpers import run

PEOPLE = Table("people", MetaData(), Column("id", Integer), Column("name", String), Column("height", Float))


class TestDbapi:
    @pytest.fixture
    def dbapi(self, shared):
        host, port = shared.address.split(":")
        client = FlightSQLClient(host=host, port=int(port), user="ada", password="secret", insecure=True)
        connection = flightsql.connect(client)
        yield connection
        connection.close()
        client.close()

    def test_execute_and_fetch(self, dbapi):
        cursor = dbapi.cursor()
        cursor.execute("select id, name from people where id < 4 order by id")
        assert cursor.description == [("id", types.BIGINT), ("name", types.TEXT)]
        assert cursor.rowcount == 3
        assert cursor.fetchone() == [1, "Ada"]
        assert cursor.fetchmany(1) == [[2, "Grace"]]
        assert cursor.fetchall() == [[3, "Edsger"]]

    @pytest.mark.parametrize("value", [1, -(2**63), 1.5, "x'y", True])
    def test_parameters(self, dbapi, value):
        """Each is a union in a column `param_i`."""
        cursor = dbapi.execute("select ? as a, ? as b", (value, "other"))
        assert cursor.fetchall() == [[value, "other"]]

    def test_bytes(self, dbapi):
        assert dbapi.execute("select ? as a", (b"\x00\xff",)).fetchall() == [[b"\x00\xff"]]

    def test_parameters_in_conditions(self, dbapi):
        assert dbapi.execute("select name from people where id = ? and name = ?", (1, "Ada")).fetchall() == [["Ada"]]

    def test_updates(self, dbapi, name):
        assert dbapi.client.execute_update(f"create table {name} as select * from people") == 4
        assert dbapi.execute(f"select count(*) as c from {name}").fetchall() == [[4]]
        assert dbapi.client.execute_update(f"drop table {name}") == 0

    def test_a_change_by_execute_runs_once(self, dbapi, name):
        assert dbapi.execute(f"create table {name} as select 1 as n").fetchall() == [[1]]
        assert dbapi.execute(f"select n from {name}").fetchall() == [[1]]

    def test_metadata(self, dbapi):
        assert "people" in dbapi.flightsql_get_table_names("public")
        assert set(dbapi.flightsql_get_schema_names()) >= {"information_schema", "public", "system"}
        columns = dbapi.flightsql_get_columns("people", "public")
        assert [(column["name"], column["type"], column["nullable"]) for column in columns] == [
            ("id", types.BIGINT, False),
            ("name", types.TEXT, True),
            ("born", types.DATE, True),
            ("height", types.FLOAT, True),
        ]
        assert dbapi.flightsql_get_primary_keys("people") == []
        assert dbapi.flightsql_get_sql_info([0, 3, 504]) == {0: "Airstrip", 3: False, 504: '"'}

    def test_the_handshake_gives_a_token_and_a_session(self, dbapi, shared):
        """The user and the session options belong to the token."""
        dbapi.execute("set types = 'native'")
        assert dbapi.execute("show types").fetchall() == [["types", "native"]]
        found = dbapi.execute(
            "select distinct \"user\" from system.queries where sql = 'show types' and \"user\" = 'ada'"
        )
        assert found.fetchall() == [["ada"]]


@pytest.fixture(params=["literals", "prepared"])
def engine(request, shared):
    """The dialect writes values into the SQL, or, as a feature, prepares the statement."""
    feature = "&feature-sqlalchemy-prepared-statements=on" if request.param == "prepared" else ""
    engine = create_engine(f"datafusion+flightsql://ada:secret@{shared.address}?insecure=true{feature}")
    yield engine
    engine.dispose()


def test_select(engine):
    with engine.connect() as connection:
        assert connection.execute(text("select 1 as n, 'x' as s")).fetchall() == [(1, "x")]
        found = connection.execute(select(PEOPLE.c.name).where(PEOPLE.c.id < 3).order_by(PEOPLE.c.id))
        assert found.fetchall() == [("Ada",), ("Grace",)]


@pytest.mark.parametrize(
    "condition, expected",
    [
        (PEOPLE.c.id == 2, [2]),
        (PEOPLE.c.name == "Ada", [1]),
        (PEOPLE.c.name.like("%a%"), [1, 2]),
        (PEOPLE.c.height > 1.6, [1, 4]),
        (PEOPLE.c.name.is_(None), [4]),
        (PEOPLE.c.id.in_([1, 3]), [1, 3]),
        (PEOPLE.c.id.between(2, 3) | (PEOPLE.c.name == "it's"), [2, 3]),
    ],
    ids=str,
)
def test_conditions(engine, condition, expected):
    with engine.connect() as connection:
        found = connection.execute(select(PEOPLE.c.id).where(condition).order_by(PEOPLE.c.id))
        assert [id for (id,) in found] == expected


def test_limit(engine):
    with engine.connect() as connection:
        found = connection.execute(select(PEOPLE.c.id).order_by(PEOPLE.c.id).limit(2).offset(1))
        assert found.fetchall() == [(2,), (3,)]


def test_texts_with_parameters(engine):
    statement = text("select id from people where name = :name").bindparams(bindparam("name", "Grace"))
    with engine.connect() as connection:
        assert connection.execute(statement).fetchall() == [(2,)]


def test_texts_with_parameters_given_later(shared):
    """Only where statements are prepared: the literals of the other way are written before there are values."""
    engine = create_engine(
        f"datafusion+flightsql://{shared.address}?insecure=true&feature-sqlalchemy-prepared-statements=on"
    )
    with engine.connect() as connection:
        found = connection.execute(text("select id, :more as more from people where id = :id"), {"id": 2, "more": "x"})
        assert found.fetchall() == [(2, "x")]


def test_the_inspector(engine, shared, name):
    with shared.connect() as connection:
        run(connection, f"create schema {name}", f"create table {name}.t as select 1 as n, 'x' as s")
    inspector = inspect(engine)
    assert set(inspector.get_schema_names()) >= {"information_schema", "public", "system", name}
    assert {"numbers", "people", "types"} <= set(inspector.get_table_names("public"))
    assert inspector.get_table_names(name) == ["t"]
    assert inspector.has_table("people") and not inspector.has_table("missing")
    columns = inspector.get_columns("t", name)
    assert [(column["name"], str(column["type"]), column["nullable"]) for column in columns] == [
        ("n", "BIGINT", True),
        ("s", "TEXT", True),
    ]
    reflected = Table("people", MetaData(), autoload_with=engine)
    assert reflected.columns.keys() == ["id", "name", "born", "height"]


def test_changes(engine, name):
    with engine.connect() as connection:
        connection.execute(text(f"create table {name} as select 1 as n"))
        assert connection.execute(text(f"select n from {name}")).fetchall() == [(1,)]
        connection.execute(text(f"drop table {name}"))


def test_types(engine):
    """Of the default profile; a timestamp is pandas' own."""
    with engine.connect() as connection:
        [row] = connection.execute(
            text("select text_view, dictionary, half, moment from types where half = 1.5")
        ).fetchall()
    assert row == ("a", "x", 1.5, pd.Timestamp(0, tz="UTC"))


def test_errors(engine):
    with engine.connect() as connection:
        with pytest.raises(KeyError, match="missing"):
            connection.execute(text("select * from missing"))
        with pytest.raises((pa.ArrowInvalid, exc.DBAPIError), match="Line: 1"):
            connection.execute(text("selec 1"))
        assert connection.execute(text("select 1 as n")).fetchall() == [(1,)]


def test_a_foreign_token(shared):
    engine = create_engine(f"datafusion+flightsql://{shared.address}?insecure=true&token=something")
    with engine.connect() as connection:
        assert connection.execute(text("select 1 as n")).fetchall() == [(1,)]
