"""Tables that deltalake wrote are served, changed further, and read back by deltalake; or refused by name."""

import datetime as dt
import json
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable, Field, Schema, write_deltalake

from helpers import (
    INVALID,
    PRECONDITION,
    action,
    append,
    assert_others_read,
    by_id,
    commit,
    delete_rows,
    fails,
    get,
    info,
    names,
    put,
    query,
    rows,
    run,
)

UTC = dt.UTC
DATA = pa.table(
    {
        "id": range(20),
        "kind": [["a", "b", None, "ü/ %="][n % 4] for n in range(20)],
        "price": [Decimal(n) / 4 if n % 5 else None for n in range(20)],
        "moment": pa.array([dt.datetime(2026, 1, 1, tzinfo=UTC) + dt.timedelta(seconds=n) for n in range(20)]),
        "local": pa.array([dt.datetime(2026, 1, 1) + dt.timedelta(hours=n) for n in range(20)], pa.timestamp("us")),
        "day": [dt.date(2026, 1, 1) + dt.timedelta(n) if n % 3 else None for n in range(20)],
        "items": pa.array([[n, None] if n % 2 else [] for n in range(20)], pa.list_(pa.int32())),
        "pair": [{"a": n, "b": {"c": str(n)}} if n % 4 else None for n in range(20)],
    }
)


def part(at, rows):
    """Rows of `DATA`, not as a slice: deltalake aborts on some."""
    return DATA.take(pa.array(range(at, min(at + rows, len(DATA)))))


def matches(client, sql, lake, expected):
    """Airstrip's raw stream, its SQL and other programs have the same rows."""
    assert by_id(get(client, lake.name)) == by_id(expected)
    assert by_id(query(sql, f"select * from {lake.name}")) == by_id(expected)
    assert_others_read(lake, expected)


def changed_further(client, sql, lake, expected):
    """Airstrip changes what is there in all ways; what it then serves is what others read."""
    name = lake.name
    matches(client, sql, lake, expected)
    append(client, name, pa.table({"id": [1000, 1001]}))
    run(sql, f"update {name} set kind = 'set' where id = 1000", f"delete from {name} where id = 1001 or id = 3")
    rows = [row for row in expected.to_pylist() if row["id"] != 3] + [{"id": 1000, "kind": "set"}]
    matches(client, sql, lake, pa.Table.from_pylist(rows, expected.schema))
    run(sql, f"alter table {name} add column extra bigint", f"update {name} set extra = 1 where id = 1000")
    rows[-1]["extra"] = 1
    expected = pa.Table.from_pylist(rows, expected.schema.append(pa.field("extra", pa.int64())))
    matches(client, sql, lake, expected)
    action(client, "optimize_dataset", name)
    matches(client, sql, lake, expected)
    # And others once more.
    DeltaTable(lake).delete("id = 1000")
    matches(client, sql, lake, pa.Table.from_pylist(rows[:-1], expected.schema))


class TestServed:
    def test_plain(self, shared_client, sql, lake):
        write_deltalake(lake, DATA)
        assert action(shared_client, "describe_dataset", lake.name)["kind"] == "DATASET_KIND_DELTA"
        changed_further(shared_client, sql, lake, DATA)

    @pytest.mark.parametrize("by", ["kind", "day", "moment", "local", "price"])
    def test_partitioned(self, shared_client, sql, lake, by):
        write_deltalake(lake, DATA, partition_by=[by])
        changed_further(shared_client, sql, lake, DATA)

    def test_partitioned_by_two_columns(self, shared_client, sql, lake):
        write_deltalake(lake, DATA, partition_by=["kind", "day"])
        changed_further(shared_client, sql, lake, DATA)

    def test_appended(self, shared_client, sql, lake):
        for at in range(0, 20, 5):
            write_deltalake(lake, part(at, 5), mode="append")
            matches(shared_client, sql, lake, part(0, at + 5))
        changed_further(shared_client, sql, lake, DATA)

    def test_changed(self, shared_client, sql, lake):
        write_deltalake(lake, DATA)
        table = DeltaTable(lake)
        table.update(predicate="id < 5", new_values={"kind": "updated"})
        table.delete("id >= 15")
        source = pa.table({"id": [0, 99], "kind": ["merged", "new"]})
        merge = table.merge(source, "t.id = s.id", source_alias="s", target_alias="t")
        values = {"id": "s.id", "kind": "s.kind"}
        merge.when_matched_update(values).when_not_matched_insert(values).execute()
        expected = [row | ({"kind": "updated"} if row["id"] < 5 else {}) for row in part(0, 15).to_pylist()]
        expected[0]["kind"] = "merged"
        expected.append({"id": 99, "kind": "new"})
        changed_further(shared_client, sql, lake, pa.Table.from_pylist(expected, DATA.schema))

    def test_fields_that_structs_got_later(self, shared_client, sql, lake):
        """Files have structs without them, whose fields are in another order too."""
        data = DATA.select(["id", "pair"])
        write_deltalake(lake, data)
        [path] = (lake / "_delta_log").glob("*.json")
        [now] = [json.loads(line)["metaData"] for line in path.read_text().splitlines() if "metaData" in line]
        schema = json.loads(now["schemaString"])
        inner = schema["fields"][1]["type"]["fields"]
        inner.reverse()
        inner.insert(1, {"name": "new", "type": "long", "nullable": True, "metadata": {}})
        commit(lake, 1, {"metaData": {**now, "schemaString": json.dumps(schema)}})
        type = pa.struct([data["pair"].type.field("b"), ("new", pa.int64()), ("a", pa.int64())])
        expected = pa.table({"id": data["id"], "pair": pa.array(data["pair"].to_pylist(), type)})
        matches(shared_client, sql, lake, expected)
        run(sql, f"update {lake.name} set id = 100 where id = 7")
        values = [row | {"id": 100} if row["id"] == 7 else row for row in expected.to_pylist()]
        matches(shared_client, sql, lake, pa.Table.from_pylist(values, expected.schema))

    def test_with_checkpoints(self, shared_client, sql, lake):
        for at in range(20):
            write_deltalake(lake, part(at, 1), mode="append", partition_by=["kind"])
            if at % 7 == 6:
                DeltaTable(lake).create_checkpoint()
        matches(shared_client, sql, lake, DATA)
        assert query(sql, f"select * from at('{lake.name}', 8)").num_rows == 9
        changed_further(shared_client, sql, lake, DATA)

    def test_whose_log_was_cleaned_up(self, start, tmp_path):
        server = start()
        lake = server.root / "t"
        for at in range(20):
            write_deltalake(
                lake,
                part(at, 1),
                mode="append",
                configuration={"delta.logRetentionDuration": "interval 0 seconds"} if at == 0 else None,
            )
        DeltaTable(lake).create_checkpoint()
        DeltaTable(lake).cleanup_metadata()
        for entry in (lake / "_delta_log").glob("0000*.json"):
            if int(entry.stem) < 19:
                entry.unlink()
        client, sql = server.client(), server.connect()
        matches(client, sql, lake, DATA)
        assert [row[0] for row in rows(sql, "select version from history('t') order by version")] == [19]
        with pytest.raises(Exception, match="version 3"):
            rows(sql, "select * from at('t', 3)")
        changed_further(client, sql, lake, DATA)

    def test_optimized_and_vacuumed(self, shared_client, sql, lake):
        for at in range(0, 20, 5):
            write_deltalake(lake, part(at, 5), mode="append")
        table = DeltaTable(lake)
        table.optimize.compact()
        table.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
        with fails("UNKNOWN", "(?i)vacuum.*FailedPrecondition"):
            rows(sql, f"select * from at('{lake.name}', 1)")
        changed_further(shared_client, sql, lake, DATA)

    def test_z_ordered(self, shared_client, sql, lake):
        write_deltalake(lake, DATA)
        DeltaTable(lake).optimize.z_order(["kind", "id"])
        changed_further(shared_client, sql, lake, DATA)

    def test_with_an_added_column(self, shared_client, sql, lake):
        write_deltalake(lake, DATA)
        DeltaTable(lake).alter.add_columns([Field("more", "double")])
        write_deltalake(lake, pa.table({"id": [50], "more": [1.5]}), mode="append", schema_mode="merge")
        rows = [*DATA.to_pylist(), {"id": 50, "more": 1.5}]
        expected = pa.Table.from_pylist(rows, DATA.schema.append(pa.field("more", pa.float64())))
        changed_further(shared_client, sql, lake, expected)

    def test_while_it_changes(self, shared_client, sql, lake):
        """What is remembered of a table never hides what others did to it since."""
        write_deltalake(lake, DATA)
        for version in range(1, 6):
            DeltaTable(lake).delete(f"id = {version}")
            assert get(shared_client, lake.name).num_rows == 20 - version
            assert rows(sql, f"select count(*) from {lake.name}") == [(20 - version,)]
            assert info(shared_client, lake.name).total_records == 20 - version
        write_deltalake(lake, pa.table({"other": [1]}), mode="overwrite", schema_mode="overwrite")
        assert get(shared_client, lake.name).to_pylist() == [{"other": 1}]

    def test_that_was_made_anew(self, shared_client, sql, lake):
        """Another table in the place of one that was known."""
        write_deltalake(lake, DATA)
        matches(shared_client, sql, lake, DATA)
        lake.rename(lake.with_name(f".{lake.name}"))
        write_deltalake(lake, part(0, 3))
        matches(shared_client, sql, lake, part(0, 3))

    def test_types_are_served_as_delta_has_them(self, shared_client, lake):
        write_deltalake(lake, DATA)
        schema = get(shared_client, lake.name).schema
        assert schema.field("moment").type == pa.timestamp("us", "UTC")
        assert schema.field("local").type == pa.timestamp("us")
        assert schema.field("day").type == pa.date32()
        assert schema.field("kind").type == pa.string()

    def test_maps_are_appended(self, shared_client, sql, lake):
        """Delta's names for the inside of a map are others than Arrow's."""
        data = pa.table({"id": [1], "m": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64()))})
        write_deltalake(lake, data)
        matches(shared_client, sql, lake, data)
        append(shared_client, lake.name, data)
        matches(shared_client, sql, lake, pa.concat_tables([data, data]))

    def test_an_empty_table(self, shared_client, sql, lake):
        DeltaTable.create(lake, Schema([Field("id", "long"), Field("kind", "string")]))
        assert get(shared_client, lake.name).num_rows == 0
        append(shared_client, lake.name, DATA.select(["id", "kind"]))
        matches(shared_client, sql, lake, DATA.select(["id", "kind"]))


class TestRules:
    def test_constraints(self, shared_client, sql, lake):
        write_deltalake(lake, DATA.select(["id", "kind", "price"]))
        DeltaTable(lake).alter.add_constraint({"positive": "id >= 0"})
        DeltaTable(lake).alter.add_constraint({"known": "kind is null or kind <> 'forbidden'"})
        name = lake.name
        run(sql, f"insert into {name} (id, kind) values (100, 'fine')")
        append(shared_client, name, pa.table({"id": [101]}))
        for change in (
            f"insert into {name} (id) values (-1)",
            f"insert into {name} (id, kind) values (1, 'fine'), (1, 'forbidden')",
            f"insert into {name} (kind) values ('no number')",
            f"update {name} set id = -id where id = 100",
            f"""merge into {name} t using (select -7 as n) s on t.id = s.n
                when not matched then insert (id) values (s.n)""",
        ):
            with fails("INVALID_ARGUMENT", "positive|known"):
                run(sql, change)
        with pytest.raises(pa.ArrowInvalid, match=f"{INVALID}.*positive"):
            append(shared_client, name, pa.table({"id": [1, -1]}))
        run(sql, f"update {name} set kind = 'still fine' where id = 100", f"delete from {name} where id = 101")
        expected = [*DATA.select(["id", "kind", "price"]).to_pylist(), {"id": 100, "kind": "still fine"}]
        matches(shared_client, sql, lake, pa.Table.from_pylist(expected, DATA.select(["id", "kind", "price"]).schema))

    def test_columns_that_are_not_nullable(self, shared_client, sql, lake):
        schema = pa.schema([pa.field("id", pa.int64(), nullable=False), ("kind", pa.string())])
        data = pa.table([[1, 2], ["a", None]], schema=schema)
        write_deltalake(lake, data)
        assert get(shared_client, lake.name).schema == schema
        for change in ("insert into {} (kind) values ('x')", "update {} set id = null where kind = 'a'"):
            with fails("INVALID_ARGUMENT", "id"):
                run(sql, change.format(lake.name))
        with pytest.raises(pa.ArrowInvalid, match=f'{INVALID}.*"id"'):
            append(shared_client, lake.name, pa.table({"kind": ["x"]}))
        append(shared_client, lake.name, data)
        matches(shared_client, sql, lake, pa.concat_tables([data, data]))

    def test_append_only(self, shared_client, sql, lake):
        write_deltalake(lake, DATA, configuration={"delta.appendOnly": "true"})
        name = lake.name
        for change in (
            f"delete from {name} where id = 1",
            f"delete from {name}",
            f"update {name} set kind = 'x'",
            f"merge into {name} t using {name} s on t.id = s.id when matched then delete",
            f"insert overwrite {name} select * from {name}",
        ):
            with fails("UNKNOWN", "append-only.*FailedPrecondition"):
                run(sql, change)
        with pytest.raises(pa.ArrowInvalid, match=f"{PRECONDITION}.*append-only"):
            put(shared_client, name, DATA)
        append(shared_client, name, DATA)
        run(sql, f"insert into {name} select * from {name}")
        matches(shared_client, sql, lake, pa.concat_tables([DATA] * 4))

    def test_change_data_feed(self, shared_client, sql, lake):
        write_deltalake(lake, DATA, configuration={"delta.enableChangeDataFeed": "true"})
        name = lake.name
        for change in (
            f"delete from {name} where id = 1",
            f"update {name} set kind = 'x'",
            f"merge into {name} t using {name} s on t.id = s.id when matched then delete",
        ):
            with fails("NOT_IMPLEMENTED", "enableChangeDataFeed"):
                run(sql, change)
        append(shared_client, name, DATA)
        matches(shared_client, sql, lake, pa.concat_tables([DATA] * 2))
        assert pa.table(DeltaTable(lake).load_cdf(starting_version=0)).num_rows == 40

    def test_generated_columns(self, shared_client, sql, lake):
        field = Field("twice", "long", metadata={"delta.generationExpression": "id * 2"})
        DeltaTable.create(lake, Schema([Field("id", "long"), field]))
        assert get(shared_client, lake.name).num_rows == 0
        with pytest.raises(pa.ArrowNotImplementedError, match="twice|generated"):
            append(shared_client, lake.name, pa.table({"id": [1]}))


def assert_refused(shared, client, sql, lake, feature):
    """In every way of reading and writing, by the feature's name; the rest of the root is not affected."""
    name = lake.name
    log = sorted(path.name for path in (lake / "_delta_log").iterdir())
    for call in (
        lambda: get(client, name),
        lambda: info(client, name),
        lambda: append(client, name, pa.table({"id": [1]})),
        lambda: put(client, name, pa.table({"id": [1]})),
    ):
        with pytest.raises(pa.ArrowNotImplementedError, match=f"(?i){feature}"):
            call()
    for statement in (
        f"select * from {name}",
        f"select count(*) from {name}",
        f"insert into {name} (id) values (1)",
        f"delete from {name}",
        f"select * from at('{name}', 0)",
    ):
        with fails("NOT_IMPLEMENTED", f"(?i){feature}"):
            run(sql, statement)
    assert sorted(path.name for path in (lake / "_delta_log").iterdir()) == log
    names(client)
    append(client, f"{name}_other", pa.table({"id": [1]}))
    assert rows(sql, f"select * from {name}_other") == [(1,)]


class TestRefused:
    def test_deletion_vectors(self, shared, shared_client, sql, lake):
        data = DATA.select(["id", "kind"])
        write_deltalake(lake, data, configuration={"delta.enableDeletionVectors": "true"})
        delete_rows(lake, [0, 3, 19])
        # deltalake, which knows them, sees that the vector is a valid one.
        expected = data.filter(pc.invert(pc.is_in(data["id"], pa.array([0, 3, 19]))))
        assert by_id(pa.table(DeltaTable(lake).scan())) == by_id(expected)
        assert get(shared_client, lake.name).num_rows == len(expected)
        assert by_id(query(sql, f"select * from {lake.name}")) == by_id(expected)
        assert rows(sql, f"select count(*), max(id) from {lake.name}") == [(len(expected), max(expected["id"].to_pylist()))]
        assert rows(sql, f"select id from {lake.name} where id in (0, 1, 3, 19)") == [(1,)]
        assert len(rows(sql, f"select id from {lake.name} limit 2")) == 2
        run(sql, f"delete from {lake.name} where id = 1")
        expected = expected.filter(pc.not_equal(expected["id"], 1))
        assert by_id(get(shared_client, lake.name)) == by_id(expected)
        append(shared_client, lake.name, data.slice(0, 1))
        expected = pa.concat_tables([expected, data.slice(0, 1)])
        assert by_id(get(shared_client, lake.name)) == by_id(expected)
        # Not by its datasets, which know no deletion vectors.
        assert by_id(pa.table(DeltaTable(lake).scan())) == by_id(expected)

    def test_an_unknown_feature(self, shared, shared_client, sql, lake):
        write_deltalake(lake, DATA.select(["id", "kind"]))
        features = ["quantumRows"]
        protocol = {
            "minReaderVersion": 3,
            "minWriterVersion": 7,
            "readerFeatures": features,
            "writerFeatures": features,
        }
        commit(lake, 1, {"protocol": protocol})
        assert_refused(shared, shared_client, sql, lake, "quantumRows")

    def test_an_unknown_feature_of_writers_is_no_matter_to_readers(self, shared_client, sql, lake):
        data = DATA.select(["id", "kind"])
        write_deltalake(lake, data)
        protocol = {"minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": ["quantumWrites"]}
        commit(lake, 1, {"protocol": protocol})
        assert by_id(get(shared_client, lake.name)) == by_id(data)
        with pytest.raises(pa.ArrowNotImplementedError, match="quantumWrites"):
            append(shared_client, lake.name, data)
        with fails("NOT_IMPLEMENTED", "quantumWrites"):
            run(sql, f"delete from {lake.name} where id = 1")

    def test_a_damaged_log(self, shared_client, sql, lake):
        write_deltalake(lake, DATA)
        (lake / "_delta_log" / f"{1:020}.json").write_text('{"add": {"path"')
        with pytest.raises(Exception, match=f"(?i)data loss error.*{lake.name}|damaged"):
            get(shared_client, lake.name)
        names(shared_client)

    def test_a_lost_file(self, shared_client, sql, lake):
        write_deltalake(lake, DATA)
        for file in lake.glob("*.parquet"):
            file.unlink()
        with pytest.raises(Exception) as error:
            get(shared_client, lake.name)
        assert not isinstance(error.value, KeyError), "a lost file is no missing dataset"

    def test_a_path_outside_of_the_table(self, shared, shared_client, sql, lake):
        """An entry that points at another file of the machine is not followed."""
        write_deltalake(lake, DATA.select(["id"]))
        write_deltalake(shared.root / f"{lake.name}_secret", DATA.select(["id"]))
        [secret] = (shared.root / f"{lake.name}_secret").glob("*.parquet")
        for version, path in enumerate([f"../{lake.name}_secret/{secret.name}", f"file://{secret}", str(secret)], 1):
            add = {"path": path, "partitionValues": {}, "size": secret.stat().st_size, "modificationTime": 0}
            commit(lake, version, {"add": {**add, "dataChange": True}})
            with pytest.raises(Exception):
                get(shared_client, lake.name)
