//! The SIP endpoint: one machine for all calls, with its transactions and dialogs (RFC 3261 as UAS and UAC).
//! Messages, commands and time come in; messages and events go out. Knows no socket and no clock.

mod abilities;
mod admission;
mod answers;
mod authentication;
mod config;
mod facts;
mod farewell;
mod in_dialog;
mod io;
mod large;
mod refer;
mod registrations;
mod reliable;
mod reports;
mod requests;
mod responses;
mod routing;
mod statistics;
mod store;
mod timeouts;
mod timer;
mod uac;
mod uas;
mod update;

pub use config::EndpointConfig;
pub use farewell::SavedDialog;
pub use io::{
    Address, Command, DialogKey, Event, Flow, IncomingInvite, Input, OutgoingInvite, OutgoingRequest, Output,
    RequestKey, Transport,
};
pub use statistics::EndpointStatistics;

use crate::gate::{Explained, Facts, Gate};
use crate::identifiers::Identifiers;
use crate::message::StartLine;
use crate::parser::{ParseError, parse};
use crate::pending::Answer;
use crate::registrar::Registrar;
use reports::Reports;
use std::collections::VecDeque;
use std::time::Instant;
use store::Store;

/// The machine.
pub struct Endpoint {
    config: EndpointConfig,
    identifiers: Identifiers,
    /// Makes the tags of stateless answers unguessable and yet the same for every copy of a request.
    secret: u64,
    store: Store,
    statistics: EndpointStatistics,
    draining: bool,
    last_dialog: u64,
    reports: Reports,
    gate: Option<Gate>,
    registrar: Registrar,
    /// Subscriptions of REFERs whose dialogs have ended.
    lingering: VecDeque<refer::Lingering>,
}

/// One step: its time and where its outputs go.
struct Step<'a> {
    now: Instant,
    out: &'a mut Vec<Output>,
}

impl Step<'_> {
    fn event(&mut self, event: Event) {
        self.out.push(Output::Event(event));
    }
}

impl Endpoint {
    /// A new endpoint. All its identifiers come from `seed`.
    pub fn new(config: EndpointConfig, seed: [u8; 32]) -> Self {
        let mut identifiers = Identifiers::new(seed);
        let secret = identifiers.secret();
        let gate = config.gate.clone().map(|rules| Gate::new(rules, identifiers.key()));
        let limits = config.gate.as_ref().map(|rules| rules.registrar.clone()).unwrap_or_default();
        let registrar = Registrar::new(limits);
        Self {
            config,
            identifiers,
            secret,
            store: Store::default(),
            statistics: EndpointStatistics::default(),
            draining: false,
            last_dialog: 0,
            reports: Reports::default(),
            gate,
            registrar,
            lingering: VecDeque::new(),
        }
    }

    /// The one verb. Returns when to come back with [`Input::Timeout`]; `None` if nothing is pending.
    pub fn step(&mut self, now: Instant, input: Input<'_>, out: &mut Vec<Output>) -> Option<Instant> {
        let mut step = Step { now, out };
        match input {
            Input::Message { flow, bytes } => self.handle_message(&mut step, flow, bytes),
            Input::FlowClosed { flow } => {
                self.unregister_flow(&mut step, flow);
                self.handle_flow_closed(&mut step, flow);
            }
            Input::Command(command) => self.handle_command(&mut step, command),
            Input::Timeout => {}
        }
        self.fire_due(&mut step);
        self.expire_registrations(&mut step);
        self.statistics.transactions = self.store.transactions();
        self.statistics.dialogs = self.store.dialogs.len();
        if let Some(gate) = &self.gate {
            gate.update(&mut self.statistics.gate);
        }
        [self.store.next_wake(), self.registrar.next_wake()].into_iter().flatten().min()
    }

    /// The Call-ID of a dialog, as long as it exists.
    pub fn sip_call_id(&self, dialog: DialogKey) -> Option<&str> {
        self.store.dialogs.get(&dialog).map(|dialog| dialog.call_id.as_str())
    }

    /// What each trunk says to a request from outside, in the order of the configuration; nothing without a gate.
    pub fn explain(&self, facts: &Facts<'_>) -> Vec<Explained> {
        self.gate.as_ref().map(|gate| gate.explain(facts)).unwrap_or_default()
    }

    /// What has passed through.
    pub fn statistics(&self) -> &EndpointStatistics {
        &self.statistics
    }

    fn handle_message(&mut self, step: &mut Step<'_>, flow: Flow, bytes: &[u8]) {
        let message = match parse(bytes) {
            Ok(message) => message,
            Err(ParseError::Empty) => {
                self.statistics.keep_alives += 1;
                return;
            }
            Err(error) => {
                self.statistics.drop(parse_reason(error));
                if flow.transport.is_reliable() {
                    // Not SIP, or not to be trusted: nothing sensible can follow on this stream.
                    step.out.push(Output::CloseFlow { flow });
                }
                return;
            }
        };
        match &message.start {
            StartLine::Request { method, .. } => {
                self.statistics.request_in(method.name());
                self.handle_request(step, flow, (&message, bytes.len()));
            }
            StartLine::Response { status, .. } => {
                *self.statistics.responses_in.entry(*status).or_default() += 1;
                self.handle_response(step, flow, &message);
            }
        }
    }

    fn handle_command(&mut self, step: &mut Step<'_>, command: Command) {
        match command {
            Command::Respond { dialog, status, reason, sdp, headers } => {
                let answer = Answer { status, reason, sdp, headers };
                self.respond(step, dialog, answer);
            }
            Command::Invite(invite) => self.invite(step, invite),
            Command::Request(request) => self.request(step, request),
            Command::Cancel { dialog } => self.cancel(step, dialog),
            Command::Bye { dialog, reason } => self.hang_up(step, dialog, reason),
            Command::AddToBye { dialog, headers } => {
                if let Some(dialog) = self.store.dialogs.get_mut(&dialog) {
                    dialog.bye_headers = headers;
                }
            }
            Command::Reinvite { dialog, sdp } => self.reinvite(step, dialog, sdp),
            Command::Info { dialog, content_type, body } => self.info(step, dialog, &content_type, &body),
            Command::Update { dialog, sdp } => self.update(step, dialog, sdp),
            Command::Refer { dialog, refer_to, referred_by, headers } => {
                self.refer(step, dialog, (refer_to, referred_by), &headers);
            }
            Command::RespondRefer { dialog, status } => self.respond_refer(step, dialog, status),
            Command::Notify { dialog, event, state, content_type, body } => {
                self.notify(step, dialog, (&event, &state), (&content_type, &body));
            }
            Command::Farewell { saved, flow, reason } => self.farewell(step, *saved, flow, reason),
            Command::Drain(draining) => self.draining = draining,
        }
    }

    /// Sends, unless the address is one that must never be sent to.
    fn send(&mut self, step: &mut Step<'_>, flow: Flow, bytes: Vec<u8>) {
        if !routing::may_send_to(flow.remote) {
            self.statistics.drop("unsendable_address");
            return;
        }
        self.statistics.sent(&bytes);
        step.out.push(Output::Send { flow, bytes });
    }
}

fn parse_reason(error: ParseError) -> &'static str {
    match error {
        ParseError::Empty => "empty",
        ParseError::TooLarge => "too_large",
        ParseError::TooManyHeaders => "too_many_headers",
        ParseError::BadStartLine => "bad_start_line",
        ParseError::BadStatus => "bad_status",
    }
}
