"""Rules of Flight SQL that drivers rely on and hide, seen with a plain Flight client."""

import itertools
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import flight

import samples
import wire
from helpers import nested

QUERIES = [
    "select 1 as n, 'x' as s, null as nothing",
    "select * from people",
    "select * from types",
    "select id, upper(name) as name, height * 2 as twice from people",
    "select count(*) as c, max(name) as m, avg(height) as a, sum(id) as s from people",
    "select name, count(*) as c from people group by name",
    "select p.id, q.name from people p left join people q on p.id = q.id + 1",
    "select id from people union all select null",
    "select coalesce(name, 'x') as c, name is null as n from people",
    "select case when id > 1 then id end as i from people",
    "select id, row_number() over (order by id) as r, lag(name) over (order by id) as l from people",
    "select array_agg(name) as names, struct(id as a, name as b) as s from people group by id, name",
    "select distinct dictionary from types",
    "select dictionary, count(*) as c from types group by dictionary",
    "select text_view || 'x' as t, arrow_cast(large, 'Utf8View') as v from types",
    "select arrow_cast(large, 'Dictionary(Int8, Utf8)') as d from types",
    "select unnest(list) as item, list from types",
    "select \"struct\"['d'] as d, half, half * 2 as twice from types",
    "select * from (values (1, 'a', null), (2, null, true)) v(a, b, c)",
    "select * from generate_series(1, 3)",
    "select cast(1.5 as decimal(20, 3)) as d, interval '1 day' as i, now() as t, current_date as c",
    "select make_array(arrow_cast('x', 'Utf8View')) as a, map(make_array('k'), make_array(1)) as m",
    "select (select max(id) from people) as m, (select max(name) from people where false) as n",
    "with recursive r as (select 1 as n union all select n + 1 from r where n < 3) select n from r",
    "show tables",
    "show types",
    "show all",
    "describe people",
    "explain select 1",
    "select * from information_schema.columns",
    "select * from information_schema.tables",
    "select * from system.queries",
    "select * from system.sessions",
]


@pytest.fixture(params=["compatible", "native"])
def typed(request, client):
    """A client whose session has either profile of types. What one test sets, the next one sets anew."""
    wire.read(client, wire.info(client, "CommandStatementQuery", (1, f"set types = '{request.param}'")))
    return client


def same(one, other):
    return one.equals(other, check_metadata=True)


@pytest.mark.parametrize("sql", QUERIES)
def test_every_surface_shows_one_schema(typed, sql):
    """FlightInfo, GetSchema, the prepared statement and the stream: names, types, nullability."""
    info = wire.info(typed, "CommandStatementQuery", (1, sql))
    got = wire.read(typed, info)
    got.validate(full=True)
    prepared = wire.Prepared(typed, sql)
    schemas = {
        "GetFlightInfo": info.schema,
        "GetSchema": wire.schema(typed, "CommandStatementQuery", (1, sql)),
        "prepared": prepared.dataset_schema,
        "GetFlightInfo of the prepared": wire.info(typed, "CommandPreparedStatementQuery", (1, prepared.handle)).schema,
        "GetSchema of the prepared": wire.schema(typed, "CommandPreparedStatementQuery", (1, prepared.handle)),
    }
    for surface, schema in schemas.items():
        assert same(schema, got.schema), f"{surface}\n{schema}\n!=\n{got.schema}"
    # No column that claims to have no nulls has one.
    for field, column in zip(got.schema, got.columns):
        assert field.nullable or column.null_count == 0, field


@pytest.mark.parametrize("sql", [sql for sql in QUERIES if sql.startswith(("select", "with"))])
def test_a_result_without_rows_has_its_schema(client, sql):
    info = wire.info(client, "CommandStatementQuery", (1, f"select * from ({sql}) where false"))
    reader = client.do_get(info.endpoints[0].ticket, wire.OPTIONS)
    assert same(reader.schema, info.schema)
    assert reader.read_all().num_rows == 0
    full = wire.info(client, "CommandStatementQuery", (1, sql))
    assert info.schema.names == full.schema.names and info.schema.types == full.schema.types


RARE = ("string_view", "binary_view", "dictionary", "halffloat", "list_view", "run_end", "decimal32", "decimal64")


def rare(schema):
    return {kind for field in schema for type in nested(field.type) for kind in RARE if str(type).startswith(kind)}


def test_the_default_has_no_rare_type_and_native_has_them(client):
    for types in ("compatible", "native", "compatible"):
        wire.info(client, "CommandStatementQuery", (1, f"set types = '{types}'"))
        got = wire.get(client, "CommandStatementQuery", (1, "select * from types"))
        if types == "native":
            assert got.schema.equals(samples.TYPES.schema)
            assert rare(got.schema) == {"string_view", "binary_view", "dictionary", "halffloat"}
        else:
            assert rare(got.schema) == set()
        for name in samples.TYPES.column_names:
            assert got[name].to_pylist() == samples.TYPES[name].to_pylist()


def test_a_ticket_keeps_the_profile_that_its_info_showed(client):
    """Whatever the session has by the time that it is redeemed."""
    wire.info(client, "CommandStatementQuery", (1, "set types = 'native'"))
    info = wire.info(client, "CommandStatementQuery", (1, "select text_view, dictionary from types"))
    wire.info(client, "CommandStatementQuery", (1, "reset types"))
    assert rare(wire.read(client, info).schema) == {"string_view", "dictionary"}


def test_one_endpoint_without_a_location(client):
    """Drivers dial what stands in a location; none means the connection that asked."""
    for command in [
        ("CommandStatementQuery", (1, "select 1")),
        ("CommandGetCatalogs",),
        ("CommandGetDbSchemas",),
        ("CommandGetTables", (5, True)),
        ("CommandGetTableTypes",),
        ("CommandGetSqlInfo",),
        ("CommandGetXdbcTypeInfo",),
        ("CommandGetPrimaryKeys", (3, "people")),
        ("CommandGetExportedKeys", (3, "people")),
        ("CommandGetImportedKeys", (3, "people")),
    ]:
        info = wire.info(client, *command)
        [endpoint] = info.endpoints
        assert endpoint.locations == []
        got = wire.read(client, info)
        assert same(got.schema, info.schema), command
        assert same(wire.schema(client, *command), info.schema), command
        assert info.total_records in (-1, got.num_rows)


class TestChanges:
    """By every route, exactly once."""

    def runs(self, client, sql):
        query = f"select count(*) as n from system.queries where sql = '{sql}'"
        return wire.get(client, "CommandStatementQuery", (1, query))["n"].to_pylist()[0]

    def count(self, client, name):
        return wire.get(client, "CommandStatementQuery", (1, f"select count(*) as n from {name}"))["n"].to_pylist()[0]

    def test_by_the_query_route(self, client, name):
        """The FlightInfo runs it; its ticket gives the count, however often; not to fetch it is fine."""
        sql = f"create table {name} as select * from people"
        info = wire.info(client, "CommandStatementQuery", (1, sql))
        assert self.count(client, name) == 4
        for _ in range(2):
            got = wire.read(client, info)
            assert same(got.schema, info.schema)
            assert got.to_pylist() == [{"count": 4}]
        assert self.runs(client, sql) == 1

    def test_prepared_by_the_query_route(self, client, name):
        sql = f"create table {name} as select * from people"
        prepared = wire.Prepared(client, sql)
        assert prepared.is_update and prepared.dataset_schema is None
        assert self.runs(client, sql) == 0
        info = wire.info(client, "CommandPreparedStatementQuery", (1, prepared.handle))
        assert wire.read(client, info).to_pylist() == [{"count": 4}]
        assert self.runs(client, sql) == 1

    def test_get_schema_runs_nothing(self, client, name):
        sql = f"create table {name} as select 1 as n"
        assert wire.schema(client, "CommandStatementQuery", (1, sql)) == pa.schema(
            [pa.field("count", pa.int64(), False)]
        )
        assert self.runs(client, sql) == 0

    @pytest.mark.parametrize("is_prepared", [False, True], ids=["text", "prepared"])
    def test_by_the_update_route(self, client, name, is_prepared):
        sql = f"create table {name} as select * from people"
        if is_prepared:
            command = wire.descriptor("CommandPreparedStatementUpdate", (1, wire.Prepared(client, sql).handle))
        else:
            command = wire.descriptor("CommandStatementUpdate", (1, sql))
        [answer] = wire.put(client, command, pa.schema([]))
        assert wire.parse(answer) == {1: [4]}
        assert self.runs(client, sql) == 1

    def test_the_answer_comes_before_the_clients_end(self, client, name):
        """C++ reads the count first and then closes its side."""
        command = wire.descriptor("CommandStatementUpdate", (1, f"create table {name} as select 1 as n"))
        writer, reader = client.do_put(command, pa.schema([]), wire.OPTIONS)
        assert wire.parse(reader.read().to_pybytes()) == {1: [1]}
        writer.close()

    def test_a_query_is_no_update_and_tells_so(self, client):
        with pytest.raises(pa.ArrowInvalid, match="is a query, not an update"):
            wire.put(client, wire.descriptor("CommandStatementUpdate", (1, "select 1")), pa.schema([]))


class TestPrepared:
    def test_handles_are_text(self, client):
        """Some clients keep them as such."""
        assert wire.Prepared(client, "select 1").handle.decode("ascii").isprintable()

    def test_a_query_is_no_update(self, client):
        prepared = wire.Prepared(client, "select 1 as n")
        assert not prepared.is_update
        assert prepared.dataset_schema.names == ["n"]
        assert prepared.parameter_schema == pa.schema([])

    def bind(self, client, prepared, data):
        command = wire.descriptor("CommandPreparedStatementQuery", (1, prepared.handle))
        [answer] = wire.put(client, command, data.schema, [data])
        # The handle comes back, and it is the same one: some clients use it, others do not look.
        assert wire.parse(answer) == {1: [prepared.handle]}
        return client.get_flight_info(command, wire.OPTIONS)

    def test_values_stay_bound_until_others_are(self, client):
        prepared = wire.Prepared(client, "select name from people where id = ?")
        info = self.bind(client, prepared, pa.record_batch({"p": [1]}))
        assert wire.read(client, info)["name"].to_pylist() == ["Ada"]
        again = wire.info(client, "CommandPreparedStatementQuery", (1, prepared.handle))
        assert wire.read(client, again)["name"].to_pylist() == ["Ada"]
        later = self.bind(client, prepared, pa.record_batch({"p": [2]}))
        assert wire.read(client, later)["name"].to_pylist() == ["Grace"]
        # The first ticket still has its own.
        assert wire.read(client, info)["name"].to_pylist() == ["Ada"]

    def test_no_rows_are_no_runs(self, client):
        prepared = wire.Prepared(client, "select id, name from people where id = ?")
        info = self.bind(client, prepared, pa.record_batch({"p": pa.array([], pa.int64())}))
        got = wire.read(client, info)
        assert got.num_rows == 0 and same(got.schema, info.schema)
        assert got.schema.names == ["id", "name"]

    @pytest.mark.parametrize(
        "sql, values",
        [
            ("select id, name from people where id = ?", [1]),
            ("select id + ? as n from people", [1]),
            ("select cast(? as bigint) as n", [1]),
            ("select cast(? as varchar) as n", ["x"]),
            ("select coalesce(name, ?) as n from people", ["x"]),
            ("select name || ? as n from people", ["x"]),
        ],
    )
    def test_the_schema_that_was_prepared_is_that_of_the_result(self, client, sql, values):
        """A driver that shows columns before it has values (JDBC) shows those that come."""
        prepared = wire.Prepared(client, sql)
        info = self.bind(client, prepared, pa.record_batch({"p": values}))
        assert same(info.schema, wire.read(client, info).schema)
        assert same(prepared.dataset_schema, info.schema), f"{prepared.dataset_schema}\n!=\n{info.schema}"

    def test_unions_are_taken_for_what_is_in_them(self, client):
        """As flightsql-dbapi sends its parameters."""
        children = [pa.array([], pa.int64()), pa.array(["Ada"])]
        union = pa.UnionArray.from_dense(pa.array([1], pa.int8()), pa.array([0], pa.int32()), children)
        prepared = wire.Prepared(client, "select id from people where name = ?")
        info = self.bind(client, prepared, pa.record_batch([union], ["param_0"]))
        assert wire.read(client, info)["id"].to_pylist() == [1]

    def test_a_closed_one_is_gone(self, client):
        prepared = wire.Prepared(client, "select 1")
        for _ in range(2):
            body = wire.wrapped("ActionClosePreparedStatementRequest", (1, prepared.handle))
            assert wire.action(client, "ClosePreparedStatement", body) is None
        with pytest.raises(KeyError, match="prepare it again"):
            wire.info(client, "CommandPreparedStatementQuery", (1, prepared.handle))

    def test_a_statement_that_fails_is_not_prepared(self, client):
        for sql, error in [
            ("selec 1", pa.ArrowInvalid),
            ("select * from missing", KeyError),
            ("copy people to 'x.parquet'", NotImplementedError),
        ]:
            with pytest.raises(error):
                wire.Prepared(client, sql)

    def test_a_closed_statements_ticket_still_works(self, client):
        """dbapi clients close the statement before they read."""
        prepared = wire.Prepared(client, "select 7 as n")
        info = wire.info(client, "CommandPreparedStatementQuery", (1, prepared.handle))
        wire.action(
            client, "ClosePreparedStatement", wire.wrapped("ActionClosePreparedStatementRequest", (1, prepared.handle))
        )
        assert wire.read(client, info)["n"].to_pylist() == [7]


class TestLife:
    def test_a_cancelled_info_does_not_run_any_more(self, client):
        info = wire.info(client, "CommandStatementQuery", (1, "select 1 as n"))
        answer = wire.action(client, "CancelFlightInfo", wire.message((1, info.serialize())))
        assert wire.parse(answer) == {1: [1]}
        with pytest.raises((pa.ArrowException, OSError), match="somebody cancelled the query"):
            wire.read(client, info)

    def test_cancel_query_of_flight_sql_does_the_same(self, client):
        info = wire.info(client, "CommandStatementQuery", (1, "select 1 as n"))
        answer = wire.action(client, "CancelQuery", wire.wrapped("ActionCancelQueryRequest", (1, info.serialize())))
        fields = wire.parse(answer)
        assert fields[1] == [(wire.TYPE + "ActionCancelQueryResult").encode()]
        assert wire.parse(fields[2][0]) == {1: [1]}
        with pytest.raises((pa.ArrowException, OSError), match="somebody cancelled the query"):
            wire.read(client, info)

    def test_a_running_query_is_cancelled_from_elsewhere(self, client):
        info = wire.info(client, "CommandStatementQuery", (1, "select a.n, b.n as m from numbers a, numbers b"))
        reader = client.do_get(info.endpoints[0].ticket, wire.OPTIONS)
        reader.read_chunk()
        wire.action(client, "CancelFlightInfo", wire.message((1, info.serialize())))
        with pytest.raises((pa.ArrowException, OSError), match="somebody cancelled the query"):
            for _ in range(10_000):
                reader.read_chunk()

    def test_metadata_is_not_cancellable(self, client):
        info = wire.info(client, "CommandGetCatalogs")
        assert wire.parse(wire.action(client, "CancelFlightInfo", wire.message((1, info.serialize())))) == {1: [3]}

    def test_an_endpoint_is_renewed(self, client):
        info = wire.info(client, "CommandStatementQuery", (1, "select 1 as n"))
        [endpoint] = info.endpoints
        assert endpoint.expiration_time is not None
        body = wire.action(client, "RenewFlightEndpoint", wire.message((1, endpoint.serialize())))
        renewed = flight.FlightEndpoint.deserialize(body)
        assert renewed.expiration_time.as_py() >= endpoint.expiration_time.as_py()
        assert client.do_get(renewed.ticket, wire.OPTIONS).read_all().to_pylist() == [{"n": 1}]

    def test_an_expired_ticket_says_so(self, start):
        server = start("--ticket-lifetime", "1s")
        with flight.connect(server.uri) as client:
            info = wire.info(client, "CommandStatementQuery", (1, "select 1 as n"))
            time.sleep(2.1)
            with pytest.raises(pa.ArrowInvalid, match="expired"):
                wire.read(client, info)

    def test_a_ticket_whose_columns_changed_says_so(self, client, name):
        wire.info(client, "CommandStatementQuery", (1, f"create table {name} as select 1 as n"))
        info = wire.info(client, "CommandStatementQuery", (1, f"select * from {name}"))
        wire.info(client, "CommandStatementQuery", (1, f"create or replace table {name} as select 'x' as n"))
        with pytest.raises(pa.ArrowInvalid, match="other columns"):
            wire.read(client, info)

    @pytest.mark.parametrize("kind", ["BeginTransaction", "BeginSavepoint", "EndTransaction", "EndSavepoint"])
    def test_there_are_no_transactions(self, client, kind):
        with pytest.raises(NotImplementedError, match="transactions"):
            wire.action(client, kind, wire.wrapped(f"Action{kind}Request"))

    def test_the_actions_are_listed(self, client):
        kinds = {action.type for action in client.list_actions(wire.OPTIONS)}
        assert kinds >= {
            "CreatePreparedStatement",
            "ClosePreparedStatement",
            "CancelFlightInfo",
            "CancelQuery",
            "RenewFlightEndpoint",
            "SetSessionOptions",
            "GetSessionOptions",
            "CloseSession",
        }


class TestSqlInfo:
    def infos(self, client, *ids):
        packed = b"".join(wire.varint(id) for id in ids)
        got = wire.get(client, "CommandGetSqlInfo", *([(1, packed)] if ids else []))
        assert got.schema.field("info_name") == pa.field("info_name", pa.uint32(), nullable=False)
        union = got.schema.field("value").type
        children = [(union.field(i).name, union.field(i).type) for i in range(union.num_fields)]
        assert [name for name, _ in children] == [
            "string_value",
            "bool_value",
            "bigint_value",
            "int32_bitmask",
            "string_list",
            "int32_to_int32_list_map",
        ]
        rows = got.to_pylist()
        return {row["info_name"]: row["value"] for row in rows}

    def test_all(self, client):
        """Every id of the specification and no other: old JDBC drivers fail on either."""
        found = self.infos(client)
        expected = {*range(0, 12), 100, 101, *range(500, 577)}
        assert set(found) == expected
        assert found[0] == "Airstrip"
        assert (found[3], found[4], found[5], found[8], found[9], found[10]) == (False, True, True, 0, True, True)
        assert (found[503], found[504], found[505], found[506]) == (3, '"', 0, True)
        assert "SELECT" in found[508] and "abs" in found[509] and "upper" in found[510]

    def test_some(self, client):
        assert self.infos(client, 0, 504) == {0: "Airstrip", 504: '"'}
        assert self.infos(client, 8) == {8: 0}

    def test_what_a_read_only_server_cannot_do(self, start):
        server = start("--read-only")
        with flight.connect(server.uri) as client:
            found = self.infos(client, 3, 10, 501, 502)
            assert found == {3: True, 10: False, 501: False, 502: False}


class TestMetadata:
    def test_catalogs_and_schemas(self, server):
        with flight.connect(server.uri) as client:
            assert wire.get(client, "CommandGetCatalogs").to_pylist() == [{"catalog_name": "airstrip"}]
            assert wire.get(client, "CommandGetDbSchemas").to_pylist() == [
                {"catalog_name": "airstrip", "db_schema_name": name}
                for name in ("information_schema", "public", "system")
            ]
            got = wire.get(client, "CommandGetDbSchemas", (1, "airstrip"), (2, "p%"))
            assert got["db_schema_name"].to_pylist() == ["public"]
            assert wire.get(client, "CommandGetDbSchemas", (1, "other")).num_rows == 0

    def test_schemas_of_the_answers(self, client):
        """As the specification has them, nullability too."""
        text = lambda name, nullable=True: pa.field(name, pa.string(), nullable)
        tables = [text("catalog_name"), text("db_schema_name"), text("table_name", False), text("table_type", False)]
        with_schema = [*tables, pa.field("table_schema", pa.binary(), False)]
        for command, fields in [
            (("CommandGetCatalogs",), [text("catalog_name", False)]),
            (("CommandGetDbSchemas",), [text("catalog_name"), text("db_schema_name", False)]),
            (("CommandGetTables",), tables),
            (("CommandGetTables", (5, True)), with_schema),
            (("CommandGetTableTypes",), [text("table_type", False)]),
        ]:
            assert wire.schema(client, *command) == pa.schema(fields), command

    def test_tables_are_sorted_and_their_schemas_are_those_of_results(self, server):
        with flight.connect(server.uri) as client:
            got = wire.get(client, "CommandGetTables", (5, True)).to_pylist()
            names = [(row["catalog_name"], row["db_schema_name"], row["table_name"]) for row in got]
            assert names == sorted(names)
            for row in got:
                promised = wire.ipc_schema(row["table_schema"])
                sql = f"select * from {row['db_schema_name']}.{row['table_name']}"
                assert promised.equals(wire.schema(client, "CommandStatementQuery", (1, sql))), sql

    def test_keys_are_none(self, client):
        for command in ("CommandGetPrimaryKeys", "CommandGetExportedKeys", "CommandGetImportedKeys"):
            assert wire.get(client, command, (3, "people")).num_rows == 0
        assert wire.get(client, "CommandGetCrossReference", (3, "people"), (6, "numbers")).num_rows == 0

    def test_types(self, client):
        got = wire.get(client, "CommandGetXdbcTypeInfo").to_pylist()
        names = {row["type_name"] for row in got}
        assert names >= {
            "INTEGER",
            "BIGINT",
            "DOUBLE",
            "DECIMAL",
            "VARCHAR",
            "VARBINARY",
            "DATE",
            "TIME",
            "TIMESTAMP",
            "BOOLEAN",
        }
        [varchar] = wire.get(client, "CommandGetXdbcTypeInfo", (1, 12)).to_pylist()
        assert (varchar["type_name"], varchar["literal_prefix"], varchar["literal_suffix"]) == ("VARCHAR", "'", "'")

    def test_what_is_no_command(self, client):
        with pytest.raises(NotImplementedError, match="CommandNonsense"):
            wire.info(client, "CommandNonsense")
        plan = wire.message((1, b"\xff"), (2, "0.1"))
        with pytest.raises(pa.ArrowInvalid, match="(?i)substrait"):
            wire.info(client, "CommandStatementSubstraitPlan", (1, plan))
        with pytest.raises(pa.ArrowInvalid):
            wire.info(client, "CommandStatementUpdate", (1, "drop table people"))


class UsualMessages(flight.ClientMiddlewareFactory, flight.ClientMiddleware):
    """Asks for messages of the size that all clients but those on gRPC's C++ core get."""

    def start_call(self, info):
        return self

    def sending_headers(self):
        return {"x-airstrip-message-size": "usual"}


def narrow_client(server):
    """A client that takes no message over 4 MiB, as most do by default, and says so."""
    options = [("grpc.max_receive_message_length", 4 << 20)]
    return flight.connect(server.uri, generic_options=options, middleware=[UsualMessages()])


class TestMessageSizes:
    """No message is over 4 MiB: what many clients take at most. One that is would be refused here."""

    @pytest.fixture
    def narrow(self, shared):
        with narrow_client(shared) as client:
            yield client

    def test_the_limit_is_one(self, narrow):
        """One value of 5 MB cannot be cut, so the client refuses it: the others of these tests mean something."""
        with pytest.raises(pa.ArrowException, match="(?i)larger than max|received message|cancelled"):
            # Not by read_all: pyarrow takes this refusal for an interrupt there, and raises KeyboardInterrupt.
            info = wire.info(narrow, "CommandStatementQuery", (1, "select repeat('x', 5000000) as s"))
            narrow.do_get(info.endpoints[0].ticket, wire.OPTIONS).read_chunk()

    @pytest.mark.parametrize("types", ["compatible", "native"])
    @pytest.mark.parametrize(
        "sql, count",
        [
            ("select * from numbers", samples.ROWS),
            ("select repeat('x', 3000000) as s from generate_series(1, 4)", 4),
            ("select arrow_cast(repeat('x', 3000000), 'Utf8View') as s from generate_series(1, 4)", 4),
            (
                "select arrow_cast(s || repeat('x', 200), 'Dictionary(Int32, Utf8)') as d from numbers limit 50000",
                50_000,
            ),
            ("select make_array(repeat('x', 1000000), repeat('y', 1000000)) as l from generate_series(1, 5)", 5),
            (
                "select n, s, s as t, s as u, s as v, s as w, s as x, s as y, s as z from numbers order by n desc",
                samples.ROWS,
            ),
            ("select string_agg(s, ',') as s from numbers", 1),
        ],
    )
    def test_results(self, narrow, sql, count, types):
        wire.info(narrow, "CommandStatementQuery", (1, f"set types = '{types}'"))
        got = wire.get(narrow, "CommandStatementQuery", (1, sql))
        assert got.num_rows == count

    def test_datasets(self, narrow):
        assert narrow.do_get(flight.Ticket(b"numbers"), wire.OPTIONS).read_all().num_rows == samples.ROWS

    def test_many_wide_tables(self, server):
        """GetTables with schemas: 12 tables of 1500 columns are more than 4 MiB of schemas."""
        wide = pa.table({f"a_column_with_quite_a_long_name_{i}": [i] for i in range(1500)})
        for i in range(12):
            pq.write_table(wide, server.root / f"wide{i:02}.parquet")
        with narrow_client(server) as client:
            got = wire.get(client, "CommandGetTables", (3, "wide%"), (5, True))
            assert got.num_rows == 12
            assert sum(len(value) for value in got["table_schema"].to_pylist()) > 4 << 20
            assert wire.ipc_schema(got["table_schema"][11].as_py()).names == wide.column_names

    def test_metadata(self, narrow):
        for command in ("CommandGetSqlInfo", "CommandGetXdbcTypeInfo"):
            assert wire.get(narrow, command).num_rows > 10


def test_clients_of_one_process_are_told_apart(shared, name):
    """gRPC may let clients with the same settings share a connection, and with it a session that is known by it."""
    with flight.connect(shared.uri) as one, flight.connect(shared.uri) as other:
        wire.info(one, "CommandStatementQuery", (1, f"create temporary table {name} as select 1 as n"))
        with pytest.raises(KeyError):
            wire.info(other, "CommandStatementQuery", (1, f"select * from {name}"))


@pytest.mark.parametrize("parts", list(itertools.product([b"select 1 as n", b"values (1)"], ["command", "ticket"])))
def test_plain_sql_still_works(client, parts):
    """What a client of plain Flight sends that knows nothing of Flight SQL."""
    sql, kind = parts
    if kind == "ticket":
        assert client.do_get(flight.Ticket(sql), wire.OPTIONS).read_all().num_rows == 1
    else:
        info = client.get_flight_info(flight.FlightDescriptor.for_command(sql), wire.OPTIONS)
        assert wire.read(client, info).num_rows == 1
