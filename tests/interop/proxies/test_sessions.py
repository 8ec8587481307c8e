"""Sessions of clients that share the proxy's connections to the server."""

from concurrent.futures import ThreadPoolExecutor

import adbc_driver_flightsql.dbapi as dbapi
import pytest

from helpers import connect, rows, run


@pytest.fixture
def clients(proxy):
    """Two clients that keep cookies."""
    with connect(proxy.uri) as one, connect(proxy.uri) as other:
        yield one, other


def test_a_schema_is_of_one_client(clients, name):
    one, other = clients
    run(one, f"create schema {name}", f"create table {name}.victim as select 1 as a")
    run(one, "create table public.victim as select 2 as a", f"use {name}")
    # The other one, who never left public, drops its table.
    run(other, "drop table victim")
    assert rows(one, "select a from victim") == [(1,)]
    assert rows(other, "select table_schema from information_schema.tables where table_name = 'victim'") == [(name,)]
    run(one, "drop table victim")


def test_options_and_temporary_tables_are_of_one_client(clients, name):
    one, other = clients
    for client, zone in ((one, "Asia/Tokyo"), (other, "Europe/Berlin")):
        run(client, f"set time_zone = '{zone}'", f"create temporary table {name} as select '{zone}' as zone")
    run(one, f"create temporary table {name}alone as select 1 as a")
    for client, zone in ((one, "Asia/Tokyo"), (other, "Europe/Berlin")):
        assert rows(client, "show time_zone") == [("time_zone", zone)]
        assert rows(client, f"select zone from {name}") == [(zone,)]
    with pytest.raises(dbapi.Error, match="there is no dataset"):
        rows(other, f"select * from {name}alone")


def test_closing_one_session_leaves_the_other(proxy, name):
    with connect(proxy.uri) as other:
        with connect(proxy.uri) as one:
            for client in (one, other):
                run(client, f"create temporary table {name} as select 1 as a", "set time_zone = 'Asia/Tokyo'")
        assert rows(other, f"select a from {name}") == [(1,)]
        assert rows(other, "show time_zone") == [("time_zone", "Asia/Tokyo")]


def test_clients_at_once_keep_apart(proxy, name):
    def work(number):
        with connect(proxy.uri) as client:
            run(client, f"create schema {name}_{number}", f"use {name}_{number}")
            run(client, f"create temporary table {name} as select {number} as a")
            for _ in range(3):
                assert rows(client, "show schema") == [("schema", f"{name}_{number}")]
                assert rows(client, f"select a from {name}") == [(number,)]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))


def test_without_cookies_nothing_is_left_in_a_session(proxy, name):
    with connect(proxy.uri, cookies=False) as client:
        for sql in (
            "set time_zone = 'Asia/Tokyo'",
            "use information_schema",
            f"create temporary table {name} as select 1 as a",
        ):
            with pytest.raises(dbapi.Error, match="turn on cookies"):
                run(client, sql)
        assert rows(client, "select 1 as a") == [(1,)]
        run(client, f"create table {name} as select 1 as a", f"insert into {name} values (2)")
        assert rows(client, f"select sum(a) from {name}") == [(3,)]
