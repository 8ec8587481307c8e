//! A function of ours wherever DataFusion has planned its own of that name, whichever is registered: for `[…]`, `= ANY`,
//! `EXTRACT` and the like it looks nothing up.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::{Expr, ScalarUDF};

/// Puts `function` in the place of DataFusion's.
#[derive(Debug)]
pub(super) struct Replacement {
    name: &'static str,
    function: Arc<ScalarUDF>,
    applies: fn(&[Expr], &DFSchema) -> bool,
}

impl Replacement {
    /// In the place of all calls; the rule is called `name`.
    pub(super) fn of_all(name: &'static str, function: ScalarUDF) -> Self {
        Self::of_those(name, function, |_, _| true)
    }

    /// In the place of calls whose arguments `applies` says it of.
    pub(super) fn of_those(
        name: &'static str,
        function: ScalarUDF,
        applies: fn(&[Expr], &DFSchema) -> bool,
    ) -> Self {
        Self { name, function: Arc::new(function), applies }
    }
}

impl FunctionRewrite for Replacement {
    fn name(&self) -> &str {
        self.name
    }

    fn rewrite(&self, expr: Expr, schema: &DFSchema, _: &ConfigOptions) -> Result<Transformed<Expr>> {
        Ok(match expr {
            Expr::ScalarFunction(ScalarFunction { func, args })
                if func.name() == self.function.name()
                    && func != self.function
                    && (self.applies)(&args, schema) =>
            {
                let call = ScalarFunction::new_udf(Arc::clone(&self.function), args);
                Transformed::yes(Expr::ScalarFunction(call))
            }
            other => Transformed::no(other),
        })
    }
}
