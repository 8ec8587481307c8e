"""`clients.json`, the record of what works: of the versions that these tests ran with."""

import json
from importlib.metadata import version
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CLIENTS = json.loads((HERE / "clients.json").read_text())


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client["client"])
def test_the_record_is_of_what_was_tested(client):
    for package in client["packages"]:
        assert version(package) == client["version"]
        assert f"\n{package}=={client['version']}\n".lower() in (HERE / "requirements.txt").read_text().lower()
    for file in client["tests"]:
        assert (HERE / file).is_file(), file
    for limit in client["does_not"]:
        assert set(limit) == {"what", "why"}
