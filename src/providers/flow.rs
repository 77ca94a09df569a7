//! The flow engine as a language model: deterministic, on this machine, able to take over in the middle of a call.
//! Knows how to stream its reply. What it says is `conversation::flow_reply`'s business.

use super::{CallInfo, LanguageModel, LlmSink, Request};
use call::LlmEvent;
use conversation::{Agent, LlmRequest, flow_reply};
use std::sync::Arc;
use tokio::runtime::Handle;

/// One agent's flow.
pub struct Flow {
    agent: Arc<Agent>,
    runtime: Handle,
}

impl Flow {
    /// Replies run on the runtime that this is called from.
    ///
    /// # Panics
    /// When called outside a tokio runtime.
    pub fn new(agent: Arc<Agent>) -> Self {
        Self { agent, runtime: Handle::current() }
    }
}

impl LanguageModel for Flow {
    fn ask(&self, _call: &CallInfo, request: LlmRequest, events: LlmSink) -> Request {
        let agent = Arc::clone(&self.agent);
        Request::new(self.runtime.spawn(async move {
            let reply = flow_reply(&agent, &request);
            let deltas = reply.pieces.into_iter().map(LlmEvent::Delta);
            let calls = reply.tool_calls.into_iter().map(LlmEvent::ToolCall);
            let done = LlmEvent::Done { input_tokens: None, output_tokens: None };
            for event in deltas.chain(calls).chain([LlmEvent::Expect(reply.expect), done]) {
                if events.send(event).await.is_err() {
                    return;
                }
            }
        }))
    }
}
