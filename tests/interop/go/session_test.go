package interop

import (
	"context"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
)

// setOptions sets options of the session and gives the errors by name.
func setOptions(t *testing.T, ctx context.Context, client *flightsql.Client, options map[string]any) map[string]string {
	t.Helper()
	values, err := flight.NewSessionOptionValues(options)
	must(t, err)
	answer, err := client.SetSessionOptions(ctx, &flight.SetSessionOptionsRequest{SessionOptions: values})
	must(t, err)
	found := map[string]string{}
	for name, option := range answer.GetErrors() {
		found[name] = option.GetValue().String()
	}
	return found
}

func options(t *testing.T, ctx context.Context, client *flightsql.Client) map[string]string {
	t.Helper()
	answer, err := client.GetSessionOptions(ctx, &flight.GetSessionOptionsRequest{})
	must(t, err)
	found := map[string]string{}
	for name, value := range answer.GetSessionOptions() {
		found[name] = value.GetStringValue()
	}
	return found
}

func closeSession(t *testing.T, ctx context.Context, client *flightsql.Client) {
	t.Helper()
	answer, err := client.CloseSession(ctx, &flight.CloseSessionRequest{})
	must(t, err)
	equal(t, "status", answer.Status, flight.CloseSessionResultClosed)
}

func TestSessions(t *testing.T) {
	setup := connect(t, shared)
	update(t, limited(t), setup, "create schema session_schema")
	update(t, limited(t), setup, "create table session_schema.only_there as select 1 as a")
	for what, middleware := range map[string][]flight.ClientMiddleware{
		"by cookie":     {flight.NewClientCookieMiddleware()},
		"by connection": nil,
	} {
		t.Run(what, func(t *testing.T) {
			ctx, client := limited(t), connect(t, shared, middleware...)
			before := options(t, ctx, client)
			equal(t, "catalog", before["catalog"], "airstrip")
			equal(t, "schema", before["schema"], "public")
			_, err := client.Execute(ctx, "select * from only_there")
			fails(t, err, codes.NotFound, "only_there")

			equal(t, "errors", len(setOptions(t, ctx, client, map[string]any{
				"catalog": "airstrip", "schema": "session_schema", "time_zone": "Europe/Berlin",
				"datafusion.execution.batch_size": int64(100),
			})), 0)
			set := options(t, ctx, client)
			equal(t, "schema", set["schema"], "session_schema")
			equal(t, "time_zone", set["time_zone"], "Europe/Berlin")
			equal(t, "batch_size", set["datafusion.execution.batch_size"], "100")
			query(t, ctx, client, "select * from only_there").is(t, `{"a":1}`)
			query(t, ctx, client, "select cast(timestamptz '2024-07-01 00:00:00+02:00' as varchar) as v").
				is(t, `{"v":"2024-07-01T00:00:00+02:00"}`)

			// Another client is none of this.
			equal(t, "schema", options(t, ctx, connect(t, shared))["schema"], "public")

			// No value: back to the default.
			equal(t, "errors", len(setOptions(t, ctx, client, map[string]any{"time_zone": nil})), 0)
			equal(t, "time_zone", options(t, ctx, client)["time_zone"], "UTC")

			// SET and SetSessionOptions are the same thing.
			update(t, ctx, client, "set time_zone = 'Asia/Tokyo'")
			equal(t, "time_zone", options(t, ctx, client)["time_zone"], "Asia/Tokyo")

			closeSession(t, ctx, client)
			equal(t, "schema", options(t, ctx, client)["schema"], "public")
			_, err = client.Execute(ctx, "select * from only_there")
			fails(t, err, codes.NotFound, "only_there")
			// What is closed begins anew.
			equal(t, "errors", len(setOptions(t, ctx, client, map[string]any{"schema": "session_schema"})), 0)
			query(t, ctx, client, "select * from only_there").is(t, `{"a":1}`)
			closeSession(t, ctx, client)
			closeSession(t, ctx, client)
		})
	}
}

// The SQL standard's way of setting a time zone has no equals sign.
func TestSetTimeZone(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	for _, sql := range []string{"set time zone = 'Asia/Tokyo'", "set timezone to 'Asia/Tokyo'", "set time zone 'Asia/Tokyo'"} {
		if _, err := client.ExecuteUpdate(ctx, sql); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
		equal(t, sql, options(t, ctx, client)["time_zone"], "Asia/Tokyo")
		update(t, ctx, client, "reset time_zone")
	}
}

func TestSessionErrors(t *testing.T) {
	ctx, client := limited(t), connect(t, shared, flight.NewClientCookieMiddleware())
	found := setOptions(t, ctx, client, map[string]any{
		"nonsense":                        "1",
		"datafusion.catalog.location":     "/",
		"schema":                          "a/b",
		"catalog":                         "other",
		"time_zone":                       "Nowhere/Land",
		"types":                           []string{"a", "list"},
		"datafusion.execution.batch_size": true,
		"datafusion.explain.show_schema":  true,
	})
	for name, want := range map[string]string{
		"nonsense":                        "INVALID_NAME",
		"datafusion.catalog.location":     "INVALID_NAME",
		"schema":                          "INVALID_VALUE",
		"catalog":                         "INVALID_VALUE",
		"time_zone":                       "INVALID_VALUE",
		"types":                           "INVALID_VALUE",
		"datafusion.execution.batch_size": "INVALID_VALUE",
		"datafusion.explain.show_schema":  "",
	} {
		equal(t, name, found[name], want)
	}
	// The good one among them holds.
	equal(t, "show_schema", options(t, ctx, client)["datafusion.explain.show_schema"], "true")
	equal(t, "schema", options(t, ctx, client)["schema"], "public")
}

// A client that keeps cookies finds its session from another connection.
func TestCookiesOutliveConnections(t *testing.T) {
	cookies := flight.NewClientCookieMiddleware()
	ctx, first := limited(t), connect(t, shared, cookies)
	equal(t, "errors", len(setOptions(t, ctx, first, map[string]any{"time_zone": "Asia/Tokyo"})), 0)
	must(t, first.Close())
	second := connect(t, shared, cookies)
	equal(t, "time_zone", options(t, ctx, second)["time_zone"], "Asia/Tokyo")
	must(t, second.Close())
	equal(t, "time_zone", options(t, ctx, connect(t, shared))["time_zone"], "UTC")
}

// A session that begins with SET or with a temporary table is one that other connections find, too.
func TestCookiesOfStatements(t *testing.T) {
	for what, sql := range map[string]string{
		"set": "set time_zone = 'Asia/Tokyo'", "temporary table": "create temporary table of_cookie as select 1 as a",
	} {
		t.Run(what, func(t *testing.T) {
			cookies := flight.NewClientCookieMiddleware()
			ctx, first := limited(t), connect(t, shared, cookies)
			// Not by ExecuteUpdate: arrow-go does not read that stream's end, and so never looks at its headers.
			_, err := first.Execute(ctx, sql)
			must(t, err)
			second := connect(t, shared, cookies)
			if what == "set" {
				equal(t, "time_zone", options(t, ctx, second)["time_zone"], "Asia/Tokyo")
				return
			}
			info, err := second.Execute(ctx, "select * from of_cookie")
			must(t, err)
			fetch(t, ctx, second, info).is(t, `{"a":1}`)
		})
	}
}

func TestBasicToken(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	ann, err := client.Client.AuthenticateBasicToken(ctx, "ann", "secret")
	must(t, err)
	sent, _ := metadata.FromOutgoingContext(ann)
	token := strings.Join(sent.Get("authorization"), "")
	if !strings.HasPrefix(token, "Bearer ") || strings.Contains(token, "secret") {
		t.Fatalf("the token is %q", token)
	}
	twin, err := client.Client.AuthenticateBasicToken(ctx, "ann", "secret")
	must(t, err)

	// The token makes the session, on whatever connection.
	equal(t, "errors", len(setOptions(t, ann, client, map[string]any{"time_zone": "Asia/Tokyo"})), 0)
	update(t, ann, client, "create temporary table of_ann as select 1 as a")
	other := connect(t, shared)
	equal(t, "time_zone", options(t, ann, other)["time_zone"], "Asia/Tokyo")
	query(t, ann, other, "select * from of_ann").is(t, `{"a":1}`)
	equal(t, "time_zone without the token", options(t, ctx, client)["time_zone"], "UTC")
	equal(t, "time_zone of the twin", options(t, twin, client)["time_zone"], "UTC")
	_, err = client.Execute(twin, "select * from of_ann")
	fails(t, err, codes.NotFound, "of_ann")
	query(t, ann, client, "select \"user\" from system.sessions where options like '%Asia/Tokyo%' and \"user\" = 'ann'").
		is(t, `{"user":"ann"}`)

	// A prepared statement of a token's is of no use to another.
	prepared, err := client.Prepare(ann, "select 1 as a")
	must(t, err)
	stolen := flightsql.NewPreparedStatement(client, prepared.Handle())
	_, err = stolen.Execute(twin)
	fails(t, err, codes.NotFound, "prepared statement")
	must(t, stolen.Close(twin))
	_, err = prepared.Execute(ann)
	must(t, err)
	closeSession(t, ann, client)
	equal(t, "time_zone", options(t, ann, client)["time_zone"], "UTC")
}

func TestNativeTypesOfASession(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	sql := "select arrow_cast('x', 'Utf8View') as v"
	equal(t, "type", query(t, ctx, client, sql).schema.Field(0).Type.ID(), arrow.STRING)
	equal(t, "errors", len(setOptions(t, ctx, client, map[string]any{"types": "native"})), 0)
	native := query(t, ctx, client, sql)
	equal(t, "type", native.schema.Field(0).Type.ID(), arrow.STRING_VIEW)
	native.is(t, `{"v":"x"}`)
}

// A session that is closed is gone, under every name that it was known by.
func TestClosedSessionsAreGone(t *testing.T) {
	for what, example := range map[string]struct {
		middleware []flight.ClientMiddleware
		mark       string
	}{
		"by cookie":     {[]flight.ClientMiddleware{flight.NewClientCookieMiddleware()}, "7001"},
		"by connection": {nil, "7002"},
	} {
		t.Run(what, func(t *testing.T) {
			ctx, client, observer := limited(t), connect(t, shared, example.middleware...), connect(t, shared)
			count := "select count(*) as c from system.sessions where options like '%batch_size=" + example.mark + "%'"
			// Often, since each answer may bring a cookie that nobody keeps.
			for range 3 {
				equal(t, "errors", len(setOptions(t, ctx, client, map[string]any{"datafusion.execution.batch_size": example.mark})), 0)
			}
			query(t, ctx, observer, count).is(t, `{"c":1}`)
			closeSession(t, ctx, client)
			query(t, ctx, observer, count).is(t, `{"c":0}`)
		})
	}
}
