package interop

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/flight"
)

// The client of Arrow's integration tests, as arrow-go releases it. It is a tool in go.mod: its package
// is internal to arrow-go, so it cannot be imported.
const integrationClient = "arrow-flight-integration-client"

// integrationBinary builds it, once; without a build cache that takes a while.
var integrationBinary = sync.OnceValues(func() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	path, err := exec.CommandContext(ctx, "go", "tool", "-n", integrationClient).Output()
	return strings.TrimSpace(string(path)), err
})

// scenario runs the client against a server, in the folder of the JSON files: a file's name is then a
// dataset's name, too.
func scenario(t *testing.T, address string, args ...string) {
	t.Helper()
	binary, err := integrationBinary()
	must(t, err)
	host, port, err := net.SplitHostPort(address)
	must(t, err)
	client := exec.CommandContext(limited(t), binary, append([]string{"-host", host, "-port", port}, args...)...)
	client.Dir = "testdata"
	if output, err := client.CombinedOutput(); err != nil {
		t.Errorf("%v: %v\n%s", args, err, firstLines(string(output)))
	}
}

// firstLines leaves out the stack of a panic.
func firstLines(output string) string {
	head, _, _ := strings.Cut(output, "\ngoroutine ")
	return head
}

// TestIntegrationFiles uploads each file with an echo per batch, and asks where to fetch it. The client
// wants a location, so the server advertises one; it ignores what it gets from there (the errors of
// its own check are dropped), so what came is compared here. Other clients of that suite also want each
// batch's metadata back from DoGet, which nothing but a mock can give.
func TestIntegrationFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	must(t, err)
	equal(t, "files", len(files), 6)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	address := free.Addr().String()
	must(t, free.Close())
	serve(t, "--listen", address, "--advertise", "grpc+tcp://"+address)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			ctx, client, name := limited(t), connect(t, address), filepath.Base(file)
			scenario(t, address, "-path", name)
			info, err := client.Client.GetFlightInfo(ctx, path(name))
			must(t, err)
			equal(t, "location", info.Endpoint[0].Location[0].Uri, "grpc+tcp://"+address)
			got, err := redeem(ctx, client, &flight.Ticket{Ticket: []byte(name)})
			must(t, err)
			equal(t, "rows", got.rows(), info.TotalRecords)
			want, err := os.ReadFile(strings.TrimSuffix(file, ".json") + ".txt")
			must(t, err)
			equal(t, "what was stored", describe(t, got), string(want))
		})
	}
}

// describe writes a result as text: the schema, then the rows.
func describe(t *testing.T, got result) string {
	var text strings.Builder
	metadata := func(metadata arrow.Metadata) string {
		var pairs []string
		for i, key := range metadata.Keys() {
			if !strings.HasPrefix(key, "PARQUET:") {
				pairs = append(pairs, key+"="+metadata.Values()[i])
			}
		}
		slices.Sort(pairs)
		return strings.Join(pairs, ", ")
	}
	fmt.Fprintf(&text, "schema %s\n", metadata(got.schema.Metadata()))
	for _, field := range got.schema.Fields() {
		fmt.Fprintf(&text, "%s: %s, nullable=%v %s\n", field.Name, field.Type, field.Nullable, metadata(field.Metadata))
	}
	for _, row := range got.json(t) {
		fmt.Fprintln(&text, row)
	}
	return strings.ReplaceAll(text.String(), " \n", "\n")
}

func TestIntegrationReuseConnection(t *testing.T) {
	address := serve(t, "--listen", "127.0.0.1:0", "--advertise", flight.LocationReuseConnection)
	update(t, limited(t), connect(t, address), "create table reuse as select 1 as a")
	scenario(t, address, "-scenario", "location:reuse_connection")
}

// The scenario asks for the command "ordered", which is a dataset's name here.
func TestIntegrationOrdered(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	columns := schema(arrow.Field{Name: "number", Type: arrow.PrimitiveTypes.Int32})
	put(t, ctx, client, "ordered", columns,
		batch(t, columns, `[{"number": 1}, {"number": 2}, {"number": 3}]`),
		batch(t, columns, `[{"number": 10}, {"number": 20}, {"number": 30}]`),
		batch(t, columns, `[{"number": 100}, {"number": 200}, {"number": 300}]`))
	scenario(t, shared, "-scenario", "ordered")
}

// A dataset's ticket lasts, a query's does not: "expiration_time" is one, then the other.
func TestIntegrationExpirationTime(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	columns := schema(arrow.Field{Name: "number", Type: arrow.PrimitiveTypes.Uint32})
	put(t, ctx, client, "expiration_time", columns, batch(t, columns, `[{"number": 0}, {"number": 1}, {"number": 2}]`))
	scenario(t, shared, "-scenario", "expiration_time:do_get")
	_, err := act(ctx, client, "drop_dataset", "expiration_time")
	must(t, err)
	update(t, ctx, client, "create view expiration_time as select 1 as number")
	info, err := client.Client.GetFlightInfo(context.Background(), &flight.FlightDescriptor{
		Type: flight.DescriptorCMD, Cmd: []byte("expiration_time"),
	})
	must(t, err)
	equal(t, "it expires", info.Endpoint[0].ExpirationTime != nil, true)
	t.Run("cancel_flight_info", func(t *testing.T) {
		scenario(t, shared, "-scenario", "expiration_time:cancel_flight_info")
	})
	t.Run("renew_flight_endpoint", func(t *testing.T) {
		scenario(t, shared, "-scenario", "expiration_time:renew_flight_endpoint")
	})
}
