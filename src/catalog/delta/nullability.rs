//! Which columns may be NULL: what was declared, and what files have.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};

use super::super::dataset::{Dataset, PartFile};

/// The writer of files whose columns are NOT NULL because somebody said so.
const OWN: &str = "airstrip version ";

impl Dataset {
    /// The columns as they are once the dataset changes. That a plain file has no NULL in a column, as some
    /// programs (DuckDB, `ClickHouse`) note of all columns where they saw none, is no promise for the rows to come;
    /// only what was stored here as NOT NULL was declared so.
    pub fn lasting_schema(&self) -> SchemaRef {
        let is_own = |part: &PartFile| {
            let writer = part.footer.metadata.file_metadata().created_by();
            writer.is_some_and(|writer| writer.starts_with(OWN))
        };
        if self.delta.is_some() || self.parts.iter().all(is_own) {
            return Arc::clone(&self.schema);
        }
        let fields: Vec<FieldRef> = self.schema.fields().iter().map(|field| loose(field)).collect();
        Arc::new(Schema::new_with_metadata(fields, self.schema.metadata().clone()))
    }
}

/// `field` and all inside of it as nullable, but for the keys of maps.
fn loose(field: &Field) -> FieldRef {
    use DataType::{FixedSizeList, LargeList, LargeListView, List, ListView, Map, Struct};
    let data_type = match field.data_type() {
        Struct(fields) => Struct(fields.iter().map(|field| loose(field)).collect()),
        List(item) => List(loose(item)),
        LargeList(item) => LargeList(loose(item)),
        ListView(item) => ListView(loose(item)),
        LargeListView(item) => LargeListView(loose(item)),
        FixedSizeList(item, width) => FixedSizeList(loose(item), *width),
        Map(entries, sorted) => match entries.data_type() {
            Struct(pair) if pair.len() == 2 => {
                let key = Field::clone(&loose(&pair[0])).with_nullable(false);
                let pair = Struct(vec![Arc::new(key), loose(&pair[1])].into());
                Map(Arc::new(Field::clone(entries).with_data_type(pair)), *sorted)
            }
            _ => field.data_type().clone(),
        },
        other => other.clone(),
    };
    Arc::new(field.clone().with_data_type(data_type).with_nullable(true))
}

/// The columns of a table as its files can give them: what is NOT NULL inside of a column, and may be NULL by the
/// schema of a file, may be NULL to those who read. Spark writes all columns so, and there is no cast from the one to
/// the other.
pub(super) fn as_in_files(schema: &SchemaRef, parts: &[PartFile]) -> SchemaRef {
    if !schema.fields().iter().any(|field| has_strict(field.data_type())) {
        return Arc::clone(schema);
    }
    let field = |field: &FieldRef| {
        let own = parts.iter().filter_map(|part| part.footer.schema.field_with_name(field.name()).ok());
        let data_type = own.fold(field.data_type().clone(), |table, own| loosened(&table, own.data_type()));
        Arc::new(Field::clone(field).with_data_type(data_type))
    };
    let fields: Vec<FieldRef> = schema.fields().iter().map(field).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// Whether something inside of a type is NOT NULL.
fn has_strict(data_type: &DataType) -> bool {
    use DataType::{FixedSizeList, LargeList, LargeListView, List, ListView, Map, Struct};
    let is_strict = |field: &FieldRef| !field.is_nullable() || has_strict(field.data_type());
    match data_type {
        Struct(fields) => fields.iter().any(is_strict),
        List(item) | LargeList(item) | ListView(item) | LargeListView(item) | FixedSizeList(item, _) => {
            is_strict(item)
        }
        Map(entries, _) => has_strict(entries.data_type()),
        _ => false,
    }
}

fn loosened(table: &DataType, file: &DataType) -> DataType {
    use DataType::{FixedSizeList, LargeList, LargeListView, List, ListView, Map, Struct};
    let item = |own: &FieldRef| {
        let (List(file) | LargeList(file) | ListView(file) | LargeListView(file) | FixedSizeList(file, _)) =
            file
        else {
            return Arc::clone(own);
        };
        loosened_field(own, Some(file))
    };
    match (table, file) {
        (Struct(own), Struct(file)) => {
            let field = |own: &FieldRef| loosened_field(own, file.find(own.name()).map(|(_, file)| file));
            Struct(own.iter().map(field).collect())
        }
        (Map(own, sorted), Map(file, _)) => {
            let (Struct(pair), Struct(file)) = (own.data_type(), file.data_type()) else {
                return table.clone();
            };
            let pair = Struct(loosened_pair(pair, file));
            Map(Arc::new(Field::clone(own).with_data_type(pair)), *sorted)
        }
        (List(own), _) => List(item(own)),
        (LargeList(own), _) => LargeList(item(own)),
        (ListView(own), _) => ListView(item(own)),
        (LargeListView(own), _) => LargeListView(item(own)),
        (FixedSizeList(own, width), _) => FixedSizeList(item(own), *width),
        _ => table.clone(),
    }
}

/// Keys and values, whatever they are called. Keys are never NULL.
fn loosened_pair(own: &Fields, file: &Fields) -> Fields {
    let field = |(place, own): (usize, &FieldRef)| {
        let field = loosened_field(own, file.get(place));
        if place == 0 { Arc::new(Field::clone(&field).with_nullable(own.is_nullable())) } else { field }
    };
    own.iter().enumerate().map(field).collect()
}

/// A field that a file has as `file`; without it, it is NULL there.
fn loosened_field(own: &FieldRef, file: Option<&FieldRef>) -> FieldRef {
    let data_type = file.map(|file| loosened(own.data_type(), file.data_type()));
    let nullable = own.is_nullable() || file.is_none_or(|file| file.is_nullable());
    let field = Field::clone(own).with_nullable(nullable);
    Arc::new(match data_type {
        Some(data_type) => field.with_data_type(data_type),
        None => field,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn int(name: &str, nullable: bool) -> Field {
        Field::new(name, DataType::Int32, nullable)
    }

    fn structure(fields: Vec<Field>) -> DataType {
        DataType::Struct(fields.into())
    }

    #[test]
    fn what_a_file_may_have_as_null_may_be_null() {
        let table = structure(vec![int("a", false), int("b", false), int("c", false)]);
        let file = structure(vec![int("b", true), int("a", false)]);
        let expected = structure(vec![int("a", false), int("b", true), int("c", true)]);
        assert_eq!(loosened(&table, &file), expected);

        let list = |nullable| DataType::List(Arc::new(int("element", nullable)));
        assert_eq!(loosened(&list(false), &list(true)), list(true));
        assert_eq!(loosened(&list(false), &list(false)), list(false));
        let map = |key: &str, nullable| {
            let pair = structure(vec![int(key, false), int("v", nullable)]);
            DataType::Map(Arc::new(Field::new("entries", pair, false)), false)
        };
        assert_eq!(loosened(&map("key", false), &map("k", true)), map("key", true));
    }

    #[test]
    fn nothing_is_required_that_nobody_declared() {
        let inner = structure(vec![int("a", false)]);
        let list = DataType::List(Arc::new(Field::new("item", inner, false)));
        let field = loose(&Field::new("l", list, false));
        let DataType::List(item) = field.data_type() else { panic!("{field}") };
        let DataType::Struct(fields) = item.data_type() else { panic!("{field}") };
        assert!(field.is_nullable() && item.is_nullable() && fields[0].is_nullable());
    }
}
