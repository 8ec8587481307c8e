//! What a table demands of its rows: CHECK constraints and invariants.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use datafusion::execution::SessionStateBuilder;
use datafusion::physical_expr::PhysicalExpr;

use super::spark::condition;
use crate::error::{Error, Result};
use crate::storage::DeltaVersion;

/// The properties that hold constraints: `delta.constraints.NAME`.
const CONSTRAINT: &str = "delta.constraints.";
/// The field metadata that holds an invariant, as `{"expression": {"expression": "…"}}`.
const INVARIANT: &str = "delta.invariants";
/// Field metadata of columns whose values the writer has to make.
const MADE: [&str; 2] = ["delta.generationExpression", "delta.identity.start"];

/// The checks of a table, ready to be applied to rows in the types that are stored.
#[derive(Debug, Default)]
pub(super) struct Checks {
    checks: Vec<Check>,
}

#[derive(Debug)]
struct Check {
    name: String,
    sql: String,
    condition: Arc<dyn PhysicalExpr>,
}

impl Checks {
    /// The checks of a version of a table. A column whose values would have to be made here is an error.
    pub(super) fn of(version: &DeltaVersion) -> Result<Self> {
        let schema = version.stored();
        let mut found: Vec<(String, String)> = version
            .properties()
            .iter()
            .filter_map(|(key, sql)| Some((key.strip_prefix(CONSTRAINT)?.to_owned(), sql.clone())))
            .collect();
        for field in schema.fields() {
            if MADE.iter().any(|key| field.metadata().contains_key(*key)) {
                return Err(Error::unimplemented(format!(
                    "column {:?} is generated, which is not supported in writes; write with the program that \
                     made the table",
                    field.name()
                )));
            }
            if let Some(text) = field.metadata().get(INVARIANT) {
                found.push((field.name().clone(), invariant(text)?));
            }
        }
        found.sort();
        let checks = found.into_iter().map(|(name, sql)| Check::new(name, sql, schema));
        Ok(Self { checks: checks.collect::<Result<_>>()? })
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.checks.is_empty()
    }

    /// Fails if a row of `batch` does not pass.
    pub(super) fn check(&self, batch: &RecordBatch) -> Result<()> {
        self.checks.iter().try_for_each(|check| check.apply(batch))
    }
}

impl Check {
    fn new(name: String, sql: String, schema: &SchemaRef) -> Result<Self> {
        let unclear = |error: &dyn std::fmt::Display| {
            Error::unimplemented(format!("the check {name} ({sql}) of the table is not understood: {error}"))
        };
        let (condition, columns) =
            condition(&sql, schema).map_err(|error| unclear(&error.strip_backtrace()))?;
        let state = SessionStateBuilder::new().with_default_features().build();
        let condition = state
            .create_physical_expr(condition, &columns)
            .map_err(|error| unclear(&error.strip_backtrace()))?;
        Ok(Self { name, sql, condition })
    }

    fn apply(&self, batch: &RecordBatch) -> Result<()> {
        let Self { name, sql, condition } = self;
        let passed = condition.evaluate(batch).and_then(|value| value.into_array(batch.num_rows()));
        let passed =
            passed.map_err(|error| Error::invalid(format!("the check {name} ({sql}) failed: {error}")))?;
        let is_met = passed.as_boolean_opt().is_some_and(|passed| {
            // Delta's checks must be true; NULL is not.
            (0..passed.len()).all(|row| passed.is_valid(row) && passed.value(row))
        });
        if is_met {
            return Ok(());
        }
        Err(Error::invalid(format!("a row does not pass the table's check {name}: {sql}")))
    }
}

fn invariant(text: &str) -> Result<String> {
    let parsed: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let sql = parsed.pointer("/expression/expression").and_then(serde_json::Value::as_str);
    sql.map(str::to_owned)
        .ok_or_else(|| Error::unimplemented(format!("the invariant {text} is not understood")))
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int16Array,
        Int32Array, ListArray, StringArray, StructArray, TimestampMicrosecondArray,
    };
    use arrow::datatypes::{DataType, Field, Int32Type, Schema};

    use super::*;

    /// Days since 1970.
    const YEAR_2021: i32 = 18_700;

    /// A row, or one of NULLs: `good` passes all of [`ORDINARY`], the other none.
    fn row(good: bool) -> RecordBatch {
        let pick = |yes: i32, no: i32| if good { yes } else { no };
        let n = pick(1, -5);
        let text = if good { "a" } else { "a long text!!" };
        let dec = Decimal128Array::from(vec![i128::from(pick(150, -725))]);
        let t = TimestampMicrosecondArray::from(vec![i64::from(pick(1, -1)) * 1_700_000_000_000_000]);
        let fields = vec![Field::new("a", DataType::Int32, true), Field::new("B", DataType::Utf8, true)];
        let inner: Vec<ArrayRef> =
            vec![Arc::new(Int32Array::from(vec![n])), Arc::new(StringArray::from(vec![text]))];
        let items = if good { vec![Some(1), Some(2)] } else { vec![] };
        RecordBatch::try_from_iter([
            ("n", Arc::new(Int32Array::from(vec![n])) as ArrayRef),
            ("v", Arc::new(Float64Array::from(vec![f64::from(n)]))),
            ("f", Arc::new(Float32Array::from(vec![if good { 0.6 } else { -0.5 }]))),
            ("s", Arc::new(StringArray::from(vec![text]))),
            ("d", Arc::new(Date32Array::from(vec![pick(YEAR_2021, -1)]))),
            ("dec", Arc::new(dec.with_precision_and_scale(10, 2).unwrap())),
            ("b", Arc::new(BooleanArray::from(vec![good]))),
            ("sm", Arc::new(Int16Array::from(vec![if good { 1 } else { -1 }]))),
            ("t", Arc::new(t.with_timezone("UTC"))),
            ("st", Arc::new(StructArray::new(fields.into(), inner, None))),
            ("arr", Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([Some(items)]))),
        ])
        .unwrap()
    }

    fn passes(sql: &str, batch: &RecordBatch) -> Result<bool> {
        let check = Check::new("c".to_owned(), sql.to_owned(), &batch.schema())?;
        match check.apply(batch) {
            Ok(()) => Ok(true),
            Err(error) if error.message().contains("does not pass") => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// As Spark has them in a table's properties: the words of the statement, with a blank between any two.
    const ORDINARY: [&str; 50] = [
        "n > 0",
        "v > 0",
        "f >= 0.5",
        "f > 0",
        "sm > 0",
        "n > 0L",
        "length ( s ) < 10",
        "length ( trim ( s ) ) between 1 and 5",
        "s <> 'a long text!!'",
        "s = 'a'",
        "s = \"a\"",
        "s in ( 'a' , 'b' )",
        "s not like '%!!'",
        "s rlike '^[a-c]+$'",
        "s rlike '^\\\\w$'",
        "substring ( s , 1 , 1 ) = 'a' and n > 0",
        "cast ( s as string ) = 'a'",
        "startswith ( s , 'a' ) and not endswith ( s , '!' )",
        "concat ( s , 'b' ) = 'ab'",
        "d > '2020-01-01'",
        "d >= DATE '2020-01-01'",
        "d between '2020-01-01' and '2099-12-31'",
        "year ( d ) >= 2020",
        "t > '2020-01-01'",
        "t >= TIMESTAMP '2020-01-01 00:00:00'",
        "t > '0001-01-01 00:00:00' and n > 0",
        "dec > 0",
        "dec > 1.25",
        "dec between 0 and 99.99",
        "n in ( 1 , 2 , 3 )",
        "n between 0 and 10",
        "n not in ( - 5 )",
        "b",
        "b = true",
        "not ( n < 0 )",
        "! ( n < 0 )",
        "n is not null and n > 0",
        "isnotnull ( n ) and n >= 1",
        "coalesce ( n , 0 ) >= 0",
        "nvl ( n , 0 ) >= 0",
        "`n` > 0",
        "N > 0 AND V > 0",
        "n % 2 = 1",
        "n / 2 > 0",
        "n div 2 >= 0",
        "n <=> 1",
        "if ( n > 0 , v > 0 , false )",
        "case when n > 0 then v > 0 else false end",
        "st . a > 0 and ST.b = 'a'",
        "size ( arr ) > 0 and array_contains ( arr , 1 )",
    ];

    #[test]
    fn conditions_are_understood_as_spark_writes_them() {
        for sql in ORDINARY {
            for good in [true, false] {
                assert_eq!(passes(sql, &row(good)).map_err(|error| error.to_string()), Ok(good), "{sql}");
            }
        }
    }

    #[test]
    fn a_condition_that_is_null_is_not_met() {
        let n: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None]));
        let batch = RecordBatch::try_from_iter_with_nullable([("n", n, true)]).unwrap();
        for (sql, expected) in
            [("n > 0", false), ("n is null or n > 0", true), ("isnull ( n ) or n = 1", true)]
        {
            assert_eq!(passes(sql, &batch).unwrap(), expected, "{sql}");
        }
    }

    #[test]
    fn days_are_compared_with_the_day_of_the_check() {
        let day = |day: i32| {
            let days: ArrayRef = Arc::new(Date32Array::from(vec![day]));
            RecordBatch::try_from_iter([("d", days)]).unwrap()
        };
        assert!(passes("d <= current_date ( )", &day(YEAR_2021)).unwrap());
        assert!(!passes("d <= current_date ( )", &day(1_000_000)).unwrap());
    }

    #[test]
    fn floats_are_compared_as_doubles() {
        let f: ArrayRef = Arc::new(Float32Array::from(vec![0.1]));
        let batch = RecordBatch::try_from_iter([("f", f)]).unwrap();
        assert!(passes("f > 0.1", &batch).unwrap(), "0.1 of 32 bits is more than 0.1");
        assert!(passes("f / 0 is null", &batch).unwrap());
    }

    #[test]
    fn what_might_mean_something_else_is_not_taken() {
        for sql in [
            "my_udf ( n ) > 0",
            "log ( v ) > 0",
            "n",
            "n >",
            "n > 0 d",
            "nothing > 0",
            "substring ( s , 0 , 2 ) = 'a'",
            "s = \"s\"",
        ] {
            let error = passes(sql, &row(true)).unwrap_err();
            assert!(error.message().contains("not understood"), "{error}");
        }
    }

    #[test]
    fn invariants_are_conditions_in_a_fields_metadata() {
        assert_eq!(invariant(r#"{"expression":{"expression":"n > 0"}}"#).unwrap(), "n > 0");
        assert!(invariant("n > 0").is_err());
        let field = Field::new("n", DataType::Int32, true);
        assert!(Check::new("c".to_owned(), "n > 0".to_owned(), &Arc::new(Schema::new(vec![field]))).is_ok());
    }
}
