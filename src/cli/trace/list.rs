//! The list of calls: one line each, newest first.
//! Knows columns; takes records and gives text.

use super::{in_seconds, millis, moment, safe};
use crate::store::CallRecord;

/// The list as text.
pub fn render_list(calls: &[CallRecord], width: usize, colour: bool) -> String {
    if calls.is_empty() {
        return "No calls yet.\n".to_owned();
    }
    let rows: Vec<[String; 8]> = calls.iter().map(row).collect();
    let heads = ["call", "when", "from", "agent", "length", "turns", "gap p50", "end"].map(str::to_owned);
    let mut widths = [0; 8];
    for row in rows.iter().chain([&heads]) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    // Names may be long; figures may not be cut.
    let spare = (widths.iter().sum::<usize>() + 2 * (widths.len() - 1)).saturating_sub(width);
    widths[2] = widths[2].saturating_sub(spare.div_ceil(2)).max(8);
    widths[3] = widths[3].saturating_sub(spare / 2).max(8);
    let mut text = String::new();
    let head = line(&heads, &widths);
    text.push_str(&if colour { format!("\x1b[1m{head}\x1b[0m") } else { head });
    for row in &rows {
        text.push('\n');
        text.push_str(&line(row, &widths));
    }
    text.push('\n');
    text
}

fn row(record: &CallRecord) -> [String; 8] {
    let length = record.end_us.map(|end| in_seconds(end.saturating_sub(record.invite_us).unsigned_abs(), 1));
    let end = match (&record.end_cause, record.sip_status) {
        (Some(cause), Some(status)) if status != 200 => format!("{cause} ({status})"),
        (Some(cause), _) => cause.clone(),
        (None, _) => "running".to_owned(),
    };
    [
        record.call.to_string(),
        moment(record.invite_us),
        safe(record.caller.expose()),
        safe(record.agent.as_deref().unwrap_or("-")),
        length.unwrap_or_else(|| "-".to_owned()),
        record.turns.to_string(),
        record.gap_p50_us.map_or_else(|| "-".to_owned(), |us| format!("{} ms", millis(us))),
        safe(&end),
    ]
}

/// Figures stand to the right of their column, everything else to the left; the last one is not filled up.
fn line(cells: &[String; 8], widths: &[usize; 8]) -> String {
    let mut text = String::new();
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let cell: String = cell.chars().take(*width).collect();
        let filled = match column {
            4..=6 => format!("{cell:>width$}  "),
            7 => cell,
            _ => format!("{cell:<width$}  "),
        };
        text.push_str(&filled);
    }
    text
}
