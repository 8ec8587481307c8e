package interop

import (
	"context"
	"database/sql"
	"testing"
	"time"

	_ "github.com/apache/arrow-go/v18/arrow/flight/flightsql/driver"
)

// arrow-go's driver for database/sql: every statement with arguments is a prepared one.
func TestDatabaseSQL(t *testing.T) {
	ctx := limited(t)
	db, err := sql.Open("flightsql", "flightsql://"+shared+"?timeout=20s")
	must(t, err)
	defer db.Close()
	must(t, db.PingContext(ctx))

	made, err := db.ExecContext(ctx, "create or replace table of_driver as values (1, 'a'), (2, 'b'), (3, null)")
	must(t, err)
	affected, err := made.RowsAffected()
	must(t, err)
	equal(t, "rows affected", affected, 3)

	rows, err := db.QueryContext(ctx, "select * from of_driver where column1 >= ? order by column1", int64(2))
	must(t, err)
	names, err := rows.Columns()
	must(t, err)
	equal(t, "columns", names[0]+" "+names[1], "column1 column2")
	var got []string
	for rows.Next() {
		var number int64
		var text sql.NullString
		must(t, rows.Scan(&number, &text))
		if !text.Valid {
			text.String = "NULL"
		}
		got = append(got, text.String)
	}
	must(t, rows.Err())
	must(t, rows.Close())
	equal(t, "rows", len(got), 2)
	equal(t, "values", got[0]+" "+got[1], "b NULL")

	statement, err := db.PrepareContext(ctx, "select ? || '!' as s")
	must(t, err)
	for _, word := range []string{"one", "two"} {
		var said string
		must(t, statement.QueryRowContext(ctx, word).Scan(&said))
		equal(t, "said", said, word+"!")
	}
	must(t, statement.Close())

	if err := db.QueryRowContext(ctx, "select * from nowhere").Scan(new(string)); err == nil {
		t.Error("a query of a missing table worked")
	}
	if transaction, err := db.BeginTx(ctx, nil); err == nil {
		_ = transaction.Rollback()
		t.Error("there are transactions")
	}
	_, err = db.ExecContext(ctx, "drop table of_driver")
	must(t, err)
}

func TestDatabaseSQLWithPassword(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	db, err := sql.Open("flightsql", "flightsql://ann:secret@"+shared+"?timeout=20s")
	must(t, err)
	defer db.Close()
	var answer int64
	must(t, db.QueryRowContext(ctx, "select 42").Scan(&answer))
	equal(t, "answer", answer, 42)
}
