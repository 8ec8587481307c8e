//! Patterns of `SIMILAR TO`, and those of `LIKE` with an escape of their own.
//!
//! `SIMILAR TO` is as in SQL and PostgreSQL: the whole text, `%` and `_` as in LIKE, `.`, `^` and `$` themselves.
//! DataFusion 55.2 takes its pattern for a regular expression that is found anywhere in the text
//! (apache/datafusion#22263), and knows LIKE with no other escape than the backslash (apache/datafusion#13291).
//! Patterns are translated to those that mean the same there: literals while planning, so that their errors come
//! before rows do, others for each row. Can go when DataFusion translates.

use std::iter::Peekable;
use std::str::Chars;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, StringArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::cast::as_string_array;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{ScalarValue, plan_datafusion_err};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    ColumnarValue, Expr, Like, LogicalPlan, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility, binary_expr, lit,
};
use datafusion::optimizer::AnalyzerRule;

use crate::safeguard::Safeguard;

/// Puts regular expressions in the place of `SIMILAR TO`, and backslashes in that of other escapes.
#[derive(Debug)]
pub(in crate::engine) struct TranslatePatterns;

impl AnalyzerRule for TranslatePatterns {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> DfResult<LogicalPlan> {
        let translated = plan.transform_up_with_subqueries(|plan| {
            let names = NamePreserver::new(&plan);
            super::map_each(plan, |expr| {
                let name = names.save(&expr);
                let translated = expr.transform_up(|expr| match expr {
                    Expr::SimilarTo(similar) if Safeguard::SimilarTo.stands() => {
                        Ok(Transformed::yes(as_regular_expression(similar)?))
                    }
                    Expr::Like(like) if has_own_escape(&like) && Safeguard::LikeEscape.stands() => {
                        Ok(Transformed::yes(with_backslashes(like)?))
                    }
                    other => Ok(Transformed::no(other)),
                })?;
                Ok(if translated.transformed {
                    translated.update_data(|expr| name.restore(expr))
                } else {
                    translated
                })
            })
        });
        Ok(translated?.data)
    }

    fn name(&self) -> &'static str {
        "translate_patterns"
    }
}

fn has_own_escape(like: &Like) -> bool {
    like.escape_char.is_some_and(|escape| escape != '\\')
}

fn as_regular_expression(similar: Like) -> DfResult<Expr> {
    let Like { negated, expr, pattern, escape_char, .. } = similar;
    let pattern = Syntax::SimilarTo.translated(*pattern, escape_char.unwrap_or('\\'))?;
    let operator = if negated { Operator::RegexNotMatch } else { Operator::RegexMatch };
    Ok(binary_expr(*expr, operator, pattern))
}

fn with_backslashes(mut like: Like) -> DfResult<Expr> {
    if let Some(escape) = like.escape_char.take() {
        like.pattern = Box::new(Syntax::Like.translated(*like.pattern, escape)?);
    }
    Ok(Expr::Like(like))
}

/// What a pattern is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Syntax {
    Like,
    SimilarTo,
}

impl Syntax {
    /// The pattern that an expression gives, as DataFusion reads it.
    fn translated(self, pattern: Expr, escape: char) -> DfResult<Expr> {
        match &pattern {
            Expr::Literal(value, _) => match value.try_as_str() {
                Some(Some(text)) => Ok(lit(self.translate(text, escape)?)),
                // NULL, and what is no text: the comparison says so.
                _ => Ok(pattern),
            },
            _ => Ok(ScalarUDF::from(Translate::new(self, escape)).call(vec![pattern])),
        }
    }

    fn translate(self, pattern: &str, escape: char) -> DfResult<String> {
        match self {
            Self::Like => backslashed(pattern, escape),
            Self::SimilarTo => regular_expression(pattern, escape),
        }
    }
}

/// A pattern of LIKE whose escape is the backslash.
fn backslashed(pattern: &str, escape: char) -> DfResult<String> {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern.chars();
    while let Some(found) = rest.next() {
        let (is_escaped, meant) = if found == escape {
            let meant = rest.next().ok_or_else(|| {
                plan_datafusion_err!("the pattern {pattern:?} of LIKE ends in its escape character")
            })?;
            (matches!(meant, '%' | '_'), meant)
        } else {
            (false, found)
        };
        if is_escaped || meant == '\\' {
            out.push('\\');
        }
        out.push(meant);
    }
    Ok(out)
}

/// The regular expression for a pattern of SIMILAR TO.
fn regular_expression(pattern: &str, escape: char) -> DfResult<String> {
    let mut out = String::from("^(?s:");
    let mut rest = pattern.chars().peekable();
    while let Some(found) = rest.next() {
        match found {
            _ if found == escape => escaped(&mut rest, pattern, &mut out)?,
            '%' => out.push_str(".*"),
            '_' => out.push('.'),
            '(' => out.push_str("(?:"),
            '[' => class(&mut rest, escape, pattern, &mut out)?,
            '.' | '^' | '$' | '\\' => out.extend(['\\', found]),
            _ => out.push(found),
        }
    }
    out.push_str(")$");
    Ok(out)
}

/// What follows the escape: itself, or a class of characters such as `\d`.
fn escaped(rest: &mut Peekable<Chars<'_>>, pattern: &str, out: &mut String) -> DfResult<()> {
    let wrong = |what: &str| plan_datafusion_err!("the pattern {pattern:?} of SIMILAR TO {what}");
    let Some(found) = rest.next() else {
        return Err(wrong("ends in its escape character"));
    };
    match found {
        'd' | 'D' | 's' | 'S' | 'w' | 'W' => out.extend(['\\', found]),
        _ if found.is_ascii_alphanumeric() => {
            return Err(wrong(&format!("escapes {found:?}, which means nothing")));
        }
        _ => literal(found, out),
    }
    Ok(())
}

/// A character that means itself. The regular expression takes a backslash before all of ASCII but letters and
/// digits.
fn literal(found: char, out: &mut String) {
    if found.is_ascii_punctuation() {
        out.push('\\');
    }
    out.push(found);
}

/// What follows `[`, up to its end. `&&`, `--` and `~~` mean nothing special in SQL, nor does `[` but in `[:alpha:]`.
fn class(rest: &mut Peekable<Chars<'_>>, escape: char, pattern: &str, out: &mut String) -> DfResult<()> {
    out.push('[');
    if rest.next_if_eq(&'^').is_some() {
        out.push('^');
    }
    if rest.next_if_eq(&']').is_some() {
        out.push_str("\\]");
    }
    while let Some(found) = rest.next() {
        match found {
            ']' => {
                out.push(']');
                return Ok(());
            }
            _ if found == escape => escaped(rest, pattern, out)?,
            '[' if rest.peek() == Some(&':') => {
                out.push('[');
                for named in rest.by_ref() {
                    out.push(named);
                    if named == ']' {
                        break;
                    }
                }
            }
            '-' if rest.peek() != Some(&'-') => out.push('-'),
            _ => literal(found, out),
        }
    }
    Err(plan_datafusion_err!("the pattern {pattern:?} of SIMILAR TO has a [ without its ]"))
}

/// Translates patterns that are no literals.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Translate {
    syntax: Syntax,
    escape: char,
    signature: Signature,
}

impl Translate {
    fn new(syntax: Syntax, escape: char) -> Self {
        Self { syntax, escape, signature: Signature::exact(vec![DataType::Utf8], Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Translate {
    fn name(&self) -> &'static str {
        "translated_pattern"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let translate =
            |text: Option<&str>| text.map(|text| self.syntax.translate(text, self.escape)).transpose();
        match args.args.as_slice() {
            [ColumnarValue::Scalar(value)] => {
                let text = value.try_as_str().flatten();
                Ok(ColumnarValue::Scalar(ScalarValue::Utf8(translate(text)?)))
            }
            [ColumnarValue::Array(array)] => {
                let texts = as_string_array(array)?.iter().map(translate);
                let translated: StringArray = texts.collect::<DfResult<_>>()?;
                Ok(ColumnarValue::Array(Arc::new(translated) as ArrayRef))
            }
            _ => Err(plan_datafusion_err!("LIKE and SIMILAR TO take one pattern")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_become_regular_expressions() {
        for (pattern, expected) in [
            ("a%", "^(?s:a.*)$"),
            ("_.c", "^(?s:.\\.c)$"),
            ("a|b", "^(?s:a|b)$"),
            ("(a|b)+", "^(?s:(?:a|b)+)$"),
            ("a{2,3}$", "^(?s:a{2,3}\\$)$"),
            ("^a", "^(?s:\\^a)$"),
            ("\\%\\_\\\\", "^(?s:\\%\\_\\\\)$"),
            ("[a-c%_.]", "^(?s:[a-c\\%\\_\\.])$"),
            ("[^]a&&b]", "^(?s:[^\\]a\\&\\&b])$"),
            ("[[:digit:]_]", "^(?s:[[:digit:]\\_])$"),
            ("[\\]a]", "^(?s:[\\]a])$"),
            ("\\d", "^(?s:\\d)$"),
            ("é%", "^(?s:é.*)$"),
        ] {
            assert_eq!(regular_expression(pattern, '\\').unwrap(), expected, "{pattern}");
        }
        assert_eq!(regular_expression("10#%\\", '#').unwrap(), "^(?s:10\\%\\\\)$");
        for wrong in ["a\\", "[a", "\\q"] {
            assert!(regular_expression(wrong, '\\').is_err(), "{wrong}");
        }
    }

    #[test]
    fn escapes_of_like_become_backslashes() {
        for (pattern, expected) in [
            ("10!%", "10\\%"),
            ("a!_b%_", "a\\_b%_"),
            ("!!", "!"),
            ("c:\\x", "c:\\\\x"),
            ("!\\", "\\\\"),
            ("!é", "é"),
        ] {
            assert_eq!(backslashed(pattern, '!').unwrap(), expected, "{pattern}");
        }
        assert_eq!(backslashed("%%a_", '%').unwrap(), "\\%a_");
        assert!(backslashed("a!", '!').is_err());
    }
}
