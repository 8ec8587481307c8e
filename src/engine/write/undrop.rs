//! `UNDROP TABLE t`, `UNDROP VIEW v`, `UNDROP SCHEMA s`: statements that the parser does not know.
//!
//! They are read as a call of a procedure whose name nobody can mean otherwise: `CALL "UNDROP TABLE"(t)`.

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName,
};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::catalog::DroppedKind;

/// What comes back, and the names of the procedures.
const KINDS: [(&str, &str, DroppedKind); 4] = [
    ("TABLE", "UNDROP TABLE", DroppedKind::Dataset),
    ("VIEW", "UNDROP VIEW", DroppedKind::View),
    ("SCHEMA", "UNDROP SCHEMA", DroppedKind::Schema),
    ("DATABASE", "UNDROP DATABASE", DroppedKind::Schema),
];

/// What a statement brings back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engine) struct Undropped {
    pub(in crate::engine) kind: DroppedKind,
    /// Its name, as it is written.
    pub(in crate::engine) name: ObjectName,
}

impl Undropped {
    /// What a call brings back, if it is one of these statements.
    pub(in crate::engine) fn of(call: &Function) -> Option<Self> {
        let [name] = call.name.0.as_slice() else { return None };
        let name = name.as_ident().filter(|name| name.quote_style.is_some())?;
        let (_, _, kind) = KINDS.into_iter().find(|(_, procedure, _)| *procedure == name.value)?;
        let FunctionArguments::List(list) = &call.args else { return None };
        let [FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))] = list.args.as_slice() else {
            return None;
        };
        let parts: Vec<Ident> = match argument {
            Expr::Identifier(name) => vec![name.clone()],
            Expr::CompoundIdentifier(parts) => parts.clone(),
            _ => return None,
        };
        Some(Self { kind, name: ObjectName::from(parts) })
    }
}

/// The tokens of a statement, as a call if it is one of these.
pub(in crate::engine) fn undrop(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let told: Vec<usize> =
        (0..tokens.len()).filter(|at| !matches!(tokens[*at].token, Token::Whitespace(_))).collect();
    let is_word = |at: usize, wanted: &str| {
        let token = told.get(at).map(|at| &tokens[*at].token);
        matches!(token, Some(Token::Word(word)) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(wanted))
    };
    let kind = KINDS.iter().find(|(word, _, _)| is_word(1, word));
    let (Some((_, procedure, _)), true) = (kind, is_word(0, "undrop")) else { return tokens };
    let is_end =
        |token: &TokenWithSpan| matches!(token.token, Token::Whitespace(_) | Token::SemiColon | Token::EOF);
    let end = tokens.iter().rposition(|token| !is_end(token)).map_or(tokens.len(), |last| last + 1);
    let (verb, object) = (told[0], told[1]);
    tokens[verb].token = Token::make_keyword("CALL");
    tokens[object].token = Token::make_word(procedure, Some('"'));
    let (open, close) = (tokens[object].span, tokens[end - 1].span);
    tokens.insert(end, TokenWithSpan::new(Token::RParen, close));
    tokens.insert(object + 1, TokenWithSpan::new(Token::LParen, open));
    tokens
}

#[cfg(test)]
mod tests {
    use datafusion::sql::parser::Statement;
    use datafusion::sql::sqlparser::ast::Statement as SqlStatement;

    use super::*;
    use crate::engine::statement::SqlLimits;
    use crate::engine::statement::parse;
    use crate::error::ErrorKind;

    fn undropped(sql: &str) -> Option<(DroppedKind, String)> {
        let limits = SqlLimits { bytes: 1 << 20, depth: 200, tables: 500, expressions: 10_000 };
        let statement = parse(sql, &limits).unwrap_or_else(|error| {
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{sql}: {error}");
            panic!("{sql}: {error}");
        });
        let Statement::Statement(statement) = statement else { return None };
        let SqlStatement::Call(call) = *statement else { return None };
        Undropped::of(&call).map(|undropped| (undropped.kind, undropped.name.to_string()))
    }

    #[test]
    fn what_comes_back_is_named_as_elsewhere() {
        use DroppedKind::{Dataset, Schema, View};
        for (sql, kind, name) in [
            ("undrop table t", Dataset, "t"),
            ("UNDROP TABLE s.t;", Dataset, "s.t"),
            (" undrop /* really */ table \"A b\".t -- please\n", Dataset, "\"A b\".t"),
            ("undrop table airstrip.s.t", Dataset, "airstrip.s.t"),
            ("undrop view v", View, "v"),
            ("undrop schema s", Schema, "s"),
            ("undrop database s", Schema, "s"),
        ] {
            assert_eq!(undropped(sql), Some((kind, name.to_owned())), "{sql}");
        }
        for sql in ["call undrop(t)", "select 1 as undrop", "call \"UNDROP TABLE\"(1)"] {
            assert_eq!(undropped(sql), None, "{sql}");
        }
    }

    #[test]
    fn what_is_wrong_is_refused() {
        let limits = SqlLimits { bytes: 1 << 20, depth: 200, tables: 500, expressions: 10_000 };
        for sql in ["undrop table a b", "undrop t", "undrop table a; select 1"] {
            assert!(parse(sql, &limits).is_err(), "{sql}");
        }
        // These can be read, and mean nothing.
        for sql in ["undrop table", "undrop table (select 1)", "undrop table a, b", "undrop table 1"] {
            let kind = parse(sql, &limits).and_then(|parsed| crate::engine::statement::kind(&parsed));
            assert!(kind.is_err(), "{sql}");
        }
    }
}
