"""Errors arrive as the pyarrow exceptions that a Python programmer would catch, and say what to do."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import flight

from helpers import DAMAGED, EXISTS, INVALID, action, call, get, info, names, path, put

TABLE = pa.table({"n": [1, 2, 3]})

BAD_NAMES = ["../x", "..", "a..b", ".hidden", "a/b", "/etc/passwd", "a\x00b", "a\nb", "", "x" * 201, "é" * 101, "a#b"]
# Some of these are also valid protobuf (an unknown field), where a bare name and a message are both allowed.
GOOD_NAMES = [
    "users",
    "music",
    "email",
    "x" * 200,
    "é" * 100,
    "Größe",
    "with space",
    "o'clock",
    'say "hi"',
    "50%",
    "select 1",
]

MISSING = {
    "do_get": lambda client: get(client, "missing"),
    "do_get of a file name": lambda client: get(client, "missing.parquet"),
    "get_flight_info": lambda client: info(client, "missing"),
    "get_flight_info of a schema": lambda client: info(client, "nowhere", "missing"),
    "get_schema": lambda client: client.get_schema(path("missing"), call()),
    "drop_dataset": lambda client: action(client, "drop_dataset", "missing"),
    "describe_dataset": lambda client: action(client, "describe_dataset", "missing"),
    "rename_dataset": lambda client: action(client, "rename_dataset", {"name": "missing", "newName": "found"}),
    "SQL": lambda client: get(client, "select * from missing"),
    "SQL of a command": lambda client: client.get_flight_info(
        flight.FlightDescriptor.for_command("select * from missing"), call()
    ),
}


@pytest.mark.parametrize("entry", MISSING)
def test_what_is_missing_is_a_key_error(shared_client, entry):
    with pytest.raises(KeyError, match="missing"):
        MISSING[entry](shared_client)


def test_a_name_that_is_nearly_right_is_suggested(client):
    put(client, "customers", TABLE)
    with pytest.raises(KeyError, match="customers"):
        get(client, "select * from custmers")
    with pytest.raises(pa.ArrowInvalid, match="number_of_rows"):
        put(client, "columns", pa.table({"number_of_rows": [1]}))
        get(client, "select number_of_row from columns")


@pytest.mark.parametrize("bad", BAD_NAMES, ids=lambda name: repr(name)[:20])
class TestBadNames:
    """One rule for names, at every entry; nothing outside of the root is read, written or removed."""

    @pytest.fixture(autouse=True)
    def canary(self, server):
        """What `../x` would be."""
        file = server.root.parent / "x.parquet"
        pq.write_table(TABLE, file)
        content = file.read_bytes()
        yield
        assert file.read_bytes() == content
        assert [f.name for f in server.root.iterdir() if not f.name.startswith(".airstrip")] == []
        assert {f.name for f in server.root.parent.iterdir()} == {"x.parquet", server.root.name}

    def test_do_put(self, client, bad):
        writer, _ = client.do_put(path(bad), TABLE.schema, call())
        with pytest.raises(pa.ArrowInvalid, match=INVALID):
            with writer:
                writer.write_table(TABLE)

    def test_get_flight_info_and_get_schema(self, client, bad):
        for rpc in (client.get_flight_info, client.get_schema):
            with pytest.raises(pa.ArrowInvalid, match=INVALID):
                rpc(path(bad), call())

    @pytest.mark.parametrize("kind", ["drop_dataset", "describe_dataset"])
    def test_actions(self, client, bad, kind):
        for body in (bad, {"name": bad}):
            with pytest.raises(pa.ArrowInvalid, match=INVALID):
                action(client, kind, body)

    def test_renaming_to_it(self, client, bad):
        put(client, "data", TABLE)
        with pytest.raises(pa.ArrowInvalid, match=INVALID):
            action(client, "rename_dataset", {"name": "data", "newName": bad})
        assert get(client, "data").equals(TABLE)
        action(client, "drop_dataset", "data")

    def test_do_get(self, client, bad):
        """A ticket that is no name may still be SQL, so it may also be "not found"; never a file."""
        with pytest.raises((pa.ArrowInvalid, KeyError)):
            get(client, bad)


@pytest.mark.parametrize("good", GOOD_NAMES, ids=lambda name: repr(name)[:20])
def test_a_name_within_the_rules_works_everywhere(client, good):
    put(client, good, TABLE)
    assert names(client) == [good]
    assert info(client, good).total_records == 3
    assert client.get_schema(path(good), call()).schema == TABLE.schema
    assert get(client, info(client, good).endpoints[0].ticket.ticket).equals(TABLE)
    quoted = good.replace('"', '""')
    assert get(client, f'select sum(n) as n from "{quoted}"').to_pylist() == [{"n": 6}]
    assert action(client, "describe_dataset", good)["rows"] == "3"
    action(client, "drop_dataset", good)
    assert names(client) == []


BAD_SQL = [
    "select 1 +",
    "selec 1",
    "select 1 2 3",
    "select nope(1)",
    "select sum('a', 2)",
    "select a from (select 1 as b)",
]


@pytest.mark.parametrize("sql", BAD_SQL)
def test_bad_sql_is_invalid(shared_client, sql):
    with pytest.raises(pa.ArrowInvalid, match=INVALID):
        shared_client.get_flight_info(flight.FlightDescriptor.for_command(sql), call())


@pytest.mark.parametrize(
    "sql, line", [("select 1 2 3", 1), ("select\n  1 +", 2), ("select n,\n\n  nope from (select 1 as n)", 3)]
)
def test_bad_sql_says_where(shared_client, sql, line):
    """Syntax and names alike: line and column, in the command and in the ticket."""
    where = rf"(?is)line:? {line},? column:? \d+"
    with pytest.raises(pa.ArrowInvalid, match=where):
        shared_client.get_flight_info(flight.FlightDescriptor.for_command(sql), call())
    with pytest.raises((pa.ArrowInvalid, KeyError), match=where):
        get(shared_client, sql)


@pytest.mark.parametrize("ticket", [b"what is this?", b"\xff\xfe", b""])
def test_a_ticket_that_is_nothing_is_refused(shared_client, ticket):
    with pytest.raises((pa.ArrowInvalid, KeyError)):
        get(shared_client, ticket)


def test_an_unknown_action_is_not_implemented_and_names_the_known_ones(shared_client):
    with pytest.raises(NotImplementedError) as error:
        list(shared_client.do_action(flight.Action("drop_everything", b""), call()))
    for known in ("drop_dataset", "register_dataset", "describe_dataset", "rename_dataset"):
        assert known in str(error.value)


@pytest.mark.parametrize("body", ["{", '{"name": [1]}', '{"nmae": "x"}', "\n\x7fcut off"])
def test_a_body_that_cannot_be_read_is_invalid(shared_client, body):
    with pytest.raises(pa.ArrowInvalid, match=INVALID):
        action(shared_client, "drop_dataset", body)


def test_a_rename_onto_another_dataset_says_already_exists(client):
    put(client, "one", TABLE)
    put(client, "two", TABLE)
    with pytest.raises(pa.ArrowException, match=EXISTS):
        action(client, "rename_dataset", {"name": "one", "newName": "two"})
    assert names(client) == ["one", "two"]


def test_a_damaged_file_says_which_and_breaks_no_other(server, client):
    put(client, "fine", TABLE)
    (server.root / "broken.parquet").write_bytes(b"PAR1 this is not Parquet PAR1")
    for request in (lambda: get(client, "broken"), lambda: get(client, "select * from broken")):
        with pytest.raises(flight.FlightError, match=f"(?s){DAMAGED}.*broken"):
            request()
    assert "fine" in names(client)
    assert get(client, "fine").equals(TABLE)
    assert action(client, "describe_dataset", "broken")["damage"]
    # It is a file that can be dropped like any other.
    action(client, "drop_dataset", "broken")
    assert not (server.root / "broken.parquet").exists()


def test_a_failure_while_rows_flow_is_an_error_not_an_early_end(client):
    """The first rows are fine; the last divides by zero."""
    put(client, "numbers", pa.table({"n": range(1_000_000, -1, -1)}))
    reader = client.do_get(flight.Ticket("select 1 / n as q from numbers"), call())
    with pytest.raises(pa.ArrowException, match="(?i)zero"):
        reader.read_all()


def test_errors_are_text_for_people(shared_client):
    """No Rust debug output and no stack."""
    for sql in (*BAD_SQL, "select * from missing"):
        with pytest.raises(pa.ArrowException) as error:
            shared_client.get_flight_info(flight.FlightDescriptor.for_command(sql), call())
        for noise in ("Some(", 'Error("', "DataFusionError", "SchemaError", "Backtrace", "backtrace"):
            assert noise not in str(error.value)
