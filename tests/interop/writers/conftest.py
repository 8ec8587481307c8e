"""Starts the real server (`$AIRSTRIP_BIN`) on a root in which other programs have written their tables.

By hand: `pip install -r requirements.txt` in a venv, then `AIRSTRIP_BIN=../../../target/debug/airstrip pytest`.
"""

import sys
from pathlib import Path

import pytest
from pyarrow import flight

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "shared"))

import serving  # noqa: E402


class Server(serving.Server):
    def __init__(self, root):
        super().__init__(root)
        self.client = flight.connect(self.uri)

    def stop(self):
        self.client.close()
        super().stop()


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "datasets"
    path.mkdir()
    return path


@pytest.fixture
def server(root):
    server = Server(root)
    yield server
    server.stop()


@pytest.fixture
def client(server):
    return server.client
