"""Earlier versions, by their number and by a time, in SQL and as raw streams."""

import datetime as dt
import time

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from pyarrow import flight

from helpers import INVALID, PRECONDITION, action, append, by_id, call, fails, folder, get, info, put, query, rows, run


def part(*ids):
    return pa.table({"id": pa.array(ids, pa.int64()), "s": [str(id) for id in ids]})


@pytest.fixture
def table(shared_client, sql, name):
    """Version n has the rows up to n; version 3 has a column more, and version 4 one row less."""
    put(shared_client, name, part(0))
    append(shared_client, name, part(1))
    append(shared_client, name, part(2))
    run(sql, f"alter table {name} add column extra int", f"delete from {name} where id = 0")
    return name


def test_by_number(shared_client, sql, table):
    for version in range(3):
        expected = part(*range(version + 1))
        assert by_id(query(sql, f"select * from at('{table}', {version})")) == by_id(expected)
        assert by_id(get(shared_client, f"{table}@{version}")) == by_id(expected)
        found = info(shared_client, f"{table}@{version}")
        assert found.schema == expected.schema
        assert found.total_records == len(expected)
        [endpoint] = found.endpoints
        assert by_id(shared_client.do_get(endpoint.ticket, call()).read_all()) == by_id(expected)
    assert query(sql, f"select * from at('{table}', 3)").schema.names == ["id", "s", "extra"]
    assert rows(sql, f"select count(*) from at('{table}', 4)") == [(2,)]
    assert rows(sql, f"select count(*) from at('{table}', '1')") == [(2,)]


def test_by_time(shared_client, sql, name):
    append(shared_client, name, part(0))
    times = []
    for id in range(1, 4):
        time.sleep(0.05)
        times.append(dt.datetime.now(dt.UTC))
        time.sleep(0.05)
        append(shared_client, name, part(id))
    for version, moment in enumerate(times):
        expected = by_id(part(*range(version + 1)))
        for text in (
            moment.isoformat(),
            moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            moment.astimezone(dt.timezone(dt.timedelta(hours=5, minutes=30))).isoformat(),
        ):
            assert by_id(query(sql, f"select * from at('{name}', '{text}')")) == expected, text
            assert by_id(get(shared_client, f"{name}@{text}")) == expected, text
    assert query(sql, f"select * from at('{name}', '2999-01-01T00:00:00Z')").num_rows == 4
    with fails("NOT_FOUND", "no version as old"):
        rows(sql, f"select * from at('{name}', '2001-01-01T00:00:00Z')")


def test_as_others_have_them(shared, shared_client, sql, table):
    path = folder(shared.root, table)
    for version in range(5):
        theirs = DeltaTable(path, version=version).to_pyarrow_table()
        assert by_id(query(sql, f"select * from at('{table}', {version})")) == by_id(theirs)
    history = DeltaTable(path).history()
    found = rows(sql, f"select version, operation, timestamp from history('{table}') order by version desc")
    assert [(entry["version"], entry["operation"]) for entry in history] == [row[:2] for row in found]
    assert [entry["timestamp"] for entry in history] == [int(row[2].timestamp() * 1000 + 0.5) for row in found]


def test_versions_that_are_not_there(shared_client, sql, table):
    with fails("NOT_FOUND", "no version 99.*newest is 4"):
        rows(sql, f"select * from at('{table}', 99)")
    for reading in (get, info):
        with pytest.raises(KeyError, match="99"):
            reading(shared_client, f"{table}@99")
    for wrong in ("'yesterday'", "-1", "1.5", "''", "null", "id"):
        with fails("INVALID_ARGUMENT"):
            rows(sql, f"select * from at('{table}', {wrong})")
    with fails("NOT_FOUND"):
        rows(sql, "select * from at('nowhere', 0)")


def test_a_plain_dataset_has_no_versions(shared_client, sql, name):
    put(shared_client, name, part(0))
    with fails("UNKNOWN", "plain Parquet.*FailedPrecondition"):
        rows(sql, f"select * from at('{name}', 0)")
    with pytest.raises(pa.ArrowInvalid, match=f"{PRECONDITION}.*plain Parquet"):
        get(shared_client, f"{name}@0")
    for kind in ("optimize_dataset", "vacuum_dataset"):
        with pytest.raises(pa.ArrowInvalid, match=f"{PRECONDITION}.*plain Parquet"):
            action(shared_client, kind, name)
    assert rows(sql, f"select * from history('{name}')") == []


def test_an_upload_does_not_hide_a_version(shared_client, table):
    try:
        append(shared_client, f"{table}@1", part(9))
    except pa.ArrowException:
        pass
    assert by_id(get(shared_client, f"{table}@1")) == by_id(part(0, 1))


def test_versions_are_not_written_to(shared_client, sql, table):
    with fails("INVALID_ARGUMENT"):
        run(sql, f"delete from at('{table}', 1)")
    assert get(shared_client, table).num_rows == 2


def test_a_dataset_that_is_called_like_the_function_is_not_changed(server):
    client, connection = server.client(), server.connect()
    for name in ("t", "at"):
        append(client, name, part(0))
        append(client, name, part(1))
    with fails("INVALID_ARGUMENT"):
        run(connection, "delete from at('t', 1)")
    assert by_id(get(client, "at")) == by_id(part(0, 1))


def test_joined_with_another_version(sql, table):
    gone = f"select o.id from at('{table}', 2) o left join {table} n on o.id = n.id where n.id is null"
    assert rows(sql, gone) == [(0,)]
    assert rows(sql, f"with old as (select * from at('{table}', 0)) select count(*) from old, {table}") == [(2,)]


def test_a_parameter_is_no_version(sql, table):
    """Functions of tables take constants: said plainly."""
    with fails("INVALID_ARGUMENT"), sql.cursor() as cursor:
        cursor.execute(f"select * from at('{table}', ?)", (1,))


def test_a_view_of_a_version(sql, table):
    run(sql, f"create view {table}_old as select * from at('{table}', 1)")
    assert rows(sql, f"select count(*) from {table}_old") == [(2,)]
    run(sql, f"delete from {table}")
    assert rows(sql, f"select count(*) from {table}_old") == [(2,)]


def test_restoring_by_time(shared_client, sql, name):
    append(shared_client, name, part(0))
    time.sleep(0.05)
    moment = dt.datetime.now(dt.UTC).isoformat()
    time.sleep(0.05)
    append(shared_client, name, part(1))
    done = action(shared_client, "restore_dataset", {"name": name, "to": moment})
    assert done["version"].startswith("2-")
    assert by_id(get(shared_client, name)) == by_id(part(0))
    action(shared_client, "restore_dataset", {"name": name, "to": "1"})
    assert by_id(get(shared_client, name)) == by_id(part(0, 1))
    for to in ("99", "2001-01-01T00:00:00Z"):
        with pytest.raises(KeyError):
            action(shared_client, "restore_dataset", {"name": name, "to": to})
    for to in ("", "x"):
        with pytest.raises(pa.ArrowInvalid, match=INVALID):
            action(shared_client, "restore_dataset", {"name": name, "to": to})


def test_a_stream_of_a_version_outlives_what_comes_after(start):
    """A slow reader of many rows, while its files leave the table and a vacuum runs."""
    server = start()
    client, writer, sql = server.client(), server.client(), server.connect()
    data = pa.table({"id": range(2_000_000), "s": ["x" * 20] * 2_000_000})
    append(writer, "t", data.slice(0, 1_000_000))
    append(writer, "t", data.slice(1_000_000))
    reader = client.do_get(flight.Ticket("t@1"), call())
    batches = [reader.read_chunk().data]
    run(sql, "delete from t where id >= 10", "insert into t (id) values (-1)")
    # Another program's, which does not keep files for a week.
    table = DeltaTable(server.root / "t")
    table.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
    action(writer, "vacuum_dataset", "t")
    batches += [chunk.data for chunk in reader]
    assert pa.Table.from_batches(batches).sort_by("id").equals(data)
    # Those that begin now have come too late.
    with pytest.raises(pa.ArrowInvalid, match=f"{PRECONDITION}.*vacuum"):
        get(client, "t@1")
    assert get(client, "t").num_rows == 11


def test_vacuum(shared, shared_client, sql, table):
    path = folder(shared.root, table)
    action(shared_client, "optimize_dataset", table)
    files = sorted(path.rglob("*.parquet"))
    # What is younger than a week stays, and nobody asks for less.
    assert action(shared_client, "vacuum_dataset", table).get("files", []) == []
    with pytest.raises(pa.ArrowException):
        action(shared_client, "vacuum_dataset", {"name": table, "retention": "0s"})
    assert sorted(path.rglob("*.parquet")) == files
    for version in range(5):
        rows(sql, f"select * from at('{table}', {version})")


def test_tickets_of_an_old_version_are_good_until_it_is_gone(shared_client, sql, table):
    """GetFlightInfo's tickets of a moment give the rows of that moment."""
    before = info(shared_client, table)
    run(sql, f"delete from {table} where id = 1")
    now = get(shared_client, table)
    assert now.num_rows == 1
    got = [shared_client.do_get(endpoint.ticket, call()).read_all() for endpoint in before.endpoints]
    assert sum(part.num_rows for part in got) in (1, 2)
