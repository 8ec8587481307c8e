"""Starts the real server (`$AIRSTRIP_BIN`) for the tests.

By hand: `pip install -r requirements.txt` in a venv, then `AIRSTRIP_BIN=../../../target/debug/airstrip pytest`.
"""

import sys
from pathlib import Path

import adbc_driver_flightsql.dbapi as dbapi
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "shared"))

import serving  # noqa: E402


class Server(serving.Server):
    def connect(self):
        """A new connection of the ADBC driver."""
        return dbapi.connect(self.uri, autocommit=True)


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    root = tmp_path_factory.mktemp("datasets")
    server = Server(root)
    yield server
    server.stop()
