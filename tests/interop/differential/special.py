"""Tables of other columns than those of `tables.SCHEMA`: nested values, far times, and files as some writers leave them."""

import datetime as dt
import uuid
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq

import footers
from tables import GROUP, add, file

ROWS = 600

NESTED = pa.schema(
    [
        ("id", pa.int64()),
        ("k", pa.int32()),  # a few values
        ("st", pa.struct([("a", pa.int32()), ("b", pa.string()), ("k", pa.int32())])),
        ("li", pa.list_(pa.int32())),
        ("ma", pa.map_(pa.string(), pa.int32())),
        ("bi", pa.binary()),
        ("du", pa.duration("us")),
        ("u", pa.uuid()),
        ("z", pa.timestamp("us", "America/Denver")),
        ("n", pa.timestamp("us")),  # next to those of z
        ("ns", pa.timestamp("ns")),
        ("far", pa.timestamp("ms")),  # from year 1000 to 9999
        ("fd", pa.date32()),  # the same
        ("x", pa.float64()),  # far from zero, and near each other
        ("y", pa.float64()),  # nearly those of x
        ("q", pa.float64()),  # far from each other
        ("t", pa.string()),  # moments
        ("p", pa.decimal128(30, 20)),  # more digits than a double has
        ("m", pa.decimal128(8, 2)),  # CENTS
    ]
)

UUIDS = [uuid.UUID(int=number * 2**100 + number) for number in range(1, 9)]
KEYS = ["k", "j", "x"]
CENTS = range(-3900, -3900 + 13 * ROWS, 13)
LONG = Decimal("0.12345678901234567890")
DAY = dt.datetime(2024, 3, 10)  # America/Denver sets its clocks forward


def nested(random):
    def some(value, nulls=0.12):
        return None if random.random() < nulls else value()

    small = lambda: random.randrange(-3, 6)
    moment = lambda: DAY + dt.timedelta(hours=random.randrange(48))
    far = lambda: dt.datetime(random.choice([1000, 1600, 1677, 1970, 2024, 2262, 2300, 9000, 9999]), random.randrange(1, 13), random.randrange(1, 29), random.randrange(24), 30)

    def row(number):
        when, x = far(), 1e9 + random.randrange(1000)
        return {
            "id": number,
            "k": some(small),
            "st": some(lambda: {"a": some(small), "b": some(lambda: random.choice("abc")), "k": small()}),
            "li": some(lambda: [some(small) for _ in range(random.randrange(4))]),
            "ma": some(lambda: [(key, some(small)) for key in KEYS if random.random() < 0.5]),
            "bi": some(lambda: random.choice([b"", b"a", b"ab", b"\xff", b"b"])),
            "du": some(lambda: dt.timedelta(seconds=random.randrange(20))),
            "u": some(lambda: random.choice(UUIDS).bytes),
            "z": some(lambda: moment().replace(tzinfo=dt.UTC)),
            "n": some(moment),
            "ns": some(lambda: dt.datetime(random.randrange(1990, 2030), 5, 5)),
            "far": some(lambda: when),
            "fd": some(when.date),
            "x": x,
            "y": x * 2 + random.randrange(200),
            "q": some(lambda: random.randrange(-(10**9), 10**9) / 4),
            "t": some(lambda: moment().isoformat() + random.choice(["", "Z", "+02:00"])),
            "p": some(lambda: random.choice([LONG, Decimal("0.5")]) + Decimal(random.randrange(-2, 3)) / 10**20),
            "m": Decimal(CENTS[number]) / 100,
        }

    return pa.Table.from_pylist([row(number) for number in range(ROWS)], schema=NESTED)


WRITTEN = pa.schema(
    [
        ("id", pa.int64()),
        ("m", pa.decimal128(20, 2)),
        ("v", pa.int32()),
        ("w", pa.string()),
        ("h", pa.timestamp("ms")),
        ("ls", pa.list_(pa.struct([("a", pa.int32()), ("b", pa.string())]))),
    ]
)
MONEY, VALUE, WORD, TIME, STRUCTS = 1, 2, 3, 4, 5


def written(random):
    def row(number):
        some = lambda value: None if random.random() < 0.2 else value()
        return {
            "id": number,
            "m": some(lambda: Decimal(random.randrange(-9000, 9000)) / 100),
            # More in each row group than in the one before.
            "v": some(lambda: random.randrange(100) + number),
            "w": some(lambda: random.choice("abc") + str(number)),
            "h": some(lambda: dt.datetime(random.choice([1, 1600, 2024, 2300, 9999]), 1, random.randrange(1, 29))),
            # The first rows leave out a field: see `nearly_one_type`.
            "ls": some(lambda: [{"a": some(lambda: random.randrange(5)), "b": some(lambda: "b") if number >= ROWS // 3 else None}]),
        }

    return pa.Table.from_pylist([row(number) for number in range(ROWS)], schema=WRITTEN)


def statistics(footer, column):
    return [chunk[footers.STATISTICS][1] for chunk in footers.chunks(footer, column)]


def unsigned(footer):
    """As Polars: bounds of decimals as if their bytes had no sign, so that all below zero are above all others."""
    footer[footers.CREATED_BY] = (footers.BINARY, b"Polars")
    for told in statistics(footer, MONEY):
        told.pop(1, None), told.pop(2, None)
        least, most = told[footers.MIN_VALUE], told[footers.MAX_VALUE]
        told[footers.MIN_VALUE], told[footers.MAX_VALUE] = (footers.BINARY, bytes(len(most[1]))), least


def untold(footer):
    """A row group without bounds beside others that have some."""
    for number, chunk in enumerate(footers.chunks(footer, VALUE)):
        if number % 2:
            del chunk[footers.STATISTICS]


def uncounted(footer):
    """Bounds, and no word of NULLs."""
    for column in (MONEY, VALUE, WORD):
        for told in statistics(footer, column):
            del told[footers.NULL_COUNT]


def summed(footer):
    """As DuckDB until 0.9: NULLs are those of all row groups so far."""
    footer[footers.CREATED_BY] = (footers.BINARY, b"DuckDB")
    for column in (MONEY, VALUE, WORD):
        so_far = 0
        for told in statistics(footer, column):
            of, count = told[footers.NULL_COUNT]
            so_far += count
            told[footers.NULL_COUNT] = (of, so_far)


def noted(footer):
    """A noted Arrow schema that is none."""
    _, (_, pairs) = footer[footers.KEY_VALUES]
    for pair in pairs:
        if pair[1] == (footers.BINARY, b"ARROW:schema"):
            pair[2] = (footers.BINARY, b"/////wAAAAA=")


def by_writers(root, name, table):
    """A folder of files, each of another writer."""
    folder = root / f".{name}"
    folder.mkdir()
    ways = [lambda footer: None, unsigned, untold, uncounted, summed]
    step = table.num_rows // len(ways)
    for number, way in enumerate(ways):
        path = folder / f"{number}.parquet"
        pq.write_table(table.slice(number * step, step), path, row_group_size=step // 3)
        footers.change(path, way)
    folder.rename(root / name)


def of_another_schema(root, name, table):
    """A file whose note of an Arrow schema cannot be read."""
    path = root / f"{name}.parquet"
    pq.write_table(table, path, row_group_size=GROUP)
    footers.change(path, noted)


def int96(root, name, table):
    """As Hive and Impala write times, and without a note of their unit."""
    path = root / f"{name}.parquet"
    pq.write_table(table, path, row_group_size=GROUP, use_deprecated_int96_timestamps=True, store_schema=False)


def nearly_one_type(root, name, table):
    """A folder whose files differ in units of time, in integers and floats, and in the fields of structs."""
    folder = root / f".{name}"
    folder.mkdir()
    types = [(pa.timestamp("ms"), pa.int32()), (pa.timestamp("us"), pa.float64()), (pa.timestamp("s"), pa.int64())]
    step = table.num_rows // len(types)
    for number, (time, value) in enumerate(types):
        part = table.slice(number * step, step)
        part = part.set_column(TIME, "h", part["h"].cast(time)).set_column(VALUE, "v", part["v"].cast(value))
        if number == 0:
            fewer = pa.list_(pa.struct([("a", pa.int32())]))
            rows = [row and [{"a": each["a"]} for each in row] for row in part["ls"].to_pylist()]
            part = part.set_column(STRUCTS, "ls", pa.array(rows, fewer))
        pq.write_table(part, folder / f"{number}.parquet", row_group_size=GROUP)
    folder.rename(root / name)


BEYOND = pa.schema([("id", pa.int64()), ("v", pa.int64()), ("h", pa.timestamp("ms"))])


def beyond(random):
    """What doubles and nanoseconds, the types of another file, do not reach."""
    rows = [{"id": number, "v": 2**53 + 1 + number, "h": dt.datetime(3000, 1, 1)} for number in range(random.randrange(3, 9))]
    return pa.Table.from_pylist(rows, schema=BEYOND)


def beside_finer(root, name, table):
    folder = root / f".{name}"
    folder.mkdir()
    pq.write_table(table, folder / "0.parquet")
    finer = pa.table({"id": [-1], "v": [0.5], "h": pa.array([dt.datetime(2024, 1, 1)], pa.timestamp("ns"))})
    pq.write_table(finer, folder / "1.parquet")
    folder.rename(root / name)


# Each table, what makes its rows, and how it lies in the root.
SPECIAL = {
    "n0": (nested, file),
    "f0": (written, by_writers),
    "f1": (written, of_another_schema),
    "f2": (written, int96),
    "f3": (written, nearly_one_type),
    "f4": (beyond, beside_finer),
}
WRITTEN_BY_OTHERS = [name for name, (rows, _) in SPECIAL.items() if rows is written]


def make(server, duck, random):
    """Makes these tables, for Airstrip in its root and for DuckDB in memory."""
    for name, (rows, form) in SPECIAL.items():
        add(server, duck, name, form, rows(random))
