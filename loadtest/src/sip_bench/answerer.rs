//! The server's SIP stack, sockets included, with a user that answers every call at once and has no media.
//! A process of its own, so that what it uses can be told from what its callers use.

use sip::{
    Command, DialogKey, Endpoint, EndpointConfig, EndpointStatistics, Event, LocalMedia, Transport,
    make_answer,
};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};
use tandem::sip_transport::{self, Handler, SipSockets, SipTransportConfig, Tls, TlsConfig};

/// Answers every call at once: what a test of the stack calls.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where to listen, over UDP and TCP.
    #[arg(long)]
    listen: SocketAddr,
}

/// Enough for some thousand calls a second, each with a handful of transactions that live for 32 s.
const TRANSACTIONS: usize = 1_000_000;
const DIALOGS: usize = 100_000;

/// The user behind the endpoint.
struct AtOnce {
    address: IpAddr,
}

impl AtOnce {
    fn answer(&self, dialog: DialogKey, offer: Option<&str>, commands: &mut Vec<Command>) {
        let local = LocalMedia::new(self.address, 20_000);
        let answered = offer.map(|offer| make_answer(offer, &local));
        let (status, sdp) = match answered {
            Some(Ok((sdp, _))) => (200, Some(sdp)),
            Some(Err(error)) => (error.status(), None),
            None => (200, Some(sip::make_offer(&local))),
        };
        commands.push(Command::Respond { dialog, status, reason: None, sdp, headers: Vec::new() });
    }
}

impl Handler for AtOnce {
    type Message = ();

    #[expect(clippy::wildcard_enum_match_arm, reason = "it answers calls and does nothing else")]
    fn event(&mut self, _: Instant, event: Event, commands: &mut Vec<Command>) {
        match event {
            Event::Invite(invite) => self.answer(invite.dialog, invite.offer.as_deref(), commands),
            Event::Reinvite { dialog, offer } => self.answer(dialog, offer.as_deref(), commands),
            _ => {}
        }
    }

    fn message(&mut self, _: Instant, (): (), _: &mut Vec<Command>) {}

    fn second(&mut self, _: Instant, _: &EndpointStatistics, _: &mut Vec<Command>) {}
}

/// Runs until it is ended.
pub(crate) fn run(args: &Args) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let tls = Tls::load(TlsConfig::default()).map_err(|error| error.to_string())?;
        let addresses = [(Transport::Udp, args.listen), (Transport::Tcp, args.listen)];
        let sockets = SipSockets::bind(&addresses, Arc::clone(&tls)).map_err(|error| error.to_string())?;
        let config = EndpointConfig {
            max_transactions: TRANSACTIONS,
            max_dialogs: DIALOGS,
            ..EndpointConfig::default()
        };
        // Its tags need not be secret.
        let endpoint = Endpoint::new(config, [7; 32]);
        let user = AtOnce { address: args.listen.ip() };
        let (_handle, task) = sip_transport::start(sockets, endpoint, user, SipTransportConfig::default());
        println!("listening on {}", args.listen);
        task.await.map_err(|error| error.to_string())
    })
}
