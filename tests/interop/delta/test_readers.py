"""What Airstrip writes is read by other implementations of Delta: the same rows, also where they skip files."""

import datetime as dt
import math
from decimal import Decimal

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from helpers import (
    action,
    append,
    assert_others_read,
    by_id,
    folder,
    get,
    put,
    query,
    rows,
    run,
)

UTC = dt.UTC
SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("tiny", pa.int8()),
        ("int", pa.int32()),
        ("flag", pa.bool_()),
        ("real", pa.float64()),
        ("price", pa.decimal128(12, 2)),
        ("text", pa.string()),
        ("bytes", pa.binary()),
        ("day", pa.date32()),
        ("moment", pa.timestamp("us", "UTC")),
        ("local", pa.timestamp("us")),
        ("items", pa.list_(pa.int32())),
        ("pair", pa.struct([("a", pa.int32()), ("b", pa.string())])),
        ("map", pa.map_(pa.string(), pa.int64())),
    ]
)


def row(id):
    """A row of its own; every fourth has nothing but a number."""
    if id % 4 == 3:
        return {"id": id}
    return {
        "id": id,
        "tiny": id % 128 - 64,
        "int": -id,
        "flag": id % 2 == 0,
        "real": float("nan") if id % 8 == 1 else id / 3,
        "price": Decimal(id) + Decimal("0.25"),
        "text": f"{'naïve ☃ long enough to be cut in statistics ' * (id % 2)}{id:05}",
        "bytes": bytes([id % 256, 0, 255]),
        "day": dt.date(1999, 12, 31) + dt.timedelta(id),
        "moment": dt.datetime(2026, 1, 31, 12, tzinfo=UTC) + dt.timedelta(microseconds=id * 1_000_001),
        "local": dt.datetime(1969, 12, 31, 23) + dt.timedelta(hours=id),
        "items": [id, None] if id % 2 else [],
        "pair": {"a": id, "b": None},
        "map": [("k", id), ("n", None)],
    }


def some(*ids):
    return pa.Table.from_pylist([row(id) for id in ids], SCHEMA)


def matches(shared, client, name, expected):
    """Airstrip and the others have the same rows."""
    assert by_id(get(client, name)) == by_id(expected)
    assert_others_read(folder(shared.root, name), expected)


class TestChanges:
    @pytest.fixture
    def table(self, shared_client, name):
        """A promoted file and two more."""
        put(shared_client, name, some(*range(10)))
        append(shared_client, name, some(*range(10, 20)))
        append(shared_client, name, some(*range(20, 30)))
        return name

    def test_appends(self, shared, shared_client, table):
        matches(shared, shared_client, table, some(*range(30)))

    def test_insert(self, shared, shared_client, sql, table):
        run(sql, f"insert into {table} select * from {table} where id < 0", f"insert into {table} (id) values (33)")
        expected = pa.concat_tables([some(*range(30)), some(35).set_column(0, "id", [[33]])])
        matches(shared, shared_client, table, expected)

    def test_update(self, shared, shared_client, sql, table):
        run(sql, f"update {table} set text = 'changed', price = price * 2 where id in (2, 12, 17)")
        expected = [row(id) for id in range(30)]
        for id in (2, 12, 17):
            expected[id] |= {"text": "changed", "price": expected[id]["price"] * 2}
        matches(shared, shared_client, table, pa.Table.from_pylist(expected, SCHEMA))

    def test_delete(self, shared, shared_client, sql, table):
        run(sql, f"delete from {table} where text is null or id between 5 and 14")
        matches(shared, shared_client, table, some(*(n for n in range(30) if n % 4 != 3 and not 5 <= n <= 14)))

    def test_delete_of_all_rows(self, shared, shared_client, sql, table):
        run(sql, f"delete from {table}")
        matches(shared, shared_client, table, SCHEMA.empty_table())
        append(shared_client, table, some(1))
        matches(shared, shared_client, table, some(1))

    def test_merge(self, shared, shared_client, sql, table):
        append(shared_client, f"{table}_source", pa.table({"id": [1, 5, 100], "text": ["one", None, "new"]}))
        run(
            sql,
            f"""merge into {table} t using {table}_source s on t.id = s.id
                when matched and s.text is null then delete
                when matched then update set text = s.text
                when not matched then insert (id, text) values (s.id, s.text)""",
        )
        expected = [row(id) for id in range(30) if id != 5] + [{"id": 100, "text": "new"}]
        expected[1]["text"] = "one"
        matches(shared, shared_client, table, pa.Table.from_pylist(expected, SCHEMA))

    def test_insert_overwrite(self, shared, shared_client, sql, table):
        run(sql, f"insert overwrite {table} select * from {table} where id < 3")
        matches(shared, shared_client, table, some(0, 1, 2))
        assert_others_read(folder(shared.root, table), some(*range(30)), version=2)

    def test_add_column(self, shared, shared_client, sql, table):
        run(sql, f"alter table {table} add column extra bigint", f"update {table} set extra = id + 1 where id < 2")
        extra = pa.array([1, 2, *[None] * 28], pa.int64())
        matches(shared, shared_client, table, some(*range(30)).append_column("extra", extra))

    def test_merge_of_schemas(self, shared, shared_client, table):
        append(shared_client, table, pa.table({"id": [50], "extra": ["x"], "more": [[1.5]]}), schema="merge")
        expected = pa.Table.from_pylist(
            [*(row(id) for id in range(30)), {"id": 50, "extra": "x", "more": [1.5]}],
            SCHEMA.append(pa.field("extra", pa.string())).append(pa.field("more", pa.list_(pa.float64()))),
        )
        matches(shared, shared_client, table, expected)

    def test_compaction(self, shared, shared_client, table):
        done = action(shared_client, "optimize_dataset", table)
        assert (done["filesRemoved"], done["filesAdded"]) == ("3", "1")
        matches(shared, shared_client, table, some(*range(30)))
        assert len(DeltaTable(folder(shared.root, table)).file_uris()) == 1

    def test_z_order(self, shared, shared_client, table):
        action(shared_client, "optimize_dataset", {"name": table, "zOrderBy": ["day", "int"]})
        matches(shared, shared_client, table, some(*range(30)))

    def test_restore(self, shared, shared_client, sql, table):
        run(sql, f"delete from {table} where id < 25", f"alter table {table} add column extra int")
        action(shared_client, "restore_dataset", {"name": table, "to": "1"})
        matches(shared, shared_client, table, some(*range(20)))
        append(shared_client, table, some(40))
        matches(shared, shared_client, table, some(*range(20), 40))

    def test_replace(self, shared, shared_client, table):
        put(shared_client, table, pa.table({"id": [1], "other": ["x"]}))
        matches(shared, shared_client, table, pa.table({"id": [1], "other": ["x"]}))

    def test_versions(self, shared, shared_client, sql, table):
        run(sql, f"delete from {table} where id >= 5")
        path = folder(shared.root, table)
        for version, expected in enumerate([range(10), range(20), range(30), range(5)]):
            assert_others_read(path, some(*expected), version)
            assert by_id(query(sql, f"select * from at('{table}', {version})")) == by_id(some(*expected))


def test_many_commits_and_their_checkpoints(start):
    server = start("--compact-files", "0")
    client, connection = server.client(), server.connect()
    for id in range(110):
        append(client, "t", some(id))
    run(connection, "delete from t where id % 10 = 0")
    expected = some(*(id for id in range(110) if id % 10))
    assert list((server.root / "t" / "_delta_log").glob("*.checkpoint*.parquet"))
    assert_others_read(server.root / "t", expected)
    assert by_id(get(client, "t")) == by_id(expected)


def test_small_files_are_compacted_by_themselves(start):
    server = start("--compact-files", "4")
    client = server.client()
    for id in range(20):
        append(client, "t", some(id))
    assert_others_read(server.root / "t", some(*range(20)))
    server.stop()
    assert len(DeltaTable(server.root / "t").file_uris()) < 8


ODD = ["a/b=c %", "naïve ☃", None, "a b", "%20", "+", "..", "'\"", "__HIVE", "=", "C:\\d", "line\nbreak"]


class TestPartitions:
    def check(self, shared, client, sql, name, data):
        """Through appends, changes and compaction; `p` is what the table is partitioned by."""
        matches(shared, client, name, data)
        path = folder(shared.root, name)
        assert DeltaTable(path).metadata().partition_columns == ["p"]
        more = data.set_column(0, "id", pc.add(data["id"], 1000))
        append(client, name, more)
        matches(shared, client, name, pa.concat_tables([data, more]))
        run(sql, f"update {name} set v = 'changed' where id = 1000", f"delete from {name} where id = 1")
        expected = pa.concat_tables([data, more]).to_pylist()
        for changed in expected:
            if changed["id"] == 1000:
                changed["v"] = "changed"
        expected = pa.Table.from_pylist([row for row in expected if row["id"] != 1], data.schema)
        matches(shared, client, name, expected)
        action(client, "optimize_dataset", name)
        matches(shared, client, name, expected)
        for value in data["p"].to_pylist():
            wanted = pc.is_null(pc.field("p")) if value is None else pc.field("p") == pa.scalar(value, data["p"].type)
            rows = by_id(expected.filter(wanted))
            assert by_id(DeltaTable(path).to_pyarrow_dataset().to_table(filter=wanted)) == rows, value
            column = pl.col("p").is_null() if value is None else pl.col("p") == pl.lit(value)
            assert by_id(pl.scan_delta(str(path)).filter(column).collect().to_arrow()) == rows, value

    def table(self, values, type):
        names = [f"row {at}" for at in range(len(values))]
        return pa.table({"id": range(len(values)), "p": pa.array(values, type), "v": names})

    VALUES = {
        pa.int64(): [-(2**63), None, 0, 7],
        pa.bool_(): [True, False, None],
        pa.date32(): [dt.date(1, 1, 1), dt.date(1582, 10, 4), None, dt.date(9999, 12, 31)],
        pa.timestamp("us"): [dt.datetime(2026, 1, 31, 12, 0, 0, 500_000), dt.datetime(1969, 1, 1), None],
        pa.timestamp("us", "UTC"): [
            dt.datetime(2026, 1, 31, 12, 0, 0, 1, UTC),
            dt.datetime(1969, 1, 1, tzinfo=UTC),
            None,
        ],
        pa.decimal128(10, 2): [
            Decimal("1.50"),
            Decimal("99999999.99"),
            None,
        ],  # deltalake fails on negative ones, its own too.
        pa.float64(): [0.1, -2.5, 1e300, None],
    }

    @pytest.mark.parametrize("type", VALUES, ids=str)
    def test_of_a_type(self, shared, shared_client, sql, name, type):
        data = self.table(self.VALUES[type], type)
        append(shared_client, name, data, partition_by="p")
        self.check(shared, shared_client, sql, name, data)

    def test_of_odd_texts(self, shared, shared_client, sql, name):
        data = self.table(ODD, pa.string())
        append(shared_client, name, data, partition_by="p")
        self.check(shared, shared_client, sql, name, data)

    def test_by_sql(self, shared, shared_client, sql, name):
        run(sql, f"create table {name} (id bigint, p varchar, v varchar) partitioned by (p)")
        data = self.table(ODD, pa.string())
        append(shared_client, name, data)
        self.check(shared, shared_client, sql, name, data)

    def test_of_a_text_too_long_for_a_folder(self, shared, shared_client, name):
        """polars wants folders; programs that go by the log have the value."""
        data = self.table(["x" * 300, "y"], pa.string())
        append(shared_client, name, data, partition_by="p")
        assert by_id(get(shared_client, name)) == by_id(data)
        assert by_id(DeltaTable(folder(shared.root, name)).to_pyarrow_table()) == by_id(data)

    def test_by_two_columns(self, shared, shared_client, sql, name):
        data = self.table(["a", None, "a", None], pa.string()).append_column("q", pa.array([1, 1, None, None]))
        append(shared_client, name, data, partition_by="p,q")
        matches(shared, shared_client, name, data)
        table = DeltaTable(folder(shared.root, name))
        assert table.metadata().partition_columns == ["p", "q"]
        assert len(table.file_uris()) == 4
        # What partitions a table is no part of its files.
        assert all(pq.read_schema(file).names == ["id", "v"] for file in table.file_uris())

    def test_an_empty_text_is_refused_by_name(self, shared_client, name):
        """Delta takes it for NULL."""
        with pytest.raises(pa.ArrowInvalid, match='(?s)invalid argument.*"p"'):
            append(shared_client, name, self.table(["", "a"], pa.string()), partition_by="p")

    def test_columns_that_cannot_be(self, shared_client, name):
        for by, data in [
            ("nowhere", self.table(["a"], pa.string())),
            ("p", self.table([[1]], pa.list_(pa.int8()))),
            ("id,p,v", self.table(["a"], pa.string())),
        ]:
            with pytest.raises(pa.ArrowInvalid, match="invalid argument"):
                append(shared_client, name, data, partition_by=by)
        assert not get_or_none(shared_client, name)

    def test_a_column_that_is_named_twice(self, shared, shared_client, name):
        with pytest.raises(pa.ArrowInvalid, match='(?s)invalid argument.*"p"'):
            append(shared_client, name, self.table(["a"], pa.string()), partition_by="p,p")
        assert not (shared.root / name).exists()


def get_or_none(client, name):
    try:
        return get(client, name)
    except KeyError:
        return None


class TestPromotion:
    def test_of_a_file_of_another_program(self, shared, shared_client, sql, name):
        columns = [column for column in SCHEMA.names if column != "map"]
        pq.write_table(some(*range(10)).select(columns), shared.root / f"{name}.parquet", row_group_size=3)
        append(shared_client, name, some(10, 11).select(columns))
        run(sql, f"delete from {name} where id = 4")
        matches(shared, shared_client, name, some(*(id for id in range(12) if id != 4)).select(columns))

    def test_of_a_file_with_a_map(self, shared, shared_client, name):
        """Parquet's names for the inside of a map are others than Arrow's."""
        pq.write_table(some(1), shared.root / f"{name}.parquet")
        append(shared_client, name, some(2))
        matches(shared, shared_client, name, some(1, 2))

    def test_of_a_directory(self, shared, shared_client, sql, name):
        (shared.root / name).mkdir()
        for at in range(3):
            pq.write_table(some(at * 2, at * 2 + 1), shared.root / name / f"{at}.parquet")
        run(sql, f"update {name} set int = 7 where id = 2")
        expected = [row(id) for id in range(6)]
        expected[2]["int"] = 7
        matches(shared, shared_client, name, pa.Table.from_pylist(expected, SCHEMA))

    def test_of_a_hive_directory(self, shared, shared_client, sql, name):
        for folder_name in ("year=2025/kind=a%2Fb", "year=2026/kind=__HIVE_DEFAULT_PARTITION__", "year=2026/kind=ü ☃"):
            path = shared.root / name / folder_name
            path.mkdir(parents=True)
            pq.write_table(pa.table({"id": [len(folder_name)], "v": ["old"]}), path / "part.parquet")
        before = get(shared_client, name)
        assert sorted(map(str, before["kind"].to_pylist())) == ["None", "a/b", "ü ☃"]
        new = pa.Table.from_pylist([{"id": 99, "v": "new", "year": 2027, "kind": "=%"}], before.schema)
        append(shared_client, name, new)
        expected = pa.concat_tables([before, new])
        matches(shared, shared_client, name, expected)
        run(sql, f"delete from {name} where year = 2025")
        matches(shared, shared_client, name, expected.filter(pc.field("year") != 2025))

    def test_a_column_order_of_ones_own(self, shared, shared_client, name):
        """Partition columns that come first, as Delta allows, are served last, as with any directory."""
        data = pa.table({"p": ["x", "y"], "id": [1, 2], "v": [1.5, None]})
        append(shared_client, name, data, partition_by="p")
        matches(shared, shared_client, name, data)


class TestSkipping:
    """Statistics let readers skip files, and never one that has a row."""

    VALUES = {
        pa.int64(): [[-(2**63), -5], [0, None], [2**53 + 1, 2**63 - 1]],
        pa.int8(): [[-128], [0, None], [127]],
        pa.float64(): [[float("-inf"), -0.0], [float("nan"), 1.5], [None, float("nan")], [0.0, float("inf")]],
        pa.float32(): [[0.1], [float("nan"), -3.4028234663852886e38]],
        pa.string(): [
            ["", "a"],
            ["a" * 32, "a" * 33, "a" * 40],
            ["a" * 31 + "\U0010ffff" * 3, None],
            ["naïve ☃" * 10, "ü"],
            ["\U0010ffff" * 40],
            ['"quoted" \\ \n \x01'],
        ],
        pa.date32(): [[dt.date(1, 1, 1)], [dt.date(1969, 12, 31), None], [dt.date(2026, 1, 31), dt.date(9999, 12, 31)]],
        pa.timestamp("us"): [
            [dt.datetime(1, 1, 1), dt.datetime(1969, 12, 31, 23, 59, 59, 999_999)],
            [dt.datetime(2026, 1, 31, 12, 0, 0, 123_456), None],
            [dt.datetime(2026, 1, 31, 12, 0, 0, 123_999), dt.datetime(2026, 1, 31, 12, 0, 0, 124_000)],
        ],
        pa.timestamp("us", "UTC"): [
            [dt.datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC)],
            [dt.datetime(2026, 1, 31, 12, 0, 0, 123_456, UTC), None],
            [dt.datetime(2026, 1, 31, 12, 0, 0, 123_999, UTC)],
        ],
        pa.decimal128(5, 2): [[Decimal("-999.99")], [Decimal("0.01"), None], [Decimal("999.99")]],
        pa.decimal128(38, 10): [
            [Decimal("-" + "9" * 28 + "." + "9" * 10)],
            [Decimal("0.0000000001"), Decimal("12345678901234567.0000000001")],
            [Decimal("9" * 28 + "." + "9" * 10), None],
        ],
        pa.decimal128(38, 0): [[Decimal("-" + "9" * 38)], [Decimal(2**63)], [Decimal(2**64 + 1)]],
        pa.bool_(): [[True], [False, None]],
        pa.binary(): [[b""], [b"\x00\xff", None]],
    }

    def write(self, client, name, type):
        """A file for each list of values; returns the table that they are together."""
        parts, id = [], 0
        for values in self.VALUES[type]:
            parts.append(pa.table({"id": range(id, id + len(values)), "c": pa.array(values, type)}))
            append(client, name, parts[-1])
            id += len(values)
        return pa.concat_tables(parts)

    @pytest.mark.parametrize("type", VALUES, ids=str)
    def test_by_deltalake(self, shared, shared_client, name, type):
        data = self.write(shared_client, name, type)
        dataset = DeltaTable(folder(shared.root, name)).to_pyarrow_dataset()
        for value in (value for value in data["c"] if value.is_valid):
            # PyArrow 26 itself leaves row groups out as if the footer's bounds were those of NaN too.
            if pa.types.is_floating(type) and math.isnan(value.as_py()):
                continue
            comparisons = ["__eq__", "__lt__", "__le__", "__gt__", "__ge__"]
            for compare in comparisons if pa.types.is_floating(type) else [*comparisons, "__ne__"]:
                wanted = getattr(pc.field("c"), compare)(value)
                assert by_id(dataset.to_table(filter=wanted)) == by_id(data.filter(wanted)), (compare, value)
        wanted = pc.field("c").is_null()
        assert by_id(dataset.to_table(filter=wanted)) == by_id(data.filter(wanted))

    @pytest.mark.parametrize("type", VALUES, ids=str)
    def test_by_deltalake_in_sql(self, shared, shared_client, name, type):
        """Its own engine."""
        data = self.write(shared_client, name, type)
        table = DeltaTable(folder(shared.root, name))
        for predicate, wanted in [
            ("c is null", pc.field("c").is_null()),
            ("c is not null", pc.field("c").is_valid()),
            ("c = c", pc.field("c").is_valid()),
            ("id >= 2", pc.field("id") >= 2),
        ]:
            assert by_id(pa.table(table.scan(predicate=predicate))) == by_id(data.filter(wanted)), predicate

    @pytest.mark.parametrize("type", VALUES, ids=str)
    def test_by_polars(self, shared, shared_client, name, type):
        data = self.write(shared_client, name, type)
        frame, whole = pl.scan_delta(str(folder(shared.root, name))), pl.from_arrow(data)
        conditions = [pl.col("c").is_null(), pl.col("c").is_not_null()]
        for at in range(len(data)):
            if data["c"][at].is_valid:
                value = pl.lit(whole["c"][at], dtype=whole["c"].dtype)
                for compare in ("__eq__", "__lt__", "__le__", "__gt__", "__ge__", "__ne__"):
                    conditions.append(getattr(pl.col("c"), compare)(value))
        for condition in conditions:
            found, expected = frame.filter(condition).collect(), whole.filter(condition)
            assert by_id(found.to_arrow()) == by_id(expected.to_arrow()), condition

    @pytest.mark.parametrize("type", VALUES, ids=str)
    def test_by_airstrip(self, shared_client, sql, name, type):
        """The same rows as from a plain dataset of one file, where there is nothing to skip."""
        data = self.write(shared_client, name, type)
        put(shared_client, f"{name}_plain", data)
        for compare in ("=", "<", "<=", ">", ">=", "<>"):
            found, expected = (
                rows(sql, f"select t.id, u.id from {table} t join {name}_plain u on t.c {compare} u.c order by 1, 2")
                for table in (name, f"{name}_plain")
            )
            assert found == expected, compare
            for at in range(len(data)):
                where = f"where c {compare} (select c from {name}_plain where id = {at})"
                found, expected = (
                    rows(sql, f"select id from {table} {where} order by 1") for table in (name, f"{name}_plain")
                )
                assert found == expected, (compare, at)


NAN = pa.table({"id": [1, 2], "c": [float("nan"), -5.0]})


@pytest.mark.parametrize("is_delta", [False, True])
def test_nan_beside_one_other_value_is_no_such_value(shared_client, sql, name, is_delta):
    put(shared_client, name, NAN, **({"mode": "append"} if is_delta else {}))
    found = rows(sql, f"select id, isnan(c) from {name} where id > 0 order by id")
    assert found == [(1, True), (2, False)]
    assert rows(sql, f"select id from {name} where c = -5.0") == [(2,)]


@pytest.mark.parametrize("change", ["delete from {} where c = -5.0", "update {} set id = id where id = 1"])
def test_nan_beside_one_other_value_survives_changes(shared_client, sql, name, change):
    append(shared_client, name, NAN)
    run(sql, change.format(name))
    assert by_id(get(shared_client, name))[0] == {"id": 1, "c": "NaN"}


def test_nan_beside_one_other_value_is_kept_in_joins(shared_client, sql, name):
    append(shared_client, name, pa.table({"id": [0], "c": [0.5]}))
    append(shared_client, name, pa.table({"id": [1, 2], "c": [float("nan"), -5.0]}))
    append(shared_client, f"{name}_other", pa.table({"c": [-5.0]}))
    assert rows(sql, f"select id from {name} t join {name}_other u on t.c = u.c") == [(2,)]


def test_a_table_that_holds_types_of_arrow_is_read_by_others(shared, shared_client, name):
    """They see the types that Delta has for them."""
    data = pa.table(
        {
            "id": [1, 2],
            "unsigned": pa.array([2**64 - 1, None], pa.uint64()),
            "small": pa.array([255, None], pa.uint8()),
            "time": pa.array([1, None], pa.time64("ns")),
            "duration": pa.array([-5, None], pa.duration("s")),
            "nanos": pa.array([123_456_789, None], pa.timestamp("ns")),
            "seconds": pa.array([dt.datetime(2026, 1, 31), None], pa.timestamp("s")),
            "word": pa.array(["a", None]).dictionary_encode(),
            "large": pa.array(["b", None], pa.large_string()),
            "fixed": pa.array([b"abcd", None], pa.binary(4)),
            "half": pa.array([0.5, None], pa.float16()),
            "money": pa.array([Decimal("1.25"), None], pa.decimal64(10, 2)),
            "nothing": pa.nulls(2),
        }
    )
    put(shared_client, name, data)
    append(shared_client, name, data.slice(1).set_column(0, "id", [[3]]))
    seen = {
        "id": 1,
        "unsigned": Decimal(2**64 - 1),
        "small": 255,
        "time": 1,
        "duration": -5,
        "nanos": 123_456_789,
        "seconds": dt.datetime(2026, 1, 31),
        "word": "a",
        "large": "b",
        "fixed": b"abcd",
        "half": 0.5,
        "money": Decimal("1.25"),
        "nothing": None,
    }
    nulls = [dict.fromkeys(seen) | {"id": id} for id in (2, 3)]
    schema = pa.schema(
        [
            (name, {"unsigned": pa.decimal128(20, 0), "seconds": pa.timestamp("us"), "nothing": pa.string()}.get(name))
            if name in ("unsigned", "seconds", "nothing")
            else (name, pa.array([value]).type)
            for name, value in seen.items()
        ]
    )
    assert_others_read(folder(shared.root, name), pa.Table.from_pylist([seen, *nulls], schema))
