package interop

import (
	"fmt"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc/codes"
)

func TestExecute(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	got := query(t, ctx, client, "select 1 as a, 'x' as b, cast(null as double) as c, date '2024-02-29' as d")
	got.is(t, `{"a":1,"b":"x","c":null,"d":"2024-02-29"}`)
	for i, want := range []arrow.DataType{
		arrow.PrimitiveTypes.Int64, arrow.BinaryTypes.String, arrow.PrimitiveTypes.Float64, arrow.FixedWidthTypes.Date32,
	} {
		equal(t, "type", got.schema.Field(i).Type.String(), want.String())
	}
}

func TestExecuteWithoutRows(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	info, err := client.Execute(ctx, "select 1 as a where false")
	must(t, err)
	got := fetch(t, ctx, client, info)
	equal(t, "rows", got.rows(), 0)
	equal(t, "columns", got.schema.NumFields(), 1)
}

func TestExecuteAnswersWithItsDescriptor(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	info, err := client.Execute(ctx, "select 1 as a")
	must(t, err)
	equal(t, "descriptor", info.FlightDescriptor.GetType(), flight.DescriptorCMD)
	equal(t, "ordered", info.Ordered, true)
	again, err := client.Client.GetFlightInfo(ctx, info.FlightDescriptor)
	must(t, err)
	fetch(t, ctx, client, again).is(t, `{"a":1}`)
}

func TestErrorsHaveCodes(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	for _, example := range []struct {
		sql  string
		code codes.Code
		word string
	}{
		{"select", codes.InvalidArgument, "Line"},
		{"select * from nowhere", codes.NotFound, "nowhere"},
		{"select nocolumn from information_schema.tables", codes.InvalidArgument, "nocolumn"},
		{"copy t to 'x'", codes.Unimplemented, "does not run"},
		{"select 1; select 2", codes.InvalidArgument, "one statement"},
	} {
		_, err := client.Execute(ctx, example.sql)
		fails(t, err, example.code, example.word)
		_, err = client.GetExecuteSchema(ctx, example.sql)
		fails(t, err, example.code, example.word)
		_, err = client.Prepare(ctx, example.sql)
		fails(t, err, example.code, example.word)
	}
	info, err := client.Execute(ctx, "select 1 / (value - 3) as a from generate_series(1, 5)")
	must(t, err)
	_, err = redeem(ctx, client, info.Endpoint[0].Ticket)
	fails(t, err, codes.InvalidArgument, "ivide by zero")
}

func TestExecuteUpdate(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	equal(t, "rows stored", update(t, ctx, client, "create table updated as values (1, 'a'), (2, 'b')"), 2)
	query(t, ctx, client, "select * from updated order by 1").
		is(t, `{"column1":1,"column2":"a"}`, `{"column1":2,"column2":"b"}`)
	_, err := client.ExecuteUpdate(ctx, "create table updated as values (3)")
	fails(t, err, codes.AlreadyExists, "updated")
	equal(t, "rows stored", update(t, ctx, client, "create or replace table updated as select 3 as a"), 1)
	query(t, ctx, client, "select * from updated").is(t, `{"a":3}`)
	update(t, ctx, client, "create view twice as select a * 2 as b from updated")
	query(t, ctx, client, "select * from twice").is(t, `{"b":6}`)
	update(t, ctx, client, "drop view twice")
	update(t, ctx, client, "drop table updated")
	_, err = client.Execute(ctx, "select * from updated")
	fails(t, err, codes.NotFound, "updated")
	_, err = client.ExecuteUpdate(ctx, "select 1")
	fails(t, err, codes.InvalidArgument, "query")
	_, err = client.ExecuteUpdate(ctx, "drop table updated")
	fails(t, err, codes.NotFound, "updated")
}

// Some clients send everything as a query.
func TestExecuteRunsChangesOnceAndAtOnce(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	info, err := client.Execute(ctx, "create table eager as select 1 as a")
	must(t, err)
	query(t, ctx, client, "select * from eager").is(t, `{"a":1}`)
	for range 2 {
		fetch(t, ctx, client, info).is(t, `{"count":1}`)
	}
	update(t, ctx, client, "drop table eager")
}

func TestExecuteSchema(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	sql := "select 1 as a, arrow_cast('x', 'Utf8View') as b, [1, 2] as c"
	answer, err := client.GetExecuteSchema(ctx, sql)
	must(t, err)
	asked, err := flight.DeserializeSchema(answer.Schema, memory.DefaultAllocator)
	must(t, err)
	sameSchema(t, asked, query(t, ctx, client, sql).schema)
	equal(t, "b", asked.Field(1).Type.ID(), arrow.STRING)

	answer, err = client.GetExecuteSchema(ctx, "create table never_made as select 1")
	must(t, err)
	asked, err = flight.DeserializeSchema(answer.Schema, memory.DefaultAllocator)
	must(t, err)
	sameSchema(t, asked, schema(arrow.Field{Name: "count", Type: arrow.PrimitiveTypes.Int64}))
	_, err = client.Execute(ctx, "select * from never_made")
	fails(t, err, codes.NotFound, "never_made")
}

func TestExecutePoll(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	poll, err := client.ExecutePoll(ctx, "select 1 as a", nil)
	must(t, err)
	if poll.FlightDescriptor != nil {
		t.Error("a finished poll has a descriptor to ask with again")
	}
	equal(t, "progress", poll.GetProgress(), 1)
	fetch(t, ctx, client, poll.Info).is(t, `{"a":1}`)

	prepared, err := client.Prepare(ctx, "select $1 + 1 as a")
	must(t, err)
	parameters := batch(t, schema(field("$1", arrow.PrimitiveTypes.Int64)), `[{"$1": 41}]`)
	prepared.SetParameters(parameters)
	poll, err = prepared.ExecutePoll(ctx, nil)
	must(t, err)
	fetch(t, ctx, client, poll.Info).is(t, `{"a":42}`)
	must(t, prepared.Close(ctx))

	put(t, ctx, client, "polled", schema(field("a", arrow.PrimitiveTypes.Int64)))
	plain, err := client.Client.PollFlightInfo(ctx, path("polled"))
	must(t, err)
	equal(t, "rows", fetch(t, ctx, client, plain.Info).rows(), 0)
	_, err = client.ExecutePoll(ctx, "select", nil)
	fails(t, err, codes.InvalidArgument, "Line")
}

func TestTransactionsAreRefused(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	_, err := client.BeginTransaction(ctx)
	fails(t, err, codes.Unimplemented, "transactions")
}

// The longest query that a test dares to start: it would run for hours.
func endless() string {
	return fmt.Sprintf("select a.value * b.value as product -- %d\n", time.Now().UnixNano()) +
		"from generate_series(1, 1000000) a cross join generate_series(1, 1000000) b"
}
