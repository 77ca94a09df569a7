//! Promises of a registration over a link that loses, doubles and delays, with a registrar that has moods.
//! The registrar is written here; the machine and the endpoint are the product's.
#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod kit;

use kit::{kind, response, udp, value, zero};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sip::digest::{Credentials, DigestResponse, Password, digest_response};
use sip::message::Message;
use sip::parser::parse;
use sip::registration::{
    Registration, RegistrationConfig, RegistrationInput, RegistrationOutput, RegistrationState,
};
use sip::{Command, Endpoint, EndpointConfig, Event, Input, OutgoingRequest, Output, RequestKey};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const SEEDS: u64 = 60;
/// Simulated time of one seed, in seconds.
const LENGTH: u64 = 3 * 3_600;
const EXPIRES: u64 = 600;

enum Happening {
    ToRegistrar(Vec<u8>),
    ToUs(Vec<u8>),
    Wake,
}

struct Link {
    seed: u64,
    chance: ChaCha8Rng,
    now: Instant,
    begin: Instant,
    queue: BTreeMap<(Instant, u64), Happening>,
    queued: u64,
    registration: Registration,
    endpoint: Endpoint,
    registration_wake: Option<Instant>,
    endpoint_wake: Option<Instant>,
    under_way: Option<u64>,
    last_cseq: u32,
    state: Option<RegistrationState>,
    /// The registrar's side.
    bound_until: Option<Instant>,
    answers: BTreeMap<String, String>,
    registers: u64,
    lapses: u64,
}

impl Link {
    fn new(seed: u64) -> Self {
        let now = zero();
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let config = RegistrationConfig::new(vec!["sip:192.0.2.7".into()]);
        Self {
            seed,
            chance: ChaCha8Rng::from_seed(bytes),
            now,
            begin: now,
            queue: BTreeMap::new(),
            queued: 0,
            registration: Registration::new(config, bytes),
            endpoint: Endpoint::new(EndpointConfig::default(), bytes),
            registration_wake: None,
            endpoint_wake: None,
            under_way: None,
            last_cseq: 0,
            state: None,
            bound_until: None,
            answers: BTreeMap::new(),
            registers: 0,
            lapses: 0,
        }
    }

    fn percent(&mut self, percent: u32) -> bool {
        self.chance.next_u32() % 100 < percent
    }

    /// One in five is lost, one in ten comes twice, all are late by up to 400 ms.
    fn carry(&mut self, make: impl Fn() -> Happening) {
        let copies = if self.percent(20) { 0 } else { 1 + u32::from(self.percent(10)) };
        for _ in 0..copies {
            let delay = Duration::from_millis(u64::from(self.chance.next_u32() % 400));
            self.queued += 1;
            self.queue.insert((self.now + delay, self.queued), make());
        }
    }

    fn register(&mut self, input: RegistrationInput<'_>) {
        let mut out = Vec::new();
        self.registration_wake = self.registration.step(self.now, input, &mut out);
        for output in out {
            match output {
                RegistrationOutput::Register { attempt, uri, expires_s, call_id, cseq, .. } => {
                    assert_eq!(self.under_way, None, "seed {}: two at once", self.seed);
                    assert!(cseq > self.last_cseq, "seed {}: CSeq went back", self.seed);
                    self.last_cseq = cseq;
                    self.under_way = Some(attempt);
                    let aor = "sip:tandem@pbx.example".to_owned();
                    let request =
                        OutgoingRequest::new(RequestKey(attempt), "REGISTER", uri, aor.clone(), udp());
                    let request = OutgoingRequest {
                        to: aor,
                        headers: vec![("Expires".into(), expires_s.to_string())],
                        credentials: Some(Credentials {
                            realm: None,
                            username: "tandem".into(),
                            password: Password::new("pw"),
                        }),
                        call_id: Some(call_id),
                        cseq: Some(cseq),
                        ..request
                    };
                    self.endpoint(Input::Command(Command::Request(request)));
                }
                RegistrationOutput::State(state) => self.state = Some(state),
            }
        }
    }

    fn endpoint(&mut self, input: Input<'_>) {
        let mut out = Vec::new();
        self.endpoint_wake = self.endpoint.step(self.now, input, &mut out);
        for output in out {
            match output {
                Output::Send { bytes, .. } => self.carry(|| Happening::ToRegistrar(bytes.clone())),
                Output::Event(Event::Response { request, status, reason, headers, .. }) => {
                    assert_eq!(self.under_way.take(), Some(request.0), "exactly one response");
                    let input = RegistrationInput::Response {
                        attempt: request.0,
                        status,
                        reason: &reason,
                        headers: &headers,
                    };
                    self.register(input);
                }
                Output::Event(_) | Output::CloseFlow { .. } => {}
            }
        }
    }

    /// Challenges everything without a fresh proof, and has bad moments.
    fn registrar(&mut self, request: &Message) {
        assert_eq!(kind(request), "REGISTER");
        let branch = value(request, "Via").to_owned();
        let text = match self.answers.get(&branch) {
            Some(text) => text.clone(),
            None => self.decide(request),
        };
        self.answers.insert(branch, text.clone());
        self.carry(|| Happening::ToUs(text.clone().into_bytes()));
    }

    fn decide(&mut self, request: &Message) -> String {
        let proof = value(request, "Authorization");
        let fresh = format!("n{}", (self.now - self.begin).as_secs() / 60);
        let challenge = |stale| {
            format!(
                "WWW-Authenticate: Digest realm=\"pbx\", nonce=\"{fresh}\", qop=\"auth\", stale={stale}\r\n"
            )
        };
        if proof.is_empty() {
            return response(request, 401, "r", &challenge(false), "");
        }
        let proof = DigestResponse::parse(proof).expect("well formed");
        assert_eq!(proof.response, digest_response(&proof, &Password::new("pw"), "REGISTER"));
        if proof.nonce != fresh {
            return response(request, 401, "r", &challenge(true), "");
        }
        let expires: u64 = value(request, "Expires").parse().unwrap();
        if expires > 0 && self.percent(5) {
            return response(request, 503, "r", "", "");
        }
        let granted = expires.min(EXPIRES);
        self.registers += 1;
        self.lapses += u64::from(self.bound_until.is_some_and(|until| until < self.now));
        self.bound_until = (granted > 0).then(|| self.now + Duration::from_secs(granted));
        let contact = value(request, "Contact");
        response(request, 200, "r", &format!("Contact: {contact};expires={granted}\r\n"), "")
    }

    /// The next thing that happens before `until`.
    fn happen(&mut self, until: Instant) -> bool {
        let arrival = self.queue.keys().next().copied();
        let wakes = [self.registration_wake, self.endpoint_wake].into_iter().flatten().min();
        let next = arrival.map(|(at, _)| at).into_iter().chain(wakes).min();
        let Some(at) = next.filter(|at| *at <= until) else { return false };
        self.now = self.now.max(at);
        let happening = match arrival.filter(|(due, _)| *due == at) {
            Some(key) => self.queue.remove(&key).unwrap(),
            None => Happening::Wake,
        };
        match happening {
            Happening::ToRegistrar(bytes) => self.registrar(&parse(&bytes).unwrap()),
            Happening::ToUs(bytes) => {
                self.endpoint(Input::Message { flow: udp(), bytes: &bytes });
            }
            Happening::Wake => {
                if self.endpoint_wake.is_some_and(|wake| wake <= self.now) {
                    self.endpoint(Input::Timeout);
                }
                if self.registration_wake.is_some_and(|wake| wake <= self.now) {
                    self.register(RegistrationInput::Timeout);
                }
            }
        }
        true
    }
}

#[test]
fn a_registration_never_lapses_on_a_bad_link_and_leaves_nothing_behind() {
    let mut registers = 0;
    let mut left_behind = 0;
    for seed in 0..SEEDS {
        let mut link = Link::new(seed);
        let end = link.begin + Duration::from_secs(LENGTH);
        link.register(RegistrationInput::Start);
        while link.happen(end) {}
        link.now = end;
        assert!(
            matches!(link.state, Some(RegistrationState::Registered { .. })),
            "seed {seed}: {:?}",
            link.state
        );
        assert_eq!(link.lapses, 0, "seed {seed}");
        let (_, until) = link.registration.bound(link.now).expect("bound");
        assert!(link.bound_until.is_some_and(|theirs| until <= theirs), "seed {seed}");
        registers += link.registers;
        link.register(RegistrationInput::Stop);
        while link.happen(end + Duration::from_secs(3_600)) {}
        assert_eq!(link.state, Some(RegistrationState::Unregistered), "seed {seed}");
        left_behind += u64::from(link.bound_until.is_some());
        let statistics = link.endpoint.statistics();
        assert_eq!((statistics.transactions, link.endpoint_wake), (0, None), "seed {seed}: reaped");
        assert_eq!(link.under_way, None);
    }
    let expected = SEEDS * LENGTH / EXPIRES;
    assert!((expected..expected * 2).contains(&registers), "{registers}: neither too rarely nor too often");
    assert!(left_behind <= SEEDS / 20, "{left_behind}: an un-REGISTER nearly always arrives");
}
