//! What a period's calls amount to: one set of figures, shown as a table, as JSON or as a page with plots.
//! Knows call records. Where they come from, and which period is meant, is the command's business.

mod concurrency;
mod figures;
mod html;
mod plot;
mod table;

pub use concurrency::{Concurrency, Minute};
pub use figures::{BandLatency, Figures, Gap, Material, Money};
pub use html::page;
pub use table::table;
