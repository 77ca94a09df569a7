//! Keeps one address of record registered: when to ask which registrar, and what its answers mean
//! (RFC 3261 section 10.2). Knows time and answers. Knows no messages, names or sockets: the shell sends.

use crate::endpoint::OutgoingRequest;
use crate::headers::{NameAddr, param, split_list};
use crate::identifiers::Identifiers;
use std::fmt;
use std::time::{Duration, Instant};

/// A registration longer than this is renewed as if it were this long.
const LONGEST: u32 = 7 * 24 * 3_600;
/// Registrations are renewed no more often than this, however short they are.
const SHORTEST_REFRESH: Duration = Duration::from_secs(5);
/// A Retry-After beyond this is somebody's mistake.
const LONGEST_RETRY_AFTER: u64 = 3_600;
/// How often in a row a registrar may find our expiry too brief.
const MAX_TOO_BRIEF: u8 = 2;
/// Names the shell may have lost: a request with two rounds of authentication takes 96 s at most.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);
/// A reason phrase is shown up to this length, in characters.
const REASON_LENGTH: usize = 64;

/// What to keep registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrationConfig {
    /// Request-URIs of the registrars, best first.
    pub registrars: Vec<String>,
    /// The expiry asked for, in seconds.
    pub expires_s: u32,
    /// The shortest pause after all registrars have failed.
    pub retry_min: Duration,
    /// The longest.
    pub retry_max: Duration,
    /// How long another registrar serves before the first is tried again, at the next refresh.
    pub return_after: Duration,
}

impl RegistrationConfig {
    /// The usual times: 3600 s, 5 s to 5 min, 10 min.
    pub fn new(registrars: Vec<String>) -> Self {
        Self {
            registrars,
            expires_s: 3_600,
            retry_min: Duration::from_secs(5),
            retry_max: Duration::from_secs(300),
            return_after: Duration::from_secs(600),
        }
    }
}

/// What happened.
#[derive(Clone, Copy)]
pub enum RegistrationInput<'a> {
    /// Register, and stay registered.
    Start,
    /// The final response to the REGISTER of that attempt, 408 and 503 of our own included.
    Response {
        /// From [`RegistrationOutput::Register`]; an answer to an older one is ignored.
        attempt: u64,
        /// 200 to 699.
        status: u16,
        /// The reason phrase.
        reason: &'a str,
        /// As in [`crate::Event::Response`]: the only Contact is ours.
        headers: &'a [(String, String)],
    },
    /// Un-register.
    Stop,
    /// The REGISTER could not be sent (no address, no connection), or the stream it was sent on is gone.
    TransportFailed,
    /// The instant that `step` asked for has come.
    Timeout,
}

impl fmt::Debug for RegistrationInput<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("Start"),
            Self::Response { attempt, status, .. } => write!(f, "Response({attempt}) {status}"),
            Self::Stop => f.write_str("Stop"),
            Self::TransportFailed => f.write_str("TransportFailed"),
            Self::Timeout => f.write_str("Timeout"),
        }
    }
}

/// What to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistrationOutput {
    /// Send a REGISTER. Another one is not asked for before this one is answered.
    Register {
        /// Goes into [`RegistrationInput::Response`].
        attempt: u64,
        /// Which registrar, as an index.
        registrar: usize,
        /// Its Request-URI.
        uri: String,
        /// Value of the Expires header; 0 un-registers.
        expires_s: u32,
        /// The Call-ID.
        call_id: String,
        /// The CSeq number.
        cseq: u32,
    },
    /// For whoever watches.
    State(RegistrationState),
}

/// How a registration stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistrationState {
    /// Not wanted, or no longer.
    Unregistered,
    /// Asked, not answered.
    Registering,
    /// Calls can reach us.
    Registered {
        /// When the registrar forgets us unless asked again.
        until: Instant,
    },
    /// All registrars have failed.
    Failed {
        /// What the last one said.
        reason: String,
        /// When the first is asked again.
        retry_at: Instant,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    /// A REGISTER is under way; `leaving` = with expiry 0.
    Asking {
        leaving: bool,
        since: Instant,
    },
    Bound {
        refresh_at: Instant,
    },
    Resting {
        retry_at: Instant,
    },
}

/// Where a registrar may still have our Contact.
#[derive(Debug, Clone, Copy)]
struct Binding {
    registrar: usize,
    until: Instant,
}

/// The machine.
pub struct Registration {
    config: RegistrationConfig,
    identifiers: Identifiers,
    call_ids: Vec<String>,
    cseq: u32,
    attempt: u64,
    wanted: bool,
    phase: Phase,
    registrar: usize,
    /// Registrars that failed in this round.
    tried: usize,
    /// Rounds in which all failed, in a row.
    rounds_failed: u32,
    too_brief: u8,
    /// Grows when a registrar finds it too brief.
    expires_s: u32,
    binding: Option<Binding>,
    /// When the first registrar failed last, until it serves again.
    first_failed_at: Option<Instant>,
}

impl Registration {
    /// Nothing is registered yet. Without registrars nothing ever is.
    pub fn new(config: RegistrationConfig, seed: [u8; 32]) -> Self {
        let mut identifiers = Identifiers::new(seed);
        let call_ids = config.registrars.iter().map(|_| identifiers.call_id()).collect();
        Self {
            call_ids,
            cseq: identifiers.cseq(),
            identifiers,
            attempt: 0,
            wanted: false,
            phase: Phase::Idle,
            registrar: 0,
            tried: 0,
            rounds_failed: 0,
            too_brief: 0,
            expires_s: config.expires_s,
            binding: None,
            first_failed_at: None,
            config,
        }
    }

    /// The one verb. Returns when to come back with [`RegistrationInput::Timeout`]; `None` if nothing is pending.
    pub fn step(
        &mut self,
        now: Instant,
        input: RegistrationInput<'_>,
        out: &mut Vec<RegistrationOutput>,
    ) -> Option<Instant> {
        match input {
            RegistrationInput::Start => self.start(now, out),
            RegistrationInput::Stop => self.stop(now, out),
            RegistrationInput::Response { attempt, status, reason, headers } => {
                if let Phase::Asking { leaving, since } = self.phase
                    && attempt == self.attempt
                {
                    self.answered((now, since), leaving, (status, reason, headers), out);
                }
            }
            RegistrationInput::TransportFailed => self.transport_failed(now, out),
            RegistrationInput::Timeout => self.timeout(now, out),
        }
        match self.phase {
            Phase::Idle => None,
            Phase::Asking { since, .. } => Some(since + ANSWER_LIMIT),
            Phase::Bound { refresh_at } => Some(refresh_at),
            Phase::Resting { retry_at } => Some(retry_at),
        }
    }

    /// Where calls can reach us now: the index of the registrar that knows our Contact, and until when.
    pub fn bound(&self, now: Instant) -> Option<(usize, Instant)> {
        self.binding.filter(|binding| binding.until > now).map(|binding| (binding.registrar, binding.until))
    }

    fn start(&mut self, now: Instant, out: &mut Vec<RegistrationOutput>) {
        self.wanted = !self.config.registrars.is_empty();
        if self.wanted && self.phase == Phase::Idle {
            self.begin_round(now, out);
        }
    }

    fn stop(&mut self, now: Instant, out: &mut Vec<RegistrationOutput>) {
        self.wanted = false;
        match self.phase {
            // What is under way is waited for: two at once would race.
            Phase::Idle | Phase::Asking { .. } => {}
            Phase::Bound { .. } | Phase::Resting { .. } => self.leave(now, out),
        }
    }

    /// All registrars from the first.
    fn begin_round(&mut self, now: Instant, out: &mut Vec<RegistrationOutput>) {
        self.registrar = 0;
        self.tried = 0;
        self.too_brief = 0;
        out.push(RegistrationOutput::State(RegistrationState::Registering));
        self.ask(now, self.registrar, self.expires_s, out);
    }

    fn ask(&mut self, now: Instant, registrar: usize, expires_s: u32, out: &mut Vec<RegistrationOutput>) {
        let (Some(uri), Some(call_id)) =
            (self.config.registrars.get(registrar), self.call_ids.get(registrar))
        else {
            return;
        };
        self.attempt += 1;
        self.cseq += OutgoingRequest::CSEQ_STRIDE;
        out.push(RegistrationOutput::Register {
            attempt: self.attempt,
            registrar,
            uri: uri.clone(),
            expires_s,
            call_id: call_id.clone(),
            cseq: self.cseq,
        });
        self.phase = Phase::Asking { leaving: expires_s == 0, since: now };
    }

    /// Un-registers where a binding may still be; otherwise there is nothing to undo.
    fn leave(&mut self, now: Instant, out: &mut Vec<RegistrationOutput>) {
        match self.bound(now) {
            Some((registrar, _)) => self.ask(now, registrar, 0, out),
            None => self.left(now, out),
        }
    }

    fn left(&mut self, now: Instant, out: &mut Vec<RegistrationOutput>) {
        self.binding = None;
        self.phase = Phase::Idle;
        self.rounds_failed = 0;
        self.expires_s = self.config.expires_s;
        out.push(RegistrationOutput::State(RegistrationState::Unregistered));
        if self.wanted {
            self.begin_round(now, out);
        }
    }

    fn answered(
        &mut self,
        (now, since): (Instant, Instant),
        leaving: bool,
        (status, reason, headers): (u16, &str, &[(String, String)]),
        out: &mut Vec<RegistrationOutput>,
    ) {
        if leaving {
            // Refused or not: a binding that is not renewed lapses.
            return self.left(now, out);
        }
        if (200..300).contains(&status) {
            return match granted(headers, self.expires_s) {
                0 => self.failed(now, "the registrar keeps no binding".to_owned(), Duration::ZERO, out),
                granted => self.registered((now, since), granted, out),
            };
        }
        let wished = number(headers, "Min-Expires").unwrap_or(0);
        if status == 423 && self.wanted && wished > self.expires_s && wished <= LONGEST {
            self.too_brief += 1;
            if self.too_brief <= MAX_TOO_BRIEF {
                self.expires_s = wished;
                return self.ask(now, self.registrar, wished, out);
            }
        }
        let shown: String = reason.chars().filter(|c| !c.is_control()).take(REASON_LENGTH).collect();
        let pause = match status {
            // Nothing changes soon, and asking often with wrong credentials looks like an attack.
            401 | 403 | 404 | 407 => self.config.retry_max / 5,
            _ => Duration::from_secs(
                u64::from(number(headers, "Retry-After").unwrap_or(0)).min(LONGEST_RETRY_AFTER),
            ),
        };
        self.failed(now, format!("{status} {shown}").trim_end().to_owned(), pause, out);
    }

    /// `since` is when it was asked: the registrar counts from no earlier, and its answer may have taken long.
    fn registered(
        &mut self,
        (now, since): (Instant, Instant),
        granted: u32,
        out: &mut Vec<RegistrationOutput>,
    ) {
        let granted = Duration::from_secs(u64::from(granted.min(LONGEST)));
        let until = since + granted;
        self.binding = Some(Binding { registrar: self.registrar, until });
        self.tried = 0;
        self.rounds_failed = 0;
        self.too_brief = 0;
        if self.registrar == 0 {
            self.first_failed_at = None;
        }
        out.push(RegistrationOutput::State(RegistrationState::Registered { until }));
        // Between 50 and 80 % of its life, so that a thousand trunks do not come back at once.
        let share = 500 + self.identifiers.below(301);
        self.phase =
            Phase::Bound { refresh_at: (since + granted * share / 1_000).max(now + SHORTEST_REFRESH) };
        if !self.wanted {
            self.leave(now, out);
        }
    }

    /// This registrar has failed: the next one now, or all of them later.
    fn failed(&mut self, now: Instant, reason: String, pause: Duration, out: &mut Vec<RegistrationOutput>) {
        if !self.wanted {
            return self.leave(now, out);
        }
        if self.registrar == 0 {
            self.first_failed_at = Some(now);
        }
        self.tried += 1;
        self.too_brief = 0;
        if self.tried < self.config.registrars.len() {
            self.registrar = (self.registrar + 1) % self.config.registrars.len();
            return self.ask(now, self.registrar, self.expires_s, out);
        }
        let doubled = (self.config.retry_min * 3 / 2) * (1 << self.rounds_failed.min(16));
        self.rounds_failed = self.rounds_failed.saturating_add(1);
        let longest = doubled.clamp(self.config.retry_min, self.config.retry_max.max(self.config.retry_min));
        let share = 667 + self.identifiers.below(334);
        let jittered = (longest * share / 1_000).max(self.config.retry_min);
        let retry_at = now + jittered.max(pause * (1_000 + self.identifiers.below(101)) / 1_000);
        self.phase = Phase::Resting { retry_at };
        out.push(RegistrationOutput::State(RegistrationState::Failed { reason, retry_at }));
    }

    fn transport_failed(&mut self, now: Instant, out: &mut Vec<RegistrationOutput>) {
        match self.phase {
            Phase::Asking { leaving: true, .. } => self.left(now, out),
            Phase::Asking { leaving: false, .. } => {
                self.failed(now, "transport failed".to_owned(), Duration::ZERO, out);
            }
            // The registrar would send calls into a stream that is gone.
            Phase::Bound { refresh_at } => {
                let soon = now + Duration::from_millis(u64::from(self.identifiers.below(2_000)));
                self.phase = Phase::Bound { refresh_at: refresh_at.min(soon) };
            }
            Phase::Idle | Phase::Resting { .. } => {}
        }
    }

    fn timeout(&mut self, now: Instant, out: &mut Vec<RegistrationOutput>) {
        match self.phase {
            Phase::Asking { leaving, since } if since + ANSWER_LIMIT <= now => {
                self.answered((now, since), leaving, (408, "no answer", &[]), out);
            }
            Phase::Bound { refresh_at } if refresh_at <= now => {
                let long_ago = |at: Instant| now >= at + self.config.return_after;
                if self.first_failed_at.is_some_and(long_ago) {
                    self.registrar = 0;
                }
                self.tried = 0;
                self.ask(now, self.registrar, self.expires_s, out);
            }
            Phase::Resting { retry_at } if retry_at <= now => self.begin_round(now, out),
            Phase::Idle | Phase::Asking { .. } | Phase::Bound { .. } | Phase::Resting { .. } => {}
        }
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Registration({:?} at registrar {})", self.phase, self.registrar)
    }
}

fn value<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// The digits a header value begins with; `Retry-After` may have a comment behind them.
fn number(headers: &[(String, String)], name: &str) -> Option<u32> {
    let text = value(headers, name)?.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

/// How long the registrar keeps us, in seconds: our Contact's own `expires`, else the Expires header, else as asked.
fn granted(headers: &[(String, String)], asked: u32) -> u32 {
    let contact = value(headers, "Contact").and_then(|text| split_list(text).next());
    let own = contact.and_then(NameAddr::parse).and_then(|addr| param(addr.params, "expires")?.parse().ok());
    own.or_else(|| number(headers, "Expires")).unwrap_or(asked)
}
