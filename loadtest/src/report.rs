//! Figures as a table for people and as JSON for machines.
//! Knows names, values and units, nothing of how they came about.

use crate::{machine::Facts, spread::Spread};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// What has been measured so far.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
    notes: Vec<String>,
}

struct Row {
    group: &'static str,
    name: String,
    unit: &'static str,
    values: Vec<(&'static str, f64)>,
    aim: &'static str,
}

/// Shares and their names.
const SHARES: [(&str, f64); 4] = [("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("p99.9", 0.999)];

impl Report {
    /// A distribution. Shares that so few values cannot tell are left out.
    pub(crate) fn spread(
        &mut self,
        group: &'static str,
        name: impl Into<String>,
        unit: &'static str,
        spread: &Spread,
        aim: &'static str,
    ) {
        let mut values: Vec<(&'static str, f64)> = SHARES
            .into_iter()
            .filter(|(_, share)| *share < 0.999 || spread.len() >= 1_000)
            .map(|(name, share)| (name, spread.at(share)))
            .collect();
        values.push(("max", spread.max()));
        values.push(("n", spread.len() as f64));
        self.rows.push(Row { group, name: name.into(), unit, values, aim });
    }

    /// Single values.
    pub(crate) fn values(
        &mut self,
        group: &'static str,
        name: impl Into<String>,
        unit: &'static str,
        values: &[(&'static str, f64)],
        aim: &'static str,
    ) {
        self.rows.push(Row { group, name: name.into(), unit, values: values.to_vec(), aim });
    }

    /// Something that no number says; it stands below the table.
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// The table.
    pub(crate) fn table(&self, facts: &Facts) -> String {
        let Facts { cores, cpu, kernel, load } = facts;
        let mut text = format!("{cores} cores of {cpu}, Linux {kernel}, load average before: {load}\n");
        let width = self.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or_default();
        let mut group = "";
        for row in &self.rows {
            if row.group != group {
                group = row.group;
                let _writing_to_a_string_works = write!(text, "\n{group}\n");
            }
            let values: Vec<String> =
                row.values.iter().map(|(name, value)| format!("{name} {}", short(*value))).collect();
            let aim = if row.aim.is_empty() { String::new() } else { format!("   (aim: {})", row.aim) };
            let _writing_to_a_string_works =
                writeln!(text, "  {:width$}  {:6} {}{aim}", row.name, row.unit, values.join("  "));
        }
        for (number, note) in self.notes.iter().enumerate() {
            let before = if number == 0 { "\n" } else { "" };
            let _writing_to_a_string_works = writeln!(text, "{before}{note}");
        }
        text
    }

    /// The same for machines.
    pub(crate) fn json(&self, facts: &Facts) -> Value {
        let rows = self.rows.iter().map(|row| {
            let values: Map<String, Value> =
                row.values.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
            json!({ "group": row.group, "name": row.name, "unit": row.unit, "values": values, "aim": row.aim })
        });
        json!({
            "machine": { "cores": facts.cores, "cpu": facts.cpu, "kernel": facts.kernel, "load_before": facts.load },
            "figures": rows.collect::<Vec<_>>(),
            "notes": self.notes,
        })
    }
}

/// Three digits that matter, and no more.
fn short(value: f64) -> String {
    match value.abs() {
        v if v.fract() == 0.0 || v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_stands_in_the_table_and_in_the_json_alike() {
        let facts = Facts { cores: 2, cpu: "Test".into(), kernel: "6".into(), load: 0.5 };
        let mut report = Report::default();
        report.spread("Turns", "own share", "ms", &[5.0, 15.25].into_iter().collect(), "p99 ≤ 40");
        report.values("Load", "CPU", "ms", &[("per call-second", 4.5)], "");
        let table = report.table(&facts);
        assert!(
            table.contains("own share  ms     p50 5  p95 15.2  p99 15.2  max 15.2  n 2   (aim: p99 ≤ 40)")
        );
        let json = report.json(&facts);
        assert_eq!(json["figures"][0]["values"]["p99"], json!(15.25));
        assert_eq!(json["figures"][1]["values"]["per call-second"], json!(4.5));
        assert_eq!(json["machine"]["cores"], json!(2));
    }
}
