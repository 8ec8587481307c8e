"""The measuring client: runs in a process of its own and does what it is told over a pipe.

One such process belongs to each side of a comparison. Imports and source data are loaded before the clock starts, and
what one server's messages do to the client's allocator (large blocks make later ones cheaper) stays with that server.
"""

import functools
import itertools
import signal
import time
from statistics import median

import pyarrow as pa
import pyarrow.flight as fl
import pyarrow.parquet as pq

BATCH_ROWS = 65_536


def serve(pipe) -> None:
    """Answer (operation, arguments) with a dict of figures, or a str that says what failed, until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The parent ends this process, in its own order.
    operations = {"list": list_datasets, "get": get, "first": first, "sql": sql, "each": each, "put": put, "ingest": ingest}
    while True:
        try:
            operation, arguments = pipe.recv()
        except EOFError:
            return
        try:
            answer = operations[operation](**arguments)
        except Exception as error:  # pyarrow's errors do not all survive a pipe
            answer = f"{type(error).__name__}: {error}"
        pipe.send(answer)


# Not wait_for_available(): it lists all flights, which would warm what the cold listing measures.
connect = functools.cache(fl.connect)


@functools.cache
def batches(path: str):
    """The file as (batch, bytes) pairs in memory.

    Not read_table().to_batches(): slices of a table with string views each carry the buffers of the whole chunk.
    """
    return [(batch, batch.nbytes) for batch in pq.ParquetFile(path).iter_batches(BATCH_ROWS)]


def list_datasets(uri: str) -> dict:
    client = connect(uri)
    start = time.perf_counter()
    rows = sum(1 for _ in client.list_flights())
    return {"wall": time.perf_counter() - start, "rows": rows}


def get(uri: str, name: str, stall: float = 0) -> dict:
    """Download a dataset as the cookbook does: ask for its info, then redeem the tickets."""
    client = connect(uri)
    start = time.perf_counter()
    info = client.get_flight_info(fl.FlightDescriptor.for_path(name))
    return drain(client, [endpoint.ticket for endpoint in info.endpoints], start, stall)


def first(uri: str, name: str) -> dict:
    """The beginning of such a download: its first batch, behind which it is cancelled."""
    client = connect(uri)
    start = time.perf_counter()
    info = client.get_flight_info(fl.FlightDescriptor.for_path(name))
    reader = client.do_get(info.endpoints[0].ticket)
    rows = reader.read_chunk().data.num_rows
    wall = time.perf_counter() - start
    reader.cancel()
    try:
        while True:  # What is on its way is no load on the next one.
            reader.read_chunk()
    except (StopIteration, fl.FlightCancelledError):
        return {"wall": wall, "rows": rows}


def sql(uri: str, query: str) -> dict:
    client = connect(uri)
    return drain(client, [fl.Ticket(query)], time.perf_counter())


def each(uri: str, queries: list[str]) -> dict:
    """One query after the other on one connection: the median of their times, and of the times to their first batch."""
    answers = [sql(uri, query) for query in queries]
    if not all(answer["rows"] for answer in answers):
        raise RuntimeError("a query found nothing")
    middle = {clock: median(answer[clock] for answer in answers) for clock in ("wall", "first")}
    return {**middle, "rows": sum(answer["rows"] for answer in answers)}


def drain(client, tickets, start: float, stall: float = 0) -> dict:
    """Read every stream to its end; `stall` seconds pass after the first batch, as with a client that got stuck."""
    first, rows = None, 0
    for ticket in tickets:
        for chunk in client.do_get(ticket):
            rows += chunk.data.num_rows
            if first is None:
                first = time.perf_counter() - start
                time.sleep(stall)
    return {"wall": time.perf_counter() - start, "first": first, "rows": rows}


def put(uri: str, name: str, source: str, at_least: int = 0, times: int = 1, mode: str = "") -> dict:
    """Upload the file's batches so many times, or over and over until `at_least` bytes were sent; see that they landed."""
    client, descriptor = connect(uri), fl.FlightDescriptor.for_path(name)
    options = fl.FlightCallOptions(headers=[(b"x-airstrip-mode", mode.encode())] if mode else [])
    before = stored_rows(client, descriptor) if mode == "append" else 0
    target = at_least or times * sum(size for _, size in batches(source))
    rows = sent = 0
    start = time.perf_counter()
    writer, answers = client.do_put(descriptor, batches(source)[0][0].schema, options)
    for batch, size in itertools.cycle(batches(source)):
        if sent >= target:
            break
        writer.write_batch(batch)
        rows, sent = rows + batch.num_rows, sent + size
    writer.done_writing()
    while answers.read() is not None:
        pass
    writer.close()
    wall = time.perf_counter() - start
    landed = stored_rows(client, descriptor) - before
    if landed != rows:
        raise RuntimeError(f"{rows} rows were sent, {landed} landed")
    return {"wall": wall, "rows": rows}


def stored_rows(client, descriptor) -> int:
    try:
        return client.get_flight_info(descriptor).total_records
    except KeyError:  # There is no such dataset.
        return 0


def ingest(uri: str, name: str, batches: int, rows: int) -> dict:
    """Append so many batches, each in an upload of its own, one after the other."""
    client, descriptor = connect(uri), fl.FlightDescriptor.for_path(name)
    options = fl.FlightCallOptions(headers=[(b"x-airstrip-mode", b"append")])
    columns = {"id": pa.array(range(rows), pa.int64()), "text": [f"row {row}" for row in range(rows)]}
    batch = pa.RecordBatch.from_pydict({**columns, "value": [row / 7 for row in range(rows)]})
    start = time.perf_counter()
    for _ in range(batches):
        writer, answers = client.do_put(descriptor, batch.schema, options)
        writer.write_batch(batch)
        writer.done_writing()
        while answers.read() is not None:
            pass
        writer.close()
    return {"wall": time.perf_counter() - start, "rows": batches * rows}
