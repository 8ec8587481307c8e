package interop

import (
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc/codes"
)

var (
	number = field("n", arrow.PrimitiveTypes.Int64)
	text   = field("s", arrow.BinaryTypes.String)
)

func prepare(t *testing.T, client *flightsql.Client, sql string) *flightsql.PreparedStatement {
	t.Helper()
	prepared, err := client.Prepare(limited(t), sql)
	must(t, err)
	return prepared
}

func TestPreparedQuery(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	prepared := prepare(t, client, "select 7 as a, 'x' as b")
	if isUpdate, known := prepared.IsUpdate(); isUpdate || !known {
		t.Errorf("is_update is %v, known: %v", isUpdate, known)
	}
	equal(t, "parameters", prepared.ParameterSchema().NumFields(), 0)
	for range 2 {
		info, err := prepared.Execute(ctx)
		must(t, err)
		got := fetch(t, ctx, client, info)
		got.is(t, `{"a":7,"b":"x"}`)
		sameSchema(t, got.schema, prepared.DatasetSchema())
	}
	answer, err := prepared.GetSchema(ctx)
	must(t, err)
	asked, err := flight.DeserializeSchema(answer.Schema, memory.DefaultAllocator)
	must(t, err)
	sameSchema(t, asked, prepared.DatasetSchema())
	must(t, prepared.Close(ctx))
}

func TestParameterSchema(t *testing.T) {
	_, client := limited(t), connect(t, shared)
	prepared := prepare(t, client, "select value from generate_series(1, 20) "+
		"where value > $2 and cast(value as varchar) <> $10 and $1 = 'x' and value in ($3, $4, $5, $6, $7, $8, $9)")
	parameters := prepared.ParameterSchema()
	equal(t, "parameters", parameters.NumFields(), 10)
	for i, name := range []string{"$1", "$2", "$3", "$4", "$5", "$6", "$7", "$8", "$9", "$10"} {
		equal(t, "name", parameters.Field(i).Name, name)
		equal(t, "nullable", parameters.Field(i).Nullable, true)
	}
	equal(t, "type of $1", parameters.Field(0).Type.ID(), arrow.STRING)
	equal(t, "type of $2", parameters.Field(1).Type.ID(), arrow.INT64)
	marks := prepare(t, client, "select ? || 'x' as a, value from generate_series(1, 3) where value = ?")
	equal(t, "parameters", marks.ParameterSchema().NumFields(), 2)
	equal(t, "name", marks.ParameterSchema().Field(1).Name, "$2")
	equal(t, "type of $2", marks.ParameterSchema().Field(1).Type.ID(), arrow.INT64)
}

func TestSetParameters(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	prepared := prepare(t, client, "select ? as s, value from generate_series(1, 5) where value > ? order by value")
	handle := string(prepared.Handle())
	values := schema(text, number)
	for _, example := range []struct {
		bound string
		rows  []string
	}{
		{`[{"s": "a", "n": 3}]`, []string{`{"s":"a","value":4}`, `{"s":"a","value":5}`}},
		{`[{"s": null, "n": 4}]`, []string{`{"s":null,"value":5}`}},
		{`[{"s": "none", "n": 9}]`, nil},
	} {
		prepared.SetParameters(batch(t, values, example.bound))
		info, err := prepared.Execute(ctx)
		must(t, err)
		fetch(t, ctx, client, info).is(t, example.rows...)
		equal(t, "handle", string(prepared.Handle()), handle)
	}
	must(t, prepared.Close(ctx))
}

// Each bound row runs the statement once; the results follow each other.
func TestSeveralRowsBound(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	prepared := prepare(t, client, "select $1 as n, $2 as s, $1 * 10 as tens")
	values := schema(field("a", arrow.PrimitiveTypes.Int64), field("b", arrow.BinaryTypes.String))
	prepared.SetParameters(batch(t, values, `[{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]`))
	info, err := prepared.Execute(ctx)
	must(t, err)
	fetch(t, ctx, client, info).is(t, `{"n":1,"s":"x","tens":10}`, `{"n":2,"s":"y","tens":20}`)

	prepared.SetRecordReader(reader(t, values,
		batch(t, values, `[{"a": 3, "b": "x"}, {"a": 4, "b": null}]`),
		batch(t, values, `[{"a": 5, "b": "z"}]`),
	))
	info, err = prepared.Execute(ctx)
	must(t, err)
	fetch(t, ctx, client, info).is(t,
		`{"n":3,"s":"x","tens":30}`, `{"n":4,"s":null,"tens":40}`, `{"n":5,"s":"z","tens":50}`)
}

func TestParametersAreBoundByName(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	prepared := prepare(t, client, "select $1 as a, $2 as b")
	backwards := schema(field("$2", arrow.BinaryTypes.String), field("$1", arrow.BinaryTypes.String))
	prepared.SetParameters(batch(t, backwards, `[{"$1": "first", "$2": "second"}]`))
	info, err := prepared.Execute(ctx)
	must(t, err)
	fetch(t, ctx, client, info).is(t, `{"a":"first","b":"second"}`)
}

// ExecutePut binds and does not run.
func TestExecutePut(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	prepared := prepare(t, client, "select $1 as a")
	prepared.SetParameters(batch(t, schema(field("$1", arrow.BinaryTypes.String)), `[{"$1": "kept"}]`))
	must(t, prepared.ExecutePut(ctx))
	// Another object of the client, so that nothing but the handle is left.
	again := flightsql.NewPreparedStatement(client, prepared.Handle())
	info, err := again.Execute(ctx)
	must(t, err)
	fetch(t, ctx, client, info).is(t, `{"a":"kept"}`)
}

func TestBoundValuesAreChecked(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	prepared := prepare(t, client, "select value from generate_series(1, 5) where value = $1")
	two := schema(number, text)
	prepared.SetParameters(batch(t, two, `[{"n": 1, "s": "x"}]`))
	_, err := prepared.Execute(ctx)
	fails(t, err, codes.InvalidArgument, "1 parameters, 2 were bound")
	words := schema(field("$1", arrow.BinaryTypes.String))
	prepared.SetParameters(batch(t, words, `[{"$1": "no number"}]`))
	_, err = prepared.Execute(ctx)
	fails(t, err, codes.InvalidArgument, "$1")
	prepared.SetParameters(batch(t, words, `[{"$1": "4"}]`))
	info, err := prepared.Execute(ctx)
	must(t, err)
	fetch(t, ctx, client, info).is(t, `{"value":4}`)
	missing := prepare(t, client, "select $1 as a")
	_, err = missing.Execute(ctx)
	fails(t, err, codes.InvalidArgument, "bind their values")
}

func TestPreparedUpdate(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	prepared := prepare(t, client, "create or replace table prepared_update as values (1), (2), (3)")
	if isUpdate, known := prepared.IsUpdate(); !isUpdate || !known {
		t.Errorf("is_update is %v, known: %v", isUpdate, known)
	}
	if prepared.DatasetSchema() != nil {
		t.Errorf("an update has the dataset schema %v", prepared.DatasetSchema())
	}
	for range 2 {
		rows, err := prepared.ExecuteUpdate(ctx)
		must(t, err)
		equal(t, "rows stored", rows, 3)
	}
	equal(t, "rows", query(t, ctx, client, "select * from prepared_update").rows(), 3)
	// ADBC's way: the FlightInfo of an update runs it.
	drop := prepare(t, client, "drop table prepared_update")
	info, err := drop.Execute(ctx)
	must(t, err)
	fetch(t, ctx, client, info).is(t, `{"count":0}`)
	_, err = drop.ExecuteUpdate(ctx)
	fails(t, err, codes.NotFound, "prepared_update")
	_, err = prepare(t, client, "select 1").ExecuteUpdate(ctx)
	fails(t, err, codes.InvalidArgument, "query")
}

// Values for a statement that takes none must not be dropped in silence.
func TestPreparedUpdateWithParametersIsRefused(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	prepared, err := client.Prepare(ctx, "create table with_values as select $1 as a")
	if err == nil {
		prepared.SetParameters(batch(t, schema(field("$1", arrow.PrimitiveTypes.Int64)), `[{"$1": 1}]`))
		_, err = prepared.ExecuteUpdate(ctx)
	}
	fails(t, err, codes.Unimplemented, "parameters")
	_, err = client.Execute(ctx, "select * from with_values")
	fails(t, err, codes.NotFound, "with_values")
}

func TestClose(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	prepared := prepare(t, client, "select 1 as a")
	handle := prepared.Handle()
	must(t, prepared.Close(ctx))
	closed := flightsql.NewPreparedStatement(client, handle)
	_, err := closed.Execute(ctx)
	fails(t, err, codes.NotFound, "prepared statement")
	_, err = closed.GetSchema(ctx)
	fails(t, err, codes.NotFound, "prepared statement")
	_, err = closed.ExecuteUpdate(ctx)
	fails(t, err, codes.NotFound, "prepared statement")
	// Closing twice is fine.
	must(t, closed.Close(ctx))
}
