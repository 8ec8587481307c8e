"""Folders of Parquet as other programs lay them out."""

import shutil
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers import action, get, names, put

DATA = Path(__file__).parent / "data"


def rows(table):
    return sorted(map(tuple, (row.values() for row in table.to_pylist())), key=repr)


class TestKeysInFoldersAndFiles:
    """One column, in the type that it has in the files."""

    FRAME = pl.DataFrame({"id": [1, 2, 3], "k": ["a b", "01", None], "v": [1.5, 2.5, 3.5]})

    def test_polars(self, root, client):
        self.FRAME.lazy().sink_parquet(pl.PartitionBy(root / "p", key="k"), mkdir=True)
        assert get(client, "p").column_names == ["id", "k", "v"]
        for _ in range(3):
            assert rows(get(client, "p")) == rows(self.FRAME.to_arrow())
            assert get(client, "select id from p where k = '01'")["id"].to_pylist() == [2]
            assert get(client, "select id from p where k is null")["id"].to_pylist() == [3]
        assert action(client, "describe_dataset", "p")["partitionColumns"] == ["k"]

    @pytest.mark.parametrize(
        "key",
        [
            "1",
            "date '2024-02-29'",
            "timestamp '2024-02-29 12:34:56.789'",
            "12.50::decimal(6,2)",
            "true",
            "'ü/=%'",
            "1.5::double",
            "null::int",
        ],
    )
    def test_duckdb(self, root, client, key):
        query = f"select range as id, {key} as k from range(3)"
        options = "format parquet, partition_by (k), write_partition_columns true"
        duckdb.sql(f"copy ({query}) to '{root}/p' ({options})")
        expected = duckdb.sql(query).to_arrow_table()
        for _ in range(3):
            found = get(client, "select id, k from p")
            assert rows(found) == rows(expected)
            assert found.schema.field("k").type == expected.schema.field("k").type
        if key != "null::int":
            assert get(client, f"select id from p where k = {key}").num_rows == 3
        put(client, "p", get(client, "p"), mode="append")
        assert rows(get(client, "select distinct id, k from p")) == rows(expected)

    def test_a_folder_that_says_something_else_is_refused(self, root, client):
        (root / "p" / "k=1").mkdir(parents=True)
        pq.write_table(pa.table({"k": [1, 2]}), root / "p" / "k=1" / "0.parquet")
        with pytest.raises(Exception, match="k=1, and the file has rows with another k"):
            get(client, "p")

    def test_where_nothing_says_what_is_in_a_file_it_is_read(self, root, client):
        (root / "p" / "k=1").mkdir(parents=True)
        pq.write_table(pa.table({"k": [1, 2]}), root / "p" / "k=1" / "0.parquet", write_statistics=False)
        assert get(client, "p").to_pydict() == {"k": [1, 2]}
        assert get(client, "select k from p where k = 2").num_rows == 1

    def test_a_file_without_the_key_gets_its_folders(self, root, client):
        for key, table in ((1, {"id": [1], "k": [1]}), (2, {"id": [2]})):
            (root / "p" / f"k={key}").mkdir(parents=True)
            pq.write_table(pa.table(table), root / "p" / f"k={key}" / "0.parquet")
        assert rows(get(client, "p")) == [(1, 1), (2, 2)]

    def test_registered(self, root, client):
        self.FRAME.lazy().sink_parquet(pl.PartitionBy(root / "raw.d" / "p", key="k"), mkdir=True)
        action(client, "register_dataset", {"name": "p", "path": "raw.d/p"})
        assert rows(get(client, "select id, k, v from p")) == rows(self.FRAME.to_arrow())


def test_names_of_keys_are_decoded(root, client):
    duckdb.sql(f"""copy (select 1 as id, 2 as "a=b c") to '{root}/p' (format parquet, partition_by ("a=b c"))""")
    assert get(client, "p").to_pydict() == {"id": [1], "a=b c": [2]}
    put(client, "p", pa.table({"id": [3], "a=b c": [4]}), mode="append")
    assert rows(get(client, "p")) == [(1, 2), (3, 4)]


def test_tables_side_by_side_are_not_glued_together(root, client):
    (root / "shop").mkdir()
    pq.write_table(pa.table({"id": [1], "customer": [2], "total": [3]}), root / "shop" / "orders.parquet")
    pq.write_table(pa.table({"id": [1], "name": ["a"], "city": ["b"]}), root / "shop" / "customers.parquet")
    for ticket in ("shop", "select * from shop"):
        with pytest.raises(Exception, match="shop.db.*CREATE EXTERNAL TABLE"):
            get(client, ticket)
    assert names(client) == []


class TestStreamingSink:
    """What a streaming query of Spark's writes: `data/sink` was made by PySpark 4.1.1, five batches, partitioned by k,
    a compaction of the log every third batch; a file of a try that failed lies among the others."""

    EXPECTED = [(0, "x"), (1, "a b"), (2, "x"), (3, "a b"), (4, "x")]

    @pytest.fixture
    def sink(self, root):
        return shutil.copytree(DATA / "sink", root / "sink")

    def test_its_log_says_which_files_count(self, sink, client):
        assert len(list(sink.rglob("*.parquet"))) == 6
        assert rows(get(client, "sink")) == self.EXPECTED
        assert get(client, "select count(*) as n from sink where k = 'x'")["n"].to_pylist() == [3]
        assert action(client, "describe_dataset", "sink")["rows"] == "5"
        assert names(client) == ["sink"]

    def test_it_is_not_changed(self, sink, client):
        with pytest.raises(Exception, match="streaming query"):
            put(client, "sink", get(client, "sink"), mode="append")
        assert not (sink / "_delta_log").exists()

    def test_a_lost_file_or_batch_is_no_silent_loss(self, sink, client):
        (sink / "_spark_metadata" / "3").rename(sink / "3")
        with pytest.raises(Exception, match="batch 3 is missing"):
            get(client, "sink")
        (sink / "3").rename(sink / "_spark_metadata" / "3")
        next(sink.glob("k=a b/*.parquet")).unlink()
        with pytest.raises(Exception, match="has lost the file"):
            get(client, "sink")

    def test_it_is_dropped_with_its_log(self, sink, client):
        action(client, "drop_dataset", "sink")
        assert not sink.exists()


class TestOddFiles:
    """One odd file hides no other, and is named as what it is."""

    @pytest.fixture
    def good(self, client):
        put(client, "good", pa.table({"id": [1]}))

    @pytest.mark.parametrize(
        "content, what",
        [
            (b"Obj\x01rest of it", "an Avro file"),
            (b"ORC rest of it ORC", "an ORC file"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS"),
            (b"PAR1....\x04\x00\x00\x00PARE", "is encrypted"),
            (b"", "damaged or is not Parquet"),
        ],
    )
    def test_of_another_kind(self, root, client, good, content, what):
        (root / "odd.parquet").write_bytes(content)
        with pytest.raises(Exception, match=what):
            get(client, "odd")
        assert what in action(client, "describe_dataset", "odd")["damage"]
        assert names(client) == ["good"]

    def test_encrypted(self, root, client, good):
        import base64

        import pyarrow.parquet.encryption as pe

        class Client(pe.KmsClient):
            def __init__(self, config):
                super().__init__()

            def wrap_key(self, key, name):
                return base64.b64encode(key)

            def unwrap_key(self, key, name):
                return base64.b64decode(key)

        config = pe.EncryptionConfiguration(footer_key="f", column_keys={"c": ["secret"]})
        factory = pe.CryptoFactory(Client)
        properties = factory.file_encryption_properties(pe.KmsConnectionConfig(), config)
        table = pa.table({"secret": [1, 2], "open": [3, 4]})
        pq.write_table(table, root / "odd.parquet", encryption_properties=properties)
        for ticket in ("odd", "select * from odd"):
            with pytest.raises(Exception, match="is encrypted"):
                get(client, ticket)
        assert names(client) == ["good"]


def test_categories_that_are_numbers(root, client):
    column = pa.array([3, 1, 3, None]).dictionary_encode()
    pq.write_table(pa.table({"c": column, "n": [1, 2, 3, 4]}), root / "t.parquet")
    assert get(client, "t")["c"].to_pylist() == [3, 1, 3, None]
    for _ in range(3):
        assert get(client, "select c from t where c = 3").num_rows == 2
        assert get(client, "select c, count(*) as n from t group by c order by c nulls last").to_pydict() == {
            "c": [1, 3, None],
            "n": [1, 2, 1],
        }
    put(client, "t", pa.table({"c": [5], "n": [5]}), mode="append")
    assert sorted(get(client, "select c from t where c > 1")["c"].to_pylist()) == [3, 3, 5]
