package interop

import (
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	"google.golang.org/grpc/codes"
)

// The four modes that clients have.
var (
	create = &flightsql.TableDefinitionOptions{
		IfNotExist: flightsql.TableDefinitionOptionsTableNotExistOptionCreate,
		IfExists:   flightsql.TableDefinitionOptionsTableExistsOptionFail,
	}
	replace = &flightsql.TableDefinitionOptions{
		IfNotExist: flightsql.TableDefinitionOptionsTableNotExistOptionCreate,
		IfExists:   flightsql.TableDefinitionOptionsTableExistsOptionReplace,
	}
	appendTo = &flightsql.TableDefinitionOptions{
		IfNotExist: flightsql.TableDefinitionOptionsTableNotExistOptionFail,
		IfExists:   flightsql.TableDefinitionOptionsTableExistsOptionAppend,
	}
	createAppend = &flightsql.TableDefinitionOptions{
		IfNotExist: flightsql.TableDefinitionOptionsTableNotExistOptionCreate,
		IfExists:   flightsql.TableDefinitionOptionsTableExistsOptionAppend,
	}
)

var ingested = schema(number, text)

func ingest(t *testing.T, client *flightsql.Client, options *flightsql.ExecuteIngestOpts, batches ...string) (int64, error) {
	t.Helper()
	var made []arrow.RecordBatch
	for _, rows := range batches {
		made = append(made, batch(t, ingested, rows))
	}
	return client.ExecuteIngest(limited(t), reader(t, ingested, made...), options)
}

func TestIngestModes(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	into := func(mode *flightsql.TableDefinitionOptions) *flightsql.ExecuteIngestOpts {
		return &flightsql.ExecuteIngestOpts{TableDefinitionOptions: mode, Table: "ingested"}
	}
	_, err := ingest(t, client, into(appendTo), `[{"n": 0}]`)
	fails(t, err, codes.NotFound, "ingested")

	rows, err := ingest(t, client, into(create), `[{"n": 1, "s": "a"}, {"n": 2}]`, `[{"n": 3, "s": "c"}]`)
	must(t, err)
	equal(t, "rows", rows, 3)
	stored := query(t, ctx, client, "select * from ingested order by n")
	stored.is(t, `{"n":1,"s":"a"}`, `{"n":2,"s":null}`, `{"n":3,"s":"c"}`)
	sameSchema(t, stored.schema, ingested)

	_, err = ingest(t, client, into(create), `[{"n": 0}]`)
	fails(t, err, codes.AlreadyExists, "ingested")
	for _, mode := range []*flightsql.TableDefinitionOptions{appendTo, createAppend} {
		rows, err = ingest(t, client, into(mode), `[{"n": 0}]`)
		must(t, err)
		equal(t, "rows", rows, 1)
	}
	stored = query(t, ctx, client, "select * from ingested")
	equal(t, "rows", stored.rows(), 5)
	sameSchema(t, stored.schema, ingested)

	rows, err = ingest(t, client, into(replace), `[{"n": 9, "s": "new"}]`)
	must(t, err)
	equal(t, "rows", rows, 1)
	query(t, ctx, client, "select * from ingested").is(t, `{"n":9,"s":"new"}`)
}

func TestIngestCreatesInEveryModeThatMay(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	for name, mode := range map[string]*flightsql.TableDefinitionOptions{
		"ingest_replace": replace, "ingest_create_append": createAppend,
	} {
		rows, err := ingest(t, client, &flightsql.ExecuteIngestOpts{TableDefinitionOptions: mode, Table: name}, `[{"n": 1}]`)
		must(t, err)
		equal(t, "rows", rows, 1)
		query(t, ctx, client, "select n from "+name).is(t, `{"n":1}`)
	}
}

func TestIngestElsewhere(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	update(t, ctx, client, "create schema ingest_there")
	catalog, there, nowhere := "airstrip", "ingest_there", "other"
	options := &flightsql.ExecuteIngestOpts{
		TableDefinitionOptions: create, Table: "Odd Name", Catalog: &catalog, Schema: &there,
	}
	rows, err := ingest(t, client, options, `[{"n": 5}]`)
	must(t, err)
	equal(t, "rows", rows, 1)
	query(t, ctx, client, `select n from airstrip.ingest_there."Odd Name"`).is(t, `{"n":5}`)
	options.Catalog = &nowhere
	_, err = ingest(t, client, options, `[{"n": 5}]`)
	fails(t, err, codes.NotFound, "other")
	options.Catalog = &catalog
	options.Options = map[string]string{"an.option": "that nobody knows"}
	_, err = ingest(t, client, options, `[{"n": 5}]`)
	fails(t, err, codes.InvalidArgument, "an.option")
}

// A stream that ends without a batch. arrow-go sends no message at all then, not even the command.
func TestIngestOfNothing(t *testing.T) {
	_, client := limited(t), connect(t, shared)
	empty := &flightsql.ExecuteIngestOpts{TableDefinitionOptions: create, Table: "ingested_empty_batch"}
	rows, err := ingest(t, client, empty, `[]`)
	must(t, err)
	equal(t, "rows", rows, 0)
	equal(t, "rows", query(t, limited(t), client, "select n, s from ingested_empty_batch").rows(), 0)
	nothing := &flightsql.ExecuteIngestOpts{TableDefinitionOptions: create, Table: "ingested_nothing"}
	_, err = ingest(t, client, nothing)
	fails(t, err, codes.InvalidArgument, "empty batch")
}

func TestIngestTemporary(t *testing.T) {
	ctx := limited(t)
	client := connect(t, shared, flight.NewClientCookieMiddleware())
	stranger := connect(t, shared)
	options := &flightsql.ExecuteIngestOpts{TableDefinitionOptions: create, Table: "ingested_temporary", Temporary: true}
	rows, err := ingest(t, client, options, `[{"n": 1, "s": "mine"}]`)
	must(t, err)
	equal(t, "rows", rows, 1)
	query(t, ctx, client, "select * from ingested_temporary").is(t, `{"n":1,"s":"mine"}`)
	_, err = stranger.Execute(ctx, "select * from ingested_temporary")
	fails(t, err, codes.NotFound, "ingested_temporary")
	_, err = ingest(t, client, options, `[{"n": 2}]`)
	fails(t, err, codes.AlreadyExists, "ingested_temporary")
	options.TableDefinitionOptions = replace
	_, err = ingest(t, client, options, `[{"n": 2}]`)
	must(t, err)
	query(t, ctx, client, "select n from ingested_temporary").is(t, `{"n":2}`)
	info, err := client.GetTables(ctx, &flightsql.GetTablesOpts{TableTypes: []string{"LOCAL TEMPORARY"}})
	must(t, err)
	equal(t, "temporary tables", fetch(t, ctx, client, info).column(t, "table_name")[0], "ingested_temporary")
	update(t, ctx, client, "drop table ingested_temporary")
	_, err = client.Execute(ctx, "select * from ingested_temporary")
	fails(t, err, codes.NotFound, "ingested_temporary")
}
