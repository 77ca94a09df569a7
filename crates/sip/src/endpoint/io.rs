//! What goes into the endpoint and what comes out of it.
//! Closed enums: a new variant makes the compiler list every place that must answer.
//! `Debug` shows no numbers, names or bodies: those are the caller's.

use super::farewell::SavedDialog;
use crate::digest::Credentials;
use crate::policy::DialogPolicy;
use crate::replaces::Replaces;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// The transport protocol of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// Datagrams: the transactions repeat what is lost.
    Udp,
    /// A stream: nothing is lost until it closes.
    Tcp,
    /// A stream that nobody on the way can read or change.
    Tls,
    /// One message in each frame of a WebSocket (RFC 7118).
    Ws,
    /// The same, over TLS.
    Wss,
}

impl Transport {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Udp, Self::Tcp, Self::Tls, Self::Ws, Self::Wss];

    /// As in a Via (RFC 3261 section 20.42, RFC 7118 section 5.2).
    pub fn name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Ws => "WS",
            Self::Wss => "WSS",
        }
    }

    /// As in a URI's transport parameter and in our config: the name in small letters.
    pub fn param(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }

    /// The transport of that name, in letters of any size.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|transport| transport.name().eq_ignore_ascii_case(name))
    }

    /// The port where none is written (RFC 3261 section 19.1.2, RFC 7118 section 5.3).
    pub fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5060,
            Self::Tls => 5061,
            Self::Ws => 80,
            Self::Wss => 443,
        }
    }

    /// Whether transactions can rely on it (RFC 3261 section 17).
    pub fn is_reliable(self) -> bool {
        self != Self::Udp
    }

    /// Whether nobody on the way can read or change what it carries.
    pub fn is_secure(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }
}

/// One way between us and a peer: answers go back on the flow that the request came on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flow {
    /// How.
    pub transport: Transport,
    /// Our address.
    pub local: SocketAddr,
    /// The peer's address.
    pub remote: SocketAddr,
    /// Names one stream in its lower 48 bits. 0 there: UDP, or the open stream to that remote, or a new one. The upper
    /// 16 bits name whom a TLS stream was opened to (0: the remote's address), so that a stream to one of two domains
    /// at the same address is never taken for a stream to the other.
    pub connection: u64,
}

impl Flow {
    /// The part of `connection` that names one stream.
    pub const STREAM: u64 = (1 << 48) - 1;

    /// The same way over whichever stream there is, or a new one: for what outlives a connection.
    #[must_use]
    pub fn any_stream(self) -> Self {
        Self { connection: self.connection & !Self::STREAM, ..self }
    }

    /// Whether no particular stream is meant.
    pub fn is_any_stream(&self) -> bool {
        self.transport.is_reliable() && self.connection & Self::STREAM == 0
    }
}

/// Our name of a dialog, unique in the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DialogKey(pub u64);

impl DialogKey {
    const OUTGOING: u64 = 1 << 63;

    /// A key for an outgoing call. The endpoint's own keys (of incoming calls) never have this form.
    pub fn outgoing(number: u64) -> Self {
        Self(number | Self::OUTGOING)
    }

    /// Whether it is the key of an outgoing call.
    pub fn is_outgoing(self) -> bool {
        self.0 & Self::OUTGOING != 0
    }
}

/// A From or To value.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Address {
    /// Display name without quotes.
    pub display: Option<String>,
    /// The URI as written.
    pub uri: String,
    /// The user part of the URI, or the number of a tel URI.
    pub user: String,
    /// The tag.
    pub tag: Option<String>,
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Address(..)")
    }
}

/// What happened.
#[expect(clippy::large_enum_variant, reason = "an input lives for one step")]
pub enum Input<'a> {
    /// One datagram, or one message cut from a stream.
    Message {
        /// The way it came.
        flow: Flow,
        /// As it came.
        bytes: &'a [u8],
    },
    /// A stream was closed, or could not be opened.
    FlowClosed {
        /// Which.
        flow: Flow,
    },
    /// The user wants something.
    Command(Command),
    /// The instant that `step` asked for has come.
    Timeout,
}

/// What to carry out.
#[derive(PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a message has one or two outputs, which live for one step")]
pub enum Output {
    /// Send a message.
    Send {
        /// The way it goes.
        flow: Flow,
        /// The whole message.
        bytes: Vec<u8>,
    },
    /// Tell the user.
    Event(Event),
    /// Close a stream: nothing sensible can come on it any more.
    CloseFlow {
        /// Which.
        flow: Flow,
    },
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send { flow, bytes } => write!(f, "Send({} bytes to {})", bytes.len(), flow.remote),
            Self::Event(event) => event.fmt(f),
            Self::CloseFlow { flow } => write!(f, "CloseFlow({})", flow.remote),
        }
    }
}

/// An outgoing call.
#[derive(Clone, PartialEq, Eq)]
pub struct OutgoingInvite {
    /// Chosen by the caller of the API; see [`DialogKey::outgoing`].
    pub dialog: DialogKey,
    /// The Request-URI, also the To URI.
    pub uri: String,
    /// A name-addr or a URI, without tag.
    pub from: String,
    /// Where to send it.
    pub flow: Flow,
    /// Our offer.
    pub sdp: String,
    /// More header fields.
    pub headers: Vec<(String, String)>,
    /// How the dialog is to behave.
    pub policy: DialogPolicy,
    /// Answers challenges to this INVITE and to what follows in its dialog; `None` = a challenge is a failure.
    pub credentials: Option<Credentials>,
    /// Route values to start with: an outbound proxy (RFC 3261 section 8.1.2).
    pub route: Vec<String>,
    /// The To URI or name-addr, where it is not the Request-URI.
    pub to: Option<String>,
}

impl OutgoingInvite {
    /// A call with nothing unusual about it.
    pub fn new(
        dialog: DialogKey,
        uri: impl Into<String>,
        from: impl Into<String>,
        flow: Flow,
        sdp: impl Into<String>,
    ) -> Self {
        Self {
            dialog,
            uri: uri.into(),
            from: from.into(),
            flow,
            sdp: sdp.into(),
            headers: Vec::new(),
            policy: DialogPolicy::default(),
            credentials: None,
            route: Vec::new(),
            to: None,
        }
    }
}

/// The user's name of a request outside dialogs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestKey(pub u64);

/// A request outside dialogs: OPTIONS or REGISTER.
#[derive(Clone, PartialEq, Eq)]
pub struct OutgoingRequest {
    /// Comes back in [`Event::Response`].
    pub request: RequestKey,
    /// `OPTIONS`, `REGISTER` or another method that neither makes a dialog nor needs one.
    pub method: &'static str,
    /// The Request-URI.
    pub uri: String,
    /// A name-addr or a URI, without tag.
    pub from: String,
    /// The same; for REGISTER the address of record.
    pub to: String,
    /// Where to send it.
    pub flow: Flow,
    /// More header fields. Without a Contact among them one is written: with the user of `to` for REGISTER.
    pub headers: Vec<(String, String)>,
    /// Content-Type and body.
    pub body: Option<(String, String)>,
    /// Answers challenges; `None` = a challenge is the response.
    pub credentials: Option<Credentials>,
    /// The Call-ID, which all REGISTERs to one registrar share (RFC 3261 section 10.2); `None` = a new one.
    pub call_id: Option<String>,
    /// The CSeq number; each round of authentication uses one more. `None` = any.
    pub cseq: Option<u32>,
    /// The From tag; `None` = a new one.
    pub local_tag: Option<String>,
}

impl OutgoingRequest {
    /// The most CSeq numbers that one request uses: itself and two rounds of authentication.
    pub const CSEQ_STRIDE: u32 = 3;

    /// A request with nothing unusual about it.
    pub fn new(
        request: RequestKey,
        method: &'static str,
        uri: impl Into<String>,
        from: impl Into<String>,
        flow: Flow,
    ) -> Self {
        let uri = uri.into();
        Self {
            request,
            method,
            to: uri.clone(),
            uri,
            from: from.into(),
            flow,
            headers: Vec::new(),
            body: None,
            credentials: None,
            call_id: None,
            cseq: None,
            local_tag: None,
        }
    }
}

/// What the user wants.
#[derive(Clone, PartialEq, Eq)]
pub enum Command {
    /// Answers the pending INVITE or re-INVITE of that dialog.
    Respond {
        /// Which dialog.
        dialog: DialogKey,
        /// 101 to 699.
        status: u16,
        /// Reason phrase, if not the usual one.
        reason: Option<String>,
        /// The body.
        sdp: Option<String>,
        /// More header fields.
        headers: Vec<(String, String)>,
    },
    /// Places a call.
    Invite(OutgoingInvite),
    /// Sends a request outside dialogs; exactly one [`Event::Response`] follows.
    Request(OutgoingRequest),
    /// Gives an outgoing call up before its final response.
    Cancel {
        /// Which dialog.
        dialog: DialogKey,
    },
    /// Ends a dialog, whatever its state: BYE, CANCEL or 480.
    Bye {
        /// Which dialog.
        dialog: DialogKey,
        /// Value of the Reason header (RFC 3326).
        reason: Option<String>,
    },
    /// Header fields that go with the dialog's BYE, should we send it.
    AddToBye {
        /// Which dialog.
        dialog: DialogKey,
        /// The fields.
        headers: Vec<(String, String)>,
    },
    /// Sends a new offer in a confirmed dialog.
    Reinvite {
        /// Which dialog.
        dialog: DialogKey,
        /// The offer.
        sdp: String,
    },
    /// Sends an INFO (RFC 6086).
    Info {
        /// Which dialog.
        dialog: DialogKey,
        /// Type of the body.
        content_type: String,
        /// The body.
        body: String,
    },
    /// Sends an UPDATE (RFC 3311), in a dialog that may be early; [`Event::Failed`] with 405 if the peer has none.
    Update {
        /// Which dialog.
        dialog: DialogKey,
        /// The offer; without one it only refreshes the session.
        sdp: Option<String>,
    },
    /// Sends a REFER (RFC 3515): [`Event::Referred`] says what became of it, [`Event::Notify`] what of the call.
    Refer {
        /// Which dialog.
        dialog: DialogKey,
        /// A name-addr or URI.
        refer_to: String,
        /// Value of the Referred-By header (RFC 3892).
        referred_by: Option<String>,
        /// More header fields.
        headers: Vec<(String, String)>,
    },
    /// Answers a REFER: 202 opens its subscription (the first NOTIFY, 100 Trying, goes out by itself).
    RespondRefer {
        /// Which dialog.
        dialog: DialogKey,
        /// 200 to 699.
        status: u16,
    },
    /// Sends a NOTIFY in the subscription of a REFER that was accepted.
    Notify {
        /// Which dialog.
        dialog: DialogKey,
        /// The event package: `refer`.
        event: String,
        /// Value of Subscription-State; `terminated…` ends the subscription.
        state: String,
        /// Type of the body: `message/sipfrag;version=2.0`.
        content_type: String,
        /// The body.
        body: String,
    },
    /// Ends a dialog that an earlier process began and left behind. Its [`Event::Ended`] comes under a new key.
    Farewell {
        /// What was kept of it.
        saved: Box<SavedDialog>,
        /// The way to the peer. Where a stream is needed, a new one.
        flow: Flow,
        /// Value of the Reason header.
        reason: Option<String>,
    },
    /// While true, OPTIONS and new INVITEs get 503 and no call can be placed.
    Drain(bool),
}

/// An incoming call.
#[derive(Clone, PartialEq, Eq)]
pub struct IncomingInvite {
    /// Its dialog.
    pub dialog: DialogKey,
    /// The trunk that it belongs to; `None` without a gate.
    pub trunk: Option<Arc<str>>,
    /// The way it came.
    pub flow: Flow,
    /// The Call-ID header.
    pub sip_call_id: String,
    /// Who calls.
    pub from: Address,
    /// Whom they called.
    pub to: Address,
    /// The Request-URI.
    pub request_uri: String,
    /// Its user part, as written.
    pub user: String,
    /// All header fields as received.
    pub headers: Vec<(String, String)>,
    /// The SDP offer; absent in a late offer.
    pub offer: Option<String>,
    /// The dialog that this call is to take the place of (RFC 3891).
    pub replaces: Option<Replaces>,
    /// What has to be kept so that another process can end this call: see [`Command::Farewell`].
    pub saved: SavedDialog,
}

/// What happened to a dialog. Every dialog that was announced by [`Event::Invite`] or begun by
/// [`Command::Invite`] ends in exactly one [`Event::Ended`].
#[derive(Clone, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "an event is passed on at once, and a call brings a dozen of them"
)]
pub enum Event {
    /// A call comes in; 100 Trying has been sent.
    Invite(IncomingInvite),
    /// A call was refused by the endpoint itself (by the gate, draining or full): for the CDR and the log. There is
    /// no dialog. Copies of one request are reported once, and calls of strangers only so many each second.
    Refused {
        /// The way it came.
        flow: Flow,
        /// The Call-ID header.
        sip_call_id: String,
        /// Who called.
        from: Address,
        /// Whom they called.
        to: Address,
        /// The Request-URI.
        request_uri: String,
        /// Its user part.
        user: String,
        /// The status that was sent; 0 if nothing was.
        status: u16,
        /// `draining`, `full`, or the name of the gate's reason.
        reason: &'static str,
    },
    /// A contact was registered, or its registration refreshed.
    Registered {
        /// The trunk whose user it is.
        trunk: Arc<str>,
        /// The user part of the address of record.
        aor: String,
        /// The URI of the contact.
        contact: String,
        /// The way it is reached.
        flow: Flow,
        /// For how long.
        expires_s: u32,
    },
    /// The last contact of an address of record is gone: removed, run out, or its connection lost.
    Unregistered {
        /// The trunk whose user it was.
        trunk: Arc<str>,
        /// The user part of the address of record.
        aor: String,
    },
    /// The caller gave up; 200 to the CANCEL and 487 have been sent.
    Cancelled {
        /// Which dialog.
        dialog: DialogKey,
    },
    /// Our 2xx was acknowledged.
    Acked {
        /// Which dialog.
        dialog: DialogKey,
        /// The ACK's body: the answer to an offer in our 2xx.
        sdp: Option<String>,
    },
    /// Our 2xx was never acknowledged (64*T1); BYE has been sent.
    AckTimeout {
        /// Which dialog.
        dialog: DialogKey,
    },
    /// The peer hung up; 200 has been sent.
    Bye {
        /// Which dialog.
        dialog: DialogKey,
        /// Value of the Reason header.
        reason: Option<String>,
    },
    /// A re-INVITE, or an UPDATE or PRACK with an offer, that waits for [`Command::Respond`].
    Reinvite {
        /// Which dialog.
        dialog: DialogKey,
        /// The offer; absent in a late offer.
        offer: Option<String>,
    },
    /// An INFO; 200 has been sent.
    Info {
        /// Which dialog.
        dialog: DialogKey,
        /// Type of the body.
        content_type: String,
        /// The body.
        body: String,
    },
    /// A REFER that waits for [`Command::RespondRefer`]; after 5 s without it is declined with 603.
    Refer {
        /// Which dialog.
        dialog: DialogKey,
        /// The URI to call, without brackets.
        refer_to: String,
        /// Value of the Referred-By header.
        referred_by: Option<String>,
        /// The dialog that the new call is to take the place of.
        replaces: Option<Replaces>,
    },
    /// The final response to our REFER; 408 when there was none, 503 when the transport failed.
    Referred {
        /// Which dialog.
        dialog: DialogKey,
        /// The status; 2xx: NOTIFYs will come.
        status: u16,
    },
    /// A NOTIFY in the subscription of our REFER; 200 has been sent.
    Notify {
        /// Which dialog.
        dialog: DialogKey,
        /// The event package, with its parameters.
        event: String,
        /// Value of Subscription-State.
        state: String,
        /// Type of the body.
        content_type: String,
        /// The body.
        body: String,
    },
    /// Nobody refreshed the session in time (RFC 4028): the peer is gone. BYE has been sent, `Ended` follows.
    SessionExpired {
        /// Which dialog.
        dialog: DialogKey,
    },
    /// 100 Trying to our INVITE: somebody is there and works on it.
    Trying {
        /// Which dialog.
        dialog: DialogKey,
    },
    /// A provisional response (101–199) to our INVITE.
    Progress {
        /// Which dialog.
        dialog: DialogKey,
        /// The status.
        status: u16,
        /// Early media, if any.
        sdp: Option<String>,
    },
    /// A 2xx to our INVITE or re-INVITE; ACK has been sent.
    Answered {
        /// Which dialog.
        dialog: DialogKey,
        /// The answer.
        sdp: Option<String>,
    },
    /// Our INVITE failed (`Ended` follows at once), or our re-INVITE did (the dialog stays).
    Failed {
        /// Which dialog.
        dialog: DialogKey,
        /// The final status; 408 when nobody answered, 503 when the transport failed.
        status: u16,
        /// The reason phrase.
        reason: String,
    },
    /// The dialog is gone, for whatever reason.
    Ended {
        /// Which dialog.
        dialog: DialogKey,
    },
    /// The final response to a [`Command::Request`].
    Response {
        /// Which.
        request: RequestKey,
        /// 200 to 699; 408 when nobody answered, 503 when the transport failed or we are full, 400 when it could not
        /// be sent as it was, 401 or 407 when the challenge was not for us or the credentials were refused.
        status: u16,
        /// The reason phrase.
        reason: String,
        /// All header fields as received, but of a REGISTER's bindings only our own Contact. Empty when nobody answered.
        headers: Vec<(String, String)>,
        /// The way it came.
        flow: Flow,
    },
}

impl Event {
    /// The dialog it is about; `None` for what has none.
    pub fn dialog(&self) -> Option<DialogKey> {
        match self {
            Self::Invite(invite) => Some(invite.dialog),
            Self::Refused { .. }
            | Self::Registered { .. }
            | Self::Unregistered { .. }
            | Self::Response { .. } => None,
            Self::Cancelled { dialog }
            | Self::Acked { dialog, .. }
            | Self::AckTimeout { dialog }
            | Self::Bye { dialog, .. }
            | Self::Reinvite { dialog, .. }
            | Self::Info { dialog, .. }
            | Self::Refer { dialog, .. }
            | Self::Referred { dialog, .. }
            | Self::Notify { dialog, .. }
            | Self::SessionExpired { dialog }
            | Self::Trying { dialog }
            | Self::Progress { dialog, .. }
            | Self::Answered { dialog, .. }
            | Self::Failed { dialog, .. }
            | Self::Ended { dialog } => Some(*dialog),
        }
    }

    /// The event's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Invite(_) => "Invite",
            Self::Refused { .. } => "Refused",
            Self::Registered { .. } => "Registered",
            Self::Unregistered { .. } => "Unregistered",
            Self::Cancelled { .. } => "Cancelled",
            Self::Acked { .. } => "Acked",
            Self::AckTimeout { .. } => "AckTimeout",
            Self::Bye { .. } => "Bye",
            Self::Reinvite { .. } => "Reinvite",
            Self::Info { .. } => "Info",
            Self::Refer { .. } => "Refer",
            Self::Referred { .. } => "Referred",
            Self::Notify { .. } => "Notify",
            Self::SessionExpired { .. } => "SessionExpired",
            Self::Trying { .. } => "Trying",
            Self::Progress { .. } => "Progress",
            Self::Answered { .. } => "Answered",
            Self::Failed { .. } => "Failed",
            Self::Ended { .. } => "Ended",
            Self::Response { .. } => "Response",
        }
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        if let Some(dialog) = self.dialog() {
            write!(f, "({})", dialog.0)?;
        }
        match self {
            Self::Refused { status, .. }
            | Self::Referred { status, .. }
            | Self::Progress { status, .. }
            | Self::Failed { status, .. }
            | Self::Response { status, .. } => write!(f, " {status}"),
            Self::Invite(_)
            | Self::Registered { .. }
            | Self::Unregistered { .. }
            | Self::Cancelled { .. }
            | Self::Acked { .. }
            | Self::AckTimeout { .. }
            | Self::Bye { .. }
            | Self::Reinvite { .. }
            | Self::Info { .. }
            | Self::Refer { .. }
            | Self::Notify { .. }
            | Self::SessionExpired { .. }
            | Self::Trying { .. }
            | Self::Answered { .. }
            | Self::Ended { .. } => Ok(()),
        }
    }
}

impl fmt::Debug for IncomingInvite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IncomingInvite({}, {})", self.dialog.0, self.sip_call_id)
    }
}

impl fmt::Debug for OutgoingInvite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OutgoingInvite({})", self.dialog.0)
    }
}

impl fmt::Debug for OutgoingRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OutgoingRequest({} {})", self.request.0, self.method)
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Respond { dialog, status, .. } => write!(f, "Respond({}) {status}", dialog.0),
            Self::Invite(invite) => write!(f, "Invite({})", invite.dialog.0),
            Self::Request(request) => request.fmt(f),
            Self::Cancel { dialog } => write!(f, "Cancel({})", dialog.0),
            Self::Bye { dialog, .. } => write!(f, "Bye({})", dialog.0),
            Self::AddToBye { dialog, .. } => write!(f, "AddToBye({})", dialog.0),
            Self::Reinvite { dialog, .. } => write!(f, "Reinvite({})", dialog.0),
            Self::Info { dialog, .. } => write!(f, "Info({})", dialog.0),
            Self::Update { dialog, .. } => write!(f, "Update({})", dialog.0),
            Self::Refer { dialog, .. } => write!(f, "Refer({})", dialog.0),
            Self::RespondRefer { dialog, status } => write!(f, "RespondRefer({}) {status}", dialog.0),
            Self::Notify { dialog, .. } => write!(f, "Notify({})", dialog.0),
            Self::Farewell { saved, .. } => write!(f, "Farewell({saved:?})"),
            Self::Drain(on) => write!(f, "Drain({on})"),
        }
    }
}

impl fmt::Debug for Input<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message { flow, bytes } => write!(f, "Message({} bytes from {})", bytes.len(), flow.remote),
            Self::FlowClosed { flow } => write!(f, "FlowClosed({})", flow.remote),
            Self::Command(command) => command.fmt(f),
            Self::Timeout => f.write_str("Timeout"),
        }
    }
}
