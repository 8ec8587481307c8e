"""The few steps that most tests share."""

import contextlib
import time

import adbc_driver_flightsql.dbapi as dbapi
import pyarrow as pa
from pyarrow import flight

# Seconds for any call: a hang is a failure, not a wait.
DEADLINE = 60

# Computes for minutes and gives one row. Takes a comment that tells it from others.
LONG = "select max(value % 7) from range(1000000000000) -- {}"


def connect(uri, cookies=True):
    """A new connection of the ADBC driver."""
    return dbapi.connect(uri, {"adbc.flight.sql.rpc.with_cookie_middleware": str(cookies).lower()}, autocommit=True)


def rows(connection, sql):
    with connection.cursor() as cursor:
        return cursor.execute(sql).fetchall()


def run(connection, *statements):
    """Statements whose results nobody looks at."""
    for sql in statements:
        with connection.cursor() as cursor:
            cursor.execute(sql)


def call(timeout=DEADLINE, **airstrip):
    """Options of a call; `if_version="x"` is the header `x-airstrip-if-version: x`."""
    headers = [(f"x-airstrip-{key.replace('_', '-')}".encode(), value.encode()) for key, value in airstrip.items()]
    return flight.FlightCallOptions(timeout=timeout, headers=headers)


def put(client, name, table, **airstrip):
    """Uploads the batches as they are, and waits until they are stored."""
    writer, reader = client.do_put(flight.FlightDescriptor.for_path(name), table.schema, call(**airstrip))
    with writer:
        for batch in table.to_batches():
            writer.write_batch(batch)
        writer.done_writing()
        while reader.read() is not None:
            pass


def get(client, ticket, **options):
    """All that a ticket (a dataset's name, or SQL) gives.

    Not by `read_all`: it makes a KeyboardInterrupt of a stream that the other side cancels.
    """
    reader = client.do_get(flight.Ticket(ticket), call(**options))
    return pa.Table.from_batches([chunk.data for chunk in reader], reader.schema)


def count(client, name):
    """The rows of a dataset, or `None` where there is none of that name."""
    with contextlib.suppress(KeyError):
        return get(client, f"select count(*) from {name}")[0][0].as_py()
    return None


def states(client, part):
    """The states of the statements whose text holds `part`, the newest first."""
    sql = f"""select state from system.queries
              where strpos(sql, '{part}') > 0 and strpos(sql, 'system.queries') = 0 order by submitted desc"""
    return get(client, sql)["state"].to_pylist()


def soon(check, seconds=10):
    """Waits until `check` gives something true."""
    deadline = time.monotonic() + seconds
    while not (found := check()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found
