//! The one task that owns the endpoint: it waits for sockets, requests and timers, and does what the endpoint says.
//! Decides nothing, and no bytes from outside end it.

use super::{
    Handler, Ladders, Request, STREAM_MESSAGES, SipCounters, SipHandle, SipSockets, SipTransportConfig,
    connections::{Connections, Inbound},
    hep::{Hep, Way},
    listeners::Readable,
    masked::{call_id, masked},
    tls,
};
use sip::{Command, DialogKey, Endpoint, Event, Flow, Input, Output, Transport};
use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{MissedTickBehavior, interval, sleep, sleep_until},
};

/// Datagrams worked on before requests and timers get their turn.
const DATAGRAMS_AT_ONCE: usize = 64;

/// The largest datagram there is.
const DATAGRAM: usize = 65_535;

/// When an endpoint that panicked is asked again.
const AFTER_PANIC: Duration = Duration::from_millis(500);

/// How long accepting pauses when the kernel has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(5);

pub(super) struct Task<H: Handler> {
    sockets: SipSockets,
    endpoint: Endpoint,
    handler: H,
    connections: Connections,
    counters: Arc<SipCounters>,
    ladders: Ladders,
    hep: Option<Hep>,
    requests: mpsc::Receiver<Request<H::Message>>,
    inbound: mpsc::Receiver<Inbound>,
    /// Looks after the certificates.
    certificates: JoinHandle<()>,
    wake: Option<Instant>,
    /// Commands that the handler gave and the endpoint has not taken yet.
    commands: VecDeque<Command>,
    /// Flows that turned out to be closed, for the endpoint to know.
    closed: Vec<Flow>,
    out: Vec<Output>,
    buffer: Vec<u8>,
    stopped: bool,
}

impl<H: Handler> Task<H> {
    pub(super) fn new(
        sockets: SipSockets,
        endpoint: Endpoint,
        handler: H,
        config: SipTransportConfig,
        (handle, requests): (SipHandle<H::Message>, mpsc::Receiver<Request<H::Message>>),
    ) -> Self {
        let (messages, inbound) = mpsc::channel(STREAM_MESSAGES);
        let counters = Arc::clone(&handle.counters);
        let tls = (Arc::clone(&sockets.tls), handle.names.clone());
        let hep = config.hep.as_ref().and_then(|hep| match Hep::open(hep) {
            Ok(hep) => Some(hep),
            Err(error) => {
                tracing::warn!(to = %hep.to, %error, "SIP messages cannot be copied to the capture server");
                None
            }
        });
        let certificates = tokio::spawn(tls::watch(Arc::clone(&sockets.tls), Arc::clone(&counters)));
        Self {
            sockets,
            endpoint,
            handler,
            connections: Connections::new(Arc::new(config), Arc::clone(&counters), messages, tls),
            counters,
            ladders: handle.ladders.clone(),
            hep,
            requests,
            inbound,
            certificates,
            wake: None,
            commands: VecDeque::new(),
            closed: Vec::new(),
            out: Vec::new(),
            buffer: vec![0; DATAGRAM],
            stopped: false,
        }
    }

    pub(super) async fn run(mut self) {
        let mut second = interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Far away rather than never: a sleep needs a time.
        let far = || Instant::now() + Duration::from_secs(3_600);
        while !self.stopped {
            let wake = self.wake.unwrap_or_else(far);
            tokio::select! {
                readable = self.sockets.readable() => match readable {
                    Readable::Udp(number) => self.read_datagrams(number),
                    Readable::Stream(transport, Ok((stream, remote))) => {
                        self.connections.accept(transport, stream, remote);
                    }
                    // The stranger has gone again, or we are out of descriptors.
                    Readable::Stream(_, Err(_)) => sleep(ACCEPT_PAUSE).await,
                },
                Some(request) = self.requests.recv() => self.obey(request),
                Some(inbound) = self.inbound.recv() => self.take_inbound(inbound),
                () = sleep_until(wake.into()) => self.step(Input::Timeout),
                _ = second.tick() => self.second(),
            }
        }
        self.certificates.abort();
    }

    fn read_datagrams(&mut self, number: usize) {
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..DATAGRAMS_AT_ONCE {
            let Some((flow, length)) = self.sockets.receive(number, &mut buffer) else { break };
            self.counters.received(Transport::Udp);
            self.step(Input::Message { flow, bytes: &buffer[..length] });
        }
        self.buffer = buffer;
    }

    fn obey(&mut self, request: Request<H::Message>) {
        match request {
            Request::Command(command) => self.step(Input::Command(*command)),
            Request::Message(message) => {
                self.ask_handler(|handler, commands| handler.message(Instant::now(), message, commands));
            }
            Request::Connect { flow, reply } => self.connections.connect(&flow, reply),
            Request::Stop => self.stopped = true,
        }
    }

    fn take_inbound(&mut self, inbound: Inbound) {
        match inbound {
            Inbound::Opened(flow) => self.connections.opened(&flow),
            Inbound::Message(flow, bytes) => {
                self.counters.received(flow.transport);
                self.step(Input::Message { flow, bytes: &bytes });
            }
            Inbound::Closed(flow, end) => {
                self.closed.extend(self.connections.closed(&flow, end));
                self.run_commands(Vec::new());
            }
        }
    }

    fn second(&mut self) {
        let mut commands = Vec::new();
        let Self { handler, endpoint, counters, .. } = self;
        guard(counters, || handler.second(Instant::now(), endpoint.statistics(), &mut commands));
        self.run_commands(commands);
    }

    fn ask_handler(&mut self, ask: impl FnOnce(&mut H, &mut Vec<Command>)) {
        let mut commands = Vec::new();
        guard(&self.counters, || ask(&mut self.handler, &mut commands));
        self.run_commands(commands);
    }

    fn run_commands(&mut self, commands: Vec<Command>) {
        self.commands.extend(commands);
        loop {
            if let Some(flow) = self.closed.pop() {
                self.step_once(Input::FlowClosed { flow });
            } else if let Some(command) = self.commands.pop_front() {
                self.step_once(Input::Command(command));
            } else {
                return;
            }
        }
    }

    /// Steps the endpoint, and again with everything that its outputs lead to.
    fn step(&mut self, input: Input<'_>) {
        self.step_once(input);
        self.run_commands(Vec::new());
    }

    fn step_once(&mut self, input: Input<'_>) {
        let now = Instant::now();
        let mut out = std::mem::take(&mut self.out);
        let Self { endpoint, counters, .. } = self;
        let (received, placed) = match &input {
            Input::Message { flow, bytes } => (Some((*flow, *bytes)), None),
            Input::Command(Command::Invite(invite)) => (None, Some(invite.dialog)),
            Input::Command(_) | Input::FlowClosed { .. } | Input::Timeout => (None, None),
        };
        let stepped = guard(counters, || endpoint.step(now, input, &mut out));
        self.open_ladders(placed, &out);
        if let Some((flow, bytes)) = received {
            self.note(&flow, Way::In, bytes);
        }
        // After a panic the endpoint is asked again soon. And one that is never done with a time must not keep us from
        // everything else.
        let wake = stepped.unwrap_or_else(|| Some(now + AFTER_PANIC));
        self.wake = wake.map(|wake| wake.max(now + Duration::from_millis(1)));
        for output in out.drain(..) {
            self.carry_out(now, output);
        }
        self.out = out;
    }

    /// Calls that begin with this step are written down from their first message on.
    fn open_ladders(&self, placed: Option<DialogKey>, out: &[Output]) {
        if let Some(dialog) = placed
            && let Some(call_id) = self.endpoint.sip_call_id(dialog)
        {
            self.ladders.begin(dialog, call_id);
        }
        for output in out {
            match output {
                Output::Event(Event::Invite(invite)) => {
                    self.ladders.begin(invite.dialog, &invite.sip_call_id)
                }
                Output::Event(Event::Refused { sip_call_id, .. }) => self.ladders.refused(sip_call_id),
                Output::Event(_) | Output::Send { .. } | Output::CloseFlow { .. } => {}
            }
        }
    }

    fn note(&mut self, flow: &Flow, way: Way, bytes: &[u8]) {
        let Some(call_id) = call_id(bytes) else { return };
        self.ladders.note((flow, way), call_id, bytes);
        if let Some(hep) = &mut self.hep {
            hep.copy(&self.counters, (flow, way), call_id, masked(bytes).as_bytes());
        }
    }

    fn carry_out(&mut self, now: Instant, output: Output) {
        match output {
            Output::Send { flow, bytes } => {
                self.note(&flow, Way::Out, &bytes);
                self.send(&flow, bytes);
            }
            Output::CloseFlow { flow } => self.closed.extend(self.connections.close(&flow)),
            Output::Event(event) => {
                if let Event::Ended { dialog } = &event {
                    self.ladders.end(*dialog);
                }
                let mut commands = Vec::new();
                guard(&self.counters, || self.handler.event(now, event, &mut commands));
                self.commands.extend(commands);
            }
        }
    }

    fn send(&mut self, flow: &Flow, bytes: Vec<u8>) {
        match flow.transport {
            Transport::Udp => {
                if self.sockets.send(flow, &bytes).is_ok() {
                    self.counters.sent(Transport::Udp);
                } else {
                    SipCounters::count(&self.counters.datagrams_failed);
                }
            }
            Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => {
                match self.connections.send(flow, bytes) {
                    Ok(()) => self.counters.sent(flow.transport),
                    Err(closed) => {
                        SipCounters::count(&self.counters.stream_messages_failed);
                        self.closed.extend(closed);
                    }
                }
            }
        }
    }
}

/// The last resort against a bug: what was being worked on is lost, and nothing else.
fn guard<T>(counters: &SipCounters, work: impl FnOnce() -> T) -> Option<T> {
    let done = catch_unwind(AssertUnwindSafe(work)).ok();
    if done.is_none() {
        counters.panics.fetch_add(1, Ordering::Relaxed);
        tracing::error!("a panic was caught while working on a SIP message; this is a bug, please report it");
    }
    done
}
