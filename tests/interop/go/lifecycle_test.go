package interop

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

func cancel(t *testing.T, ctx context.Context, client *flightsql.Client, info *flight.FlightInfo) flight.CancelStatus {
	t.Helper()
	answer, err := client.CancelFlightInfo(ctx, &flight.CancelFlightInfoRequest{Info: info})
	must(t, err)
	return answer.Status
}

// stops checks that a query ends on the server within a short time.
func stops(t *testing.T, ctx context.Context, client *flightsql.Client, sql, state string) {
	t.Helper()
	mark := strings.TrimSpace(strings.SplitN(strings.SplitN(sql, "-- ", 2)[1], "\n", 2)[0])
	ask := fmt.Sprintf("select distinct state from system.queries where sql like '%%-- %s%%' and sql not like '%%system.queries%%'", mark)
	var states string
	for range 100 {
		states = strings.Join(query(t, ctx, client, ask).column(t, "state"), ", ")
		if states == state {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("the query is %q after 5 s, not %s", states, state)
}

func TestCancelBeforeDoGet(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	info, err := client.Execute(ctx, "select 1 as a")
	must(t, err)
	equal(t, "status", cancel(t, ctx, client, info), flight.CancelStatusCancelled)
	_, err = redeem(ctx, client, info.Endpoint[0].Ticket)
	fails(t, err, codes.Aborted, "cancel")
	// Only that one: the same text asked for again is another query.
	query(t, ctx, client, "select 1 as a").is(t, `{"a":1}`)
}

func TestCancelDuringDoGet(t *testing.T) {
	ctx, client, sql := limited(t), connect(t, shared), endless()
	info, err := client.Execute(ctx, sql)
	must(t, err)
	stream, err := client.DoGet(ctx, info.Endpoint[0].Ticket)
	must(t, err)
	defer stream.Release()
	if !stream.Next() {
		t.Fatal(stream.Err())
	}
	equal(t, "status", cancel(t, ctx, client, info), flight.CancelStatusCancelled)
	for stream.Next() {
	}
	fails(t, stream.Err(), codes.Aborted, "cancel")
	stops(t, ctx, client, sql, "cancelled")
}

func TestCancelQuery(t *testing.T) {
	ctx, client, sql := limited(t), connect(t, shared), endless()
	info, err := client.Execute(ctx, sql)
	must(t, err)
	stream, err := client.DoGet(ctx, info.Endpoint[0].Ticket)
	must(t, err)
	defer stream.Release()
	answer, err := client.CancelQuery(ctx, info)
	must(t, err)
	equal(t, "result", answer, flightsql.CancelResultCancelled)
	for stream.Next() {
	}
	fails(t, stream.Err(), codes.Aborted, "cancel")
	stops(t, ctx, client, sql, "cancelled")
}

func TestWhatCannotBeCancelled(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	info, err := client.GetCatalogs(ctx)
	must(t, err)
	equal(t, "status", cancel(t, ctx, client, info), flight.CancelStatusNotCancellable)
	equal(t, "status", cancel(t, ctx, client, &flight.FlightInfo{}), flight.CancelStatusNotCancellable)
}

// A client that stops reading resets its stream.
func TestADroppedStreamStopsItsQuery(t *testing.T) {
	ctx, client, sql := limited(t), connect(t, shared), endless()
	info, err := client.Execute(ctx, sql)
	must(t, err)
	short, drop := context.WithCancel(ctx)
	stream, err := client.DoGet(short, info.Endpoint[0].Ticket)
	must(t, err)
	defer stream.Release()
	if !stream.Next() {
		t.Fatal(stream.Err())
	}
	drop()
	stops(t, ctx, client, sql, "cancelled")
}

func TestClientDeadline(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	// Nothing comes before the last row is known.
	sql := strings.Replace(endless(), "a.value * b.value as product", "max(a.value * b.value) as product", 1)
	info, err := client.Execute(ctx, sql)
	must(t, err)
	short, drop := context.WithTimeout(ctx, 500*time.Millisecond)
	defer drop()
	began := time.Now()
	_, err = redeem(short, client, info.Endpoint[0].Ticket)
	if status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("got %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the deadline of 0.5 s passed after %v", took)
	}
	var states string
	for range 100 {
		states = strings.Join(query(t, ctx, client,
			"select state from system.queries where sql like 'select max(a.value%' and ended is null").column(t, "state"), " ")
		if states == "" {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("a query is %s 5 s after its deadline", states)
}

func TestRenewFlightEndpoint(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	info, err := client.Execute(ctx, "select 1 as a")
	must(t, err)
	before := info.Endpoint[0]
	if left := time.Until(before.ExpirationTime.AsTime()); left < 23*time.Hour || left > 25*time.Hour {
		t.Errorf("the ticket lasts for %v, not a day", left)
	}
	time.Sleep(1100 * time.Millisecond)
	after, err := client.RenewFlightEndpoint(ctx, &flight.RenewFlightEndpointRequest{Endpoint: before})
	must(t, err)
	if !after.ExpirationTime.AsTime().After(before.ExpirationTime.AsTime()) {
		t.Errorf("%v is not after %v", after.ExpirationTime.AsTime(), before.ExpirationTime.AsTime())
	}
	info.Endpoint[0] = after
	fetch(t, ctx, client, info).is(t, `{"a":1}`)
	equal(t, "status", cancel(t, ctx, client, info), flight.CancelStatusCancelled)
	// Old and new ticket are of one query.
	_, err = redeem(ctx, client, before.Ticket)
	fails(t, err, codes.Aborted, "cancel")
	_, err = client.RenewFlightEndpoint(ctx, &flight.RenewFlightEndpointRequest{Endpoint: &flight.FlightEndpoint{}})
	fails(t, err, codes.InvalidArgument, "ticket")
}

// Arrow's own integration client asks for a time that is later, however soon after it asks.
func TestRenewAtOnce(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	info, err := client.Execute(ctx, "select 1 as a")
	must(t, err)
	for range 3 {
		before := info.Endpoint[0]
		after, err := client.RenewFlightEndpoint(ctx, &flight.RenewFlightEndpointRequest{Endpoint: before})
		must(t, err)
		if !after.ExpirationTime.AsTime().After(before.ExpirationTime.AsTime()) {
			t.Errorf("%v is not after %v", after.ExpirationTime.AsTime(), before.ExpirationTime.AsTime())
		}
		info.Endpoint[0] = after
	}
}

func TestExpiredTickets(t *testing.T) {
	ctx, client := limited(t), connect(t, serve(t, "--listen", "127.0.0.1:0", "--ticket-lifetime", "1s"))
	info, err := client.Execute(ctx, "select 1 as a")
	must(t, err)
	fetch(t, ctx, client, info).is(t, `{"a":1}`)
	time.Sleep(2100 * time.Millisecond)
	_, err = redeem(ctx, client, info.Endpoint[0].Ticket)
	fails(t, err, codes.FailedPrecondition, "expired")
}

func TestHealth(t *testing.T) {
	ctx := limited(t)
	connection, err := newConnection(shared)
	must(t, err)
	defer connection.Close()
	health := grpc_health_v1.NewHealthClient(connection)
	for _, service := range []string{"", "arrow.flight.protocol.FlightService"} {
		answer, err := health.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: service})
		must(t, err)
		equal(t, service, answer.Status, grpc_health_v1.HealthCheckResponse_SERVING)
	}
	_, err = health.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: "no.such.Service"})
	fails(t, err, codes.NotFound, "")
}

// A Go client takes messages of up to 4 MiB unless it is told otherwise.
func TestMessagesFitIntoTheDefaultLimit(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	wide := schema(field("id", arrow.PrimitiveTypes.Int64), text)
	numbers, texts := array.NewInt64Builder(memory.DefaultAllocator), array.NewStringBuilder(memory.DefaultAllocator)
	const rows = 1000
	for row := range rows {
		numbers.Append(int64(row))
		texts.Append(strings.Repeat(string(rune('a'+row%26)), 8000))
	}
	// One message of 8 MB on its way to the server.
	large := array.NewRecordBatch(wide, []arrow.Array{numbers.NewArray(), texts.NewArray()}, rows)
	put(t, ctx, client, "large", wide, large)
	check := func(got result) {
		t.Helper()
		equal(t, "rows", got.rows(), rows)
		row := 0
		for _, batch := range got.batches {
			for i := range int(batch.NumRows()) {
				value := batch.Column(1).(*array.String).Value(i)
				if batch.Column(0).(*array.Int64).Value(i) != int64(row) || len(value) != 8000 || value[7999] != byte('a'+row%26) {
					t.Fatalf("row %d is not what was stored", row)
				}
				row++
			}
		}
	}
	raw, err := redeem(ctx, client, &flight.Ticket{Ticket: []byte("large")})
	must(t, err)
	check(raw)
	check(query(t, ctx, client, "select id, s from large order by id"))
	// One row of 3 MB.
	long := query(t, ctx, client, "select repeat('x', 3000000) as s, [1, 2, 3] as l")
	equal(t, "length", len(long.batches[0].Column(0).(*array.String).Value(0)), 3_000_000)
}

func TestManyAtOnce(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	update(t, ctx, client, "create table at_once as select value as v from generate_series(1, 10000)")
	var group sync.WaitGroup
	for worker := range 20 {
		group.Add(1)
		go func() {
			defer group.Done()
			// Half of them share a connection.
			client := client
			if worker%2 == 0 {
				own, err := flightsql.NewClient(shared, nil, nil, plaintext)
				if err != nil {
					t.Error(err)
					return
				}
				defer own.Close()
				client = own
			}
			for round := range 2 {
				if err := oneRound(ctx, client, worker, round); err != nil {
					t.Errorf("worker %d, round %d: %v", worker, round, err)
				}
			}
		}()
	}
	group.Wait()
}

func oneRound(ctx context.Context, client *flightsql.Client, worker, round int) error {
	prepared, err := client.Prepare(ctx, "select sum(v) as s, count(*) as c from at_once where v % 20 = ?")
	if err != nil {
		return err
	}
	values := array.NewInt64Builder(memory.DefaultAllocator)
	values.Append(int64(worker))
	prepared.SetParameters(array.NewRecordBatch(schema(number), []arrow.Array{values.NewArray()}, 1))
	info, err := prepared.Execute(ctx)
	if err != nil {
		return err
	}
	got, err := redeem(ctx, client, info.Endpoint[0].Ticket)
	if err != nil {
		return err
	}
	first := int64(worker)
	if worker == 0 {
		first = 20
	}
	sum := got.batches[0].Column(0).(*array.Int64).Value(0)
	if want := 500*first + 20*(499*500/2); sum != want || got.rows() != 1 {
		return fmt.Errorf("got the sum %d, not %d", sum, want)
	}
	name := fmt.Sprintf("at_once_%d_%d", worker, round)
	if _, err := client.ExecuteUpdate(ctx, "create table "+name+" as select 1 as a"); err != nil {
		return err
	}
	if _, err := client.ExecuteUpdate(ctx, "drop table "+name); err != nil {
		return err
	}
	return prepared.Close(ctx)
}
