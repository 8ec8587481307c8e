//! Types at the edge: the one schema that a result has on every surface.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::storage::{cast_batch, rewrite_field};

/// Which types a result of SQL may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TypeProfile {
    /// Only types that the common Flight SQL clients can read.
    #[default]
    Compatible,
    /// The types that the query has.
    Native,
}

impl TypeProfile {
    /// Reads the profile's name; empty is the default.
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "" | "compatible" => Ok(Self::Compatible),
            "native" => Ok(Self::Native),
            _ => Err(Error::invalid(format!("{text:?} is no type profile; there are compatible and native"))),
        }
    }

    /// The profile's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Compatible => "compatible",
            Self::Native => "native",
        }
    }

    fn rewrite(self, data_type: &DataType) -> Option<DataType> {
        if self == Self::Native {
            return None;
        }
        Some(match data_type {
            DataType::Utf8View => DataType::Utf8,
            DataType::BinaryView => DataType::Binary,
            DataType::Dictionary(_, value) => value.as_ref().clone(),
            DataType::RunEndEncoded(_, values) => values.data_type().clone(),
            DataType::ListView(item) => DataType::List(Arc::clone(item)),
            DataType::LargeListView(item) => DataType::LargeList(Arc::clone(item)),
            DataType::Float16 => DataType::Float32,
            DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
                DataType::Decimal128(*precision, *scale)
            }
            _ => return None,
        })
    }
}

/// The schema of a result, and the way of its batches there.
#[derive(Debug, Clone)]
pub(in crate::engine) struct Output {
    schema: SchemaRef,
}

impl Output {
    /// The output of a query whose logical and physical plans have these schemas. A column is
    /// nullable if either says so. Table metadata (pandas' index, say) is not the result's.
    pub(in crate::engine) fn new(logical: &Schema, physical: &Schema, profile: TypeProfile) -> Self {
        let field = |(logical, physical): (&FieldRef, &FieldRef)| {
            let nullable = logical.is_nullable() || physical.is_nullable();
            let field = Field::clone(logical).with_data_type(physical.data_type().clone());
            rewrite_field(&Arc::new(field.with_nullable(nullable)), &|data_type| profile.rewrite(data_type))
        };
        let fields: Vec<_> = logical.fields().iter().zip(physical.fields()).map(field).collect();
        Self { schema: Arc::new(Schema::new(fields)) }
    }

    /// The output of a query of all columns of a table.
    pub(in crate::engine) fn of_table(columns: &Schema, profile: TypeProfile) -> Self {
        Self::new(columns, columns, profile)
    }

    /// The output of two queries whose results follow each other: their types must be the same.
    pub(in crate::engine) fn with(&self, other: &Self) -> Result<Self> {
        let mut pairs = self.schema.fields().iter().zip(other.schema.fields());
        let same = self.schema.fields().len() == other.schema.fields().len()
            && pairs.all(|(one, other)| one.data_type() == other.data_type());
        if !same {
            return Err(Error::invalid(
                "the bound rows give results of different types; run them one by one",
            ));
        }
        Ok(self.nullable_as(&other.schema))
    }

    /// The same with columns that may be NULL where those of `other` may.
    pub(in crate::engine) fn nullable_as(&self, other: &Schema) -> Self {
        let fields = self.schema.fields().iter().zip(other.fields());
        let fields = fields.map(|(field, other)| {
            Field::clone(field).with_nullable(field.is_nullable() || other.is_nullable())
        });
        Self { schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())) }
    }

    /// The same with columns that may be NULL, at any depth, but for those of the names `kept`.
    pub(in crate::engine) fn nullable_but(&self, kept: &[String]) -> Self {
        let field = |field: &FieldRef| {
            if kept.contains(field.name()) { Arc::clone(field) } else { nullable(field) }
        };
        Self { schema: Arc::new(Schema::new(self.schema.fields().iter().map(field).collect::<Vec<_>>())) }
    }

    pub(in crate::engine) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// `batch` in the output's schema.
    pub(in crate::engine) fn convert(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        cast_batch(batch, &self.schema)
            .map_err(|error| Error::internal(format!("a result does not fit its schema: {error}")))
    }
}

/// A field that may be NULL, as may all that is inside of it but the keys of maps.
fn nullable(field: &FieldRef) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(nullable).collect()),
        DataType::List(item) => DataType::List(nullable(item)),
        DataType::LargeList(item) => DataType::LargeList(nullable(item)),
        DataType::FixedSizeList(item, width) => DataType::FixedSizeList(nullable(item), *width),
        DataType::Map(entries, sorted) => DataType::Map(nullable_values(entries), *sorted),
        other => other.clone(),
    };
    Arc::new(Field::clone(field).with_data_type(data_type).with_nullable(true))
}

fn nullable_values(entries: &FieldRef) -> FieldRef {
    let DataType::Struct(pair) = entries.data_type() else { return Arc::clone(entries) };
    let [key, value] = &pair[..] else { return Arc::clone(entries) };
    let pair = DataType::Struct(vec![Arc::clone(key), nullable(value)].into());
    Arc::new(Field::clone(entries).with_data_type(pair))
}

/// A digest of names, types and nullability, not of metadata (whose order is not defined).
pub(in crate::engine) fn digest(schema: &Schema) -> Vec<u8> {
    let mut text = String::new();
    for field in schema.fields() {
        describe(field, &mut text);
    }
    Sha256::digest(text.as_bytes()).to_vec()
}

fn describe(field: &Field, text: &mut String) {
    let (name, nullable) = (field.name(), field.is_nullable());
    let _ = write!(text, "({name:?} {nullable} ");
    let children: Vec<&FieldRef> = match field.data_type() {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => vec![item],
        DataType::Struct(fields) => fields.iter().collect(),
        other => {
            let _ = write!(text, "{other}");
            Vec::new()
        }
    };
    if !children.is_empty() {
        let _ = match field.data_type() {
            DataType::FixedSizeList(_, size) => write!(text, "fixed {size}"),
            DataType::Map(_, sorted) => write!(text, "map {sorted}"),
            DataType::Struct(_) => write!(text, "struct"),
            DataType::LargeList(_) => write!(text, "large list"),
            DataType::ListView(_) => write!(text, "list view"),
            DataType::LargeListView(_) => write!(text, "large list view"),
            _ => write!(text, "list"),
        };
    }
    for child in children {
        describe(child, text);
    }
    text.push(')');
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, DictionaryArray, Float16Array, ListArray, StringViewArray};
    use arrow::datatypes::{Int8Type, Int32Type};

    use super::*;

    fn schema(data_type: DataType) -> Schema {
        Schema::new(vec![Field::new("c", data_type, true)])
    }

    fn compatible(data_type: DataType) -> DataType {
        let schema = schema(data_type);
        Output::new(&schema, &schema, TypeProfile::Compatible).schema.field(0).data_type().clone()
    }

    #[test]
    fn the_compatible_profile_has_only_types_that_clients_read() {
        let dictionary = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8View));
        assert_eq!(compatible(dictionary.clone()), DataType::Utf8);
        let list = DataType::new_list(dictionary, true);
        assert_eq!(compatible(list), DataType::new_list(DataType::Utf8, true));
        assert_eq!(compatible(DataType::Decimal64(10, 2)), DataType::Decimal128(10, 2));
        assert_eq!(compatible(DataType::LargeUtf8), DataType::LargeUtf8);
    }

    #[test]
    fn values_survive_the_profile() {
        let dictionary: DictionaryArray<Int8Type> = vec!["a", "b", "a"].into_iter().collect();
        let views = StringViewArray::from(vec!["a string too long to be inlined", "b", "c"]);
        let halves = Float16Array::from_iter_values([1.5, 2.0, -0.5].map(half));
        let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1)]), None, None]);
        let batch = RecordBatch::try_from_iter([
            ("d", Arc::new(dictionary) as _),
            ("v", Arc::new(views) as _),
            ("h", Arc::new(halves) as _),
            ("l", Arc::new(lists) as _),
        ])
        .unwrap();
        for profile in [TypeProfile::Compatible, TypeProfile::Native] {
            let output = Output::new(&batch.schema(), &batch.schema(), profile);
            let converted = output.convert(&batch).unwrap();
            assert_eq!(converted.schema(), output.schema);
            assert_eq!(converted.num_rows(), 3);
        }
        let output = Output::new(&batch.schema(), &batch.schema(), TypeProfile::Compatible);
        let converted = output.convert(&batch).unwrap();
        assert_eq!(converted.column(0).as_string::<i32>().value(2), "a");
    }

    fn half(value: f32) -> <arrow::datatypes::Float16Type as arrow::datatypes::ArrowPrimitiveType>::Native {
        <arrow::datatypes::Float16Type as arrow::datatypes::ArrowPrimitiveType>::Native::from_f32(value)
    }

    #[test]
    fn the_digest_tells_schemas_apart_and_metadata_not() {
        let base = schema(DataType::Int32);
        assert_ne!(digest(&base), digest(&schema(DataType::Int64)));
        assert_ne!(
            digest(&schema(DataType::new_list(DataType::Int8, true))),
            digest(&schema(DataType::Int8))
        );
        let with = base.fields()[0].as_ref().clone().with_metadata([("k".into(), "v".into())].into());
        assert_eq!(digest(&base), digest(&Schema::new(vec![with])));
    }
}
