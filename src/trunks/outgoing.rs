//! What a trunk makes of a call of ours: the Request-URI, who is said to call, the extra headers and the login.
//! Knows a trunk's policy. Where the call goes and what becomes of it is the dialer's business.

use super::rules::credentials;
use crate::config::trunk::Trunk;
use sip::{
    Command, DialogKey, Flow, OutgoingInvite,
    caller_id::{CallerHeaders, CallerIdOut, CallerIdPolicy},
    uri::Uri,
};

/// A call as one trunk would place it to one of its addresses.
#[derive(Clone)]
pub struct Placement {
    /// The Request-URI.
    pub uri: String,
    /// The From value.
    pub from: String,
    /// Identity headers and those of the trunk.
    pub headers: Vec<(String, String)>,
    /// The Route set: an outbound proxy.
    pub route: Vec<String>,
}

impl Placement {
    /// How `trunk` calls `number` by way of `outbound`, one of its addresses. `caller`: whose number is shown.
    ///
    /// # Errors
    /// What is wrong, for a person.
    pub fn new(trunk: &Trunk, outbound: &str, number: &str, caller: Option<&str>) -> Result<Self, String> {
        let identity = &trunk.profile.identity;
        let uri = Uri::parse(outbound).map_err(|_| format!("{outbound} is not a SIP address"))?;
        let account = identity.from_user.clone().or(trunk.login.as_ref().map(|login| login.username.clone()));
        let policy = CallerIdPolicy {
            format: identity.number_format,
            country: None,
            // Where From says who calls, the account is for calls that nobody in particular makes.
            from_user: match identity.caller_id {
                CallerIdOut::Asserted | CallerIdOut::RemoteParty => account.clone(),
                CallerIdOut::From | CallerIdOut::Both => None,
            },
            from_host: identity.from_host.clone().unwrap_or_else(|| uri.host.to_owned()),
            // Where From is anonymous, the carrier must learn elsewhere whom to bill.
            out: match identity.caller_id {
                CallerIdOut::From if identity.privacy => CallerIdOut::Both,
                out @ (CallerIdOut::From
                | CallerIdOut::Asserted
                | CallerIdOut::RemoteParty
                | CallerIdOut::Both) => out,
            },
            privacy: identity.privacy,
        };
        let called = dialled(trunk, &policy, number)?;
        let shown = caller.map(str::to_owned).or(account).unwrap_or_default();
        let CallerHeaders { from, mut headers } = policy.outgoing(&shown, None);
        headers.extend(identity.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
        let port = uri.port.map_or_else(String::new, |port| format!(":{port}"));
        let scheme = if outbound.starts_with("sips:") { "sips" } else { "sip" };
        Ok(Self {
            uri: format!("{scheme}:{called}@{}{port}", host(uri.host)),
            from,
            headers,
            route: route(trunk),
        })
    }

    /// The INVITE on a flow.
    pub fn invite(&self, trunk: &Trunk, dialog: DialogKey, flow: Flow, sdp: String) -> Command {
        Command::Invite(OutgoingInvite {
            headers: self.headers.clone(),
            policy: trunk.profile.timers.policy.clone(),
            credentials: trunk.login.as_ref().map(credentials),
            route: self.route.clone(),
            ..OutgoingInvite::new(dialog, self.uri.clone(), self.from.clone(), flow, sdp)
        })
    }
}

/// A host as it stands in a URI: an IPv6 address needs its brackets back.
pub(super) fn host(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// The Route header of a trunk's requests: its outbound proxy as a loose router.
pub(super) fn route(trunk: &Trunk) -> Vec<String> {
    let proxy = trunk.profile.signalling.outbound_proxy.as_ref();
    proxy
        .map(|proxy| format!("<{proxy}{}>", if proxy.contains(";lr") { "" } else { ";lr" }))
        .into_iter()
        .collect()
}

/// The called number as the trunk wants it.
fn dialled(trunk: &Trunk, policy: &CallerIdPolicy, number: &str) -> Result<String, String> {
    let identity = &trunk.profile.identity;
    let bare: String = number.chars().filter(|c| !" ()/".contains(*c)).collect();
    let plain = !bare.is_empty() && bare.chars().all(|c| c.is_ascii_alphanumeric() || "+*#-_.~".contains(c));
    if !plain {
        return Err("the number holds characters that cannot be dialled".to_owned());
    }
    let number = policy.number(&bare);
    let stripped = number.strip_prefix(&identity.strip).unwrap_or(&number);
    Ok(format!("{}{stripped}", identity.prepend).replace('#', "%23"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Overrides, Secrets};

    fn trunk(text: &str) -> Trunk {
        let path =
            std::env::temp_dir().join(format!("tandem-outgoing-{}-{}.toml", std::process::id(), text.len()));
        std::fs::write(&path, format!("[[trunk]]\nname = \"t\"\n{text}")).expect("a file");
        let config = Config::load_with(Some(&path), &Overrides::default(), Secrets::Noted);
        std::fs::remove_file(&path).expect("the file goes");
        config.expect("valid").trunks[0].clone()
    }

    #[test]
    fn what_cannot_be_dialled_never_reaches_a_request() {
        let trunk = trunk("[trunk.signalling]\noutbound = [\"sip:s.example\"]\n");
        let placed =
            |number: &str| Placement::new(&trunk, "sip:s.example", number, None).map(|placed| placed.uri);
        assert_eq!(placed("*21#"), Ok("sip:*21%23@s.example".to_owned()));
        for injected in ["", "1@evil.example", "1\r\nX: y", "1>", "1;x=y", "\u{0661}"] {
            assert!(placed(injected).is_err(), "{injected:?}");
        }
    }

    #[test]
    fn who_is_said_to_call_follows_the_trunks_policy() {
        let text = "profile = \"signalwire\"\n[trunk.signalling]\noutbound = [\"sip:s.example:5070\"]\n\
                    outbound_proxy = \"sip:proxy.example\"\n\
                    [trunk.identity]\nprepend = \"77\"\n[trunk.auth]\nusername = \"acc\"\npassword = \"env:PATH\"\n";
        let trunk = trunk(text);
        let placed = Placement::new(&trunk, "sip:s.example:5070", "4930123456", Some("4930999999"));
        let placed = placed.expect("can be placed");
        assert_eq!(placed.uri, "sip:77+4930123456@s.example:5070");
        assert_eq!(placed.from, "<sip:acc@s.example>");
        assert_eq!(placed.headers[0].1, "<sip:+4930999999@s.example>");
        assert_eq!(placed.route, ["<sip:proxy.example;lr>"]);
    }

    #[test]
    fn a_caller_who_hides_is_only_asserted() {
        let trunk =
            trunk("[trunk.signalling]\noutbound = [\"sip:s.example\"]\n[trunk.identity]\nprivacy = true\n");
        let placed = Placement::new(&trunk, "sip:s.example", "100", Some("200")).expect("can be placed");
        assert!(placed.from.contains("anonymous.invalid"), "{}", placed.from);
        assert_eq!(
            placed.headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
            ["P-Asserted-Identity", "Privacy"]
        );
    }
}
