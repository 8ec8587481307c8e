"""The few steps that most tests share."""

import contextlib
import json
import math
import struct

import adbc_driver_flightsql.dbapi as dbapi
import duckdb
import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from pyarrow import flight

# Seconds for any call: a hang is a failure, not a wait.
DEADLINE = 60

# pyarrow has one exception for several gRPC statuses (ArrowInvalid also for FAILED_PRECONDITION and
# RESOURCE_EXHAUSTED, the bare ArrowException for ALREADY_EXISTS): these say which one it was.
INVALID = "Flight returned invalid argument error"
PRECONDITION = "gRPC returned precondition failed error"
EXISTS = "Flight returned already exists error"
DAMAGED = "gRPC returned data loss error"


def path(*parts):
    return flight.FlightDescriptor.for_path(*parts)


def call(timeout=DEADLINE, **airstrip):
    """Options of a call; `if_version="x"` is the header `x-airstrip-if-version: x`."""
    headers = [(f"x-airstrip-{key.replace('_', '-')}".encode(), value.encode()) for key, value in airstrip.items()]
    return flight.FlightCallOptions(timeout=timeout, headers=headers)


def put_batches(client, name, schema, batches, /, **airstrip):
    """Uploads the batches as they are (an empty one too); returns the receipt, the last PutResult."""
    writer, reader = client.do_put(path(name), schema, call(**airstrip))
    with writer:
        for batch in batches:
            writer.write_batch(batch)
        writer.done_writing()
        return json.loads(read_results(reader)[-1])


def put(client, name, table, /, **airstrip):
    return put_batches(client, name, table.schema, table.to_batches(), **airstrip)


def read_results(reader):
    """The app_metadata of every PutResult that is still to come."""
    results = []
    while (metadata := reader.read()) is not None:
        results.append(metadata.to_pybytes())
    return results


def get(client, ticket, **airstrip):
    """All that a ticket (a dataset's name, or SQL) gives."""
    return client.do_get(flight.Ticket(ticket), call(**airstrip)).read_all()


def info(client, *parts):
    return client.get_flight_info(path(*parts), call())


def action(client, kind, body):
    """Runs an action with a bare name or a JSON body; returns its one answer, which is JSON."""
    if isinstance(body, dict):
        body = json.dumps(body)
    [result] = client.do_action(flight.Action(kind, body.encode()), call())
    return json.loads(result.body.to_pybytes())


def names(client, criteria=b""):
    """What is listed, sorted; one dataset is the same with `.parquet` and without."""
    flights = client.list_flights(criteria, call())
    return sorted(".".join(part.decode() for part in f.descriptor.path).removesuffix(".parquet") for f in flights)


def append(client, name, table, /, **airstrip):
    """Adds rows to a dataset, which becomes a Delta table if it is none."""
    return put(client, name, table, mode="append", **airstrip)


def run(connection, *statements):
    """Statements whose results nobody looks at."""
    for sql in statements:
        with connection.cursor() as cursor:
            cursor.execute(sql)


def rows(connection, sql):
    with connection.cursor() as cursor:
        return cursor.execute(sql).fetchall()


def query(connection, sql):
    with connection.cursor() as cursor:
        return cursor.execute(sql).fetch_arrow_table()


def ingest(connection, name, data, **options):
    """A cursor keeps the options of an ingest, so each gets a new one."""
    with connection.cursor() as cursor:
        return cursor.adbc_ingest(name, data, **options)


@contextlib.contextmanager
def fails(status, match=None):
    """A statement that ends with ADBC's status of that name."""
    with pytest.raises(dbapi.Error, match=match) as raised:
        yield raised
    assert raised.value.status_code.name == status, raised.value


def plain(value):
    """A value that is equal to the same value of another library: pairs as a dict, NaN equal to itself."""
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    if isinstance(value, dict) and set(value) == {"key", "value"}:
        return (plain(value["key"]), plain(value["value"]))
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        inner = [plain(item) for item in value]
        return tuple(inner) if isinstance(value, tuple) else inner
    return value


def by_id(table, key="id"):
    """The rows of a table, in the order of their numbers, the columns in that of their names."""
    found = [{column: plain(value) for column, value in sorted(row.items())} for row in table.to_pylist()]
    return sorted(found, key=lambda row: row[key])


def folder(root, name):
    """The directory of the Delta table `name`."""
    [found] = [path for path in (root / name, root / f"{name}.parquet") if (path / "_delta_log").is_dir()]
    return found


def readings(path, version=None):
    """The rows of a table as independent readers have them."""
    table = DeltaTable(path, version=version)
    yield "deltalake", table.to_pyarrow_table()
    yield "polars", pl.read_delta(str(path), version=version).to_arrow()
    yield "duckdb", duckdb.from_arrow(table.to_pyarrow_dataset()).to_arrow_table()
    yield "deltalake's scan", pa.table(table.scan())


def assert_others_read(path, expected, version=None):
    """Independent readers of the table at `path` find the rows of `expected`."""
    for reader, found in readings(path, version):
        assert by_id(found) == by_id(expected), reader


def commit(lake, version, *actions):
    """An entry of the log by hand."""
    path = lake / "_delta_log" / f"{version:020}.json"
    path.write_text("".join(f"{json.dumps(action)}\n" for action in [{"commitInfo": {"timestamp": 0}}, *actions]))


def z85(data):
    digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
    text = ""
    for at in range(0, len(data), 4):
        word = int.from_bytes(data[at : at + 4], "big")
        text += "".join(digits[word // 85**power % 85] for power in (4, 3, 2, 1, 0))
    return text


def delete_rows(lake, deleted, version=1):
    """A commit that marks rows of the table's one file as deleted by an inline deletion vector.
    <https://github.com/delta-io/delta/blob/master/PROTOCOL.md#deletion-vectors>"""
    [add] = [
        json.loads(line)["add"]
        for line in (lake / "_delta_log" / f"{0:020}.json").read_text().splitlines()
        if '"add"' in line
    ]
    # A RoaringBitmapArray of one bitmap, which has one container: an array of 16-bit numbers.
    bitmap = struct.pack("<IIHHI", 12346, 1, 0, len(deleted) - 1, 16) + struct.pack(f"<{len(deleted)}H", *deleted)
    data = struct.pack("<I", 1681511377) + struct.pack("<Q", 1) + struct.pack("<I", 0) + bitmap
    size = len(data)
    vector = {
        "storageType": "i",
        "pathOrInlineDv": z85(data + bytes(-size % 4)),
        "sizeInBytes": size,
        "cardinality": len(deleted),
    }
    remove = {"path": add["path"], "deletionTimestamp": 1, "dataChange": True, "extendedFileMetadata": True}
    remove |= {"partitionValues": {}, "size": add["size"]}
    commit(lake, version, {"remove": remove}, {"add": {**add, "deletionVector": vector}})
