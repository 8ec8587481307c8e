"""Random tables, the same for Airstrip and for DuckDB, each in another of the forms that a dataset can have.

All have the columns of `SCHEMA`, so that a query over several of them has every name twice.
"""

import datetime as dt
from decimal import Decimal

import deltalake
import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 1200
# Row groups of the files: small, so that many can be left out by their bounds.
GROUP = 150

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("a", pa.int32()),  # a few values
        ("b", pa.int64()),  # many values
        ("c", pa.decimal128(10, 2)),
        ("d", pa.date32()),
        ("e", pa.string()),
        ("f", pa.float64()),  # quarters, with both zeros
        ("g", pa.bool_()),
        ("h", pa.timestamp("us")),
        ("s", pa.string()),  # numbers as text: their order is not that of the numbers
        ("w", pa.int64()),  # next to both ends of the type
        ("l", pa.string()),  # some texts are longer than what writers keep bounds of
    ]
)

WORDS = ["", "a", "b", "ab", "abc", "Abc", "ä", "zebra", "a b", "50%", "x_y", "a.c", "日本", "beyond a prefix 1", "beyond a prefix 2"]


def rows(random, first=0, count=ROWS):
    """Random rows, whose ids count up from `first`."""

    def some(value, nulls):
        return None if random.random() < nulls else value()

    def row(number):
        return {
            "id": first + number,
            "a": some(lambda: random.randrange(-3, 9), 0.12),
            "b": some(lambda: random.randrange(0, 900) * 3 - 700, 0.08),
            "c": some(lambda: Decimal(random.randrange(-3000, 3000)) / 100, 0.1),
            "d": some(lambda: dt.date(2023, 1, 1) + dt.timedelta(random.randrange(800)), 0.1),
            "e": some(lambda: random.choice(WORDS), 0.15),
            "f": some(lambda: random.choice([-0.0, 0.0, random.randrange(-400, 400) / 4]), 0.1),
            "g": some(lambda: random.random() < 0.5, 0.2),
            "h": some(lambda: dt.datetime(2020, 1, 1) + dt.timedelta(microseconds=random.randrange(10**14)), 0.1),
            "s": some(lambda: str(random.randrange(-50, 1500)), 0.1),
            "w": some(lambda: random.choice([-1, 1]) * (2**63 - 1 - random.randrange(5)), 0.5),
            "l": some(lambda: random.choice("amz") * random.choice([1, 2, 5000]), 0.3),
        }

    return pa.Table.from_pylist([row(number) for number in range(count)], schema=SCHEMA)


def file(root, name, table):
    pq.write_table(table, root / f"{name}.parquet", row_group_size=GROUP, write_page_index=True, data_page_size=512)


def folder(root, name, table):
    """Files of which one has no bounds at all."""
    (root / f".{name}").mkdir()
    for number, first in enumerate(range(0, table.num_rows, 300)):
        part = table.slice(first, 300)
        path = root / f".{name}" / f"{number}.parquet"
        pq.write_table(part, path, row_group_size=GROUP, write_statistics=number != 1)
    (root / f".{name}").rename(root / name)


def hive(root, name, table):
    pq.write_to_dataset(table, root / f".{name}", partition_cols=["a"])
    (root / f".{name}").rename(root / name)


def delta(root, name, table):
    for first in range(0, table.num_rows, 400):
        deltalake.write_deltalake(root / name, table.slice(first, 400), mode="append", partition_by=["g"])


def stored(server, name, form, table):
    """Makes `table` a dataset: by another writer, or by an upload where `form` is None."""
    if form is None:
        server.put(name, table)
    else:
        form(server.root, name, table)


# How each table of the queries lies in the root.
FORMS = {"t0": file, "t1": hive, "t2": None, "t3": delta, "t4": folder}
# Those that statements change: a file becomes a Delta table with the first of them.
CHANGED = {"m0": file, "m1": None, "m2": delta}


def make(server, duck, random, forms):
    """Makes the tables of `forms`, for Airstrip in its root and for DuckDB in memory."""
    for name, form in forms.items():
        add(server, duck, name, form, rows(random))


def add(server, duck, name, form, table):
    stored(server, name, form, table)
    duck.register("made", table)
    duck.execute(f"create table {name} as select * from made")
    duck.unregister("made")
