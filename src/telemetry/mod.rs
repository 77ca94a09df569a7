//! What the server tells about itself: traces, metrics, logs.
//! Knows events and sinks. Decides nothing; whatever cannot be told in time is dropped and counted.

pub mod alerts;
pub mod call_trace;
mod gateway_metrics;
pub mod live;
pub mod logs;
mod media_metrics;
pub mod metrics;
pub mod otlp;
pub mod pii;
mod pool_metrics;
mod process_metrics;
mod record_metrics;
mod sip_metrics;
pub mod traces;
mod turn_metrics;

pub use call_trace::{CallTrace, NumberedEvent};
pub use live::{LiveEvent, LiveEvents};
pub use metrics::Metrics;
pub(crate) use otlp::trace_id_text;
pub use pii::Pii;
pub use traces::TraceSink;
