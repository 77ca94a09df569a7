//! `loadtest echo`: calls on the server's own media threads whose machine is a jitter buffer and nothing more.
//! Knows the server's sockets and threads. There is no SIP, no turn and no provider in it.

use call::{
    CallId, Input, Output, Stamped,
    cdr::{Arrival, Cdr},
    port_slots::PortSlot,
};
use conversation::{LlmRequest, ToolCall, TurnId, Variables};
use media::{Codec, FRAME, JitterConfig, Receiver, ReceiverConfig, SampleRate, Sender, SenderConfig};
use sip::DialogKey;
use std::{
    io::Write as _,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};
use tandem::{
    call_actor::{CallActor, CallParts, Machine, Models, Providers, Tools, TraceSink},
    media_threads::{Command, MediaPriority, MediaThreads},
    providers::{CallInfo, Events, Request, SpeechToText, SttStream, TextToSpeech, TtsStream},
    rtp_socket::RtpSockets,
};
use tokio::sync::mpsc;

/// Sends audio back through a jitter buffer, on the server's media threads.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The address of the sockets.
    #[arg(long)]
    address: IpAddr,
    /// The first port; each call has this one and the next.
    #[arg(long)]
    port: u16,
    /// Calls.
    #[arg(long)]
    calls: u16,
}

/// A call that only hears and repeats.
struct Echo {
    receiver: Receiver,
    sender: Sender,
    peer: Option<SocketAddr>,
    next: Option<Instant>,
}

impl Echo {
    fn new(number: u16) -> Self {
        let codec = Codec::Pcmu;
        Self {
            receiver: Receiver::new(ReceiverConfig {
                codec,
                payload_type: 0,
                telephone_event: None,
                comfort_noise: None,
                jitter: JitterConfig::default(),
            }),
            sender: Sender::new(SenderConfig {
                codec,
                payload_type: 0,
                telephone_event: None,
                ssrc: u32::from(number) + 1,
                sequence: 0,
                timestamp: 0,
            }),
            peer: None,
            next: None,
        }
    }
}

impl Machine for Echo {
    fn step(&mut self, now: Instant, input: Input<'_>, out: &mut Vec<Output>) -> Option<Instant> {
        let due = *self.next.get_or_insert(now);
        if let Input::Rtp { from, datagram } = input {
            self.peer = Some(from);
            self.receiver.receive(now, datagram);
        } else if now >= due {
            let heard = self.receiver.pop(now);
            let behind = ((now - due).as_nanos() / FRAME.as_nanos()) as u32;
            self.sender.skip(behind);
            if let Some(to) = self.peer {
                out.push(Output::SendRtp { to, datagram: self.sender.packet(&heard.frame, false) });
            }
            self.next = Some(due + FRAME * (behind + 1));
        }
        self.next
    }
}

/// Providers and records of calls that need none.
struct Nobody;

impl SpeechToText for Nobody {
    fn start(&self, _: &CallInfo, _: Events) -> SttStream {
        SttStream::new(mpsc::channel(1).0, None)
    }
}

impl TextToSpeech for Nobody {
    fn open(&self, _: &CallInfo, _: Events) -> TtsStream {
        TtsStream::new(mpsc::channel(1).0, None)
    }
}

impl Models for Nobody {
    fn ask(&self, _: &CallInfo, _: TurnId, _: LlmRequest, _: Events) -> Request {
        Request::new(tokio::spawn(std::future::pending()))
    }
}

impl Tools for Nobody {
    fn run(&self, _: &CallInfo, _: TurnId, _: ToolCall, _: Variables, _: Events) {}
}

impl TraceSink for Nobody {
    fn record(&self, _: CallId, _: Stamped) {}
}

/// Runs until it is ended.
pub(crate) fn run(args: &Args) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let threads = MediaThreads::start(
        MediaThreads::default_count(),
        MediaPriority::default(),
        runtime.handle(),
        &(Arc::new(|_| Ok(())) as _),
    );
    let threads = threads.map_err(|error| error.to_string())?;
    let _runtime = runtime.enter();
    for number in 0..args.calls {
        let port = args.port + 2 * number;
        let sockets = RtpSockets::bind(args.address, port).map_err(|error| format!("{port}: {error}"))?;
        let thread = &threads.threads()[usize::from(number) % threads.threads().len()];
        let dialog = DialogKey(u64::from(number));
        let mut start = Command::Start(Box::new(CallActor::new(CallParts {
            dialog,
            invited: Instant::now(),
            cdr: Cdr::new(arrival(number)),
            slot: PortSlot(u32::from(number)),
            sockets,
            machine: Box::new(Echo::new(number)),
            info: CallInfo {
                call: CallId(u64::from(number)),
                rate: SampleRate::Hz8000,
                language: "en".into(),
                turn: None,
                may_hedge: false,
            },
            providers: Providers {
                stt: Arc::new(Nobody),
                models: Arc::new(Nobody),
                tts: Arc::new(Nobody),
                tools: Arc::new(Nobody),
                documents: None,
                languages: Default::default(),
            },
            team: Default::default(),
            keeper: None,
            trace: Arc::new(Nobody),
            counters: Arc::default(),
            knocker: thread.knocker(dialog),
            recording: None,
            vad: None,
            listener: None,
        })));
        while let Err(again) = thread.try_send(start) {
            start = again;
            std::thread::yield_now();
        }
    }
    println!("listening on {} calls", args.calls);
    let _somebody_reads_it = std::io::stdout().flush();
    loop {
        std::thread::park();
    }
}

fn arrival(number: u16) -> Arrival {
    Arrival {
        call: CallId(u64::from(number)),
        sip_call_id: String::new(),
        invited_at_us: 0,
        trunk: String::new(),
        caller: String::new(),
        called: String::new(),
    }
}
