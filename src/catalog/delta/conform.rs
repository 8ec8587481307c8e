//! Fitting a client's rows to the columns of a table that is there.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};

use super::super::name::DatasetRef;
use crate::error::{Error, Result};
use crate::storage::to_logical;

/// How the columns of arriving batches become those of a table: by name, in the table's types, NULL where
/// they lack one.
#[derive(Debug, Clone)]
pub(in super::super) struct Conform {
    /// For each column of the table its place in the batches.
    places: Vec<Option<usize>>,
    target: SchemaRef,
    /// Whether batches can be taken as they are.
    is_same: bool,
}

impl Conform {
    /// Fits batches of `from` to `target`, the columns of `dataset`; an error names the first that does not
    /// fit.
    pub(in super::super) fn new(dataset: &DatasetRef, from: &Schema, target: &SchemaRef) -> Result<Self> {
        if let Some(extra) = extra_columns(from, target).first() {
            return Err(Error::invalid(format!(
                "dataset {dataset} has no column {:?}; leave it out, add it (ALTER TABLE … ADD COLUMN), or \
                 send x-airstrip-schema: merge",
                extra.name()
            )));
        }
        let places = target.fields().iter().map(|field| place(dataset, from, field));
        let places: Vec<Option<usize>> = places.collect::<Result<_>>()?;
        let types = |schema: &Schema| {
            schema.fields().iter().map(|field| field.data_type().clone()).collect::<Vec<_>>()
        };
        let in_order = places.iter().enumerate().all(|(at, place)| *place == Some(at));
        let is_same = in_order && types(from) == types(target);
        Ok(Self { places, target: Arc::clone(target), is_same })
    }

    /// The rows of a batch in the table's columns.
    pub(in super::super) fn apply(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = if self.is_same {
            batch.columns().to_vec()
        } else {
            let pairs = self.places.iter().zip(self.target.fields());
            pairs.map(|(place, field)| column(batch, *place, field)).collect::<Result<_>>()?
        };
        for (column, field) in columns.iter().zip(self.target.fields()) {
            if !field.is_nullable() && column.logical_null_count() > 0 {
                return Err(Error::invalid(format!("column {:?} is NOT NULL, a row has NULL", field.name())));
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&self.target), columns, &options)
            .map_err(|error| Error::invalid(format!("the rows do not fit the table: {error}")))
    }
}

/// The columns of `from` that `target` lacks.
pub(super) fn extra_columns<'a>(from: &'a Schema, target: &Schema) -> Vec<&'a FieldRef> {
    from.fields().iter().filter(|field| target.index_of(field.name()).is_err()).collect()
}

/// `target` with the columns that only `from` has; they are nullable, since the rows that are there lack
/// them.
pub(super) fn merged(from: &Schema, target: &Schema) -> Schema {
    let extra = extra_columns(from, target);
    let extra = extra.into_iter().map(|field| Arc::new(Field::clone(field).with_nullable(true)));
    let fields: Vec<FieldRef> = target.fields().iter().cloned().chain(extra).collect();
    Schema::new_with_metadata(fields, target.metadata().clone())
}

fn place(dataset: &DatasetRef, from: &Schema, field: &FieldRef) -> Result<Option<usize>> {
    let Ok(place) = from.index_of(field.name()) else {
        if field.is_nullable() {
            return Ok(None);
        }
        return Err(Error::invalid(format!(
            "column {:?} of dataset {dataset} is NOT NULL, and the rows lack it",
            field.name()
        )));
    };
    let own = from.field(place).data_type();
    if fits(own, field.data_type()) {
        return Ok(Some(place));
    }
    Err(Error::invalid(format!(
        "column {:?} of dataset {dataset} is {}, the rows have {own}; cast it first",
        field.name(),
        field.data_type()
    )))
}

/// Whether values of `from` can be taken as `to`: the same kind of thing, whose values are checked one by
/// one where `to` is narrower.
fn fits(from: &DataType, to: &DataType) -> bool {
    use DataType::{
        Binary, BinaryView, Decimal32, Decimal64, Decimal128, Decimal256, Dictionary, Duration,
        FixedSizeList, Float16, Float32, Float64, LargeBinary, LargeList, LargeListView, LargeUtf8, List,
        ListView, Map, Null, Struct, Time32, Time64, Timestamp, Utf8, Utf8View,
    };
    let is_text = |data_type: &DataType| matches!(data_type, Utf8 | LargeUtf8 | Utf8View);
    let is_bytes = |data_type: &DataType| matches!(data_type, Binary | LargeBinary | BinaryView);
    let is_time = |data_type: &DataType| matches!(data_type, Time32(_) | Time64(_));
    let decimal = |data_type: &DataType| match data_type {
        Decimal32(_, scale) | Decimal64(_, scale) | Decimal128(_, scale) | Decimal256(_, scale) => {
            Some(*scale)
        }
        _ => None,
    };
    match (from, to) {
        (from, to) if from == to => true,
        (Null, _) => true,
        (Dictionary(_, value), to) => fits(value, to),
        (from, Dictionary(_, value)) => fits(from, value),
        (from, to) if from.is_integer() && to.is_integer() => true,
        (Float16, Float32 | Float64) | (Float32, Float64) | (Duration(_), Duration(_)) => true,
        (Timestamp(_, from), Timestamp(_, to)) => from.is_some() == to.is_some(),
        (FixedSizeList(_, from), FixedSizeList(_, to)) if from != to => false,
        // What an item is called is a matter of taste, and how many there are is looked at in each list.
        (
            List(from) | LargeList(from) | ListView(from) | LargeListView(from) | FixedSizeList(from, _),
            List(to) | LargeList(to) | ListView(to) | LargeListView(to) | FixedSizeList(to, _),
        ) => fits(from.data_type(), to.data_type()),
        (Map(from, _), Map(to, _)) => match (from.data_type(), to.data_type()) {
            // What their parts are called is a matter of taste.
            (Struct(from), Struct(to)) => {
                from.len() == to.len()
                    && from.iter().zip(to).all(|(from, to)| fits(from.data_type(), to.data_type()))
            }
            _ => false,
        },
        (Struct(from), Struct(to)) => {
            from.len() == to.len()
                && from
                    .iter()
                    .zip(to)
                    .all(|(from, to)| from.name() == to.name() && fits(from.data_type(), to.data_type()))
        }
        (from, to) => {
            (is_text(from) && is_text(to))
                || (is_bytes(from) && is_bytes(to))
                || (is_time(from) && is_time(to))
                || decimal(from).zip(decimal(to)).is_some_and(|(from, to)| from <= to)
                || (from.is_integer() && decimal(to).is_some())
        }
    }
}

fn column(batch: &RecordBatch, place: Option<usize>, field: &Field) -> Result<ArrayRef> {
    let Some(place) = place else { return Ok(new_null_array(field.data_type(), batch.num_rows())) };
    let column = batch.column(place);
    if column.data_type() == field.data_type() {
        return Ok(Arc::clone(column));
    }
    let refused = |why: &dyn std::fmt::Display| {
        let (name, wanted) = (field.name(), field.data_type());
        Error::invalid(format!("a value does not fit column {name:?} of type {wanted}: {why}"))
    };
    if column.data_type().is_nested() {
        return nested(column, field);
    }
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    let cast = |column: &ArrayRef, to: &DataType| cast_with_options(column, to, &strict);
    let fitted = cast(column, field.data_type()).map_err(|error| refused(&error))?;
    if is_time(column.data_type()) {
        // A cast to a coarser unit cuts digits off without a word.
        let back = cast(&fitted, column.data_type()).map_err(|error| refused(&error))?;
        if back.to_data() != column.to_data() {
            return Err(refused(&"it would lose digits"));
        }
    }
    Ok(fitted)
}

/// Lists, structs and maps, converted part by part.
fn nested(column: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    let schema =
        |data_type: &DataType| Arc::new(Schema::new(vec![Field::new(field.name(), data_type.clone(), true)]));
    let batch = RecordBatch::try_new(schema(column.data_type()), vec![Arc::clone(column)])
        .map_err(|error| Error::internal(format!("a column by itself: {error}")))?;
    let fitted = to_logical(&batch, &schema(field.data_type()))
        .map_err(|error| Error::invalid(format!("a value does not fit: {}", error.message())))?;
    Ok(Arc::clone(fitted.column(0)))
}

fn is_time(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Timestamp(..) | DataType::Time32(_) | DataType::Time64(_) | DataType::Duration(_)
    )
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, Int64Array, ListArray, StringArray};
    use arrow::datatypes::Int32Type;

    use super::*;

    fn dataset() -> DatasetRef {
        DatasetRef::parse("", "t").unwrap()
    }

    fn schema(fields: &[(&str, DataType, bool)]) -> Schema {
        Schema::new(
            fields
                .iter()
                .map(|(name, kind, nullable)| Field::new(*name, kind.clone(), *nullable))
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn columns_are_taken_by_name_and_type() {
        let from = schema(&[("b", DataType::Utf8, true), ("a", DataType::Int64, true)]);
        let to = schema(&[
            ("a", DataType::Int32, false),
            ("b", DataType::LargeUtf8, true),
            ("c", DataType::Date32, true),
        ]);
        let conform = Conform::new(&dataset(), &from, &Arc::new(to)).unwrap();
        let columns: Vec<ArrayRef> =
            vec![Arc::new(StringArray::from(vec!["x", "y"])), Arc::new(Int64Array::from(vec![1, 2]))];
        let batch = RecordBatch::try_new(Arc::new(from.clone()), columns).unwrap();
        let fitted = conform.apply(&batch).unwrap();
        assert_eq!(fitted.column(0).as_ref(), &Int32Array::from(vec![1, 2]));
        assert_eq!(fitted.column(2).null_count(), 2);

        let columns: Vec<ArrayRef> =
            vec![Arc::new(StringArray::from(vec!["x"])), Arc::new(Int64Array::from(vec![1 << 40]))];
        let batch = RecordBatch::try_new(Arc::new(from.clone()), columns).unwrap();
        assert!(conform.apply(&batch).unwrap_err().message().contains("\"a\""));
        let columns: Vec<ArrayRef> =
            vec![Arc::new(StringArray::from(vec!["x"])), Arc::new(Int64Array::from(vec![None]))];
        let batch = RecordBatch::try_new(Arc::new(from), columns).unwrap();
        assert!(conform.apply(&batch).unwrap_err().message().contains("NOT NULL"));
    }

    #[test]
    fn lists_fit_whatever_their_items_are_called() {
        let item = |name: &str| Arc::new(Field::new(name, DataType::Int32, true));
        let kinds = |name: &str| {
            [
                DataType::List(item(name)),
                DataType::LargeList(item(name)),
                DataType::ListView(item(name)),
                DataType::LargeListView(item(name)),
                DataType::FixedSizeList(item(name), 2),
                DataType::Struct(vec![Field::new("l", DataType::FixedSizeList(item(name), 2), true)].into()),
            ]
        };
        let made = |data_type: &DataType, lists: [Option<usize>; 3]| {
            let lists = lists.map(|length| length.map(|length| vec![Some(7); length]));
            let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(lists);
            let batch = RecordBatch::try_from_iter([("c", Arc::new(lists) as ArrayRef)]).unwrap();
            to_logical(&batch, &Arc::new(schema(&[("c", data_type.clone(), true)])))
        };
        for (from, to) in kinds("x").iter().flat_map(|from| kinds("element").map(|to| (from.clone(), to))) {
            let is_nested = |data_type: &DataType| matches!(data_type, DataType::Struct(_));
            let target = Arc::new(schema(&[("c", to.clone(), true)]));
            let conform = Conform::new(&dataset(), &schema(&[("c", from.clone(), true)]), &target);
            if is_nested(&from) != is_nested(&to) {
                assert!(conform.is_err(), "{from} {to}");
            } else if is_nested(&from) {
                let rows = RecordBatch::new_empty(Arc::new(schema(&[("c", from, true)])));
                assert_eq!(conform.unwrap().apply(&rows).unwrap().schema(), target);
            } else {
                let batch = made(&from, [Some(2), None, Some(2)]).unwrap();
                let fitted = conform.unwrap().apply(&batch).unwrap();
                assert_eq!(
                    fitted.column(0),
                    made(&to, [Some(2), None, Some(2)]).unwrap().column(0),
                    "{from} {to}"
                );
            }
        }
        let of = |width| schema(&[("c", DataType::FixedSizeList(item("item"), width), true)]);
        assert!(Conform::new(&dataset(), &of(2), &Arc::new(of(3))).is_err());
        let list = schema(&[("c", DataType::List(item("item")), true)]);
        let conform = Conform::new(&dataset(), &list, &Arc::new(of(3))).unwrap();
        let error =
            conform.apply(&made(list.field(0).data_type(), [Some(3), None, Some(2)]).unwrap()).unwrap_err();
        assert!(error.message().contains("2 items"), "{error}");
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let to = Arc::new(schema(&[("a", DataType::Int32, true), ("b", DataType::Utf8, false)]));
        for (from, word) in [
            (schema(&[("b", DataType::Utf8, true), ("x", DataType::Int32, true)]), "\"x\""),
            (schema(&[("a", DataType::Int32, true)]), "\"b\""),
            (schema(&[("a", DataType::Utf8, true), ("b", DataType::Utf8, true)]), "\"a\""),
        ] {
            let error = Conform::new(&dataset(), &from, &to).unwrap_err();
            assert!(error.message().contains(word), "{error}");
        }
    }
}
