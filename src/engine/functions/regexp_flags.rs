//! `regexp_like`, `regexp_match` and `regexp_replace` with an empty text for their flags, which is no flags.
//!
//! DataFusion 55.2 puts the flags in front of the pattern, where `(?)` is an error (apache/datafusion#25021); so it
//! does with what is left of `gg` without its `g`. Here such flags are written as others that mean the same. This can
//! go with the release that has PRs apache/datafusion#24987 and #25046.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature,
};

/// The functions, and where their flags are among their arguments.
const FUNCTIONS: [(&str, usize); 3] = [("regexp_like", 2), ("regexp_match", 2), ("regexp_replace", 3)];

/// Puts the functions in the place of DataFusion's.
pub(super) fn register(state: &mut SessionState) -> Result<()> {
    for (name, place) in FUNCTIONS {
        let inner = state.udf(name)?;
        state.register_udf(Arc::new(ScalarUDF::from(Flagged { inner, place })))?;
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Flagged {
    inner: Arc<ScalarUDF>,
    /// The place of the flags among the arguments.
    place: usize,
}

impl ScalarUDFImpl for Flagged {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn is_strict(&self) -> bool {
        self.inner.is_strict()
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if let Some(flags) = args.args.get_mut(self.place) {
            *flags = match &*flags {
                ColumnarValue::Array(flags) => ColumnarValue::Array(spelled(flags)?),
                ColumnarValue::Scalar(flags) => {
                    let flags = spelled(&flags.to_array()?)?;
                    ColumnarValue::Scalar(ScalarValue::try_from_array(&flags, 0)?)
                }
            };
        }
        self.inner.invoke_with_args(args)
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        self.inner.simplify(args, info)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

/// The same flags, written so that they are not empty, also without their `g`, which stands for all matches.
fn spelled(flags: &dyn Array) -> Result<ArrayRef> {
    let texts = cast(flags, &DataType::Utf8)?;
    let texts = texts.as_string::<i32>().iter().map(|flags| match flags {
        // Letters are told by case unless a flag says otherwise.
        Some("") => Some("-i"),
        Some(flags) if flags.bytes().all(|flag| flag == b'g') => Some("g"),
        flags => flags,
    });
    Ok(cast(&texts.collect::<StringArray>(), flags.data_type())?)
}
