//! Comparisons of decimals and integers with numbers that are written with a point.
//!
//! DataFusion 55.2 reads `17.24` as a double and compares it with a decimal as `DECIMAL(30, 15)`, where it is
//! 17.239999999999998: `price = 17.24` finds nothing (apache/datafusion#12817, apache/datafusion#14272). Here such a
//! number is what is written. The setting `parse_float_as_decimal` would be no cure: numbers become decimals
//! everywhere then, doubles are compared with them as `DECIMAL(30, 15)`, in which large ones do not fit, and quotients
//! have four digits more than their dividend.
//!
//! Only comparisons change, so no result has another type: `price * 1.1` is a double as before, but compared with
//! literals as a decimal. A decimal and a double that is no literal are compared as doubles.
//!
//! This can go when DataFusion compares decimals with literals exactly, without that setting.

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRewriter};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::BinaryExpr;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Cast, Expr, ExprSchemable, LogicalPlan, Operator, binary_expr, cast, lit};
use datafusion::optimizer::AnalyzerRule;
use datafusion::optimizer::analyzer::type_coercion::TypeCoercionRewriter;

use super::comparisons::{Rounding, operands};
use super::schema_of_inputs;

/// The most digits of a decimal.
const DIGITS: u32 = 38;

/// Reads literals that are compared with decimals or integers as exact numbers. Comes before types are coerced.
#[derive(Debug)]
pub(super) struct ExactLiterals;

impl AnalyzerRule for ExactLiterals {
    fn name(&self) -> &'static str {
        "exact_literals"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let mut types_changed = false;
        Ok(plan.transform_up_with_subqueries(|plan| with_exact_literals(plan, &mut types_changed))?.data)
    }
}

/// A node with its literals exact; `types_changed` tells whether a node below has other types than it was planned
/// with.
fn with_exact_literals(plan: LogicalPlan, types_changed: &mut bool) -> Result<Transformed<LogicalPlan>> {
    let schema = schema_of_inputs(&plan)?;
    let names = NamePreserver::new(&plan);
    let changed = super::map_each(plan, |expr| {
        let name = names.save(&expr);
        let changed = expr.transform_up(|expr| {
            compared(expr, &schema).transform_data(|expr| with_one_type(expr, &schema, types_changed))
        })?;
        Ok(changed.update_data(|expr| name.restore(expr)))
    })?;
    let changed = changed.transform_data(|plan| match plan {
        LogicalPlan::Union(_) => {
            *types_changed = true;
            TypeCoercionRewriter::new(&schema).coerce_plan(plan).map(Transformed::yes)
        }
        plan => Ok(Transformed::no(plan)),
    })?;
    changed.map_data(|plan| if *types_changed { plan.recompute_schema() } else { Ok(plan) })
}

/// A CASE whose values have the type that it will have: until types are coerced it passes for one of the type of
/// its first value, and a literal that is compared with it would be taken for one of that type.
fn with_one_type(expr: Expr, schema: &DFSchema, types_changed: &mut bool) -> Result<Transformed<Expr>> {
    let Expr::Case(mut case) = expr else { return Ok(Transformed::no(expr)) };
    // What is compared within waits for the rules that come between this one and the coercion of types.
    let compared = case.expr.take();
    let mut conditions = Vec::with_capacity(case.when_then_expr.len());
    for (condition, _) in &mut case.when_then_expr {
        conditions.push(std::mem::replace(condition.as_mut(), lit(true)));
    }
    let coerced = TypeCoercionRewriter::new(schema).f_up(Expr::Case(case))?;
    *types_changed |= coerced.transformed;
    Ok(coerced.update_data(|expr| match expr {
        Expr::Case(mut case) => {
            case.expr = compared;
            for ((condition, _), own) in case.when_then_expr.iter_mut().zip(conditions) {
                **condition = own;
            }
            Expr::Case(case)
        }
        other => other,
    }))
}

/// A comparison with its literals exact.
fn compared(mut expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let changed = operands(&mut expr).is_some_and(|operands| align(operands, schema));
    Transformed::new_transformed(expr, changed)
}

/// Gives operands that are compared with one another types in which they compare exactly, or those of doubles.
fn align(operands: Vec<(&mut Expr, Rounding)>, schema: &DFSchema) -> bool {
    let operands = operands.into_iter().map(|(expr, rounding)| Operand::of(expr, rounding, schema));
    let Some(mut operands) = operands.collect::<Option<Vec<Operand>>>() else { return false };
    let is_decimal = |operand: &Operand| operand.data_type.is_decimal();
    let real = operands.iter().find(|operand| operand.is_real()).map(|real| real.data_type.clone());
    if let Some(real) = real {
        let has_decimals = operands.iter().any(is_decimal);
        if has_decimals {
            for operand in &mut operands {
                operand.approximate(&real);
            }
        }
        return has_decimals;
    }
    let mut changed = false;
    for operand in &mut operands {
        changed |= operand.compute_exactly();
    }
    let is_exact = |operand: &&Operand| {
        operand.number.is_none() && (operand.data_type.is_decimal() || operand.data_type.is_integer())
    };
    let mut exact = operands.iter().filter(is_exact).map(|operand| operand.data_type.clone());
    let Some(first) = exact.next() else { return changed };
    let only = exact.all(|other| other == first).then_some(first);
    let has_decimals = operands.iter().any(is_decimal);
    for operand in &mut operands {
        changed |= operand.spell_out(only.as_ref(), has_decimals);
    }
    changed
}

struct Operand<'a> {
    expr: &'a mut Expr,
    rounding: Rounding,
    data_type: DataType,
    /// What is written, where this is a number with a point.
    number: Option<Number>,
    /// The same computed with decimals, and its type, where this is computed with doubles only because of its literals.
    exact: Option<(Expr, DataType)>,
}

impl<'a> Operand<'a> {
    fn of(expr: &'a mut Expr, rounding: Rounding, schema: &DFSchema) -> Option<Self> {
        let data_type = expr.get_type(schema).ok()?;
        let number = constant(expr).filter(|_| is_float(&data_type) || data_type.is_decimal());
        let exact = match number {
            None if is_float(&data_type) => exact(expr, schema).and_then(|exact| {
                let data_type = exact.get_type(schema).ok()?;
                Some((exact, data_type))
            }),
            _ => None,
        };
        Some(Self { expr, rounding, data_type, number, exact })
    }

    /// Whether this is a double that is more than what is written.
    fn is_real(&self) -> bool {
        is_float(&self.data_type) && self.number.is_none() && self.exact.is_none()
    }

    fn approximate(&mut self, real: &DataType) {
        if !self.data_type.is_decimal() {
            return;
        }
        *self.expr = match written(self.expr).and_then(|text| text.parse::<f64>().ok()) {
            Some(value) => lit(value),
            None => cast(std::mem::take(self.expr), real.clone()),
        };
    }

    fn compute_exactly(&mut self) -> bool {
        let Some((exact, data_type)) = self.exact.take() else { return false };
        (*self.expr, self.data_type) = (exact, data_type);
        true
    }

    /// Puts the number in place of what is written, as a value of the type that it is compared with where it is one.
    fn spell_out(&mut self, only: Option<&DataType>, has_decimals: bool) -> bool {
        let Some(number) = self.number else { return false };
        let number = only.map_or(number, |only| number.rounded(scale(only), self.rounding));
        // Among integers, a number that is none stays what it is.
        if !has_decimals && number.trimmed().scale > 0 {
            return false;
        }
        let value = only.and_then(|only| number.of_type(only)).or_else(|| number.scalar());
        let Some(value) = value else { return false };
        *self.expr = lit(value);
        true
    }
}

/// An expression of sums, differences and products with its literals as decimals; `None` if it is no exact one, or
/// may become too large.
fn exact(expr: &Expr, schema: &DFSchema) -> Option<Expr> {
    if let Some(number) = constant(expr) {
        return number.decimal().map(lit);
    }
    let computed = match expr {
        Expr::Negative(expr) => Expr::Negative(Box::new(exact(expr, schema)?)),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_exact(*op) => {
            binary_expr(exact(left, schema)?, *op, exact(right, schema)?)
        }
        other => other.clone(),
    };
    let is_safe = match computed.get_type(schema).ok()? {
        DataType::Decimal128(precision, _) => u32::from(precision) < DIGITS,
        data_type => data_type.is_integer(),
    };
    is_safe.then_some(computed)
}

fn is_exact(op: Operator) -> bool {
    matches!(op, Operator::Plus | Operator::Minus | Operator::Multiply)
}

fn is_float(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Float32 | DataType::Float64)
}

fn scale(data_type: &DataType) -> u32 {
    match data_type {
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale)
        | DataType::Decimal256(_, scale) => u32::try_from(*scale).unwrap_or(0),
        _ => 0,
    }
}

/// The decimal number `digits / 10^scale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Number {
    digits: i128,
    scale: u32,
}

impl Number {
    /// The shortest number that reads as this double: what was written, unless that had more than 15 digits.
    fn of_float(text: &str) -> Option<Self> {
        let (mantissa, exponent) = text.split_once('e')?;
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let exponent = exponent.parse::<i32>().ok()? - i32::try_from(fraction.len()).ok()?;
        let digits = format!("{whole}{fraction}").parse::<i128>().ok()?;
        match u32::try_from(exponent) {
            Ok(zeros) => Self { digits, scale: 0 }.scaled(zeros).map(|digits| Self { digits, scale: 0 }),
            Err(_) => {
                Some(Self { digits, scale: exponent.unsigned_abs() }).filter(|number| number.scale <= DIGITS)
            }
        }
    }

    /// The number that a text of digits and a point says.
    fn of_text(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = format!("{whole}{fraction}").parse().ok()?;
        Some(Self { digits, scale: u32::try_from(fraction.len()).ok()? })
    }

    /// The digits with `zeros` more.
    fn scaled(self, zeros: u32) -> Option<i128> {
        self.digits.checked_mul(10_i128.checked_pow(zeros)?)
    }

    /// Without zeros at the end of its fraction.
    fn trimmed(mut self) -> Self {
        while self.scale > 0 && self.digits % 10 == 0 {
            self = Self { digits: self.digits / 10, scale: self.scale - 1 };
        }
        self
    }

    /// With at most `scale` digits after the point, if it may move.
    fn rounded(self, scale: u32, rounding: Rounding) -> Self {
        let Some(more) = self.scale.checked_sub(scale).filter(|_| rounding != Rounding::None) else {
            return self;
        };
        let Some(divisor) = 10_i128.checked_pow(more) else { return self };
        let floor = self.digits.div_euclid(divisor);
        let has_rest = self.digits.rem_euclid(divisor) != 0;
        let digits = if has_rest && rounding == Rounding::Up { floor + 1 } else { floor };
        Self { digits, scale }
    }

    /// As a value of an integer or decimal type, where it is one.
    fn of_type(self, data_type: &DataType) -> Option<ScalarValue> {
        let Self { digits, scale: own } = self.trimmed();
        let zeros = scale(data_type).checked_sub(own)?;
        let digits = Self { digits, scale: own }.scaled(zeros)?;
        let fits = |precision: u8| digits.unsigned_abs() < 10_u128.pow(u32::from(precision).min(DIGITS));
        match data_type {
            DataType::Decimal32(precision, scale) if fits(*precision) => {
                Some(ScalarValue::Decimal32(Some(i32::try_from(digits).ok()?), *precision, *scale))
            }
            DataType::Decimal64(precision, scale) if fits(*precision) => {
                Some(ScalarValue::Decimal64(Some(i64::try_from(digits).ok()?), *precision, *scale))
            }
            DataType::Decimal128(precision, scale) if fits(*precision) => {
                Some(ScalarValue::Decimal128(Some(digits), *precision, *scale))
            }
            DataType::Decimal256(precision, scale) if fits(*precision) => {
                let digits = arrow::datatypes::i256::from_i128(digits);
                Some(ScalarValue::Decimal256(Some(digits), *precision, *scale))
            }
            integer if integer.is_integer() => {
                ScalarValue::Int64(Some(i64::try_from(digits).ok()?)).cast_to(integer).ok()
            }
            _ => None,
        }
    }

    /// As a value of the type that it has by itself.
    fn scalar(self) -> Option<ScalarValue> {
        let Self { digits, scale } = self.trimmed();
        if scale == 0
            && let Ok(whole) = i64::try_from(digits)
        {
            return Some(ScalarValue::Int64(Some(whole)));
        }
        self.decimal()
    }

    /// As a decimal.
    fn decimal(self) -> Option<ScalarValue> {
        let Self { digits, scale } = self.trimmed();
        let places = digits.unsigned_abs().checked_ilog10().unwrap_or(0) + 1;
        let precision = places.max(scale);
        let is_decimal = precision <= DIGITS;
        is_decimal.then(|| {
            ScalarValue::Decimal128(
                Some(digits),
                u8::try_from(precision).unwrap_or(u8::MAX),
                i8::try_from(scale).unwrap_or(i8::MAX),
            )
        })
    }
}

/// The number that a constant is: a literal, or a sum, difference or product of literals.
fn constant(expr: &Expr) -> Option<Number> {
    let whole = |digits: i128| Some(Number { digits, scale: 0 });
    match expr {
        Expr::Literal(ScalarValue::Float64(Some(value)), _) if value.is_finite() => {
            Number::of_float(&format!("{value:e}"))
        }
        Expr::Literal(ScalarValue::Float32(Some(value)), _) if value.is_finite() => {
            Number::of_float(&format!("{value:e}"))
        }
        Expr::Literal(ScalarValue::Int64(Some(value)), _) => whole(i128::from(*value)),
        Expr::Literal(ScalarValue::UInt64(Some(value)), _) => whole(i128::from(*value)),
        Expr::Cast(_) => Number::of_text(written(expr)?),
        Expr::Negative(expr) => {
            constant(expr).map(|Number { digits, scale }| Number { digits: -digits, scale })
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => combined(constant(left)?, *op, constant(right)?),
        _ => None,
    }
}

/// The digits of a long number; see `engine::sql::long_numbers`.
fn written(expr: &Expr) -> Option<&str> {
    let Expr::Cast(Cast { expr, field }) = expr else { return None };
    let (Expr::Literal(value, _), DataType::Decimal128(_, scale)) = (expr.as_ref(), field.data_type()) else {
        return None;
    };
    let text = value.try_as_str()??;
    let fraction = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    (i8::try_from(fraction).ok()? <= *scale).then_some(text)
}

fn combined(left: Number, op: Operator, right: Number) -> Option<Number> {
    if op == Operator::Multiply {
        let (digits, scale) = (left.digits.checked_mul(right.digits)?, left.scale + right.scale);
        return Some(Number { digits, scale }.trimmed()).filter(|number| number.scale <= DIGITS);
    }
    let scale = left.scale.max(right.scale);
    let (left, right) = (left.scaled(scale - left.scale)?, right.scaled(scale - right.scale)?);
    let digits = match op {
        Operator::Plus => left.checked_add(right)?,
        Operator::Minus => left.checked_sub(right)?,
        _ => return None,
    };
    Some(Number { digits, scale })
}
