"""Starts the real server (`$AIRSTRIP_BIN`), to which notebooks connect with ADBC's Flight SQL driver.

By hand: `pip install -r requirements.txt` in a venv, then `AIRSTRIP_BIN=../../../target/debug/airstrip pytest`.
"""

import ctypes
import os
import re
import signal
import subprocess

import adbc_driver_flightsql.dbapi as dbapi
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

STOP_SECONDS = 15
PEOPLE = pa.table({"id": [1, 2, 3], "name": ["Ada", "Grace", None], "height": [1.65, None, 1.8]})


def _die_with_parent():
    """PR_SET_PDEATHSIG: no server outlives a pytest that was killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


@pytest.fixture(scope="session")
def uri(tmp_path_factory):
    root = tmp_path_factory.mktemp("datasets")
    pq.write_table(PEOPLE, root / "people.parquet")
    process = subprocess.Popen(
        [os.environ["AIRSTRIP_BIN"], "serve", str(root), "--listen", "127.0.0.1:0"],
        stdout=subprocess.PIPE,
        text=True,
        # Settings of the caller's environment are not what the tests expect.
        env={k: v for k, v in os.environ.items() if not k.startswith("AIRSTRIP_")},
        preexec_fn=_die_with_parent,
    )
    found = re.search(r"grpc://(\S+)", process.stdout.readline())
    assert found, f"no line with the server's address; exit code {process.wait()}"
    yield found[0]
    process.send_signal(signal.SIGTERM)
    assert process.wait(STOP_SECONDS) == 0


@pytest.fixture
def connection(uri):
    with dbapi.connect(uri) as connection:
        yield connection
