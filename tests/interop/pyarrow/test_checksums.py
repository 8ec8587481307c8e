"""The pages of uploads have checksums, which other readers compare, and those that others write are compared here."""

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import flight

from helpers import DAMAGED, get, put

ROWS = 20_000
TABLE = pa.table(
    {
        "n": range(ROWS),
        "few": [["a", "b", None][n % 3] for n in range(ROWS)],
        "text": [f"{n * 2654435761 % 4294967296:x}" for n in range(ROWS)],
        "list": [[1, 2] if n % 2 else None for n in range(ROWS)],
    }
)


def damage(file, at):
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)


def page(file, column, part):
    """A place in the middle of a dictionary or of the data behind it."""
    chunk = pq.ParquetFile(file).metadata.row_group(0).column(column)
    end = (chunk.dictionary_page_offset or chunk.data_page_offset) + chunk.total_compressed_size
    if part == "dictionary":
        return chunk.data_page_offset - 1
    return end - 1


def test_others_find_them_right(server, client):
    put(client, "t", TABLE)
    file = server.root / "t.parquet"
    assert pq.read_table(file, page_checksum_verification=True).equals(TABLE)
    sums = "select count(*), sum(n), count(few), sum(len(list)) from"
    expected = (ROWS, sum(range(ROWS)), TABLE["few"].length() - TABLE["few"].null_count, ROWS)
    assert duckdb.sql(f"{sums} '{file}'").fetchone() == expected
    # With the index of its pages, too.
    assert duckdb.sql(f"select text from '{file}' where n = 12345").fetchall() == [(TABLE["text"][12345].as_py(),)]


@pytest.mark.parametrize(("column", "part"), [(0, "data"), (1, "dictionary"), (1, "data"), (2, "data"), (3, "data")])
def test_damage_is_found_here_and_there(server, client, column, part):
    put(client, "t", TABLE)
    file = server.root / "t.parquet"
    damage(file, page(file, column, part))
    with pytest.raises(OSError, match="CRC"):
        pq.read_table(file, page_checksum_verification=True)
    name = TABLE.column_names[column]
    for query in ("t", f"select {name} from t", f"select count(distinct {name}::varchar) from t"):
        with pytest.raises(flight.FlightInternalError, match=f"{DAMAGED}.*t.parquet.*{name}.*row group 0"):
            get(client, query)


def test_those_of_others_are_compared(server, client):
    file = server.root / "theirs.parquet"
    pq.write_table(TABLE, file, write_page_checksum=True)
    assert get(client, "theirs").equals(TABLE)
    damage(file, page(file, 2, "data"))
    for query in ("theirs", "select text from theirs"):
        with pytest.raises(flight.FlightInternalError, match=f"{DAMAGED}.*theirs.parquet"):
            get(client, query)
