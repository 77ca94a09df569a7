//! The call's part of its dialog: answering, re-negotiating, ending.
//! Knows offers and answers. Transactions and retransmissions are the endpoint's.

use crate::{
    Event, Output, SipOutput,
    cdr::Cause,
    codec_of,
    leg::{Leg, StreamSeed},
    machine::{Call, Phase},
};
use media::Codec;
use sip::{Negotiated, OfferError};
use std::time::{Duration, Instant};

impl Call {
    /// The first step: ring, then answer with what both sides can do, or refuse honestly.
    pub(crate) fn arrive(&mut self, now: Instant, out: &mut Vec<Output>) {
        let Some(offer) = self.setup.offer.clone() else {
            // A late offer: ours goes out with the 200, the caller's answer comes with the ACK.
            self.started_event("", out);
            let sdp = self.description.offer();
            return self.ring(now, sdp, out);
        };
        match self.description.answer(&offer) {
            Ok((sdp, media)) => {
                let how = if media.srtp.is_some() { " srtp" } else { "" };
                self.started_event(&format!("{}{how}", media.codec), out);
                self.open_leg(now, &media, out);
                self.ring(now, sdp, out);
            }
            Err(error) => {
                self.started_event("", out);
                self.refuse(&error, out);
            }
        }
    }

    fn started_event(&self, codec: &str, out: &mut Vec<Output>) {
        out.push(Output::Event(Event::Started {
            agent: format!("{} {}", self.setup.agent.name(), self.setup.agent.version()),
            port_slot: self.setup.grant.slot.0,
            concurrency: self.setup.grant.concurrency,
            codec: codec.to_owned(),
        }));
    }

    fn ring(&mut self, now: Instant, sdp: String, out: &mut Vec<Output>) {
        if matches!(self.phase, Phase::Over) {
            return;
        }
        out.push(Output::Sip(SipOutput::Ring));
        self.phase = Phase::Ringing { sdp };
        self.next_frame = self.answers_at();
        if self.next_frame <= now {
            self.answer(now, out);
        }
    }

    /// When it has rung long enough, and the start is on disk or has been waited for long enough.
    fn answers_at(&self) -> Instant {
        let wait = if self.recorded { Duration::ZERO } else { self.config.patience.record };
        self.started + self.config.ring_for.max(wait)
    }

    pub(crate) fn handle_recorded(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.recorded = true;
        if matches!(self.phase, Phase::Ringing { .. }) {
            self.next_frame = self.answers_at();
            if self.next_frame <= now {
                self.answer(now, out);
            }
        }
    }

    /// 200 OK, and the first packet within 20 ms.
    pub(crate) fn answer(&mut self, now: Instant, out: &mut Vec<Output>) {
        let Phase::Ringing { sdp } = std::mem::replace(&mut self.phase, Phase::Answered) else { return };
        self.next_frame = self.next_beat(now);
        if let Some(leg) = &mut self.leg {
            leg.answered(now);
        }
        if !self.setup.context.headers.is_empty() {
            out.push(Output::Sip(SipOutput::Headers(self.setup.context.headers.clone())));
        }
        if !self.recorded {
            out.push(Output::Event(Event::Unrecorded));
        }
        out.push(Output::Sip(SipOutput::Answer { sdp }));
        out.push(Output::Event(Event::Answered));
    }

    fn refuse(&mut self, error: &OfferError, out: &mut Vec<Output>) {
        let status = error.status();
        out.push(Output::Sip(SipOutput::Reject { status, reason: error.to_string() }));
        let cause = Cause::NoCommonCodec.name().to_owned();
        out.push(Output::Event(Event::Ended { cause, status: Some(status) }));
        self.phase = Phase::Over;
    }

    fn open_leg(&mut self, now: Instant, media: &Negotiated, out: &mut Vec<Output>) {
        let seed = stream_seed(self.setup.seed);
        self.wall = crate::leg::Wall {
            at: now,
            us: self.setup.started_at_us + u64::try_from((now - self.started).as_micros()).unwrap_or(0),
        };
        if media.rtcp_mux {
            out.push(Output::RtcpMux(true));
        }
        self.leg = Leg::new(self.wall, media, self.rate, &self.config, seed);
        match &mut self.leg {
            Some(leg) if matches!(self.phase, Phase::Answered) => leg.answered(now),
            Some(_) => {}
            // Negotiation only picks codecs that we listed, so this is a fault of ours.
            None => self.end(Cause::InternalError, out),
        }
    }

    pub(crate) fn handle_ack(&mut self, now: Instant, sdp: Option<&str>, out: &mut Vec<Output>) {
        if !matches!(self.phase, Phase::Answered) {
            // The answer to an offer that we made in a re-INVITE's 200.
            if let Some(Ok(media)) = sdp.map(|answer| self.description.accept(answer)) {
                self.redescribe(now, &media, out);
            }
            return;
        }
        if self.leg.is_none() {
            match sdp.map(|answer| self.description.accept(answer)) {
                Some(Ok(media)) => {
                    self.take_rate(&media, out);
                    self.open_leg(now, &media, out);
                }
                Some(Err(_)) | None => return self.end(Cause::NoCommonCodec, out),
            }
        }
        out.push(Output::Event(Event::Acked));
        self.greet(now, out);
    }

    /// What came without an offer is heard at the rate of the codec that the caller chose of ours: a telephone must not be
    /// given to a wide-band recogniser, nor a wide-band phone be cut to a telephone.
    fn take_rate(&mut self, media: &Negotiated, out: &mut Vec<Output>) {
        let rate = codec_of(media).map_or(self.rate, Codec::rate);
        if rate != self.rate {
            self.rate = rate;
            out.push(Output::Rate(rate));
        }
    }

    /// A re-INVITE is always answered freshly, with a raised version if either side changes anything (RFC 3264
    /// section 8). A late one gets our offer.
    pub(crate) fn handle_reoffer(&mut self, now: Instant, offer: Option<&str>, out: &mut Vec<Output>) {
        let Some(offer) = offer else {
            let sdp = self.description.offer();
            return out.push(Output::Sip(SipOutput::Answer { sdp }));
        };
        match self.description.answer(offer) {
            Ok((sdp, media)) => {
                self.redescribe(now, &media, out);
                out.push(Output::Sip(SipOutput::Answer { sdp }));
            }
            Err(error) => {
                out.push(Output::Sip(SipOutput::Reject { status: error.status(), reason: error.to_string() }))
            }
        }
    }

    fn redescribe(&mut self, now: Instant, media: &Negotiated, out: &mut Vec<Output>) {
        let Some(leg) = &mut self.leg else { return };
        let (before, mux) = (leg.on_hold(), leg.rtcp_mux());
        leg.redescribe(now, media, &self.config.jitter);
        if leg.rtcp_mux() != mux {
            out.push(Output::RtcpMux(!mux));
        }
        let active = leg.on_hold();
        if active != before {
            out.push(Output::Event(Event::Hold { active }));
        }
    }

    /// The end, from whichever side: BYE if we are the one, the stream's farewell, the figures, the cause.
    pub(crate) fn end(&mut self, cause: Cause, out: &mut Vec<Output>) {
        if matches!(self.phase, Phase::Over) {
            return;
        }
        if let Some(reply) = self.reply.take() {
            out.push(Output::Cancel { turn: reply.turn });
        }
        let answered = !matches!(self.phase, Phase::Arrived | Phase::Ringing { .. });
        let status = (!answered).then_some(if cause == Cause::CallerCancelled { 487 } else { 503 });
        match status {
            _ if !ends_by_us(cause) => {}
            Some(status) => {
                out.push(Output::Sip(SipOutput::Reject { status, reason: "Service Unavailable".into() }))
            }
            None => out.push(Output::Sip(SipOutput::Bye { reason: Some(cause.name().to_owned()) })),
        }
        if let Some(mut leg) = self.leg.take() {
            out.extend(leg.goodbye());
            out.push(Output::Event(leg.quality()));
        }
        if self.setup.context.keep && matches!(cause, Cause::AgentEnded | Cause::Transferred) {
            // Whoever hangs up may have been cut off; this conversation was not.
            out.push(Output::Checkpoint(None));
        }
        out.push(Output::Event(Event::Ended { cause: cause.name().to_owned(), status }));
        self.phase = Phase::Over;
    }
}

/// Whether the far end still has to be told.
const fn ends_by_us(cause: Cause) -> bool {
    !matches!(cause, Cause::CallerHungUp | Cause::CallerCancelled | Cause::AckTimeout | Cause::SessionExpired)
}

/// Three independent numbers from one seed (splitmix64).
fn stream_seed(seed: u64) -> StreamSeed {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    StreamSeed {
        ssrc: (next() >> 32) as u32,
        sequence: (next() >> 48) as u16,
        timestamp: (next() >> 32) as u32,
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
#[expect(clippy::wildcard_enum_match_arm, reason = "a test looks for what it expects")]
mod tests {
    use crate::{
        Call, CallConfig, CallId, CallSetup, Clips, Input, Output, SipInput,
        port_slots::{Grant, PortSlot},
    };
    use sip::LocalMedia;
    use std::{
        collections::BTreeMap,
        sync::Arc,
        time::{Duration, Instant},
    };

    const AGENT: &str = "[agent]\nname = \"a\"\nversion = \"1\"\nlanguage = \"en-US\"\ngreeting = \"Hello.\"\n\
                         persona = \"You answer.\"";

    fn local(port: u16) -> LocalMedia {
        LocalMedia { codecs: vec![sip::CodecSpec::PCMU], ..LocalMedia::new([10, 0, 0, 1].into(), port) }
    }

    /// A call that stands, and its instant.
    fn answered() -> (Call, Instant) {
        let (mut call, now) = arriving(CallConfig::default());
        call.step(now, Input::Timeout, &mut Vec::new());
        call.step(now, Input::Sip(SipInput::Acked { sdp: None }), &mut Vec::new());
        (call, now)
    }

    /// A call that has not been stepped yet, and its instant.
    fn arriving(config: CallConfig) -> (Call, Instant) {
        let now = Instant::now();
        let setup = CallSetup {
            id: CallId(1),
            agent: Arc::new(conversation::Agent::parse(AGENT, &BTreeMap::new()).expect("a valid agent")),
            clips: Arc::new(Clips::default()),
            grant: Grant { slot: PortSlot(0), concurrency: 1, busy: false },
            offer: Some(sip::make_offer(&local(4_000))),
            local: local(2_000),
            seed: 1,
            started_at_us: 0,
            today: jiff::civil::date(2026, 11, 20),
            context: crate::CallContext::default(),
        };
        (Call::new(now, config, setup), now)
    }

    /// A call that answers only when its start is on disk, or after 300 ms.
    fn recording(ring_for: Duration) -> (Call, Instant) {
        let patience = crate::Patience { record: Duration::from_millis(300), ..Default::default() };
        arriving(CallConfig { patience, ring_for, ..CallConfig::default() })
    }

    /// What the dialog and the trace are told in a step.
    fn told(call: &mut Call, at: Instant, input: Input<'_>) -> Vec<&'static str> {
        let mut out = Vec::new();
        call.step(at, input, &mut out);
        out.iter()
            .filter_map(|output| match output {
                Output::Sip(crate::SipOutput::Ring) => Some("ring"),
                Output::Sip(crate::SipOutput::Answer { .. }) => Some("answer"),
                Output::Event(crate::Event::Unrecorded) => Some("unrecorded"),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn the_answer_waits_for_the_disk_and_leaves_with_its_word() {
        let (mut call, now) = recording(Duration::ZERO);
        let ms = |ms| now + Duration::from_millis(ms);
        assert_eq!(told(&mut call, now, Input::Timeout), ["ring"]);
        assert_eq!(told(&mut call, ms(2), Input::Timeout), [""; 0]);
        assert_eq!(told(&mut call, ms(7), Input::Recorded), ["answer"]);
        // It may also be there before the call has even looked at the INVITE; and ringing goes on for its time.
        let (mut call, now) = recording(Duration::from_millis(40));
        assert_eq!(told(&mut call, now, Input::Recorded), ["ring"]);
        assert_eq!(told(&mut call, now + Duration::from_millis(40), Input::Timeout), ["answer"]);
    }

    #[test]
    fn a_disk_that_hangs_holds_no_call_for_longer_than_agreed() {
        let (mut call, now) = recording(Duration::ZERO);
        let ms = |ms| now + Duration::from_millis(ms);
        assert_eq!(told(&mut call, now, Input::Timeout), ["ring"]);
        assert_eq!(told(&mut call, ms(299), Input::Timeout), [""; 0]);
        assert_eq!(told(&mut call, ms(300), Input::Timeout), ["unrecorded", "answer"]);
        assert_eq!(told(&mut call, ms(900), Input::Recorded), [""; 0], "too late to change anything");
    }

    fn packets(call: &mut Call, at: Instant) -> usize {
        let mut out = Vec::new();
        call.step(at, Input::Timeout, &mut out);
        out.iter().filter(|output| matches!(output, Output::SendRtp { .. })).count()
    }

    #[test]
    fn the_answer_to_our_offer_in_a_late_re_invite_counts() {
        let (mut call, now) = answered();
        assert_eq!(packets(&mut call, now + Duration::from_millis(20)), 1);
        let mut out = Vec::new();
        call.step(now, Input::Sip(SipInput::Reoffer { sdp: None }), &mut out);
        let hold = sip::make_offer(&local(4_000)).replace("a=sendrecv", "a=sendonly");
        call.step(now, Input::Sip(SipInput::Acked { sdp: Some(hold) }), &mut out);
        assert_eq!(packets(&mut call, now + Duration::from_millis(40)), 0);
    }

    fn version(sdp: &str) -> u64 {
        let origin = sdp.lines().find(|line| line.starts_with("o=")).expect("an origin");
        origin.split(' ').nth(2).and_then(|version| version.parse().ok()).expect("a number")
    }

    /// Our answer to an offer, and where our next packet goes.
    fn reoffer(call: &mut Call, now: Instant, offer: String) -> (String, Option<std::net::SocketAddr>) {
        let mut out = Vec::new();
        call.step(now, Input::Sip(SipInput::Reoffer { sdp: Some(offer) }), &mut out);
        let answer = out.iter().find_map(|output| match output {
            Output::Sip(crate::SipOutput::Answer { sdp }) => Some(sdp.clone()),
            _ => None,
        });
        out.clear();
        call.step(now, Input::Timeout, &mut out);
        let to = out.iter().find_map(|output| match output {
            Output::SendRtp { to, .. } => Some(*to),
            _ => None,
        });
        (answer.expect("an answer"), to)
    }

    #[test]
    fn hold_in_all_its_forms_resume_and_every_change_get_a_fresh_answer_of_a_higher_version() {
        let (mut call, now) = answered();
        let offer = sip::make_offer(&local(4_000));
        let home = "10.0.0.1:4000".parse().ok();
        let cases = [
            (offer.replace("a=sendrecv", "a=sendonly"), "a=recvonly", None),
            (offer.clone(), "a=sendrecv", home),
            (offer.replace("a=sendrecv", "a=inactive"), "a=inactive", None),
            (
                offer.replace("c=IN IP4 10.0.0.1", "c=IN IP4 10.0.0.2"),
                "a=sendrecv",
                "10.0.0.2:4000".parse().ok(),
            ),
            (offer.replace("c=IN IP4 10.0.0.1", "c=IN IP4 0.0.0.0"), "a=inactive", None),
            (offer.replace("m=audio 4000", "m=audio 4010"), "a=sendrecv", "10.0.0.1:4010".parse().ok()),
            (offer.replace("a=ptime:20", "a=ptime:40"), "a=sendrecv", home),
            (
                offer.replace("RTP/AVP 0 ", "RTP/AVP 96 ").replace(":0 PCMU", ":96 PCMU"),
                "a=rtpmap:96 PCMU/8000",
                home,
            ),
            (
                offer.replace("c=IN IP4 10.0.0.1", "c=IN IP4 10.0.0.3"),
                "a=sendrecv",
                "10.0.0.3:4000".parse().ok(),
            ),
            (
                offer.replace("c=IN IP4 10.0.0.1", "c=IN IP4 10.0.0.4"),
                "a=sendrecv",
                "10.0.0.4:4000".parse().ok(),
            ),
        ];
        for (number, (offer, expected, to)) in (1..).zip(cases) {
            let (answer, sent) = reoffer(&mut call, now + Duration::from_millis(20 * number), offer.clone());
            assert!(answer.contains(expected), "{offer} {answer}");
            assert_eq!(sent, to, "{offer}");
            assert_eq!(version(&answer), number + 1, "{offer}");
            let (again, _) = reoffer(&mut call, now + Duration::from_millis(20 * number), offer);
            assert_eq!(again, answer, "a refresh that repeats itself");
        }
    }

    #[test]
    fn while_the_address_is_zeros_not_even_the_goodbye_is_sent_there() {
        let (mut call, now) = answered();
        let hold = sip::make_offer(&local(4_000)).replace("c=IN IP4 10.0.0.1", "c=IN IP4 0.0.0.0");
        reoffer(&mut call, now, hold);
        let mut out = Vec::new();
        for number in 1..50_u64 {
            call.step(now + Duration::from_millis(20 * number), Input::Timeout, &mut out);
        }
        call.step(now + Duration::from_secs(1), Input::Sip(SipInput::SessionExpired), &mut out);
        let reports: Vec<_> = out
            .iter()
            .filter_map(|output| match output {
                Output::SendRtp { to, .. } | Output::SendRtcp { to, .. } => Some(*to),
                _ => None,
            })
            .collect();
        assert!(!reports.is_empty() && reports.iter().all(|to| !to.ip().is_unspecified()), "{reports:?}");
        let ended = out.iter().rev().find_map(|output| match output {
            Output::Event(crate::Event::Ended { cause, .. }) => Some(cause.clone()),
            _ => None,
        });
        assert_eq!(ended.as_deref(), Some("session_expired"));
        let bye = out.iter().any(|output| matches!(output, Output::Sip(crate::SipOutput::Bye { .. })));
        assert!(!bye, "the endpoint has sent it");
    }
}
