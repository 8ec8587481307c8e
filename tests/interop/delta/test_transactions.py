"""An application that sends an upload twice, because it never learned of the first, has stored it once."""

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from helpers import INVALID, PRECONDITION, append, by_id, get, ingest, put, rows, run

DATA = pa.table({"id": [1, 2, 3], "p": ["a", "b", None]})
NEXT = pa.table({"id": [4], "p": ["a"]})
BOTH = pa.concat_tables([DATA, NEXT])


def versions(connection, name):
    return len(rows(connection, f"select * from history('{name}')"))


def test_the_same_upload_twice_is_one_commit(shared_client, sql, name):
    append(shared_client, name, DATA)
    first = append(shared_client, name, NEXT, txn="app,1")
    before = versions(sql, name)
    assert append(shared_client, name, NEXT, txn="app,1") == first
    # What it was is told, whatever is sent now.
    assert append(shared_client, name, DATA, txn="app,1") == first
    assert versions(sql, name) == before
    assert by_id(get(shared_client, name)) == by_id(BOTH)


def test_the_receipt_stays_when_others_write(shared_client, sql, name):
    append(shared_client, name, DATA)
    first = append(shared_client, name, NEXT, txn="app,1")
    append(shared_client, name, NEXT)
    run(sql, f"update {name} set p = 'x'")
    assert append(shared_client, name, NEXT, txn="app,1") == first
    assert get(shared_client, name).num_rows == 5


def test_the_upload_that_makes_the_dataset(shared, shared_client, name):
    first = append(shared_client, name, DATA, txn="app,0", partition_by="p")
    assert first["rows"] == "3"
    assert append(shared_client, name, DATA, txn="app,0", partition_by="p") == first
    assert by_id(get(shared_client, name)) == by_id(DATA)
    assert DeltaTable(shared.root / name).transaction_version("app") == 0


def test_the_upload_that_changes_a_plain_dataset(shared_client, name):
    put(shared_client, name, DATA)
    first = append(shared_client, name, NEXT, txn="app,1")
    assert append(shared_client, name, NEXT, txn="app,1") == first
    assert by_id(get(shared_client, name)) == by_id(BOTH)


def test_an_older_number_is_refused(shared_client, name):
    append(shared_client, name, DATA, txn="app,5")
    with pytest.raises(pa.ArrowInvalid, match=f"{PRECONDITION}.*app"):
        append(shared_client, name, NEXT, txn="app,4")
    append(shared_client, name, NEXT, txn="app,7")
    with pytest.raises(pa.ArrowInvalid, match=f"{PRECONDITION}.*app"):
        append(shared_client, name, NEXT, txn="app,6")
    # Another application counts for itself.
    append(shared_client, name, NEXT, txn="other,1")
    assert by_id(get(shared_client, name)) == by_id(pa.concat_tables([BOTH, NEXT]))


def test_an_older_number_that_was_stored_is_answered_again(shared_client, name):
    """A client may be behind by more than one."""
    receipts = [append(shared_client, name, NEXT, txn=f"app,{number}") for number in range(3)]
    for number in (0, 2, 1):
        assert append(shared_client, name, NEXT, txn=f"app,{number}") == receipts[number]
    assert get(shared_client, name).num_rows == 3


def test_replacing(shared_client, sql, name):
    put(shared_client, name, DATA, txn="app,1")
    first = put(shared_client, name, NEXT, txn="app,2")
    append(shared_client, name, DATA)
    assert put(shared_client, name, NEXT, txn="app,2") == first
    assert by_id(get(shared_client, name)) == by_id(BOTH)


def test_an_ingest(shared, sql, name):
    connection = shared.connect()
    ingest(connection, name, DATA)
    headers = {"adbc.flight.sql.rpc.call_header.x-airstrip-txn": "app,1"}
    for _ in range(2):
        with connection.cursor() as cursor:
            cursor.adbc_statement.set_options(**headers)
            cursor.adbc_ingest(name, NEXT, mode="append")
    assert rows(sql, f"select count(*) from {name}") == [(4,)]


def test_numbers_survive_a_restart(start):
    server = start()
    client = server.client()
    append(client, "t", DATA)
    first = append(client, "t", NEXT, txn="app,5")
    server.stop()
    client = start().client()
    assert append(client, "t", NEXT, txn="app,5") == first
    with pytest.raises(pa.ArrowInvalid, match=f"{PRECONDITION}.*app"):
        append(client, "t", NEXT, txn="app,4")
    assert by_id(get(client, "t")) == by_id(BOTH)


def test_numbers_survive_checkpoints(start):
    """Some hundred commits later, when no reader looks at the entry itself any more."""
    server = start("--compact-files", "0")
    client = server.client()
    first = append(client, "t", DATA, txn="app,5")
    for _ in range(105):
        append(client, "t", NEXT)
    assert append(client, "t", DATA, txn="app,5") == first
    server.stop()
    client = start().client()
    assert append(client, "t", DATA, txn="app,5") == first
    assert get(client, "t").num_rows == 108


@pytest.mark.parametrize("text", ["app", "app,", ",1", "app,x", "app,1.5", "", "app,99999999999999999999"])
def test_what_is_no_number_is_refused(shared_client, name, text):
    with pytest.raises(pa.ArrowInvalid, match=INVALID):
        append(shared_client, name, DATA, txn=text)


def test_odd_names_of_applications(shared, shared_client, name):
    for app in ("a,b", "a b", 'quoted "x"', "a" * 1000):
        first = append(shared_client, name, NEXT, txn=f"{app},1")
        assert append(shared_client, name, NEXT, txn=f"{app},1") == first
        assert DeltaTable(shared.root / name).transaction_version(app) == 1
    assert get(shared_client, name).num_rows == 4
