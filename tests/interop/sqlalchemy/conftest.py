"""Starts the real server (`$AIRSTRIP_BIN`) for the tests.

By hand: `pip install -r requirements.txt` in a venv, then `AIRSTRIP_BIN=../../../target/debug/airstrip pytest`.
"""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "shared"))

import serving  # noqa: E402


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    root = tmp_path_factory.mktemp("datasets")
    server = serving.Server(root)
    yield server
    server.stop()
