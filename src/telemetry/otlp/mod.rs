//! A call's events as spans of one trace, exported turn by turn over OTLP/HTTP.
//! Knows events and names. Whatever the collector does, a call never notices: what does not fit is dropped and counted.

mod calls;
mod exporter;
mod ids;
mod names;
mod span;
mod turn;

pub use calls::{AgentLabels, CallSpans, Labels, TargetLabels};
pub use exporter::{Exporter, OtlpConfig, SPAN_QUEUE};
pub(crate) use ids::trace_id_text;
pub use ids::{Part, traceparent};
pub use names::{Profile, SCHEMA_URL};
pub use span::{Kind, Span, Value, plain};
