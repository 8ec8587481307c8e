//! Whether a scan should look at the columns of its filters first.
//!
//! Parquet's reader can decode the columns of a filter alone, and of the others only the pages with rows
//! that pass. Where few rows pass that saves nearly everything; where many do it costs more than it saves.

use arrow::datatypes::Schema;
use datafusion::common::{Column, ScalarValue, Statistics};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, Operator};

/// The most values of a list that is looked for.
const MAX_VALUES: usize = 16;
/// One row in so many may pass.
const FEW: u64 = 1000;

/// Whether one of `filters`, which all have to hold, lets pass only few rows, as far as the statistics
/// tell: a column is asked for a few of its many values.
pub(super) fn is_selective(filters: &[Expr], schema: &Schema, statistics: &Statistics) -> bool {
    filters.iter().flat_map(split_conjunction).any(|filter| {
        wanted(filter).is_some_and(|(column, values)| {
            distinct(column, schema, statistics)
                .is_some_and(|distinct| distinct / values.max(1) as u64 >= FEW)
        })
    })
}

/// The column that a filter asks for some values, and their number.
fn wanted(filter: &Expr) -> Option<(&Column, usize)> {
    match filter {
        Expr::BinaryExpr(binary) if binary.op == Operator::Eq => {
            match (binary.left.as_ref(), binary.right.as_ref()) {
                (Expr::Column(column), Expr::Literal(..)) | (Expr::Literal(..), Expr::Column(column)) => {
                    Some((column, 1))
                }
                _ => None,
            }
        }
        Expr::InList(list) if !list.negated && list.list.len() <= MAX_VALUES => {
            let Expr::Column(column) = list.expr.as_ref() else { return None };
            list.list
                .iter()
                .all(|value| matches!(value, Expr::Literal(..)))
                .then_some((column, list.list.len()))
        }
        _ => None,
    }
}

/// How many values a column can have: the width of its range, and no more than there are rows.
fn distinct(column: &Column, schema: &Schema, statistics: &Statistics) -> Option<u64> {
    let index = schema.index_of(&column.name).ok()?;
    let known = statistics.column_statistics.get(index)?;
    let (least, most) = (known.min_value.get_value()?, known.max_value.get_value()?);
    let width = ScalarValue::distance_u64(least, most)?;
    let rows = statistics.num_rows.get_value().map_or(u64::MAX, |rows| *rows as u64);
    Some(width.min(rows))
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field};
    use datafusion::common::ColumnStatistics;
    use datafusion::common::stats::Precision;
    use datafusion::prelude::{col, lit};

    use super::*;

    fn statistics() -> (Schema, Statistics) {
        let field = |name| Field::new(name, DataType::Int64, true);
        let column = |most: i64| ColumnStatistics {
            min_value: Precision::Exact(ScalarValue::from(0_i64)),
            max_value: Precision::Exact(ScalarValue::from(most)),
            ..ColumnStatistics::new_unknown()
        };
        let columns = vec![column(1_000_000), column(50), ColumnStatistics::new_unknown()];
        let schema = Schema::new(vec![field("key"), field("kind"), field("unknown")]);
        let statistics = Statistics {
            num_rows: Precision::Exact(100_000),
            column_statistics: columns,
            total_byte_size: Precision::Absent,
        };
        (schema, statistics)
    }

    #[test]
    fn a_few_of_many_values_are_worth_it() {
        let (schema, statistics) = statistics();
        let selective = |filter| is_selective(&[filter], &schema, &statistics);
        assert!(selective(col("key").eq(lit(7_i64))));
        assert!(selective(lit(7_i64).eq(col("key")).and(col("kind").gt(lit(1_i64)))));
        assert!(selective(col("key").in_list(vec![lit(7_i64), lit(8_i64)], false)));
        assert!(!selective(col("key").in_list(vec![lit(7_i64), lit(8_i64)], true)));
        assert!(!selective(col("key").gt(lit(7_i64))));
        assert!(!selective(col("key").eq(lit(7_i64)).or(col("kind").eq(lit(1_i64)))));
        assert!(!selective(col("kind").eq(lit(7_i64))));
        assert!(!selective(col("unknown").eq(lit(7_i64))));
        assert!(!selective(col("elsewhere").eq(lit(7_i64))));
    }
}
