"""Connections of the ADBC driver: credentials, headers, and how one is told from another."""

import base64
import warnings

import adbc_driver_flightsql.dbapi as dbapi
import pyarrow as pa
import pytest
from adbc_driver_flightsql import DatabaseOptions

from helpers import fails, rows, run

HEADER = DatabaseOptions.AUTHORIZATION_HEADER.value
COOKIES = {DatabaseOptions.WITH_COOKIE_MIDDLEWARE.value: "true"}


def basic(user):
    return base64.b64encode(f"{user}:secret".encode()).decode()


CREDENTIALS = {
    "none": ({}, "anonymous"),
    "user and password": ({"username": "ada", "password": "secret"}, "ada"),
    "a user only": ({"username": "grace"}, "grace"),
    "a Basic header": ({HEADER: "Basic " + basic("edsger")}, "edsger"),
    "a Basic header without padding": ({HEADER: "Basic " + basic("edsger").rstrip("=")}, "edsger"),
    "a bearer token of someone else's": ({HEADER: "Bearer something"}, "anonymous"),
    "another scheme": ({HEADER: "Custom something"}, "anonymous"),
}


@pytest.mark.parametrize("credentials", CREDENTIALS)
def test_credentials_are_taken_and_say_who_runs_a_statement(shared, credentials, name):
    options, user = CREDENTIALS[credentials]
    with shared.connect(options) as connection:
        assert rows(connection, f"select 1 as {name}") == [(1,)]
        found = rows(connection, f"select distinct \"user\" from system.queries where sql = 'select 1 as {name}'")
        assert found == [(user,)]


@pytest.mark.parametrize("credentials", CREDENTIALS)
def test_a_session_lasts_as_long_as_the_connection(shared, credentials, name):
    """However the server knows the client, what one statement sets the next one sees."""
    options, _ = CREDENTIALS[credentials]
    with shared.connect(options) as connection:
        run(connection, "set types = 'native'", f"create temporary table {name} as select 1 as n")
        assert rows(connection, "show types") == [("types", "native")]
        assert rows(connection, f"select n from {name}") == [(1,)]
    with shared.connect(options) as connection:
        assert rows(connection, "show types") == [("types", "compatible")]
        with fails("NOT_FOUND", name):
            rows(connection, f"select n from {name}")


@pytest.mark.parametrize("options", [{}, {"username": "ada", "password": "secret"}, COOKIES], ids=str)
def test_two_connections_of_one_user_are_two_sessions(shared, options, name):
    with shared.connect(options) as one, shared.connect(options) as other:
        run(one, f"create temporary table {name} as select 1 as n", "set time_zone = 'Asia/Tokyo'")
        assert rows(one, f"select n from {name}") == [(1,)]
        with fails("NOT_FOUND", name):
            rows(other, f"select n from {name}")
        assert rows(other, "show time_zone") == [("time_zone", "UTC")]


def test_closing_a_connection_ends_its_session(server):
    with server.connect() as connection:
        run(connection, "create temporary table mine as select 1 as n")
        found = rows(connection, 'select "user", temporary_tables from system.sessions')
        assert found == [("anonymous", 1)]
    with server.connect() as connection:
        assert rows(connection, "select * from system.sessions") == []


@pytest.mark.parametrize("options", [{}, COOKIES], ids=["cookies off", "cookies on"])
def test_options_and_statements_share_the_session(shared, options, name):
    """SetSessionOptions answers with a cookie; what was there before the cookie is still there."""
    with shared.connect(options) as connection:
        run(connection, f"create temporary table {name} as select 1 as n")
        connection.adbc_connection.set_options(**{"adbc.flight.sql.session.option.types": "native"})
        assert rows(connection, "show types") == [("types", "native")]
        assert rows(connection, f"select n from {name}") == [(1,)]
        run(connection, "set types = 'compatible'")
        assert connection.adbc_connection.get_option("adbc.flight.sql.session.option.types") == "compatible"


def test_a_header_sets_the_types_of_all_statements(shared):
    prefix = DatabaseOptions.RPC_CALL_HEADER_PREFIX.value
    with shared.connect({prefix + "x-airstrip-types": "native"}) as connection, connection.cursor() as cursor:
        cursor.execute("select text_view from types")
        assert str(cursor.fetch_arrow_table().schema.types[0]) == "string_view"
    with shared.connect({prefix + "x-airstrip-types": "odd"}) as connection:
        with fails("INVALID_ARGUMENT", "compatible.*native"):
            rows(connection, "select 1")


def test_a_clone_is_another_session(shared, name):
    with shared.connect() as connection, connection.adbc_clone() as clone:
        run(connection, f"create temporary table {name} as select 1 as n")
        assert rows(clone, "select 1") == [(1,)]
        with fails("NOT_FOUND"):
            rows(clone, f"select n from {name}")


def test_autocommit_is_all_there_is_and_the_driver_says_so(shared):
    """DB-API wants transactions. There are none, so the driver warns, and commit does nothing."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        connection = dbapi.connect(shared.uri)
    with connection:
        assert [str(warning.message) for warning in caught] == [
            "Cannot disable autocommit; conn will not be DB-API 2.0 compliant"
        ]
        assert rows(connection, "select 1") == [(1,)]
        connection.commit()
        connection.rollback()
    with shared.connect() as connection:
        with fails("NOT_IMPLEMENTED"):
            connection.adbc_connection.set_autocommit(False)


def test_a_read_only_server_says_so(start):
    server = start("--read-only")
    with server.connect() as connection:
        assert rows(connection, "select count(*) from people") == [(4,)]
        with pytest.raises(dbapi.Error, match="read-only"):
            run(connection, "create table t as select 1 as n")
        with pytest.raises(dbapi.Error, match="read-only"), connection.cursor() as cursor:
            cursor.adbc_ingest("t", pa.table({"n": [1]}))
        assert ("t",) not in rows(connection, "select table_name from information_schema.tables")
