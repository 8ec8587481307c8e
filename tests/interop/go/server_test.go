// Package interop talks to Airstrip with arrow-go's clients: Flight, Flight SQL, database/sql, and the
// client of Arrow's own integration tests.
//
// By hand: AIRSTRIP_BIN=$PWD/../../../target/debug/airstrip go test -count=1 ./...
// Go does not see that the server was built anew, and without -count=1 shows a result that it has.
package interop

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

const (
	startTime = 30 * time.Second
	stopTime  = 15 * time.Second
	// No single test may take longer than this.
	patience = 30 * time.Second
)

// shared is the address of a server for tests that only need names of their own.
var shared string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	root, err := os.MkdirTemp("", "airstrip-go-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(root)
	server, err := start(root, "--listen", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	shared = server.address
	code := m.Run()
	if err := server.stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// server is a running `airstrip serve ROOT`.
type server struct {
	address string
	process *exec.Cmd
	exit    chan error
}

var startupLine = regexp.MustCompile(`grpc://(\S+)`)

func start(root string, args ...string) (*server, error) {
	binary := os.Getenv("AIRSTRIP_BIN")
	if binary == "" {
		return nil, errors.New("AIRSTRIP_BIN does not name the server's binary")
	}
	process := exec.Command(binary, append([]string{"serve", root, "--log", "warn"}, args...)...)
	// Settings of the caller's environment are not what the tests expect.
	process.Env = slices.DeleteFunc(os.Environ(), func(variable string) bool {
		return strings.HasPrefix(variable, "AIRSTRIP_")
	})
	process.Stderr = os.Stderr
	output, err := process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := process.Start(); err != nil {
		return nil, err
	}
	found, exit := make(chan string, 1), make(chan error, 1)
	go func() {
		// To the end: a full pipe would block the server.
		for lines := bufio.NewScanner(output); lines.Scan(); {
			if match := startupLine.FindStringSubmatch(lines.Text()); match != nil {
				found <- match[1]
			}
		}
		exit <- process.Wait()
	}()
	select {
	case address := <-found:
		return &server{address, process, exit}, nil
	case err := <-exit:
		return nil, fmt.Errorf("the server ended before it said its address: %v", err)
	case <-time.After(startTime):
		_ = process.Process.Kill()
		return nil, errors.New("the server did not say its address in time")
	}
}

func (s *server) stop() error {
	if err := s.process.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case err := <-s.exit:
		return err
	case <-time.After(stopTime):
		_ = s.process.Process.Kill()
		return errors.New("the server still ran long after SIGTERM")
	}
}

// serve starts a server of a test's own.
func serve(t *testing.T, args ...string) string {
	t.Helper()
	server, err := start(t.TempDir(), args...)
	must(t, err)
	t.Cleanup(func() {
		if err := server.stop(); err != nil {
			t.Error(err)
		}
	})
	return server.address
}

// limited is a context that ends a test which waits for too long.
func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

var plaintext = grpc.WithTransportCredentials(insecure.NewCredentials())

func newConnection(address string) (*grpc.ClientConn, error) {
	return grpc.NewClient(address, plaintext)
}

// connect makes a Flight SQL client with a connection of its own.
func connect(t *testing.T, address string, middleware ...flight.ClientMiddleware) *flightsql.Client {
	t.Helper()
	client, err := flightsql.NewClient(address, nil, middleware, plaintext)
	must(t, err)
	t.Cleanup(func() { client.Close() })
	return client
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\ngot  %v\nwant %v", what, got, want)
	}
}

// fails checks an error's code and that its message says a word.
func fails(t *testing.T, err error, code codes.Code, word string) {
	t.Helper()
	if status.Code(err) != code || !strings.Contains(status.Convert(err).Message(), word) {
		t.Errorf("got the error %v\nwant %v with the word %q", err, code, word)
	}
}

// result is what a FlightInfo leads to.
type result struct {
	schema  *arrow.Schema
	batches []arrow.RecordBatch
}

func (r result) rows() (rows int64) {
	for _, batch := range r.batches {
		rows += batch.NumRows()
	}
	return rows
}

// json gives the rows, each as a JSON object.
func (r result) json(t *testing.T) []string {
	t.Helper()
	var rows []string
	for _, batch := range r.batches {
		text, err := batch.MarshalJSON()
		must(t, err)
		var objects []json.RawMessage
		must(t, json.Unmarshal(text, &objects))
		for _, object := range objects {
			rows = append(rows, string(object))
		}
	}
	return rows
}

// column gives the values of one column as text.
func (r result) column(t *testing.T, name string) []string {
	t.Helper()
	var values []string
	for _, batch := range r.batches {
		index := batch.Schema().FieldIndices(name)
		if len(index) != 1 {
			t.Fatalf("there is no column %s in %v", name, batch.Schema())
		}
		for row := range int(batch.NumRows()) {
			values = append(values, batch.Column(index[0]).ValueStr(row))
		}
	}
	return values
}

func (r result) is(t *testing.T, rows ...string) {
	t.Helper()
	equal(t, "rows", strings.Join(r.json(t), "\n"), strings.Join(rows, "\n"))
}

// fetch redeems all tickets of a FlightInfo. What was promised must be what comes: the schema exactly,
// the number of rows where there is one.
func fetch(t *testing.T, ctx context.Context, client *flightsql.Client, info *flight.FlightInfo) result {
	t.Helper()
	if len(info.Endpoint) == 0 {
		t.Fatal("the FlightInfo has no endpoint")
	}
	promised, err := flight.DeserializeSchema(info.Schema, memory.DefaultAllocator)
	must(t, err)
	all := result{schema: promised}
	for _, endpoint := range info.Endpoint {
		equal(t, "locations", len(endpoint.Location), 0)
		one, err := redeem(ctx, client, endpoint.Ticket)
		must(t, err)
		sameSchema(t, one.schema, promised)
		all.batches = append(all.batches, one.batches...)
	}
	if info.TotalRecords >= 0 {
		equal(t, "total_records", all.rows(), info.TotalRecords)
	}
	return all
}

func redeem(ctx context.Context, client *flightsql.Client, ticket *flight.Ticket) (result, error) {
	reader, err := client.DoGet(ctx, ticket)
	if err != nil {
		return result{}, err
	}
	defer reader.Release()
	read := result{schema: reader.Schema()}
	for reader.Next() {
		batch := reader.RecordBatch()
		batch.Retain()
		read.batches = append(read.batches, batch)
	}
	return read, reader.Err()
}

func sameSchema(t *testing.T, got, want *arrow.Schema) {
	t.Helper()
	if !got.Equal(want) || got.HasMetadata() != want.HasMetadata() {
		t.Errorf("schemas differ:\ngot  %v\nwant %v", got, want)
	}
}

// query runs a query by its text.
func query(t *testing.T, ctx context.Context, client *flightsql.Client, sql string) result {
	t.Helper()
	info, err := client.Execute(ctx, sql)
	must(t, err)
	return fetch(t, ctx, client, info)
}

// update runs a statement that changes something.
func update(t *testing.T, ctx context.Context, client *flightsql.Client, sql string) int64 {
	t.Helper()
	rows, err := client.ExecuteUpdate(ctx, sql)
	must(t, err)
	return rows
}

func field(name string, dataType arrow.DataType) arrow.Field {
	return arrow.Field{Name: name, Type: dataType, Nullable: true}
}

func schema(fields ...arrow.Field) *arrow.Schema {
	return arrow.NewSchema(fields, nil)
}

// batch makes rows from JSON.
func batch(t *testing.T, schema *arrow.Schema, rows string) arrow.RecordBatch {
	t.Helper()
	made, _, err := array.RecordFromJSON(memory.DefaultAllocator, schema, strings.NewReader(rows))
	must(t, err)
	return made
}

func reader(t *testing.T, schema *arrow.Schema, batches ...arrow.RecordBatch) array.RecordReader {
	t.Helper()
	made, err := array.NewRecordReader(schema, batches)
	must(t, err)
	return made
}

// put uploads batches to a path and gives all PutResults.
func put(t *testing.T, ctx context.Context, client *flightsql.Client, name string, schema *arrow.Schema, batches ...arrow.RecordBatch) []string {
	t.Helper()
	stream, err := client.Client.DoPut(ctx)
	must(t, err)
	writer := flight.NewRecordWriter(stream, ipc.WithSchema(schema))
	writer.SetFlightDescriptor(path(name))
	for i, batch := range batches {
		must(t, writer.WriteWithAppMetadata(batch, []byte(fmt.Sprintf("batch %d", i))))
	}
	must(t, writer.Close())
	must(t, stream.CloseSend())
	var answers []string
	for {
		answer, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return answers
		}
		must(t, err)
		answers = append(answers, string(answer.AppMetadata))
	}
}

func path(names ...string) *flight.FlightDescriptor {
	return &flight.FlightDescriptor{Type: flight.DescriptorPATH, Path: names}
}
