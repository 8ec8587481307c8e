package interop

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql/schema_ref"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

func TestCatalogs(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	info, err := client.GetCatalogs(ctx)
	must(t, err)
	got := fetch(t, ctx, client, info)
	sameSchema(t, got.schema, schema_ref.Catalogs)
	got.is(t, `{"catalog_name":"airstrip"}`)
}

func TestDBSchemas(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	update(t, ctx, client, "create schema sche_ma")
	update(t, ctx, client, "create schema schexma")
	own, other := "airstrip", "other"
	for _, example := range []struct {
		catalog *string
		pattern string
		names   []string
	}{
		{nil, "sche%", []string{"sche_ma", "schexma"}},
		{nil, "sche_ma", []string{"sche_ma", "schexma"}},
		{nil, `sche\_ma`, []string{"sche_ma"}},
		{&own, "schex%", []string{"schexma"}},
		{&other, "%", nil},
		{nil, "none", nil},
	} {
		options := &flightsql.GetDBSchemasOpts{Catalog: example.catalog, DbSchemaFilterPattern: &example.pattern}
		info, err := client.GetDBSchemas(ctx, options)
		must(t, err)
		got := fetch(t, ctx, client, info)
		sameSchema(t, got.schema, schema_ref.DBSchemas)
		equal(t, example.pattern, strings.Join(got.column(t, "db_schema_name"), " "), strings.Join(example.names, " "))
	}
	info, err := client.GetDBSchemas(ctx, &flightsql.GetDBSchemasOpts{})
	must(t, err)
	names := fetch(t, ctx, client, info).column(t, "db_schema_name")
	for _, name := range []string{"public", "information_schema", "system"} {
		if !slices.Contains(names, name) {
			t.Errorf("%s is not among the schemas %v", name, names)
		}
	}
	equal(t, "sorted", slices.IsSorted(names), true)
}

func TestTables(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	update(t, ctx, client, "create schema listed")
	update(t, ctx, client, "create table listed.line_item as select 1 as a, 'x' as b")
	update(t, ctx, client, "create table listed.linexitem as select 1.5::decimal(12, 2) as price, [1, 2] as list")
	update(t, ctx, client, "create view listed.seen as select a + 1 as c from listed.line_item")
	own, other, listed := "airstrip", "other", "listed"
	pattern := func(text string) *string { return &text }
	for _, example := range []struct {
		what    string
		options *flightsql.GetTablesOpts
		tables  []string
	}{
		{"all of a schema", &flightsql.GetTablesOpts{}, []string{"line_item", "linexitem", "seen"}},
		{"a catalog", &flightsql.GetTablesOpts{Catalog: &own}, []string{"line_item", "linexitem", "seen"}},
		{"another catalog", &flightsql.GetTablesOpts{Catalog: &other}, nil},
		{"a pattern", &flightsql.GetTablesOpts{TableNameFilterPattern: pattern("line%")}, []string{"line_item", "linexitem"}},
		{"any character", &flightsql.GetTablesOpts{TableNameFilterPattern: pattern("line_item")}, []string{"line_item", "linexitem"}},
		{"no wildcard", &flightsql.GetTablesOpts{TableNameFilterPattern: pattern(`line\_item`)}, []string{"line_item"}},
		{"no such table", &flightsql.GetTablesOpts{TableNameFilterPattern: pattern("none")}, nil},
		{"views", &flightsql.GetTablesOpts{TableTypes: []string{"VIEW"}}, []string{"seen"}},
		{"tables", &flightsql.GetTablesOpts{TableTypes: []string{"BASE TABLE", "table"}}, []string{"line_item", "linexitem"}},
		{"several types", &flightsql.GetTablesOpts{TableTypes: []string{"VIEW", "TABLE"}}, []string{"line_item", "linexitem", "seen"}},
		{"unknown type", &flightsql.GetTablesOpts{TableTypes: []string{"SYNONYM"}}, nil},
	} {
		for _, withSchema := range []bool{false, true} {
			options := example.options
			options.DbSchemaFilterPattern, options.IncludeSchema = &listed, withSchema
			info, err := client.GetTables(ctx, options)
			must(t, err)
			got := fetch(t, ctx, client, info)
			want := schema_ref.Tables
			if withSchema {
				want = schema_ref.TablesWithIncludedSchema
			}
			sameSchema(t, got.schema, want)
			equal(t, example.what, strings.Join(got.column(t, "table_name"), " "), strings.Join(example.tables, " "))
		}
	}
	info, err := client.GetTables(ctx, &flightsql.GetTablesOpts{TableTypes: []string{"SYSTEM TABLE"}})
	must(t, err)
	names := fetch(t, ctx, client, info).column(t, "table_name")
	equal(t, "system.queries is listed", slices.Contains(names, "queries"), true)
	equal(t, "information_schema.tables is listed", slices.Contains(names, "tables"), true)
}

// What GetTables says of a table is what a query of all its columns gives.
func TestTableSchemas(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	made := "select 1 as a, 'x' as b, 1.5::decimal(12, 2) as price, [1, 2] as list, arrow_cast('v', 'Utf8View') as v, " +
		"arrow_cast('d', 'Dictionary(Int32, Utf8)') as d, {a: 1} as st, now() as moment, X'00' as bytes"
	update(t, ctx, client, "create table table_schemas as "+made)
	name := "table\\_schemas"
	info, err := client.GetTables(ctx, &flightsql.GetTablesOpts{TableNameFilterPattern: &name, IncludeSchema: true})
	must(t, err)
	got := fetch(t, ctx, client, info)
	equal(t, "tables", got.rows(), 1)
	equal(t, "catalog", got.column(t, "catalog_name")[0], "airstrip")
	equal(t, "schema", got.column(t, "db_schema_name")[0], "public")
	equal(t, "type", got.column(t, "table_type")[0], "TABLE")
	bytes := got.batches[0].Column(4).(*array.Binary).Value(0)
	told, err := flight.DeserializeSchema(bytes, memory.DefaultAllocator)
	must(t, err)
	queried := query(t, ctx, client, "select * from table_schemas").schema
	equal(t, "columns", told.NumFields(), queried.NumFields())
	for i, column := range told.Fields() {
		want := queried.Field(i)
		equal(t, "name", column.Name, want.Name)
		equal(t, "type of "+column.Name, column.Type.String(), want.Type.String())
		equal(t, "nullable of "+column.Name, column.Nullable, want.Nullable)
		metadata := flightsql.ColumnMetadata{Data: &column.Metadata}
		catalog, _ := metadata.CatalogName()
		equal(t, "catalog of "+column.Name, catalog, "airstrip")
		table, _ := metadata.TableName()
		equal(t, "table of "+column.Name, table, "table_schemas")
		if _, known := metadata.IsAutoIncrement(); !known {
			t.Errorf("nothing says whether %s counts by itself", column.Name)
		}
	}
	price := flightsql.ColumnMetadata{Data: &told.Fields()[2].Metadata}
	typeName, _ := price.TypeName()
	precision, _ := price.Precision()
	scale, _ := price.Scale()
	equal(t, "price", typeName+" "+strconv.Itoa(int(precision))+" "+strconv.Itoa(int(scale)), "DECIMAL 12 2")
}

func TestTableTypes(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	info, err := client.GetTableTypes(ctx)
	must(t, err)
	got := fetch(t, ctx, client, info)
	sameSchema(t, got.schema, schema_ref.TableTypes)
	equal(t, "types", strings.Join(got.column(t, "table_type"), ", "), "LOCAL TEMPORARY, SYSTEM TABLE, TABLE, VIEW")
}

// There are no keys, but clients ask for them all the same.
func TestKeys(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	update(t, ctx, client, "create table with_keys as select 1 as id")
	catalog, public := "airstrip", "public"
	table := flightsql.TableRef{Catalog: &catalog, DBSchema: &public, Table: "with_keys"}
	info, err := client.GetPrimaryKeys(ctx, table)
	must(t, err)
	got := fetch(t, ctx, client, info)
	equal(t, "rows", got.rows(), 0)
	// FlightSql.proto has key_name before key_sequence. arrow-go, as C++ and Java, has it after; only
	// Arrow's own integration suite goes by position.
	equal(t, "columns", got.schema.NumFields(), schema_ref.PrimaryKeys.NumFields())
	for _, want := range schema_ref.PrimaryKeys.Fields() {
		found, _ := got.schema.FieldsByName(want.Name)
		if len(found) != 1 || !found[0].Equal(want) {
			t.Errorf("the column %s is %v, not %v", want.Name, found, want)
		}
	}
	for what, ask := range map[string]func() (*flight.FlightInfo, error){
		"exported": func() (*flight.FlightInfo, error) { return client.GetExportedKeys(ctx, table) },
		"imported": func() (*flight.FlightInfo, error) { return client.GetImportedKeys(ctx, table) },
		"cross":    func() (*flight.FlightInfo, error) { return client.GetCrossReference(ctx, table, table) },
	} {
		info, err := ask()
		must(t, err)
		got := fetch(t, ctx, client, info)
		equal(t, what, got.rows(), 0)
		sameSchema(t, got.schema, schema_ref.ImportedExportedKeysAndCrossReference)
	}
}

func TestXdbcTypeInfo(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	info, err := client.GetXdbcTypeInfo(ctx, nil)
	must(t, err)
	all := fetch(t, ctx, client, info)
	sameSchema(t, all.schema, schema_ref.XdbcTypeInfo)
	names := all.column(t, "type_name")
	for _, name := range []string{"BOOLEAN", "INTEGER", "BIGINT", "DOUBLE", "DECIMAL", "VARCHAR", "VARBINARY", "DATE", "TIMESTAMP"} {
		if !slices.Contains(names, name) {
			t.Errorf("%s is not among the types %v", name, names)
		}
	}
	numbers := all.column(t, "data_type")
	equal(t, "sorted by data_type", slices.IsSortedFunc(numbers, func(a, b string) int {
		x, _ := strconv.Atoi(a)
		y, _ := strconv.Atoi(b)
		return x - y
	}), true)
	for wanted, want := range map[int32]string{12: "VARCHAR", -5: "BIGINT", 16: "", 9999: ""} {
		info, err := client.GetXdbcTypeInfo(ctx, &wanted)
		must(t, err)
		one := fetch(t, ctx, client, info)
		sameSchema(t, one.schema, schema_ref.XdbcTypeInfo)
		found := one.column(t, "type_name")
		if want == "" && len(found) != 0 || want != "" && !slices.Contains(found, want) {
			t.Errorf("the types of number %d are %v, not %q", wanted, found, want)
		}
		for _, number := range one.column(t, "data_type") {
			equal(t, "data_type", number, strconv.Itoa(int(wanted)))
		}
	}
}

func TestSqlInfo(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	infos := func(ids ...flightsql.SqlInfo) (result, map[uint32]any) {
		info, err := client.GetSqlInfo(ctx, ids)
		must(t, err)
		got := fetch(t, ctx, client, info)
		values := map[uint32]any{}
		for _, batch := range got.batches {
			names, union := batch.Column(0).(*array.Uint32), batch.Column(1).(*array.DenseUnion)
			for row := range int(batch.NumRows()) {
				values[names.Value(row)] = union.Field(union.ChildID(row)).GetOneForMarshal(int(union.ValueOffset(row)))
			}
		}
		return got, values
	}
	all, values := infos()
	if !all.schema.Field(0).Equal(schema_ref.SqlInfo.Field(0)) {
		t.Errorf("info_name is %v", all.schema.Field(0))
	}
	union, want := all.schema.Field(1).Type.(*arrow.DenseUnionType), schema_ref.SqlInfo.Field(1).Type.(*arrow.DenseUnionType)
	equal(t, "type codes", len(union.TypeCodes()), len(want.TypeCodes()))
	for i, child := range union.Fields() {
		equal(t, "branch", child.Name, want.Fields()[i].Name)
		equal(t, "type of "+child.Name, child.Type.ID(), want.Fields()[i].Type.ID())
	}
	for id := range uint32(12) {
		if _, there := values[id]; !there {
			t.Errorf("info %d is missing", id)
		}
	}
	for id := uint32(500); id <= 576; id++ {
		if _, there := values[id]; !there {
			t.Errorf("info %d is missing", id)
		}
	}
	for id, want := range map[flightsql.SqlInfo]any{
		flightsql.SqlInfoFlightSqlServerName:          "Airstrip",
		flightsql.SqlInfoFlightSqlServerReadOnly:      false,
		flightsql.SqlInfoFlightSqlServerSql:           true,
		flightsql.SqlInfoFlightSqlServerSubstrait:     true,
		flightsql.SqlInfoFlightSqlServerTransaction:   int32(0),
		flightsql.SqlInfoFlightSqlServerCancel:        true,
		flightsql.SqlInfoFlightSqlServerBulkIngestion: true,
		flightsql.SqlInfoIdentifierQuoteChar:          `"`,
		flightsql.SqlInfoDDLTable:                     true,
		flightsql.SqlInfoIdentifierCase:               int64(3),
	} {
		equal(t, "info "+strconv.Itoa(int(id)), values[uint32(id)], want)
	}
	_, some := infos(flightsql.SqlInfoFlightSqlServerTransaction, flightsql.SqlInfoFlightSqlServerName)
	equal(t, "infos", len(some), 2)
	equal(t, "info 0", some[0], any("Airstrip"))
	equal(t, "info 8", some[8], any(int32(0)))
	_, unknown := infos(flightsql.SqlInfo(9999))
	equal(t, "infos", len(unknown), 0)
}

// GetSchema of a command is the schema of its FlightInfo.
func TestSchemasOfCommands(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	tables, withSchema := &flightsql.GetTablesOpts{}, &flightsql.GetTablesOpts{IncludeSchema: true}
	table := flightsql.TableRef{Table: "t"}
	for what, pair := range map[string]struct {
		schema func(context.Context, ...grpc.CallOption) (*flight.SchemaResult, error)
		info   func() (*flight.FlightInfo, error)
	}{
		"catalogs": {client.GetCatalogsSchema, func() (*flight.FlightInfo, error) { return client.GetCatalogs(ctx) }},
		"schemas": {client.GetDBSchemasSchema, func() (*flight.FlightInfo, error) {
			return client.GetDBSchemas(ctx, &flightsql.GetDBSchemasOpts{})
		}},
		"tables": {func(ctx context.Context, opts ...grpc.CallOption) (*flight.SchemaResult, error) {
			return client.GetTablesSchema(ctx, tables, opts...)
		}, func() (*flight.FlightInfo, error) { return client.GetTables(ctx, tables) }},
		"tables with schemas": {func(ctx context.Context, opts ...grpc.CallOption) (*flight.SchemaResult, error) {
			return client.GetTablesSchema(ctx, withSchema, opts...)
		}, func() (*flight.FlightInfo, error) { return client.GetTables(ctx, withSchema) }},
		"table types":   {client.GetTableTypesSchema, func() (*flight.FlightInfo, error) { return client.GetTableTypes(ctx) }},
		"primary keys":  {client.GetPrimaryKeysSchema, func() (*flight.FlightInfo, error) { return client.GetPrimaryKeys(ctx, table) }},
		"exported keys": {client.GetExportedKeysSchema, func() (*flight.FlightInfo, error) { return client.GetExportedKeys(ctx, table) }},
		"imported keys": {client.GetImportedKeysSchema, func() (*flight.FlightInfo, error) { return client.GetImportedKeys(ctx, table) }},
		"cross reference": {client.GetCrossReferenceSchema, func() (*flight.FlightInfo, error) {
			return client.GetCrossReference(ctx, table, table)
		}},
		"types": {client.GetXdbcTypeInfoSchema, func() (*flight.FlightInfo, error) { return client.GetXdbcTypeInfo(ctx, nil) }},
		"infos": {client.GetSqlInfoSchema, func() (*flight.FlightInfo, error) { return client.GetSqlInfo(ctx, nil) }},
	} {
		t.Run(what, func(t *testing.T) {
			answer, err := pair.schema(ctx)
			must(t, err)
			asked, err := flight.DeserializeSchema(answer.Schema, memory.DefaultAllocator)
			must(t, err)
			info, err := pair.info()
			must(t, err)
			sameSchema(t, asked, fetch(t, ctx, client, info).schema)
		})
	}
}

// A command that makes no sense where it stands.
func TestMisplacedCommands(t *testing.T) {
	ctx, client := limited(t), connect(t, shared)
	info, err := client.GetCatalogs(ctx)
	must(t, err)
	stream, err := client.Client.DoPut(ctx)
	must(t, err)
	must(t, stream.Send(&flight.FlightData{FlightDescriptor: info.FlightDescriptor}))
	must(t, stream.CloseSend())
	_, err = stream.Recv()
	fails(t, err, codes.InvalidArgument, "CommandGetCatalogs")
}
