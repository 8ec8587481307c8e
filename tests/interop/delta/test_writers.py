"""Airstrip and another program write to one table: whoever comes first, no row is lost."""

import threading
from concurrent.futures import ThreadPoolExecutor

import adbc_driver_flightsql.dbapi as dbapi
import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError

from helpers import action, append, assert_others_read, by_id, folder, get, put, query, rows, run

COMMITS = 20


def part(*ids, kind="x"):
    return pa.table({"id": pa.array(ids, pa.int64()), "kind": [kind] * len(ids)})


def their_append(path, data):
    """deltalake's own appends give up when somebody removes files at the same time."""
    for _ in range(1000):
        try:
            return write_deltalake(path, data, mode="append")
        except CommitFailedError:
            pass
    raise AssertionError("no append came through")


def at_once(*works):
    """Runs all of them at the same time, to their ends."""
    barrier = threading.Barrier(len(works))

    def work(work):
        barrier.wait()
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return [done.result() for done in [pool.submit(work, each) for each in works]]


def test_they_take_turns(shared, shared_client, sql, name):
    put(shared_client, name, part(0))
    append(shared_client, name, part(1))
    path = folder(shared.root, name)
    for id in range(2, 12, 2):
        write_deltalake(path, part(id), mode="append")
        assert by_id(get(shared_client, name)) == by_id(part(*range(id + 1)))
        append(shared_client, name, part(id + 1))
        assert_others_read(path, part(*range(id + 2)))
    DeltaTable(path).delete("id < 3")
    run(sql, f"update {name} set kind = 'y' where id = 5")
    DeltaTable(path).update(predicate="kind = 'y'", new_values={"kind": "z"})
    run(sql, f"delete from {name} where kind = 'x'")
    assert_others_read(path, part(5, kind="z"))
    assert DeltaTable(path).version() == 15


def test_appends_at_once(shared, shared_client, name):
    append(shared_client, name, part(0))
    path = folder(shared.root, name)

    def theirs(first):
        for id in range(first, first + COMMITS):
            their_append(path, part(id))

    def ours(first):
        client = shared.client()
        for id in range(first, first + COMMITS):
            append(client, name, part(id))

    at_once(
        *(lambda work=work, at=at: work(at) for work, at in [(theirs, 100), (theirs, 200), (ours, 300), (ours, 400)])
    )
    expected = part(0, *(id for first in (100, 200, 300, 400) for id in range(first, first + COMMITS)))
    assert by_id(get(shared_client, name)) == by_id(expected)
    assert_others_read(path, expected)


def test_the_first_appends_to_a_plain_dataset_at_once(shared, shared_client, name):
    put(shared_client, name, part(0))
    clients = [shared.client() for _ in range(8)]
    at_once(*(lambda id=id, client=client: append(client, name, part(id)) for id, client in enumerate(clients, 1)))
    assert by_id(get(shared_client, name)) == by_id(part(*range(9)))
    assert_others_read(folder(shared.root, name), part(*range(9)))


def test_appends_that_make_the_dataset_at_once(shared, shared_client, name):
    clients = [shared.client() for _ in range(8)]
    at_once(*(lambda id=id, client=client: append(client, name, part(id)) for id, client in enumerate(clients)))
    assert by_id(get(shared_client, name)) == by_id(part(*range(8)))


def test_changes_and_appends_of_others_at_once(shared, shared_client, name):
    """Each UPDATE counts once, and each append of another program is there."""
    append(shared_client, name, part(*range(10)))
    run(shared.connect(), f"alter table {name} add column n bigint", f"update {name} set n = 0")
    path = folder(shared.root, name)

    def theirs():
        for id in range(100, 100 + COMMITS):
            row = part(id).append_column("n", pa.array([0], pa.int64()))
            their_append(path, row)

    def ours():
        connection = shared.connect()
        for _ in range(5):
            run(connection, f"update {name} set n = n + 1 where id < 10")

    at_once(theirs, ours, ours)
    ids = [*range(10), *range(100, 100 + COMMITS)]
    expected = part(*ids).append_column("n", pa.array([10 if id < 10 else 0 for id in ids], pa.int64()))
    assert by_id(get(shared_client, name)) == by_id(expected)


def test_a_change_that_others_overtake_is_refused_or_counts(shared, shared_client, sql, name):
    """Both change the same rows: what one of them is told it did is in the table."""
    append(shared_client, name, part(*range(10)).append_column("n", pa.array([0] * 10, pa.int64())))
    path = folder(shared.root, name)

    def theirs():
        done = 0
        for _ in range(10):
            try:
                DeltaTable(path).update(updates={"n": "n + 1"})
                done += 1
            except CommitFailedError:
                pass
        return done

    def ours():
        done, connection = 0, shared.connect()
        for _ in range(10):
            try:
                run(connection, f"update {name} set n = n + 1")
                done += 1
            except dbapi.Error as error:
                assert "FailedPrecondition" in str(error), error
        return done

    done = sum(at_once(theirs, ours))
    assert rows(sql, f"select distinct n from {name}") == [(done,)]
    assert by_id(get(shared_client, name)) == by_id(DeltaTable(path).to_pyarrow_table())


def test_compaction_and_appends_of_others_at_once(shared, shared_client, name):
    append(shared_client, name, part(0))
    path = folder(shared.root, name)

    def theirs():
        for id in range(1, COMMITS):
            their_append(path, part(id))

    def ours():
        for _ in range(10):
            action(shared_client, "optimize_dataset", name)

    at_once(theirs, ours)
    assert_others_read(path, part(*range(COMMITS)))


def test_reads_while_others_write(shared, shared_client, sql, name):
    """Every answer is one version: a number of whole commits."""
    append(shared_client, name, part(0, 0, 0))
    path, is_done = folder(shared.root, name), threading.Event()

    def theirs():
        for id in range(1, COMMITS):
            write_deltalake(path, part(id, id, id), mode="append")
        is_done.set()

    def ours():
        last = 0
        while not is_done.is_set():
            for count in (get(shared_client, name).num_rows, rows(sql, f"select count(*) from {name}")[0][0]):
                assert count % 3 == 0 and count >= last
                last = count

    at_once(theirs, ours)
    assert query(sql, f"select * from {name}").num_rows == 3 * COMMITS


def test_a_transaction_of_another_program_counts(shared, shared_client, name):
    """An application that moves from deltalake to Airstrip, or writes to both, keeps its numbers."""
    append(shared_client, name, part(0))
    path = folder(shared.root, name)
    seven = CommitProperties(app_transactions=[Transaction("app", 7)])
    write_deltalake(path, part(1), mode="append", commit_properties=seven)
    append(shared_client, name, part(1), txn="app,7")
    assert by_id(get(shared_client, name)) == by_id(part(0, 1))
    append(shared_client, name, part(2), txn="app,8")
    assert DeltaTable(path).transaction_version("app") == 8
    assert_others_read(path, part(0, 1, 2))
