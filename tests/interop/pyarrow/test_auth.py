"""Handshakes: until the server has users, anyone is let in, in each way that pyarrow knows."""

import pyarrow as pa
import pytest
from pyarrow import flight

from helpers import DEADLINE, put

TABLE = pa.table({"n": [1]})


def with_header(header):
    return flight.FlightCallOptions(timeout=DEADLINE, headers=[header])


def test_basic_token(client):
    """Basic in a header and no message at all; the answer is a header to send from now on."""
    put(client, "data", TABLE)
    header, value = client.authenticate_basic_token("user", "pw", with_header((b"x-request-id", b"42")))
    assert header == b"authorization"
    assert value.startswith(b"Bearer ") and len(value) > len(b"Bearer ")
    options = with_header((header, value))
    assert client.get_flight_info(flight.FlightDescriptor.for_path("data"), options).total_records == 1
    assert client.do_get(flight.Ticket("data"), options).read_all().equals(TABLE)
    assert [flight.total_records for flight in client.list_flights(options=options)] == [1]


def test_a_password_with_any_character(client):
    header, value = client.authenticate_basic_token("üser", "p:w=ö~?", with_header((b"x-request-id", b"42")))
    assert client.do_get(flight.Ticket("select 1 as n"), with_header((header, value))).read_all().num_rows == 1


class Handler(flight.ClientAuthHandler):
    """The older handshake: a payload each way, then an `auth-token-bin` header on every call."""

    def __init__(self, payload):
        super().__init__()
        self.payload = payload
        self.token = None

    def authenticate(self, outgoing, incoming):
        outgoing.write(self.payload)
        self.token = incoming.read()

    def get_token(self):
        return self.token


@pytest.mark.parametrize("payload", [flight.BasicAuth("user", "pw").serialize(), b""], ids=["basic", "empty"])
def test_handshake_with_a_payload(client, payload):
    handler = Handler(payload)
    client.authenticate(handler, with_header((b"x-request-id", b"42")))
    assert handler.token is not None
    put(client, "data", TABLE)
    assert client.do_get(flight.Ticket("data")).read_all().equals(TABLE)


def test_a_header_nobody_asked_for_is_no_error(client):
    """Clients that were told to send credentials may do so before there are users."""
    for value in (b"Basic dXNlcjpwdw==", b"Basic dXNlcjpwdw", b"Bearer anything"):
        assert list(client.list_flights(options=with_header((b"authorization", value)))) == []
