"""ADBC's ingest in its four modes, into Delta tables."""

import pyarrow as pa
import pytest

from helpers import action, append, assert_others_read, by_id, fails, folder, get, ingest, put, query, rows, run

DATA = pa.table({"id": [1, 2, 3], "s": ["a", None, "c"]})
MORE = pa.table({"id": [4, 5], "s": ["d", "e"]})
BOTH = pa.concat_tables([DATA, MORE])


def test_create(shared_client, sql, name):
    assert ingest(sql, name, DATA, mode="create") == 3
    append(shared_client, name, MORE)
    with fails("ALREADY_EXISTS", name):
        ingest(sql, name, DATA, mode="create")
    assert by_id(query(sql, f"select * from {name}")) == by_id(BOTH)


def test_append(shared, sql, name):
    with fails("NOT_FOUND", name):
        ingest(sql, name, DATA, mode="append")
    ingest(sql, name, DATA)
    assert ingest(sql, name, MORE, mode="append") == 2
    assert by_id(query(sql, f"select * from {name}")) == by_id(BOTH)
    assert_others_read(folder(shared.root, name), BOTH)


def test_create_append(shared, sql, name):
    assert ingest(sql, name, DATA, mode="create_append") == 3
    assert ingest(sql, name, MORE, mode="create_append") == 2
    assert by_id(query(sql, f"select * from {name}")) == by_id(BOTH)
    assert_others_read(folder(shared.root, name), BOTH)


def test_replace_keeps_the_history_of_a_delta_table(shared, sql, name):
    ingest(sql, name, DATA)
    ingest(sql, name, MORE, mode="append")
    before = rows(sql, f"select version from history('{name}')")
    assert ingest(sql, name, pa.table({"id": [9], "other": [1.5]}), mode="replace") == 1
    assert len(rows(sql, f"select version from history('{name}')")) == len(before) + 1
    assert query(sql, f"select * from {name}").to_pylist() == [{"id": 9, "other": 1.5}]
    assert by_id(query(sql, f"select * from at('{name}', 1)")) == by_id(BOTH)
    assert_others_read(folder(shared.root, name), pa.table({"id": [9], "other": [1.5]}))


def test_replace_of_a_plain_dataset_stays_plain(shared_client, sql, name):
    ingest(sql, name, DATA)
    ingest(sql, name, MORE, mode="replace")
    assert action(shared_client, "describe_dataset", name)["kind"] == "DATASET_KIND_FILE"
    assert query(sql, f"select * from {name}").equals(MORE)


@pytest.mark.parametrize("mode", ["append", "create_append"])
def test_append_casts_numbers_and_checks_their_range(sql, name, mode):
    run(sql, f"create table {name} (id int, s varchar)")
    assert ingest(sql, name, DATA, mode=mode) == 3
    got = query(sql, f"select * from {name}")
    assert got.schema.field("id").type == pa.int32()
    assert by_id(got) == by_id(DATA)
    for wrong in (2**31, -(2**31) - 1):
        with fails("INVALID_ARGUMENT", '"id"'):
            ingest(sql, name, pa.table({"id": [7, wrong]}), mode=mode)
    assert by_id(query(sql, f"select * from {name}")) == by_id(DATA)
    ingest(sql, name, pa.table({"id": [2**31 - 1, -(2**31)]}), mode=mode)
    assert rows(sql, f"select min(id), max(id) from {name}") == [(-(2**31), 2**31 - 1)]


@pytest.mark.parametrize("mode", ["append", "create_append"])
def test_what_does_not_fit_stores_nothing(sql, name, mode):
    ingest(sql, name, DATA)
    ingest(sql, name, MORE, mode="append")
    for wrong, culprit in [
        (pa.table({"id": ["text"]}), '"id"'),
        (pa.table({"id": [1], "extra": [1]}), '"extra"'),
        (pa.table({"s": [1]}), '"s"'),
    ]:
        with fails("INVALID_ARGUMENT", culprit):
            ingest(sql, name, wrong, mode=mode)
    assert len(rows(sql, f"select * from history('{name}')")) == 2
    assert by_id(query(sql, f"select * from {name}")) == by_id(BOTH)


def test_a_source_that_breaks_stores_nothing(shared, sql, name):
    ingest(sql, name, DATA)
    ingest(sql, name, MORE, mode="append")
    files = sorted(shared.root.rglob(f"{name}*/**/*"))

    def batches():
        yield from DATA.to_batches()
        raise ValueError("the source broke")

    for mode in ("append", "replace"):
        with fails("UNKNOWN", "the source broke"):
            ingest(sql, name, pa.RecordBatchReader.from_batches(DATA.schema, batches()), mode=mode)
    assert by_id(query(sql, f"select * from {name}")) == by_id(BOTH)
    assert sorted(shared.root.rglob(f"{name}*/**/*")) == files


def test_many_batches(shared, sql, name):
    data = pa.table({"id": range(100_000), "s": [str(n % 100) for n in range(100_000)]})
    run(sql, f"create table {name} (id bigint, s varchar)")
    reader = pa.RecordBatchReader.from_batches(data.schema, data.to_batches(max_chunksize=1000))
    assert ingest(sql, name, reader, mode="append") == len(data)
    assert query(sql, f"select * from {name} order by id").equals(data)
    assert_others_read(folder(shared.root, name), data)


def test_into_a_schema(shared, sql, name):
    run(sql, f"create schema {name}")
    ingest(sql, "t", DATA, db_schema_name=name)
    ingest(sql, "t", MORE, db_schema_name=name, mode="append")
    assert by_id(query(sql, f"select * from {name}.t")) == by_id(BOTH)
    assert rows(sql, f"select count(*) from history('{name}.t')") == [(2,)]
    assert by_id(query(sql, f"select * from at('{name}.t', 0)")) == by_id(DATA)
    assert_others_read(folder(shared.root / f"{name}.db", "t"), BOTH)


def test_into_a_temporary_table(shared, sql, name):
    ingest(sql, name, DATA, temporary=True)
    ingest(sql, name, MORE, mode="append", temporary=True)
    assert by_id(query(sql, f"select * from {name}")) == by_id(BOTH)
    assert list(shared.root.glob(f"{name}*")) == []


def test_into_a_partitioned_table(shared, sql, name):
    run(sql, f"create table {name} (id bigint, s varchar) partitioned by (s)")
    ingest(sql, name, DATA, mode="append")
    ingest(sql, name, MORE, mode="replace")
    ingest(sql, name, DATA, mode="create_append")
    assert by_id(query(sql, f"select * from {name}")) == by_id(BOTH)
    assert_others_read(folder(shared.root, name), BOTH)
    with fails("UNKNOWN", '"s".*FailedPrecondition'):
        ingest(sql, name, DATA.select(["id"]), mode="replace")


def test_create_table_as_select(shared, shared_client, sql, name):
    put(shared_client, f"{name}_source", BOTH)
    run(sql, f"create table {name} partitioned by (s) as select * from {name}_source")
    assert by_id(get(shared_client, name)) == by_id(BOTH)
    assert_others_read(folder(shared.root, name), BOTH)
