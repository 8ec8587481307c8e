//! `map_extract` and `element_at`, which tell a key that is missing from one whose value is NULL.
//!
//! DataFusion 55.2 gives a list with a NULL for both, and where there is no map (apache/datafusion#24981). Here a key
//! that is missing gives an empty list, and no map gives none. This can go with the release that has PR
//! apache/datafusion#24999.

use std::sync::Arc;

use arrow::array::{Array, ListArray, MapArray, UInt64Array, make_comparator};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{SortOptions, take};
use arrow::datatypes::{ArrowNativeType, DataType, Field, FieldRef};
use datafusion::common::cast::as_map_array;
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::functions_nested::map_extract::map_extract_udf;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

/// `map_extract`.
pub(super) fn function() -> ScalarUDF {
    ScalarUDF::from(MapExtract { inner: map_extract_udf() })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct MapExtract {
    inner: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for MapExtract {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if args.return_type().is_null() {
            return self.inner.invoke_with_args(args);
        }
        let [map, key] = &args.args[..] else { return internal_err!("map_extract has two arguments") };
        let is_scalar = matches!((map, key), (ColumnarValue::Scalar(_), ColumnarValue::Scalar(_)));
        let maps = map.to_array(if is_scalar { 1 } else { args.number_rows })?;
        // A key that is the same for all rows is not repeated for them.
        let (keys, step) = match key {
            ColumnarValue::Scalar(key) => (key.to_array()?, 0),
            ColumnarValue::Array(keys) => (Arc::clone(keys), 1),
        };
        let found = extract(as_map_array(&maps)?, &keys, step)?;
        Ok(if is_scalar {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&found, 0)?)
        } else {
            ColumnarValue::Array(Arc::new(found))
        })
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

/// The values of the keys, of which the next map's is `step` further, each in a list of its own.
fn extract(maps: &MapArray, keys: &dyn Array, step: usize) -> Result<ListArray> {
    let compare = make_comparator(maps.keys(), keys, SortOptions::default())?;
    let (mut places, mut lengths) = (Vec::new(), Vec::with_capacity(maps.len()));
    for (row, ends) in maps.value_offsets().windows(2).enumerate() {
        let mut entries = ends[0].as_usize()..ends[1].as_usize();
        let place =
            if maps.is_valid(row) { entries.find(|entry| compare(*entry, row * step).is_eq()) } else { None };
        places.extend(place.map(|place| place as u64));
        lengths.push(usize::from(place.is_some()));
    }
    let values = take(maps.values(), &UInt64Array::from(places), None)?;
    let field = Arc::new(Field::new_list_field(maps.value_type().clone(), true));
    Ok(ListArray::try_new(field, OffsetBuffer::from_lengths(lengths), values, maps.nulls().cloned())?)
}
