//! Conditions as Spark writes and reckons them: those of a Delta table are texts in its SQL.
//!
//! Names are quoted by backticks and found without regard to case, texts may stand in double quotes and have
//! backslashes, numbers with a point are decimals, `/` gives a fraction, and operands of unlike types are compared as
//! Spark compares them. Only functions that mean the same are taken: a check that is misunderstood would let rows in
//! that the table's other writers refuse.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::SystemTime;

use arrow::datatypes::{DataType, Fields, Schema, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result as DfResult, plan_err};
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::functions::expr_fn::nullif;
use datafusion::logical_expr::expr::{InList, ScalarFunction};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    Between, BinaryExpr, Expr, ExprSchemable, Operator, Volatility, binary_expr, cast, lit,
};
use datafusion::prelude::SessionConfig;
use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, Expr as SqlExpr, ExprWithAlias, Function, FunctionArg, FunctionArgExpr,
    FunctionArguments, Ident, UnaryOperator, Value, visit_expressions_mut,
};
use datafusion::sql::sqlparser::dialect::Dialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

/// Functions that mean the same to DataFusion, under the same name.
const SAME: [&str; 43] = [
    "abs",
    "acos",
    "ascii",
    "asin",
    "atan",
    "atan2",
    "bit_length",
    "btrim",
    "ceil",
    "char_length",
    "character_length",
    "coalesce",
    "concat_ws",
    "contains",
    "cos",
    "current_date",
    "current_timestamp",
    "date_part",
    "exp",
    "floor",
    "greatest",
    "ifnull",
    "initcap",
    "instr",
    "least",
    "length",
    "ln",
    "log10",
    "log2",
    "lower",
    "ltrim",
    "now",
    "nullif",
    "nvl",
    "octet_length",
    "pow",
    "power",
    "replace",
    "round",
    "rtrim",
    "sqrt",
    "trim",
    "upper",
];

/// Functions that have another name there.
const RENAMED: [(&str, &str); 9] = [
    ("array_contains", "array_has"),
    ("cardinality", "cardinality"),
    ("ceiling", "ceil"),
    ("endswith", "ends_with"),
    ("len", "length"),
    ("size", "cardinality"),
    ("startswith", "starts_with"),
    ("lcase", "lower"),
    ("ucase", "upper"),
];

/// Functions that take a part of a date or a moment, and that part.
const PARTS: [(&str, &str); 9] = [
    ("year", "year"),
    ("quarter", "quarter"),
    ("month", "month"),
    ("day", "day"),
    ("dayofmonth", "day"),
    ("dayofyear", "doy"),
    ("hour", "hour"),
    ("minute", "minute"),
    ("second", "second"),
];

/// The condition `sql` over the columns `columns`, with operands of the types that its operators take.
pub(super) fn condition(sql: &str, columns: &Schema) -> DfResult<(Expr, DFSchema)> {
    let schema = DFSchema::try_from(columns.clone())?;
    let mut options = SessionConfig::new();
    options.options_mut().sql_parser.parse_float_as_decimal = true;
    let state = SessionStateBuilder::new().with_config(options).with_default_features().build();
    let expr = ExprWithAlias { expr: parse(sql, columns)?, alias: None };
    let expr = state.create_logical_expr_from_sql_expr(expr, &schema)?;
    let expr = expr.transform_up(|expr| reckoned(expr, &schema, &state))?.data;
    match expr.get_type(&schema)? {
        DataType::Boolean => Ok((expr, schema)),
        other => plan_err!("it is no condition, but {other}"),
    }
}

/// Spark's SQL, as far as conditions need it.
#[derive(Debug)]
struct Spark;

impl Dialect for Spark {
    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '`'
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_alphabetic() || ch == '_'
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_alphanumeric() || ch == '_'
    }

    fn supports_string_literal_backslash_escape(&self) -> bool {
        true
    }

    fn supports_bang_not_operator(&self) -> bool {
        true
    }

    fn parse_infix(
        &self,
        parser: &mut Parser<'_>,
        expr: &SqlExpr,
        precedence: u8,
    ) -> Option<Result<SqlExpr, ParserError>> {
        if !parser.parse_keyword(Keyword::DIV) {
            return None;
        }
        let right = parser.parse_subexpr(precedence);
        Some(right.map(|right| binary(expr.clone(), BinaryOperator::MyIntegerDivide, right)))
    }
}

fn parse(sql: &str, columns: &Schema) -> DfResult<SqlExpr> {
    let mut parser = Parser::new(&Spark).try_with_sql(sql)?;
    let mut expr = parser.parse_expr()?;
    if parser.peek_token().token != Token::EOF {
        return plan_err!("{} is not expected", parser.peek_token().token);
    }
    let flow = visit_expressions_mut(&mut expr, |expr| match rewritten(expr, columns) {
        Ok(None) => ControlFlow::Continue(()),
        Ok(Some(other)) => {
            *expr = other;
            ControlFlow::Continue(())
        }
        Err(why) => ControlFlow::Break(why),
    });
    match flow {
        ControlFlow::Continue(()) => Ok(expr),
        ControlFlow::Break(why) => plan_err!("{why}"),
    }
}

/// An expression in the words that DataFusion has for it; `None` where they are the same.
fn rewritten(expr: &SqlExpr, columns: &Schema) -> Result<Option<SqlExpr>, String> {
    Ok(Some(match expr {
        SqlExpr::Identifier(ident) => match found(ident, columns.fields()) {
            Some((name, _)) => SqlExpr::Identifier(name),
            None => return Ok(None),
        },
        SqlExpr::CompoundIdentifier(path) => SqlExpr::CompoundIdentifier(path_in(path, columns)),
        SqlExpr::Value(value) => match &value.value {
            // Other writers than Spark may mean the column by it.
            Value::DoubleQuotedString(text) if columns.index_of(text).is_ok() => {
                return Err(format!("it is open whether \"{text}\" is a text or a column"));
            }
            Value::DoubleQuotedString(text) => text_of(text),
            _ => return Ok(None),
        },
        SqlExpr::UnaryOp { op: UnaryOperator::BangNot, expr } => not((**expr).clone()),
        SqlExpr::RLike { negated, expr, pattern, .. } => {
            let matches = binary((**expr).clone(), BinaryOperator::PGRegexMatch, (**pattern).clone());
            if *negated { not(matches) } else { matches }
        }
        SqlExpr::Substring { substring_from, .. } => {
            let is_plain = substring_from.as_deref().is_some_and(|from| {
                matches!(from, SqlExpr::Value(value) if matches!(&value.value, Value::Number(text, _) if text != "0"))
            });
            return if is_plain {
                Ok(None)
            } else {
                Err("substring does not begin at a plain place".to_owned())
            };
        }
        SqlExpr::Function(function) => return of_function(function).map(Some),
        _ => return Ok(None),
    }))
}

/// The very name of a column or field, quoted, and its type.
fn found<'a>(ident: &Ident, fields: &'a Fields) -> Option<(Ident, &'a DataType)> {
    let mut same = fields.iter().filter(|field| field.name().to_lowercase() == ident.value.to_lowercase());
    let exact = fields.iter().find(|field| *field.name() == ident.value);
    let field = exact.or_else(|| same.next().filter(|_| same.next().is_none()))?;
    Some((Ident::with_quote('"', field.name()), field.data_type()))
}

/// A column and fields inside of it, by their very names.
fn path_in(path: &[Ident], columns: &Schema) -> Vec<Ident> {
    let mut fields = Some(columns.fields());
    let part = |ident: &Ident| {
        let (name, data_type) = fields.and_then(|fields| found(ident, fields)).unzip();
        fields = match data_type {
            Some(DataType::Struct(fields)) => Some(fields),
            _ => None,
        };
        name.unwrap_or_else(|| ident.clone())
    };
    path.iter().map(part).collect()
}

fn of_function(function: &Function) -> Result<SqlExpr, String> {
    let name = function.name.to_string().to_lowercase();
    let args = arguments(function).ok_or_else(|| format!("{function} is not supported"))?;
    let renamed = RENAMED.iter().find(|(spark, _)| *spark == name).map(|(_, own)| *own);
    let part = PARTS.iter().find(|(spark, _)| *spark == name).map(|(_, part)| *part);
    Ok(match (name.as_str(), args.as_slice()) {
        ("isnull", [value]) => SqlExpr::IsNull(Box::new(value.clone())),
        ("isnotnull", [value]) => SqlExpr::IsNotNull(Box::new(value.clone())),
        ("mod", [left, right]) => binary(left.clone(), BinaryOperator::Modulo, right.clone()),
        ("rlike" | "regexp" | "regexp_like", [text, pattern]) => {
            binary(text.clone(), BinaryOperator::PGRegexMatch, pattern.clone())
        }
        ("concat", [first, rest @ ..]) => rest
            .iter()
            .fold(first.clone(), |left, right| binary(left, BinaryOperator::StringConcat, right.clone())),
        // NULL is no NaN to Spark.
        ("isnan", [value]) => {
            let is_nan = call(function, "isnan", vec![value.clone()]);
            call(function, "coalesce", vec![is_nan, SqlExpr::value(Value::Boolean(false))])
        }
        ("if", [condition, result, otherwise]) => SqlExpr::Case {
            case_token: AttachedToken::empty(),
            end_token: AttachedToken::empty(),
            operand: None,
            conditions: vec![CaseWhen { condition: condition.clone(), result: result.clone() }],
            else_result: Some(Box::new(otherwise.clone())),
        },
        _ => match (part, renamed) {
            (Some(part), _) => call(function, "date_part", [text_of(part)].into_iter().chain(args).collect()),
            (None, Some(own)) => call(function, own, args),
            (None, None) if SAME.contains(&name.as_str()) => call(function, &name, args),
            (None, None) => return Err(format!("the function {name} is not supported")),
        },
    })
}

/// The arguments of a plain call.
fn arguments(function: &Function) -> Option<Vec<SqlExpr>> {
    let is_plain = function.over.is_none() && function.filter.is_none() && function.within_group.is_empty();
    match &function.args {
        FunctionArguments::None if is_plain => Some(Vec::new()),
        FunctionArguments::List(list) if is_plain && list.duplicate_treatment.is_none() => {
            let argument = |arg: &FunctionArg| match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
                _ => None,
            };
            list.args.iter().map(argument).collect()
        }
        _ => None,
    }
}

/// `function` under another name and with other arguments.
fn call(function: &Function, name: &str, args: Vec<SqlExpr>) -> SqlExpr {
    let mut call = function.clone();
    call.name = vec![Ident::new(name)].into();
    if let FunctionArguments::List(list) = &mut call.args {
        list.args = args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))).collect();
    }
    SqlExpr::Function(call)
}

fn text_of(text: &str) -> SqlExpr {
    SqlExpr::value(Value::SingleQuotedString(text.to_owned()))
}

fn binary(left: SqlExpr, op: BinaryOperator, right: SqlExpr) -> SqlExpr {
    SqlExpr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

fn not(expr: SqlExpr) -> SqlExpr {
    SqlExpr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(expr) }
}

/// An expression, whose parts are reckoned as Spark does, reckoned so itself.
fn reckoned(expr: Expr, schema: &DFSchema, state: &SessionState) -> DfResult<Transformed<Expr>> {
    Ok(Transformed::yes(match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if compares(op) => {
            compared(*left, op, *right, schema)?
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Divide, right }) => {
            let (own, other) = (left.get_type(schema)?, right.get_type(schema)?);
            if (own.is_decimal() || other.is_decimal()) && !own.is_floating() && !other.is_floating() {
                binary_expr(*left, Operator::Divide, *right)
            } else {
                let number = |side: Expr| cast(side, DataType::Float64);
                binary_expr(number(*left), Operator::Divide, nullif(number(*right), lit(0.0)))
            }
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::IntegerDivide, right }) => {
            let number = |side: Expr| cast(side, DataType::Int64);
            binary_expr(number(*left), Operator::Divide, nullif(number(*right), lit(0_i64)))
        }
        Expr::Between(Between { expr, negated, low, high }) => {
            let above = compared((*expr).clone(), Operator::GtEq, *low, schema)?;
            let within = above.and(compared(*expr, Operator::LtEq, *high, schema)?);
            if negated { Expr::Not(Box::new(within)) } else { within }
        }
        Expr::InList(InList { expr, list, negated }) => in_list(*expr, list, negated, schema)?,
        // What tells the time is told it now, and what looks at one argument after the other is one CASE.
        Expr::ScalarFunction(ScalarFunction { func, args })
            if func.signature().volatility == Volatility::Stable || func.short_circuits() =>
        {
            let context = SimplifyContext::builder()
                .with_schema(Arc::new(schema.clone()))
                .with_config_options(Arc::clone(state.config_options()))
                .with_query_execution_start_time(Some(SystemTime::now().into()))
                .build();
            match func.simplify(args, &context)? {
                ExprSimplifyResult::Simplified(value) => value,
                ExprSimplifyResult::Original(args) => Expr::ScalarFunction(ScalarFunction { func, args }),
            }
        }
        other => return Ok(Transformed::no(other)),
    }))
}

fn compares(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}

/// A comparison of operands in the type that Spark compares them in, where that is another one than DataFusion's.
fn compared(left: Expr, op: Operator, right: Expr, schema: &DFSchema) -> DfResult<Expr> {
    let common = common_type(&left.get_type(schema)?, &right.get_type(schema)?);
    Ok(match common {
        Some(common) => binary_expr(cast(left, common.clone()), op, cast(right, common)),
        None => binary_expr(left, op, right),
    })
}

fn common_type(left: &DataType, right: &DataType) -> Option<DataType> {
    use DataType::{Boolean, Date32, Float32, Float64, LargeUtf8, Timestamp, Utf8, Utf8View};
    match (left, right) {
        (Float32, other) | (other, Float32) if other.is_decimal() => Some(Float64),
        (Timestamp(_, own), Timestamp(_, other)) if left != right => {
            Some(Timestamp(TimeUnit::Microsecond, own.clone().or_else(|| other.clone())))
        }
        (moment @ Timestamp(..), Date32 | Utf8 | LargeUtf8 | Utf8View)
        | (Date32 | Utf8 | LargeUtf8 | Utf8View, moment @ Timestamp(..)) => Some(moment.clone()),
        (Boolean, Utf8 | LargeUtf8 | Utf8View) | (Utf8 | LargeUtf8 | Utf8View, Boolean) => Some(Boolean),
        _ => None,
    }
}

fn in_list(expr: Expr, list: Vec<Expr>, negated: bool, schema: &DFSchema) -> DfResult<Expr> {
    let own = expr.get_type(schema)?;
    let types = list.iter().map(|item| item.get_type(schema)).collect::<DfResult<Vec<_>>>()?;
    if !types.iter().any(|other| common_type(&own, other).is_some()) {
        return Ok(Expr::InList(InList { expr: Box::new(expr), list, negated }));
    }
    let mut any = lit(false);
    for item in list {
        any = any.or(compared(expr.clone(), Operator::Eq, item, schema)?);
    }
    Ok(if negated { Expr::Not(Box::new(any)) } else { any })
}
