//! Comma-separated values, as RFC 4180 has them: a header, CRLF, quotes where they are needed.
//! Knows cells. What is absent is an empty cell.

use super::{Heading, Row};
use crate::store::Value;
use std::io::{self, Write};

pub(super) struct Csv<W: Write>(W);

impl<W: Write> Csv<W> {
    /// Writes the header.
    pub(super) fn begin(mut out: W, headings: &[Heading]) -> io::Result<Self> {
        let names: Vec<_> = headings.iter().map(|(name, _)| *name).collect();
        write!(out, "{}\r\n", names.join(","))?;
        Ok(Self(out))
    }

    pub(super) fn write(&mut self, rows: &[Row]) -> io::Result<()> {
        for row in rows {
            let cells: Vec<_> = row.iter().map(cell).collect();
            write!(self.0, "{}\r\n", cells.join(","))?;
        }
        Ok(())
    }

    pub(super) fn end(mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Integer(value) => value.to_string(),
        Value::Real(value) => value.to_string(),
        Value::Text(text) if text.contains(['"', ',', '\r', '\n']) => {
            format!("\"{}\"", text.replace('"', "\"\""))
        }
        Value::Text(text) => text.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_that_holds_what_separates_cells_is_quoted() {
        let text = |text: &str| cell(&Value::Text(text.into()));
        assert_eq!(text("plain +15550100"), "plain +15550100");
        assert_eq!(text("a,b"), "\"a,b\"");
        assert_eq!(text("say \"hi\"\n"), "\"say \"\"hi\"\"\n\"");
        assert_eq!([cell(&Value::Null), cell(&Value::Integer(-4))], ["", "-4"]);
    }
}
