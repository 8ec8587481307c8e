"""do_exchange: rows of the client are the table `input` of one query, and nothing is stored."""

from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest
from pyarrow import flight

from helpers import INVALID, call, names, put

NUMBERS = pa.table({"a": [1, 2, 3], "s": pa.array(["x", None, "z"], pa.dictionary(pa.int8(), pa.string()))})


def exchange(client, sql, table, **airstrip):
    writer, reader = client.do_exchange(flight.FlightDescriptor.for_command(sql), call(**airstrip))
    with writer:
        writer.begin(table.schema)
        writer.write_table(table)
        writer.done_writing()
        return reader.read_all()


def test_filter_and_compute(client):
    result = exchange(client, "select a, a * 2 as b from input where a > 1", NUMBERS)
    assert result.to_pydict() == {"a": [2, 3], "b": [4, 6]}
    assert result.schema == pa.schema([("a", pa.int64()), ("b", pa.int64())])
    assert names(client) == []


def test_aggregate(client):
    assert exchange(client, "select sum(a) as total from input", NUMBERS).to_pylist() == [{"total": 6}]


def test_no_rows(client):
    result = exchange(client, "select count(*) as n from input", NUMBERS.slice(0, 0))
    assert result.to_pylist() == [{"n": 0}]


def test_join_with_a_stored_dataset(client):
    put(client, "names", pa.table({"id": [1, 2], "name": ["one", "two"]}))
    result = exchange(client, "select i.a, n.name from input i left join names n on n.id = i.a order by i.a", NUMBERS)
    assert result.to_pydict() == {"a": [1, 2, 3], "name": ["one", "two", None]}


def test_a_dataset_called_input_is_hidden_by_the_stream(client):
    put(client, "input", pa.table({"a": [100]}))
    assert exchange(client, "select max(a) as a from input", NUMBERS).to_pylist() == [{"a": 3}]


def test_types_are_those_of_any_sql_result(client):
    assert exchange(client, "select s from input", NUMBERS).schema.field("s").type == pa.string()
    native = exchange(client, "select s from input", NUMBERS, types="native")
    assert native["s"].to_pylist() == ["x", None, "z"]


def test_results_come_while_the_upload_still_runs(client):
    batch = pa.record_batch([pa.array(range(100_000))], ["a"])
    writer, reader = client.do_exchange(
        flight.FlightDescriptor.for_command("select a from input where a >= 0"), call(timeout=20)
    )
    with writer:
        writer.begin(batch.schema)
        rows = 0
        for _ in range(3):
            writer.write_batch(batch)
            rows += reader.read_chunk().data.num_rows
        writer.done_writing()
        rows += reader.read_all().num_rows
    assert rows == 3 * batch.num_rows


def test_a_long_stream_flows_through(client):
    """More than any buffer holds, written by one thread and read by another, as pyarrow's users do."""
    batch = pa.record_batch([pa.array(range(65_536))], ["a"])
    writer, reader = client.do_exchange(flight.FlightDescriptor.for_command("select a + 1 as a from input"), call())
    with writer, ThreadPoolExecutor(1) as pool:
        rows = pool.submit(lambda: sum(chunk.data.num_rows for chunk in reader))
        writer.begin(batch.schema)
        for _ in range(200):
            writer.write_batch(batch)
        writer.done_writing()
        assert rows.result() == 200 * batch.num_rows


@pytest.mark.parametrize(
    "sql", ["select nope from input", "selec a from input", "drop table input", "select 1; select 2", ""]
)
def test_bad_sql_is_refused(client, sql):
    with pytest.raises((pa.ArrowInvalid, NotImplementedError)):
        exchange(client, sql, NUMBERS)
    assert exchange(client, "select count(*) as n from input", NUMBERS).to_pylist() == [{"n": 3}]


def test_a_path_is_no_query(client):
    writer, reader = client.do_exchange(flight.FlightDescriptor.for_path("input"), call())
    with pytest.raises(pa.ArrowInvalid, match=INVALID):
        with writer:
            writer.begin(NUMBERS.schema)
            writer.done_writing()
            reader.read_all()
