//! What goes into the endpoint and what comes out of it.
//! Closed enums: a new variant makes the compiler list every place that must answer.
//! `Debug` shows no numbers, names or bodies: those are the caller's.

use std::fmt;
use std::net::SocketAddr;

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
    /// While true, OPTIONS and new INVITEs get 503 and no call can be placed.
    Drain(bool),
}

/// An incoming call.
#[derive(Clone, PartialEq, Eq)]
pub struct IncomingInvite {
    /// Its dialog.
    pub dialog: DialogKey,
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
}

/// What happened to a dialog. Every dialog that was announced by [`Event::Invite`] or begun by
/// [`Command::Invite`] ends in exactly one [`Event::Ended`].
#[derive(Clone, PartialEq, Eq)]
pub enum Event {
    /// A call comes in; 100 Trying has been sent.
    Invite(IncomingInvite),
    /// A call was refused by the endpoint itself (draining or full): for the CDR. There is no dialog.
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
        /// The status that was sent.
        status: u16,
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
    /// A re-INVITE that waits for [`Command::Respond`].
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
}

impl Event {
    /// The dialog it is about; `None` for a refused call.
    pub fn dialog(&self) -> Option<DialogKey> {
        match self {
            Self::Invite(invite) => Some(invite.dialog),
            Self::Refused { .. } => None,
            Self::Cancelled { dialog }
            | Self::Acked { dialog, .. }
            | Self::AckTimeout { dialog }
            | Self::Bye { dialog, .. }
            | Self::Reinvite { dialog, .. }
            | Self::Info { dialog, .. }
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
            Self::Cancelled { .. } => "Cancelled",
            Self::Acked { .. } => "Acked",
            Self::AckTimeout { .. } => "AckTimeout",
            Self::Bye { .. } => "Bye",
            Self::Reinvite { .. } => "Reinvite",
            Self::Info { .. } => "Info",
            Self::Progress { .. } => "Progress",
            Self::Answered { .. } => "Answered",
            Self::Failed { .. } => "Failed",
            Self::Ended { .. } => "Ended",
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
            Self::Refused { status, .. } | Self::Progress { status, .. } | Self::Failed { status, .. } => {
                write!(f, " {status}")
            }
            Self::Invite(_)
            | Self::Cancelled { .. }
            | Self::Acked { .. }
            | Self::AckTimeout { .. }
            | Self::Bye { .. }
            | Self::Reinvite { .. }
            | Self::Info { .. }
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

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Respond { dialog, status, .. } => write!(f, "Respond({}) {status}", dialog.0),
            Self::Invite(invite) => write!(f, "Invite({})", invite.dialog.0),
            Self::Cancel { dialog } => write!(f, "Cancel({})", dialog.0),
            Self::Bye { dialog, .. } => write!(f, "Bye({})", dialog.0),
            Self::Reinvite { dialog, .. } => write!(f, "Reinvite({})", dialog.0),
            Self::Info { dialog, .. } => write!(f, "Info({})", dialog.0),
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
