package interop

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc/codes"
)

func list(t *testing.T, ctx context.Context, client *flightsql.Client, glob string) map[string]*flight.FlightInfo {
	t.Helper()
	stream, err := client.Client.ListFlights(ctx, &flight.Criteria{Expression: []byte(glob)})
	must(t, err)
	found := map[string]*flight.FlightInfo{}
	for {
		info, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return found
		}
		must(t, err)
		found[strings.Join(info.FlightDescriptor.Path, "/")] = info
	}
}

func act(ctx context.Context, client *flightsql.Client, kind, body string) (string, error) {
	stream, err := client.Client.DoAction(ctx, &flight.Action{Type: kind, Body: []byte(body)})
	if err != nil {
		return "", err
	}
	answer, err := stream.Recv()
	if err != nil {
		return "", err
	}
	return string(answer.Body), flight.ReadUntilEOF(stream)
}

// A dataset's life with nothing but plain Flight.
func TestPlainFlight(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	columns := schema(number, text)
	answers := put(t, ctx, client, "plain.parquet", columns,
		batch(t, columns, `[{"n": 1, "s": "a"}, {"n": 2}]`), batch(t, columns, `[{"n": 3, "s": "c"}]`))
	equal(t, "answers", len(answers), 3)
	equal(t, "echoes", strings.Join(answers[:2], ", "), "batch 0, batch 1")
	var receipt struct{ Name, Schema, Rows, Version string }
	must(t, json.Unmarshal([]byte(answers[2]), &receipt))
	equal(t, "receipt", receipt.Name+" "+receipt.Schema+" "+receipt.Rows, "plain public 3")

	// Both spellings are one name.
	for _, name := range []string{"plain", "plain.parquet"} {
		info, err := client.Client.GetFlightInfo(ctx, path(name))
		must(t, err)
		equal(t, "rows", info.TotalRecords, 3)
		equal(t, "ticket", string(info.Endpoint[0].Ticket.Ticket), "plain")
		equal(t, "path", strings.Join(info.FlightDescriptor.Path, "/"), name)
		fetch(t, ctx, client, info).is(t, `{"n":1,"s":"a"}`, `{"n":2,"s":null}`, `{"n":3,"s":"c"}`)
		raw, err := redeem(ctx, client, &flight.Ticket{Ticket: []byte(name)})
		must(t, err)
		equal(t, "rows", raw.rows(), 3)
		sameSchema(t, raw.schema, columns)
		answer, err := client.Client.GetSchema(ctx, path(name))
		must(t, err)
		asked, err := flight.DeserializeSchema(answer.Schema, memory.DefaultAllocator)
		must(t, err)
		sameSchema(t, asked, columns)
	}
	query(t, ctx, client, "select sum(n) as total from plain").is(t, `{"total":6}`)

	info, there := list(t, ctx, client, "pla*n")["plain.parquet"]
	if !there {
		t.Fatal("the dataset is not listed")
	}
	fetch(t, ctx, client, info).is(t, `{"n":1,"s":"a"}`, `{"n":2,"s":null}`, `{"n":3,"s":"c"}`)
	equal(t, "others", len(list(t, ctx, client, "no-such-*")), 0)
	_, there = list(t, ctx, client, "")["plain.parquet"]
	equal(t, "listed among all", there, true)

	answer, err := act(ctx, client, "drop_dataset", "plain")
	must(t, err)
	var dropped struct{ Name, Schema, Version string }
	must(t, json.Unmarshal([]byte(answer), &dropped))
	equal(t, "dropped", dropped.Name+" "+dropped.Version, "plain "+receipt.Version)
	_, err = client.Client.GetFlightInfo(ctx, path("plain"))
	fails(t, err, codes.NotFound, "plain")
	_, err = redeem(ctx, client, &flight.Ticket{Ticket: []byte("plain")})
	fails(t, err, codes.NotFound, "plain")
	_, err = act(ctx, client, "drop_dataset", "plain")
	fails(t, err, codes.NotFound, "plain")
	_, err = act(ctx, client, "no_such_action", "")
	fails(t, err, codes.Unimplemented, "no_such_action")
}

// Each echo comes before the next batch is sent, as Arrow's integration clients want it.
func TestEchoesComeAtOnce(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	columns := schema(number)
	stream, err := client.Client.DoPut(ctx)
	must(t, err)
	writer := flight.NewRecordWriter(stream, ipc.WithSchema(columns))
	writer.SetFlightDescriptor(path("echoed"))
	for _, word := range []string{"one", "two", "three"} {
		must(t, writer.WriteWithAppMetadata(batch(t, columns, `[{"n": 1}]`), []byte(word)))
		answer, err := stream.Recv()
		must(t, err)
		equal(t, "echo", string(answer.AppMetadata), word)
	}
	must(t, writer.Close())
	must(t, stream.CloseSend())
	_, err = stream.Recv()
	must(t, err)
	_, err = stream.Recv()
	equal(t, "end", err, io.EOF)
}

// Nothing is stored of an upload that was not ended.
func TestAnAbandonedUploadStoresNothing(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	columns := schema(number)
	short, drop := context.WithCancel(ctx)
	stream, err := client.Client.DoPut(short)
	must(t, err)
	writer := flight.NewRecordWriter(stream, ipc.WithSchema(columns))
	writer.SetFlightDescriptor(path("abandoned"))
	must(t, writer.WriteWithAppMetadata(batch(t, columns, `[{"n": 1}]`), []byte("x")))
	_, err = stream.Recv()
	must(t, err)
	drop()
	_, err = stream.Recv()
	fails(t, err, codes.Canceled, "")
	_, err = client.Client.GetFlightInfo(ctx, path("abandoned"))
	fails(t, err, codes.NotFound, "abandoned")
}

// A command may be SQL, or the name of a view or dataset.
func TestPlainCommands(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	update(t, ctx, client, "create view plain_view as select 5 as a")
	for _, command := range []string{"select 5 as a", "plain_view"} {
		info, err := client.Client.GetFlightInfo(ctx, &flight.FlightDescriptor{Type: flight.DescriptorCMD, Cmd: []byte(command)})
		must(t, err)
		fetch(t, ctx, client, info).is(t, `{"a":5}`)
		raw, err := redeem(ctx, client, &flight.Ticket{Ticket: []byte(command)})
		must(t, err)
		raw.is(t, `{"a":5}`)
	}
}

func TestListActions(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	stream, err := client.Client.ListActions(ctx, &flight.Empty{})
	must(t, err)
	var names []string
	for {
		action, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		names = append(names, action.Type)
	}
	for _, name := range []string{
		"drop_dataset", flight.CancelFlightInfoActionType, flight.RenewFlightEndpointActionType,
		flight.SetSessionOptionsActionType, flight.GetSessionOptionsActionType, flight.CloseSessionActionType,
		flightsql.CreatePreparedStatementActionType, flightsql.ClosePreparedStatementActionType,
		flightsql.CancelQueryActionType,
	} {
		if !slices.Contains(names, name) {
			t.Errorf("%s is not among the actions %v", name, names)
		}
	}
}

// Rows go up while the result comes down.
func TestExchange(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	stream, err := client.Client.DoExchange(ctx)
	must(t, err)
	columns := schema(number)
	writer := flight.NewRecordWriter(stream, ipc.WithSchema(columns))
	writer.SetFlightDescriptor(&flight.FlightDescriptor{
		Type: flight.DescriptorCMD, Cmd: []byte("select n * 2 as twice from input"),
	})
	must(t, writer.Write(batch(t, columns, `[{"n": 1}, {"n": 2}]`)))
	must(t, writer.Close())
	must(t, stream.CloseSend())
	reader, err := flight.NewRecordReader(stream)
	must(t, err)
	var got result
	for reader.Next() {
		batch := reader.RecordBatch()
		batch.Retain()
		got.batches = append(got.batches, batch)
	}
	must(t, reader.Err())
	got.is(t, `{"twice":2}`, `{"twice":4}`)
}

// Every type that arrow-go has goes up and comes back as it was, compressed on its way or not.
func TestTypesComeBack(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	moment := &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}
	columns := schema(
		field("i8", arrow.PrimitiveTypes.Int8), field("u64", arrow.PrimitiveTypes.Uint64),
		field("f32", arrow.PrimitiveTypes.Float32), field("bool", arrow.FixedWidthTypes.Boolean),
		field("moment", moment), field("day", arrow.FixedWidthTypes.Date32), field("time", arrow.FixedWidthTypes.Time64us),
		field("price", &arrow.Decimal128Type{Precision: 12, Scale: 2}),
		field("bytes", arrow.BinaryTypes.Binary), field("long", arrow.BinaryTypes.LargeString),
		field("list", arrow.ListOf(arrow.PrimitiveTypes.Int32)),
		field("struct", arrow.StructOf(field("a", arrow.PrimitiveTypes.Int16), field("b", arrow.BinaryTypes.String))),
		field("map", arrow.MapOf(arrow.BinaryTypes.String, arrow.PrimitiveTypes.Int32)),
		field("word", &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String}),
	)
	made := batch(t, columns, `[
		{"i8": -7, "u64": 18446744073709551615, "f32": 1.5, "bool": true, "moment": "2024-02-29T01:02:03.000004Z",
		 "day": "2024-02-29", "time": "01:02:03.000004", "price": "1234567890.12", "bytes": "AAH/", "long": "lang",
		 "list": [1, null, 3], "struct": {"a": 1, "b": "x"}, "map": [{"key": "k", "value": 5}], "word": "red"},
		{"i8": null, "u64": 0, "f32": null, "bool": null, "moment": null, "day": null, "time": null, "price": null,
		 "bytes": null, "long": null, "list": null, "struct": null, "map": null, "word": null},
		{"i8": 1, "u64": 1, "f32": -0.25, "bool": false, "moment": "1969-12-31T23:59:59Z", "day": "1969-12-31",
		 "time": "23:59:59", "price": "-0.01", "bytes": "", "long": "", "list": [], "struct": {"a": null, "b": null},
		 "map": [], "word": "red"}]`)
	want := result{batches: []arrow.RecordBatch{made}}.json(t)
	for name, options := range map[string][]ipc.Option{
		"types_plain": nil, "types_lz4": {ipc.WithLZ4()}, "types_zstd": {ipc.WithZstd()},
	} {
		t.Run(name, func(t *testing.T) {
			rows, err := client.ExecuteIngestWithIPC(ctx, reader(t, columns, made),
				&flightsql.ExecuteIngestOpts{TableDefinitionOptions: replace, Table: name}, options)
			must(t, err)
			equal(t, "rows", rows, 3)
			raw, err := redeem(ctx, client, &flight.Ticket{Ticket: []byte(name)})
			must(t, err)
			raw.is(t, want...)
			sameSchema(t, raw.schema, columns)
			query(t, ctx, client, "select * from "+name).is(t, want...)
		})
	}
}

// arrow-go repeats a batch's metadata on the dictionaries that go before it: still one echo for a batch.
func TestOneEchoForABatchWithDictionaries(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	word := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String}
	columns := schema(field("a", word), field("b", word))
	answers := put(t, ctx, client, "echoed_words", columns, batch(t, columns, `[{"a": "x", "b": "y"}]`), batch(t, columns, `[{"a": "x", "b": "y"}]`))
	equal(t, "answers but the receipt", strings.Join(answers[:len(answers)-1], ", "), "batch 0, batch 1")
	raw, err := redeem(ctx, client, &flight.Ticket{Ticket: []byte("echoed_words")})
	must(t, err)
	raw.is(t, `{"a":"x","b":"y"}`, `{"a":"x","b":"y"}`)
}
