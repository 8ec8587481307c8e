//! Columns of a file in the types that its table has for them, where queries read it.
//!
//! DataFusion fits a file's columns to the table's by its own cast, which rounds, wraps or refuses what files of
//! several writers differ in: times beyond the range of a finer unit, integers beside floats, lists of structs
//! with a new field. Here they are converted as they are for downloads: every value is the same, or an error.
//! What the reader cannot judge is not pruned by the file's own bounds; integers that become wider ones are
//! left to DataFusion, whose pruning knows them.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr_adapter::{
    DefaultPhysicalExprAdapter, PhysicalExprAdapter, PhysicalExprAdapterFactory,
};

use crate::storage::to_logical;

/// Whether a column that is `stored` is converted here to become `wanted`.
pub(super) fn is_converted(stored: &DataType, wanted: &DataType) -> bool {
    let is_wider_integer = stored.is_integer() && wanted.is_integer();
    stored != wanted && !is_wider_integer
}

/// Makes adapters for the files of a table.
#[derive(Debug)]
pub(super) struct Adapters;

impl PhysicalExprAdapterFactory for Adapters {
    fn create(&self, table: SchemaRef, file: SchemaRef) -> DfResult<Arc<dyn PhysicalExprAdapter>> {
        let converted = |field: &FieldRef| {
            let (_, stored) = file.fields().find(field.name())?;
            is_converted(stored.data_type(), field.data_type()).then(|| Arc::clone(stored))
        };
        // The rest is DataFusion's: to it, what is converted here has the type of the file.
        let known = table.fields().iter().map(|field| converted(field).unwrap_or_else(|| Arc::clone(field)));
        let known = Schema::new_with_metadata(known.collect::<Vec<_>>(), table.metadata().clone());
        let rest = DefaultPhysicalExprAdapter::new(Arc::new(known), Arc::clone(&file));
        Ok(Arc::new(Adapter { table, file, rest }))
    }
}

#[derive(Debug)]
struct Adapter {
    table: SchemaRef,
    file: SchemaRef,
    rest: DefaultPhysicalExprAdapter,
}

impl PhysicalExprAdapter for Adapter {
    fn rewrite(&self, expr: Arc<dyn PhysicalExpr>) -> DfResult<Arc<dyn PhysicalExpr>> {
        let converted = |expr: Arc<dyn PhysicalExpr>| {
            let Some(column) = expr.downcast_ref::<Column>() else { return Ok(Transformed::no(expr)) };
            let both = self.table.fields().find(column.name()).zip(self.file.fields().find(column.name()));
            Ok(match both {
                Some(((_, wanted), (place, stored)))
                    if is_converted(stored.data_type(), wanted.data_type()) =>
                {
                    let column = Arc::new(Column::new(column.name(), place));
                    Transformed::yes(Arc::new(Converted { column, wanted: Arc::clone(wanted) }))
                }
                _ => Transformed::no(expr),
            })
        };
        self.rest.rewrite(expr.transform_up(converted).data()?)
    }
}

/// A column of a file in its table's type.
#[derive(Debug, Clone)]
struct Converted {
    column: Arc<dyn PhysicalExpr>,
    wanted: FieldRef,
}

impl PartialEq for Converted {
    fn eq(&self, other: &Self) -> bool {
        self.column.as_ref() == other.column.as_ref() && self.wanted == other.wanted
    }
}

impl Eq for Converted {}

impl Hash for Converted {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.column.hash(state);
        self.wanted.hash(state);
    }
}

impl fmt::Display for Converted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} AS {}", self.column, self.wanted.data_type())
    }
}

impl PhysicalExpr for Converted {
    fn return_field(&self, _: &Schema) -> DfResult<FieldRef> {
        Ok(Arc::new(Field::clone(&self.wanted).with_nullable(true)))
    }

    fn evaluate(&self, batch: &RecordBatch) -> DfResult<ColumnarValue> {
        let column = self.column.evaluate(batch)?.into_array(batch.num_rows())?;
        let field = |data_type: DataType| {
            Arc::new(Schema::new(vec![Field::new(self.wanted.name(), data_type, true)]))
        };
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let own = field(column.data_type().clone());
        let own = RecordBatch::try_new_with_options(own, vec![column], &options)?;
        let given = to_logical(&own, &field(self.wanted.data_type().clone()))?;
        Ok(ColumnarValue::Array(Arc::clone(given.column(0))))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.column]
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> DfResult<Arc<dyn PhysicalExpr>> {
        let [column] = children
            .try_into()
            .map_err(|_| DataFusionError::Internal("a converted column is made of one column".to_owned()))?;
        Ok(Arc::new(Self { column, wanted: Arc::clone(&self.wanted) }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.column.fmt_sql(f)
    }
}
