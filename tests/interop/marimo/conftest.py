"""Starts the real server (`$AIRSTRIP_BIN`), to which notebooks connect with ADBC's Flight SQL driver.

By hand: `pip install -r requirements.txt` in a venv, then `AIRSTRIP_BIN=../../../target/debug/airstrip pytest`.
"""

import sys
from pathlib import Path

import adbc_driver_flightsql.dbapi as dbapi
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "shared"))

import serving  # noqa: E402

PEOPLE = pa.table({"id": [1, 2, 3], "name": ["Ada", "Grace", None], "height": [1.65, None, 1.8]})


@pytest.fixture(scope="session")
def uri(tmp_path_factory):
    root = tmp_path_factory.mktemp("datasets")
    pq.write_table(PEOPLE, root / "people.parquet")
    server = serving.Server(root)
    yield server.uri
    server.stop()


@pytest.fixture
def connection(uri):
    with dbapi.connect(uri) as connection:
        yield connection
