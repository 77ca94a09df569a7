//! The media of ended calls as figures: packets that went, came, came late or never, and what else was wrong with them.
//! Knows what a call tells of its media at its end.

use super::metrics::{Counters, Way, add, listed};
use call::Event;
use prometheus_client::{
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

/// What can be wrong with the media of a call: `media::MediaFault`.
const FAULTS: [&str; 4] = ["not_hearing", "silent", "not_heard", "dead"];

pub(super) struct MediaFigures {
    packets: Counters<1>,
    late: Counter,
    lost: Counter,
    concealed: Counter,
    foreign: Counter,
    malformed: Counter,
    auth_failed: Counter,
    replayed: Counter,
    faults: Counters<1>,
}

impl MediaFigures {
    pub(super) fn register(of: &mut Registry) -> Self {
        let unauthentic = "SRTP packets that were not authentic";
        let mut counter = |name: &str, help: &str| add(of, name, help, Counter::default());
        Self {
            late: counter("rtp_late", "RTP packets that came too late to be played"),
            lost: counter("rtp_lost", "RTP packets that never came"),
            concealed: counter("rtp_concealed", "Frames made up for missing packets"),
            foreign: counter("rtp_foreign", "RTP packets from strangers, ignored"),
            malformed: counter("rtp_malformed", "RTP packets that made no sense"),
            auth_failed: counter("srtp_auth_failed", unauthentic),
            replayed: counter("srtp_replayed", "SRTP packets that had come before"),
            packets: add(of, "rtp_packets", "RTP packets of ended calls", Family::default()),
            faults: add(
                of,
                "media_faults",
                "Media that stopped in a call, by what is wrong",
                Family::default(),
            ),
        }
    }

    pub(super) fn start_at_zero(&self) {
        for way in [Way::In, Way::Out] {
            drop(self.packets.get_or_create(&[("direction", way.name().to_owned())]));
        }
    }

    pub(super) fn observe(&self, event: &Event) {
        let Event::Quality { received, lost, late, concealed, sent, foreign, malformed, .. } = event else {
            if let Event::MediaFault { fault, active: true } = event {
                self.faults.get_or_create(&[("fault", listed(fault, &FAULTS))]).inc();
            }
            return;
        };
        if let Event::Quality { srtp_auth_failed, srtp_replayed, .. } = event {
            self.auth_failed.inc_by(*srtp_auth_failed);
            self.replayed.inc_by(*srtp_replayed);
        }
        for (way, count) in [(Way::In, received), (Way::Out, sent)] {
            self.packets.get_or_create(&[("direction", way.name().to_owned())]).inc_by(*count);
        }
        self.lost.inc_by(*lost);
        self.late.inc_by(*late);
        self.concealed.inc_by(*concealed);
        self.foreign.inc_by(*foreign);
        self.malformed.inc_by(*malformed);
    }
}
