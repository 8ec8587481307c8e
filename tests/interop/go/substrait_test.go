package interop

import (
	"testing"

	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	"github.com/apache/arrow-go/v18/arrow/memory"
	substrait "github.com/substrait-io/substrait-protobuf/go/substraitpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

// plan is `select n as number, s as word from TABLE` as a Substrait plan.
func plan(t *testing.T, table string) flightsql.SubstraitPlan {
	t.Helper()
	nullable := substrait.Type_NULLABILITY_NULLABLE
	number := &substrait.Type{Kind: &substrait.Type_I64_{I64: &substrait.Type_I64{Nullability: nullable}}}
	text := &substrait.Type{Kind: &substrait.Type_String_{String_: &substrait.Type_String{Nullability: nullable}}}
	read := &substrait.ReadRel{
		BaseSchema: &substrait.NamedStruct{
			Names: []string{"n", "s"},
			Struct: &substrait.Type_Struct{
				Types: []*substrait.Type{number, text}, Nullability: substrait.Type_NULLABILITY_REQUIRED,
			},
		},
		ReadType: &substrait.ReadRel_NamedTable_{NamedTable: &substrait.ReadRel_NamedTable{Names: []string{table}}},
	}
	root := &substrait.RelRoot{
		Input: &substrait.Rel{RelType: &substrait.Rel_Read{Read: read}},
		Names: []string{"number", "word"},
	}
	bytes, err := proto.Marshal(&substrait.Plan{
		Version:   &substrait.Version{MinorNumber: 85},
		Relations: []*substrait.PlanRel{{RelType: &substrait.PlanRel_Root{Root: root}}},
	})
	must(t, err)
	return flightsql.SubstraitPlan{Plan: bytes, Version: "0.85.0"}
}

func TestSubstrait(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	put(t, ctx, client, "substrait", ingested, batch(t, ingested, `[{"n": 1, "s": "a"}, {"n": 2}]`))
	want := []string{`{"number":1,"word":"a"}`, `{"number":2,"word":null}`}
	info, err := client.ExecuteSubstrait(ctx, plan(t, "substrait"))
	must(t, err)
	got := fetch(t, ctx, client, info)
	got.is(t, want...)
	poll, err := client.ExecuteSubstraitPoll(ctx, plan(t, "substrait"), nil)
	must(t, err)
	fetch(t, ctx, client, poll.Info).is(t, want...)
	answer, err := client.GetExecuteSubstraitSchema(ctx, plan(t, "substrait"))
	must(t, err)
	asked, err := flight.DeserializeSchema(answer.Schema, memory.DefaultAllocator)
	must(t, err)
	sameSchema(t, asked, got.schema)
	prepared, err := client.PrepareSubstrait(ctx, plan(t, "substrait"))
	must(t, err)
	sameSchema(t, prepared.DatasetSchema(), got.schema)
	info, err = prepared.Execute(ctx)
	must(t, err)
	fetch(t, ctx, client, info).is(t, want...)
	must(t, prepared.Close(ctx))
	equal(t, "status", cancel(t, ctx, client, info), flight.CancelStatusCancelled)
	_, err = redeem(ctx, client, info.Endpoint[0].Ticket)
	fails(t, err, codes.Aborted, "cancel")
}

func TestSubstraitErrors(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	_, err := client.ExecuteSubstrait(ctx, plan(t, "nowhere"))
	fails(t, err, codes.NotFound, "nowhere")
	_, err = client.PrepareSubstrait(ctx, plan(t, "nowhere"))
	fails(t, err, codes.NotFound, "nowhere")
	_, err = client.ExecuteSubstrait(ctx, flightsql.SubstraitPlan{Plan: []byte("no plan")})
	fails(t, err, codes.InvalidArgument, "Substrait")
	// A query is no update, whichever way it is written.
	put(t, ctx, client, "substrait_read", ingested)
	_, err = client.ExecuteSubstraitUpdate(ctx, plan(t, "substrait_read"))
	fails(t, err, codes.InvalidArgument, "query")
}
