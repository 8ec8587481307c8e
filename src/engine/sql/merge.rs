//! MERGE: columns that are named without their table.
//!
//! DataFusion 55.2 looks all of them up in both tables. A row without a match is of one table only, though: in what is
//! done with it, a name alone means that one's column, whatever the other table has.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Merge, MergeAction, MergeClause, MergeClauseKind, MergeInsertKind, Query, Statement,
    TableFactor, VisitMut, VisitorMut,
};

use super::repair::is_session_value;

/// Puts the name of the only table that a clause can mean before columns without one.
pub(super) fn correct(statement: &mut Statement) {
    let Statement::Merge(merge) = statement else { return };
    let Merge { table, source, clauses, .. } = merge;
    for clause in clauses {
        let meant = match clause.clause_kind {
            MergeClauseKind::Matched => continue,
            MergeClauseKind::NotMatched | MergeClauseKind::NotMatchedByTarget => qualifier(source),
            MergeClauseKind::NotMatchedBySource => qualifier(table),
        };
        if let Some(table) = meant {
            qualify(clause, Qualify { table, depth: 0 });
        }
    }
}

/// What the columns of a table are qualified by.
fn qualifier(table: &TableFactor) -> Option<Vec<Ident>> {
    match table {
        TableFactor::Table { alias: Some(alias), .. } | TableFactor::Derived { alias: Some(alias), .. } => {
            Some(vec![alias.name.clone()])
        }
        TableFactor::Table { name, args: None, .. } => {
            name.0.iter().map(|part| part.as_ident().cloned()).collect()
        }
        _ => None,
    }
}

fn qualify(clause: &mut MergeClause, mut visitor: Qualify) {
    let _ = clause.predicate.visit(&mut visitor);
    match &mut clause.action {
        MergeAction::Insert(insert) => {
            if let MergeInsertKind::Values(values) = &mut insert.kind {
                let _ = values.visit(&mut visitor);
            }
            let _ = insert.insert_predicate.visit(&mut visitor);
        }
        MergeAction::Update(update) => {
            for assignment in &mut update.assignments {
                let _ = assignment.value.visit(&mut visitor);
            }
        }
        MergeAction::Delete { .. } => {}
    }
}

struct Qualify {
    table: Vec<Ident>,
    /// How many subqueries this is inside of: those have tables of their own.
    depth: usize,
}

impl VisitorMut for Qualify {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Identifier(column) = expr
            && self.depth == 0
            && !is_session_value(column)
        {
            let parts = self.table.iter().cloned().chain([column.clone()]);
            *expr = Expr::CompoundIdentifier(parts.collect());
        }
        ControlFlow::Continue(())
    }
}
