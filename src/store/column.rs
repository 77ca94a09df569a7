//! Columns of a record, named once for the database and every export.
//! Knows names and how to get and set a field. Knows no particular record.

use super::{Field, Kind, Value};

/// One column of a record of type `R`, wherever it is written: database, CSV, Parquet.
pub struct Column<R> {
    /// Its name, in every format.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Takes it from a record.
    pub get: fn(&R) -> Value,
    /// Puts it into one; false if the value makes no sense.
    pub set: fn(&mut R, &Value) -> bool,
}

/// The names of columns, as SQL and CSV list them.
pub(super) fn names<R>(columns: &[Column<R>]) -> String {
    columns.iter().map(|column| column.name).collect::<Vec<_>>().join(", ")
}

/// Fills a record from a row that holds its columns; `None` if a value makes no sense or one is missing.
pub(super) fn filled<R>(columns: &[Column<R>], mut record: R, row: &[Value]) -> Option<R> {
    let set = columns.iter().zip(row).all(|(column, value)| (column.set)(&mut record, value));
    (set && row.len() >= columns.len()).then_some(record)
}

pub(super) const fn kind_of<R, T: Field>(_: fn(&R) -> &T) -> Kind {
    T::KIND
}

/// A table of columns: a constant's name and its documentation, the record's type, and for each column the field.
macro_rules! columns {
    ($(#[$doc:meta])* $table:ident of $record:ty; $($name:literal: $($path:ident).+),* $(,)?) => {
        $(#[$doc])*
        pub const $table: &[$crate::store::Column<$record>] = &[$(
            $crate::store::Column {
                name: $name,
                kind: $crate::store::column::kind_of(|record: &$record| &record.$($path).+),
                get: |record| $crate::store::Field::to_value(&record.$($path).+),
                set: |record, value| match $crate::store::Field::from_value(value) {
                    Some(value) => {
                        record.$($path).+ = value;
                        true
                    }
                    None => false,
                },
            },
        )*];
    };
}
pub(super) use columns;
