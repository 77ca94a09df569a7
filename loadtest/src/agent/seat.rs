//! One caller in its seat: the phone, its sockets, and the network between them and the server.
//! Knows when each of them wants something. Which calls there are is the callers' business.

use super::{
    impairment::Impairment,
    link::{Link, earliest},
    outcome::Ended,
    strangers::{Stranger, Strangers},
};
use std::{
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};
use tandem::caller::{
    phone::{Dial, Happening, Input, Output, Phone},
    sockets::Sockets,
};

/// Which port a datagram comes to or leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    Rtp,
    Rtcp,
}

type Datagram = (Port, Vec<u8>);

/// One caller.
pub(crate) struct Seat {
    pub(crate) number: u64,
    scenario: usize,
    phone: Phone,
    pub(crate) sockets: Sockets,
    up: Link<(SocketAddr, Datagram)>,
    down: Link<Datagram>,
    strangers: Strangers,
    /// Where the server wants our audio, and as what, once we know.
    server: Option<(SocketAddr, u8)>,
    at: Duration,
    phone_wake: Instant,
    give_up_at: Option<Instant>,
    given_up: bool,
    call_id: Option<String>,
    over: bool,
}

/// What a seat needs to know of its call.
pub(crate) struct Order {
    pub(crate) number: u64,
    pub(crate) scenario: usize,
    /// Since the beginning of the load.
    pub(crate) at: Duration,
    pub(crate) up: Impairment,
    pub(crate) down: Impairment,
    pub(crate) give_up_at: Option<Instant>,
    pub(crate) seed: u64,
}

impl Seat {
    /// A caller who dials at its first [`Seat::advance`].
    pub(crate) fn new(now: Instant, order: &Order, sockets: Sockets, dial: Dial) -> Self {
        let Order { number, scenario, at, up, down, give_up_at, seed } = *order;
        Self {
            number,
            scenario,
            phone: Phone::new(dial),
            sockets,
            up: Link::new(up, seed ^ 1),
            down: Link::new(down, seed ^ 2),
            strangers: Strangers::new(up.garbage, up.foreign, seed ^ 3),
            server: None,
            at,
            phone_wake: now,
            give_up_at,
            given_up: false,
            call_id: None,
            over: false,
        }
    }

    /// Does what is due by now; returns when to come back, `None` when the call is over.
    pub(crate) fn advance(
        &mut self,
        now: Instant,
        stranger: &UdpSocket,
        tell: &mut impl FnMut(&Happening),
    ) -> Option<Instant> {
        while let Some((at, (port, datagram))) = self.down.arrived(now) {
            self.step(now, input(port, at, &datagram), tell);
        }
        if self.give_up_at.take_if(|at| *at <= now).is_some() {
            self.hang_up(now, tell);
        }
        if self.phone_wake <= now {
            self.step(now, Input::Timeout, tell);
        }
        while let Some((_, (to, (port, datagram)))) = self.up.arrived(now) {
            self.put(port, to, &datagram);
        }
        self.send_strangers(now, stranger);
        (!self.over).then(|| {
            let wakes = [self.up.next(), self.down.next(), self.strangers.next(), self.give_up_at];
            earliest(wakes).map_or(self.phone_wake, |wake| wake.min(self.phone_wake))
        })
    }

    /// A datagram of the server, as it came from the network.
    pub(crate) fn receive(
        &mut self,
        at: Instant,
        port: Port,
        datagram: &[u8],
        tell: &mut impl FnMut(&Happening),
    ) {
        let now = Instant::now();
        if self.down.is_clear() {
            self.down.pass();
            self.step(now, input(port, at, datagram), tell);
        } else {
            self.down.send(at, (port, datagram.to_vec()));
        }
    }

    /// SIP of the server.
    pub(crate) fn receive_sip(&mut self, message: &[u8], tell: &mut impl FnMut(&Happening)) {
        self.step(Instant::now(), Input::Sip(message), tell);
    }

    /// The way to the server is gone.
    pub(crate) fn flow_closed(&mut self, tell: &mut impl FnMut(&Happening)) {
        self.step(Instant::now(), Input::FlowClosed, tell);
    }

    /// Index of its scenario.
    pub(crate) const fn scenario(&self) -> usize {
        self.scenario
    }

    /// Hangs up before the scenario does.
    pub(crate) fn hang_up(&mut self, now: Instant, tell: &mut impl FnMut(&Happening)) {
        if !self.phone.is_over() {
            self.given_up = true;
            self.step(now, Input::Stop, tell);
        }
    }

    fn step(&mut self, now: Instant, input: Input<'_>, tell: &mut impl FnMut(&Happening)) {
        if self.over {
            return;
        }
        let mut out = Vec::new();
        match self.phone.step(now, input, &mut out) {
            Some(wake) => self.phone_wake = wake,
            None => self.over = true,
        }
        if self.call_id.is_none() {
            self.call_id = self.phone.call_id().map(str::to_owned);
        }
        for output in out {
            match output {
                Output::Sip(bytes) => self.sockets.sip.send(&bytes),
                Output::Rtp(to, datagram) => {
                    if let Some(second) = datagram.get(1).filter(|_| !media::is_rtcp(&datagram)) {
                        self.server = Some((to, second & 0x7f));
                    }
                    self.send(now, to, (Port::Rtp, datagram));
                }
                Output::Rtcp(to, datagram) => self.send(now, to, (Port::Rtcp, datagram)),
                Output::Tell(happening) => tell(&happening),
            }
        }
    }

    fn send(&mut self, now: Instant, to: SocketAddr, datagram: Datagram) {
        if let Some((to, (port, datagram))) = self.up.send(now, (to, datagram)) {
            self.put(port, to, &datagram);
        }
    }

    /// A datagram that the system will not take is lost, as on any network.
    fn put(&self, port: Port, to: SocketAddr, datagram: &[u8]) {
        let socket = match port {
            Port::Rtp => &self.sockets.rtp,
            Port::Rtcp => &self.sockets.rtcp,
        };
        let _lost = socket.send_to(datagram, to);
    }

    fn send_strangers(&mut self, now: Instant, stranger: &UdpSocket) {
        let Some((to, payload_type)) = self.server.filter(|_| !self.phone.is_over()) else { return };
        while let Some(one) = self.strangers.due(now, payload_type) {
            let _lost = match one {
                Stranger::Garbage(datagram) => self.sockets.rtp.send_to(&datagram, to),
                Stranger::Foreign(datagram) => stranger.send_to(&datagram, to),
            };
        }
    }

    /// How it went, and what was recorded.
    pub(crate) fn end(self) -> (Ended, (Vec<i16>, Vec<i16>)) {
        let ended = Ended {
            number: self.number,
            scenario: self.scenario,
            call_id: self.call_id,
            at: self.at,
            measures: self.phone.measures,
            given_up: self.given_up,
            links: [self.up.counts, self.down.counts],
            strangers: self.strangers.sent,
        };
        (ended, self.phone.recording)
    }
}

const fn input(port: Port, at: Instant, datagram: &[u8]) -> Input<'_> {
    match port {
        Port::Rtp => Input::Rtp(at, datagram),
        Port::Rtcp => Input::Rtcp(at, datagram),
    }
}
