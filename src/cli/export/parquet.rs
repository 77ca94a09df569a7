//! Apache Parquet: each page of calls a row group, every column optional, whole numbers as INT64.
//! Knows the writer's words. Uncompressed: the crate without its compressors builds in a fraction of the time, and what
//! reads Parquet compresses it as it likes.

use super::{Heading, Row};
use crate::store::{Kind, Value};
use parquet::{
    basic::{LogicalType, Repetition, Type as Physical},
    data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int64Type},
    errors::{ParquetError, Result},
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::types::Type,
};
use std::{io::Write, sync::Arc};

pub(super) struct Parquet<W: Write + Send>(SerializedFileWriter<W>, Vec<Heading>);

impl<W: Write + Send> Parquet<W> {
    pub(super) fn begin(out: W, headings: &[Heading]) -> Result<Self> {
        let fields = headings.iter().map(|(name, kind)| {
            let (physical, logical) = match kind {
                Kind::Integer => (Physical::INT64, None),
                Kind::Real => (Physical::DOUBLE, None),
                Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
            };
            let field = Type::primitive_type_builder(name, physical)
                .with_repetition(Repetition::OPTIONAL)
                .with_logical_type(logical)
                .build()?;
            Ok(Arc::new(field))
        });
        let fields = fields.collect::<Result<Vec<_>>>()?;
        let schema = Type::group_type_builder("calls").with_fields(fields).build()?;
        let writer = SerializedFileWriter::new(out, Arc::new(schema), Arc::new(WriterProperties::new()))?;
        Ok(Self(writer, headings.to_vec()))
    }

    pub(super) fn write(&mut self, rows: &[Row]) -> Result<()> {
        let mut group = self.0.next_row_group()?;
        for (place, (_, kind)) in self.1.iter().enumerate() {
            let cells = rows.iter().map(|row| row.get(place).unwrap_or(&Value::Null));
            let mut writer =
                group.next_column()?.ok_or_else(|| ParquetError::General("too few columns".into()))?;
            match kind {
                Kind::Integer => put::<Int64Type>(writer.typed(), cells, |cell| cell.integer()),
                Kind::Real => put::<DoubleType>(writer.typed(), cells, |cell| match cell {
                    Value::Real(value) => Some(*value),
                    Value::Null | Value::Integer(_) | Value::Text(_) => None,
                }),
                Kind::Text => {
                    put::<ByteArrayType>(writer.typed(), cells, |cell| cell.text().map(ByteArray::from))
                }
            }?;
            writer.close()?;
        }
        group.close()?;
        Ok(())
    }

    pub(super) fn end(self) -> Result<()> {
        self.0.close()?;
        Ok(())
    }
}

/// Values, and beside them which of the rows have one.
fn put<'a, T: DataType>(
    writer: &mut parquet::column::writer::ColumnWriterImpl<'_, T>,
    cells: impl Iterator<Item = &'a Value>,
    value: impl Fn(&Value) -> Option<T::T>,
) -> Result<()> {
    let cells: Vec<Option<T::T>> = cells.map(value).collect();
    let present: Vec<i16> = cells.iter().map(|cell| i16::from(cell.is_some())).collect();
    let values: Vec<T::T> = cells.into_iter().flatten().collect();
    writer.write_batch(&values, Some(&present), None)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{COLUMNS, CallRecord, Direction};
    use call::CallId;
    use parquet::{
        file::reader::{FileReader as _, SerializedFileReader},
        record::Field,
    };

    #[test]
    fn what_is_written_is_read_back_absent_values_too() {
        let mut call = CallRecord::new(CallId(7), Direction::Inbound, "id@host", 5);
        call.caller = "+1555\u{e9}0100".to_owned().into();
        call.answer_us = Some(9);
        let row = |call: &CallRecord| COLUMNS.iter().map(|column| (column.get)(call)).collect::<Row>();
        let mut file = Vec::new();
        let mut parquet = Parquet::begin(&mut file, &super::super::headings(COLUMNS)).expect("a schema");
        parquet
            .write(&[row(&call), row(&CallRecord { answer_us: None, ..call.clone() })])
            .expect("in memory");
        parquet.write(&[row(&call)]).expect("in memory");
        parquet.end().expect("in memory");
        let reader = SerializedFileReader::new(bytes::Bytes::from(file)).expect("it is Parquet");
        assert_eq!(reader.metadata().num_row_groups(), 2);
        let rows: Vec<_> = reader.get_row_iter(None).expect("rows").map(|row| row.expect("a row")).collect();
        assert_eq!(rows.len(), 3);
        let cell = |row: usize, name: &str| {
            rows[row].get_column_iter().find(|(column, _)| *column == name).map(|(_, cell)| cell.clone())
        };
        assert_eq!(cell(0, "id"), Some(Field::Str("0000000000000007".into())));
        assert_eq!(cell(0, "caller"), Some(Field::Str("+1555\u{e9}0100".into())));
        assert_eq!(cell(0, "answer_us"), Some(Field::Long(9)));
        assert_eq!(cell(1, "answer_us"), Some(Field::Null));
        assert_eq!(cell(2, "invite_us"), Some(Field::Long(5)));
    }
}
