//! A call begins: it is built, gets its thread and its record.
//! Knows what a call is made of. That it may begin is decided before.

use super::{Admission, BuiltCall, CallFacts, CallStart, Dialog, NewCall, Refusal};
use crate::{
    call_actor::{CallActor, CallParts},
    media_threads::Command,
    rtp_socket::{RtpSockets, local_address_towards},
    server::trunk_loads::Place,
};
use call::{
    admission::Admitted,
    cdr::{Arrival, Cause, Cdr},
    port_slots::PortSlot,
};
use sip::{Flow, IncomingInvite};
use std::{
    net::{IpAddr, SocketAddr},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Instant,
};

/// It is our own fault that there is no call.
const INTERNAL_ERROR: Refusal = Refusal { status: 500, cause: Cause::InternalError };

impl Admission {
    /// Builds the call and hands it to a thread. Leaves the sockets where they are if that fails.
    pub(super) fn start(
        &mut self,
        (now, invited): (Instant, Instant),
        invite: &IncomingInvite,
        arrival: &Arrival,
        facts: &CallFacts,
        (admitted, place): (Admitted, Place),
        sockets: &mut Option<RtpSockets>,
    ) -> Result<(), Refusal> {
        let slot = admitted.grant.slot;
        let port = sockets.as_ref().map_or(0, RtpSockets::port);
        let waited_us = u64::try_from((now - invited).as_micros()).unwrap_or(0);
        let new = NewCall {
            call: arrival.call,
            invite,
            grant: admitted.grant,
            overflow: place == Place::Overflow,
            pool: admitted.pool,
            level: self.pools.level(admitted.pool),
            caller: &arrival.caller,
            called: &arrival.called,
            facts,
            media: SocketAddr::new(self.media_address(&invite.flow), port),
            seed: self.chance.number(),
            started_at_us: arrival.invited_at_us + waited_us,
        };
        let built = self.build(now, new)?;
        let Some(sockets) = sockets.take() else { return Err(INTERNAL_ERROR) };
        let begun = self.begun(invite, arrival, facts, (&admitted, place));
        let thread = self.least_loaded();
        let parts = self.parts(built, &begun, (invite, invited, slot), sockets, thread);
        let actor = Box::new(CallActor::new(parts));
        self.status.invites += 1;
        self.loads[thread] += 1;
        self.loads_of_trunks.enter(&arrival.trunk, place);
        let trunk = arrival.trunk.clone();
        let dialog = Dialog { call: arrival.call, thread, trunk, place, slot, live: true, over: false };
        self.dialogs.insert(invite.dialog, dialog);
        self.services.trace.begin(&begun);
        self.tell(thread, Command::Start(actor));
        self.begin_record(&begun, invite, thread);
        Ok(())
    }

    /// A bug in building one call must not take the task with it that all calls need.
    fn build(&self, now: Instant, new: NewCall<'_>) -> Result<BuiltCall, Refusal> {
        let builder = &self.services.calls;
        catch_unwind(AssertUnwindSafe(|| builder.build(now, new))).unwrap_or(Err(INTERNAL_ERROR))
    }

    /// The record of a call that begins.
    fn begun(
        &self,
        invite: &IncomingInvite,
        arrival: &Arrival,
        facts: &CallFacts,
        (admitted, place): (&Admitted, Place),
    ) -> Cdr {
        let Admitted { grant, pool, overflowed_from } = admitted;
        let load = self.pools.load(*pool);
        Cdr {
            port_slot: Some(grant.slot.0),
            concurrency: Some(grant.concurrency),
            rates: self.services.calls.rates(invite, place == Place::Overflow, facts),
            capacity: Some(load.0),
            pool: Some(self.pools.name(*pool).to_owned()),
            load: Some(load),
            level: Some(self.pools.level(*pool)),
            overflowed_from: overflowed_from.map(|pool| self.pools.name(pool).to_owned()),
            ..Cdr::new(arrival.clone())
        }
    }

    /// What its actor needs.
    fn parts(
        &self,
        built: BuiltCall,
        begun: &Cdr,
        (invite, invited, slot): (&IncomingInvite, Instant, PortSlot),
        sockets: RtpSockets,
        thread: usize,
    ) -> CallParts {
        let BuiltCall { machine, info, providers, team, keeper } = built;
        let Arrival { call, invited_at_us, .. } = begun.arrival;
        let recorder = self.config.recorder.as_ref();
        CallParts {
            dialog: invite.dialog,
            invited,
            cdr: begun.clone(),
            slot,
            sockets,
            machine,
            recording: recorder.and_then(|recorder| recorder.tap(call, invited_at_us, info.rate)),
            info,
            providers,
            team,
            keeper,
            trace: Arc::clone(&self.services.trace),
            counters: Arc::clone(&self.counters),
            knocker: self.threads[thread].knocker(invite.dialog),
            vad: self.config.vad.as_ref().map(|vad| vad.open()),
            listener: self.config.listener.as_ref().map(|listener| listener.open()),
        }
    }

    /// After the call's thread knows it, so that the word of the disk finds it there. Without that word the call waits
    /// a moment and goes on.
    fn begin_record(&self, begun: &Cdr, invite: &IncomingInvite, thread: usize) {
        let (thread, dialog) = (self.threads[thread].clone(), invite.dialog);
        let recorded = Box::new(move || drop(thread.try_send(Command::Recorded(dialog))));
        self.services.records.begin(begun, CallStart { dialog: invite.saved.clone(), recorded });
    }

    fn least_loaded(&self) -> usize {
        let loads = self.loads.iter().enumerate();
        loads.min_by_key(|(_, load)| **load).map_or(0, |(thread, _)| thread)
    }

    /// What our SDP says: as bound, as SIP was addressed, or as routed; and of that what the peer sees.
    fn media_address(&self, flow: &Flow) -> IpAddr {
        let bound = self.config.rtp.address;
        let specific = |ip: &IpAddr| !ip.is_unspecified();
        let addressed = flow.local.ip();
        let peer = flow.remote.ip();
        let seen = Some(addressed).filter(|ip| specific(ip) && ip.is_ipv4() == bound.is_ipv4());
        let local = Some(bound).filter(specific).or(seen).or_else(|| local_address_towards(peer).ok());
        self.config.endpoint.external.address(local.unwrap_or(addressed), peer)
    }
}
