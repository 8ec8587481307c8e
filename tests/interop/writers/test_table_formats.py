"""Tables of formats that are not served: refused by name, whatever is asked, and left as they are."""

import shutil

import lance
import pyarrow as pa
import pyiceberg.expressions as where
import pytest
from deltalake import DeltaTable, write_deltalake
from pyiceberg.catalog.sql import SqlCatalog

from helpers import action, age, assert_refused, get, names, put

ROWS = pa.table({"id": [1, 2, 3]})


@pytest.fixture
def iceberg(tmp_path):
    """The folder of a namespace with one table, of which a row is deleted."""
    catalog = SqlCatalog("c", uri="sqlite:///:memory:", warehouse=f"file://{tmp_path}/warehouse")
    catalog.create_namespace("ns")
    table = catalog.create_table("ns.t", ROWS.schema)
    table.append(ROWS)
    table.delete(where.EqualTo("id", 2))
    return tmp_path / "warehouse" / "ns"


def test_iceberg(root, client, iceberg):
    shutil.copytree(iceberg / "t", root / "t")
    shutil.copytree(iceberg, root / "warehouse")
    put(client, "good", ROWS)
    for name in ("t", "warehouse"):
        assert_refused(client, root, name, "Apache Iceberg", "PyIceberg")
    assert names(client) == ["good"]


def test_lance(root, client):
    lance.write_dataset(ROWS, root / "vectors")
    lance.write_dataset(ROWS, root / "more" / "vectors.lance")
    for name in ("vectors", "more"):
        assert_refused(client, root, name, "Lance")


def test_delta_tables_side_by_side(root, client):
    for name in "ab":
        write_deltalake(root / "bronze" / name, ROWS)
        DeltaTable(root / "bronze" / name).delete("id = 2")
    assert_refused(client, root, "bronze", "Delta table", "bronze.db")
    (root / "bronze").rename(root / "bronze.db")
    assert sorted(get(client, "select id from bronze.a")["id"].to_pylist()) == [1, 3]


class TestVacuum:
    """Only what the table's own log has named is removed."""

    def test_what_others_put_there_stays(self, root, client):
        table = root / "t"
        write_deltalake(table, ROWS)
        write_deltalake(table, ROWS, mode="overwrite")
        DeltaTable(table).delete("id = 1")
        write_deltalake(table / "inner", ROWS)
        DeltaTable(table / "inner").delete("id = 2")
        (table / "README.md").write_text("read me")
        (table / "metadata").mkdir()
        (table / "metadata" / "v1.metadata.json").write_text("{}")
        shutil.copy(next(table.glob("*.parquet")), table / "stray.parquet")
        age(table)
        config = {"delta.deletedFileRetentionDuration": "interval 0 seconds"}
        DeltaTable(table).alter.set_table_properties(config)
        current = {path.split("/")[-1] for path in DeltaTable(table).file_uris()}
        before = {path.relative_to(table) for path in table.rglob("*") if path.is_file()}
        body = {"name": "t", "retention": "0s"}
        planned = action(client, "vacuum_dataset", {**body, "dryRun": True})["files"]
        removed = action(client, "vacuum_dataset", body)["files"]
        after = {path.relative_to(table) for path in table.rglob("*") if path.is_file()}
        assert len(removed) == 2 and sorted(removed) == sorted(planned)
        assert {str(path) for path in before - after} == set(removed)
        assert current <= {str(path) for path in after}
        assert DeltaTable(table / "inner").to_pyarrow_table().num_rows == 2
        assert sorted(get(client, "t")["id"].to_pylist()) == [2, 3]

    def test_files_of_another_table_stay_whoever_named_them(self, root, client):
        table = root / "t"
        write_deltalake(table, pa.table({"id": [1, 2], "k": ["x", "y"]}), partition_by=["k"])
        DeltaTable(table).alter.set_table_properties({"delta.deletedFileRetentionDuration": "interval 0 seconds"})
        DeltaTable(table).delete("k = 'x'")
        # Somebody makes the partition a table of its own.
        write_deltalake(table / "k=x", ROWS)
        age(table)
        with pytest.raises(Exception, match="lie in a Delta table, k=x"):
            action(client, "vacuum_dataset", {"name": "t", "retention": "0s"})
        assert DeltaTable(table / "k=x").to_pyarrow_table().num_rows == 3

    def test_a_dropped_table_takes_no_other_along(self, root, client):
        write_deltalake(root / "t", ROWS)
        write_deltalake(root / "t" / "inner", ROWS)
        with pytest.raises(Exception, match="t/inner/"):
            action(client, "drop_dataset", "t")
        kept = action(client, "drop_dataset", {"name": "t", "keepOtherFiles": True})["kept"]
        assert kept and all(path.startswith("t/inner/") for path in kept)
        assert DeltaTable(root / "t" / "inner").to_pyarrow_table().num_rows == 3
        assert not (root / "t" / "_delta_log").exists()


def test_a_shallow_clone_is_named_as_one(root, client, tmp_path):
    write_deltalake(tmp_path / "source", ROWS)
    shutil.copytree(tmp_path / "source", root / "clone")
    [data] = (root / "clone").glob("*.parquet")
    data.unlink()
    entry = next((root / "clone" / "_delta_log").glob("*.json"))
    entry.write_text(entry.read_text().replace(f'"path":"{data.name}"', f'"path":"file://{tmp_path}/source/{data.name}"'))
    for ticket in ("clone", "select * from clone"):
        with pytest.raises(Exception, match="shallow clone"):
            get(client, ticket)
    put(client, "good", ROWS)
    assert names(client) == ["good"]
