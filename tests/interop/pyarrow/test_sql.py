"""SQL in tickets and commands: what it sees, the types that it gives, and what it refuses."""

import datetime as dt
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import flight

from helpers import call, get, info, names, path, put

PEOPLE = pa.table(
    {
        "id": [1, 2, 3, 4],
        "name": ["Mario", "Luigi", "Peach", None],
        "born": [dt.date(1981, 7, 9), dt.date(1983, 3, 14), dt.date(1985, 9, 13), None],
        "score": [1.5, -2.0, None, 4.0],
    }
)

# Types that the default profile exchanges for ones that every client can read: type, values, what SQL gives.
EXCHANGED = [
    (pa.string_view(), ["a", None, "long enough to live outside of the view"], pa.string()),
    (pa.binary_view(), [b"a", None, b"long enough to live outside of the view"], pa.binary()),
    (pa.dictionary(pa.int8(), pa.string()), ["a", None, "a"], pa.string()),
    (pa.dictionary(pa.int32(), pa.large_string()), ["a", None, "a"], pa.large_string()),
    (pa.dictionary(pa.int16(), pa.int64()), [1, None, 1], pa.int64()),
    (pa.float16(), [np.float16(0.5), None, np.float16(-2)], pa.float32()),
    (pa.decimal32(7, 2), [Decimal("1.25"), None, Decimal("-99999.99")], pa.decimal128(7, 2)),
    (pa.decimal64(18, 4), [Decimal("1.25"), None, Decimal("-1")], pa.decimal128(18, 4)),
    (pa.list_(pa.string_view()), [["a", None], None, []], pa.list_(pa.string())),
    (
        pa.struct([("d", pa.dictionary(pa.int8(), pa.string())), ("n", pa.int8())]),
        [{"d": "a", "n": 1}, {"d": None, "n": 2}, {"d": "b", "n": None}],
        pa.struct([("d", pa.string()), ("n", pa.int8())]),
    ),
]

# Types that it leaves alone.
KEPT = [
    (pa.int8(), [1, None, -1]),
    (pa.uint64(), [1, None, 2**64 - 1]),
    (pa.large_string(), ["a", None, ""]),
    (pa.binary(3), [b"abc", None, b"\x00\x00\x00"]),
    (pa.decimal128(20, 3), [Decimal("1.25"), None, Decimal("-1")]),
    (pa.decimal256(60, 3), [Decimal("1.25"), None, Decimal("-1")]),
    (pa.date32(), [0, None, 1]),
    (pa.time64("ns"), [0, None, 1]),
    (pa.timestamp("ns"), [0, None, 1]),
    (pa.timestamp("us", "Europe/Zurich"), [0, None, 1]),
    (pa.duration("ms"), [0, None, 1]),
    (pa.list_(pa.int8()), [[1], None, []]),
    (pa.map_(pa.string(), pa.int64()), [[("a", 1)], None, []]),
]


@pytest.fixture
def people(client):
    put(client, "people.parquet", PEOPLE)
    return client


def command(sql):
    return flight.FlightDescriptor.for_command(sql)


def test_a_ticket_may_be_sql(people):
    result = get(people, "select name, id * 10 as tens from people where id < 3 order by id desc")
    assert result.to_pydict() == {"name": ["Luigi", "Mario"], "tens": [20, 10]}


@pytest.mark.parametrize(
    "table", ["people", "PEOPLE", '"people"', '"people.parquet"', "public.people", "airstrip.public.people"]
)
def test_a_dataset_is_a_table(people, table):
    assert get(people, f"select count(*) as n from {table}").to_pylist() == [{"n": 4}]


def test_unquoted_names_find_a_dataset_in_another_case(people):
    put(people, "MixedCase", PEOPLE)
    for table in ("MixedCase", '"MixedCase"', "mixedcase"):
        assert get(people, f"select max(id) as n from {table}").to_pylist() == [{"n": 4}]


def test_an_exact_name_wins_over_one_in_another_case(client):
    put(client, "data", pa.table({"n": [1]}))
    put(client, "Data", pa.table({"n": [2]}))
    assert get(client, "select n from data").to_pylist() == [{"n": 1}]
    assert get(client, "select n from Data").to_pylist() == [{"n": 1}]
    assert get(client, 'select n from "Data"').to_pylist() == [{"n": 2}]


def test_a_result_that_matches_nothing_has_a_schema(people):
    result = get(people, "select id, name from people where id > 100")
    assert result.num_rows == 0
    assert result.schema == pa.schema([("id", pa.int64()), ("name", pa.string())])


def test_comments_and_a_last_semicolon_are_no_second_statement(people):
    result = get(people, "-- how many\nselect count(*) as n /* rows */ from people;")
    assert result.to_pylist() == [{"n": 4}]


def test_joins_aggregates_windows_and_ctes(people):
    put(people, "wins", pa.table({"person": [1, 1, 2], "points": [10, 20, 5]}))
    result = get(
        people,
        """
        with totals as (select person, sum(points) as points from wins group by person)
        select name, points, rank() over (order by points desc) as rank
        from totals join people on id = person order by rank
        """,
    )
    assert result.select(["name", "points"]).to_pydict() == {"name": ["Mario", "Luigi"], "points": [30, 5]}


SELECTS = [
    "select * from people order by id",
    "select * from people where false",
    "select name, count(*) as n, avg(score) as mean from people group by name order by name",
    "select 1 as one, null as nothing, 'x' as x, true as t, [1, 2] as l",
    "select id from people union all select 7 order by id",
    "select born + interval '1 day' as next, date_trunc('month', born) as month from people order by id",
    "values (1, 'a'), (2, 'b')",
]


@pytest.mark.parametrize("sql", SELECTS)
def test_info_schema_and_stream_agree(people, sql):
    """One canonical schema, nullability too, on every surface."""
    flight_info = people.get_flight_info(command(sql), call())
    assert len(flight_info.endpoints) >= 1
    by_info = people.do_get(flight_info.endpoints[0].ticket, call()).read_all()
    assert flight_info.schema.equals(by_info.schema, check_metadata=True)
    assert people.get_schema(command(sql), call()).schema.equals(by_info.schema, check_metadata=True)
    assert flight_info.total_records in (-1, by_info.num_rows)
    assert flight_info.descriptor == command(sql)
    by_ticket = get(people, sql)
    assert by_ticket.equals(by_info, check_metadata=True)


def test_schema_of_a_path(people):
    schema = people.get_schema(path("people"), call()).schema
    assert schema.equals(PEOPLE.schema, check_metadata=True)


def test_the_ticket_of_a_query_is_served_by_another_server_on_the_same_root(people, start):
    """Tickets are stateless."""
    ticket = people.get_flight_info(command("select sum(id) as n from people"), call()).endpoints[0].ticket
    other = start("--read-only").client()
    assert other.do_get(ticket, call()).read_all().to_pylist() == [{"n": 10}]


def test_a_query_ticket_whose_result_has_another_schema_by_now_is_refused(people):
    ticket = people.get_flight_info(command("select * from people"), call()).endpoints[0].ticket
    put(people, "people", pa.table({"other": [1]}))
    with pytest.raises(pa.ArrowInvalid):
        people.do_get(ticket, call()).read_all()


@pytest.mark.parametrize("stored, values, given", EXCHANGED, ids=lambda v: str(v) if isinstance(v, pa.DataType) else "")
def test_sql_gives_types_that_every_client_reads(shared_client, name, stored, values, given):
    table = pa.table({"c": pa.array(values, stored)})
    put(shared_client, name, table)
    result = get(shared_client, f"select c from {name}")
    assert result.schema.field("c").type == given
    assert result["c"].to_pylist() == table["c"].to_pylist()
    # Raw downloads are as stored.
    assert get(shared_client, name).schema.field("c").type == stored
    assert info(shared_client, name).schema.field("c").type == stored


@pytest.mark.parametrize("stored, values", KEPT, ids=lambda v: str(v) if isinstance(v, pa.DataType) else "")
def test_sql_keeps_types_that_every_client_reads(shared_client, name, stored, values):
    table = pa.table({"c": pa.array(values, stored)})
    put(shared_client, name, table)
    assert get(shared_client, f"select c from {name}").equals(table)


def test_sql_keeps_the_metadata_of_plain_columns(shared_client, name):
    field = pa.field("c", pa.string(), metadata={"unit": "m"})
    put(shared_client, name, pa.table({"c": ["a"]}, schema=pa.schema([field])))
    assert get(shared_client, f"select c from {name}").schema.field("c").equals(field, check_metadata=True)


@pytest.mark.parametrize("stored, values, given", EXCHANGED, ids=lambda v: str(v) if isinstance(v, pa.DataType) else "")
def test_native_types_have_the_same_values(shared_client, name, stored, values, given):
    sql = f"select c from {name}"
    put(shared_client, name, pa.table({"c": pa.array(values, stored)}))
    assert get(shared_client, sql, types="native")["c"].to_pylist() == get(shared_client, sql)["c"].to_pylist()
    # The ticket remembers what its info promised, whatever do_get's own header says.
    flight_info = shared_client.get_flight_info(command(sql), call(types="native"))
    stream = shared_client.do_get(flight_info.endpoints[0].ticket, call()).read_all()
    assert stream.schema == flight_info.schema


def test_types_must_be_a_profile(shared_client):
    with pytest.raises(pa.ArrowInvalid, match="(?s)compatible.*native|native.*compatible"):
        get(shared_client, "select 1", types="fancy")


def test_the_catalog_can_be_asked(people):
    tables = get(people, "select table_name from information_schema.tables where table_schema = 'public'")
    assert tables["table_name"].to_pylist() == ["people"]
    assert "people" in get(people, "show tables")["table_name"].to_pylist()
    assert get(people, "describe people")["column_name"].to_pylist() == PEOPLE.column_names
    assert "people" in str(get(people, "explain select * from people").to_pydict())
    assert "output_rows" in str(get(people, "explain analyze select * from people").to_pydict())


REFUSED = [
    "create table copied as select * from people",
    "create view seen as select * from people",
    "create external table passwords stored as csv location '/etc/passwd'",
    "create schema other",
    "drop table people",
    "drop view people",
    "insert into people values (5, 'Toad', null, null)",
    "update people set name = 'Wario'",
    "delete from people",
    "truncate table people",
    "alter table people rename to persons",
    "copy people to '{outside}/copied.parquet'",
    "copy (select 1) to '{outside}/copied.csv'",
    "set datafusion.execution.batch_size = 1",
    "reset datafusion.execution.batch_size",
    "begin transaction",
    "prepare p as select 1",
    "select 1; select 2",
    "select * from people; drop table people",
    "explain insert into people values (5, 'Toad', null, null)",
    "explain analyze delete from people",
    "explain analyze copy people to '{outside}/copied.parquet'",
]
# A refusal says what to do instead: an RPC or an action of ours, a header, or one query at a time.
ADVICE = r"(?i)do_put|do_get|load|_dataset|x-airstrip|Flight SQL|instead|one (statement|query)|single|read-only"


@pytest.mark.parametrize("sql", REFUSED)
def test_anything_but_one_query_is_refused(server, people, sql):
    sql = sql.format(outside=server.root.parent)
    before = sorted(server.root.parent.rglob("*.parquet"))
    for run in (lambda: get(people, sql), lambda: people.get_flight_info(command(sql), call())):
        with pytest.raises((pa.ArrowInvalid, NotImplementedError), match=ADVICE):
            run()
    assert names(people) == ["people"]
    assert get(people, "people").equals(PEOPLE)
    assert get(people, "select count(*) as n from people").to_pylist() == [{"n": 4}]
    assert sorted(server.root.parent.rglob("*.parquet")) == before
    assert list(server.root.parent.glob("copied*")) == []


@pytest.mark.parametrize(
    "table", ["'{file}'", '"{file}"', "'file://{file}'", "'/etc/passwd'", "read_parquet('{file}')"]
)
def test_files_and_urls_are_no_tables(server, people, table):
    file = server.root.parent / "outside.parquet"
    pq.write_table(PEOPLE, file)
    with pytest.raises((pa.ArrowInvalid, KeyError, NotImplementedError)):
        get(people, "select * from " + table.format(file=file))
    assert get(people, "select count(*) as n from people").to_pylist() == [{"n": 4}]


@pytest.mark.parametrize(
    "sql",
    [
        "select " + "+".join(["1"] * 100_000),
        "select " + "(" * 10_000 + "1" + ")" * 10_000,
        "select " + " or ".join(["true"] * 100_000),
        " union all ".join(["select 1"] * 20_000),
    ],
    ids=["sum", "parentheses", "or", "union"],
)
def test_deep_or_huge_sql_is_a_clear_error(people, sql):
    with pytest.raises((pa.ArrowInvalid, NotImplementedError), match="(?i)limit|deep|depth|long|large|big|nest"):
        get(people, sql)
    assert get(people, "select count(*) as n from people").to_pylist() == [{"n": 4}]


def test_a_result_streams_before_the_query_is_done(people):
    """2^40 rows would take hours: the first batch must not wait for the last, and closing ends the work."""
    sql = "select a.value as a, b.value as b from range(1048576) a, range(1048576) b"
    reader = people.do_get(flight.Ticket(sql), call())
    assert reader.read_chunk().data.num_rows > 0
    reader.cancel()
    assert get(people, "select count(*) as n from people").to_pylist() == [{"n": 4}]


def test_a_deadline_ends_a_query(people):
    sql = "select count(*) from range(10000000) a, range(10000000) b where a.value + b.value = -1"
    with pytest.raises(flight.FlightTimedOutError):
        people.do_get(flight.Ticket(sql), call(timeout=2)).read_all()
    assert get(people, "select count(*) as n from people").to_pylist() == [{"n": 4}]
