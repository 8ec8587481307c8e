"""Large messages, and errors with long texts, arrive as if there were no proxy."""

import pyarrow as pa
import pytest
from pyarrow import flight

from helpers import call, connect, get, put

TABLE = pa.table({"k": range(2_500_000)})


@pytest.fixture
def client(proxy):
    with flight.connect(proxy.uri) as client:
        yield client


@pytest.mark.parametrize("batches", [1, 5])
def test_20_mb_both_ways(client, name, batches):
    """In one message, or in several of 4 MB."""
    table = pa.Table.from_batches(TABLE.to_batches(TABLE.num_rows // batches))
    put(client, name, table)
    # As the file is, and through a query.
    assert get(client, name).equals(table)
    assert get(client, f"select k + 0 as k from {name}").sort_by("k").equals(table)


def test_a_large_ingest(proxy, name):
    """8 MB in one batch."""
    table = pa.table({"k": range(1_000_000)})
    with connect(proxy.uri) as client, client.cursor() as cursor:
        cursor.adbc_ingest(name, table)
        assert cursor.execute(f"select k from {name}").fetch_arrow_table().sort_by("k").equals(table)


@pytest.mark.parametrize(
    "sql",
    [
        "select no_such_column",
        "select " + "x" * 3500,
        'select "' + "ü" * 600 + '"',
        # Cut by the server, to what clients take.
        "select " + "x" * 20_000,
        "select * from no_such_table",
        # Fails after many rows.
        "select 1 / (value - 500000) as a from range(500001)",
    ],
    ids=["short", "long", "not ASCII", "too long", "not found", "late"],
)
def test_errors_are_the_same(client, direct, sql):
    def error(client):
        with pytest.raises(pa.ArrowException) as raised:
            get(client, sql)
        return type(raised.value), str(raised.value)

    assert error(client) == error(direct)


def test_errors_before_a_stream_are_the_same(client, direct):
    def error(client):
        with pytest.raises(pa.ArrowException) as raised:
            client.get_flight_info(flight.FlightDescriptor.for_command("select " + "x" * 3500), call())
        return type(raised.value), str(raised.value)

    assert error(client) == error(direct)
