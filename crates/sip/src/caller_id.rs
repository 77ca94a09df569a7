//! Who calls, as a trunk wants it said and as it says it: From, P-Asserted-Identity, Remote-Party-ID and Privacy
//! (RFC 3323, RFC 3325). Knows header values and number formats. Trusts nobody by itself.

use crate::headers::{NameAddr, param, split_list};
use crate::uri::{Uri, bracketed};
use std::borrow::Cow;
use std::fmt;

/// A name is shown up to this length, in characters.
const MAX_DISPLAY: usize = 128;
/// The fewest digits of a number that can be international; what is shorter is a short code or an extension.
const MIN_INTERNATIONAL: usize = 8;
/// RFC 3323 section 4.1.1.3.
const ANONYMOUS: &str = "\"Anonymous\" <sip:anonymous@anonymous.invalid>";

/// How a telephone number is written in what we send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumberFormat {
    /// As it was given.
    AsWritten,
    /// `+4930123456`.
    E164Plus,
    /// `4930123456`.
    E164,
    /// `030123456` at home, `0043…` abroad; as E.164 with plus if the trunk's country is not known.
    National,
}

/// Where we say who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallerIdOut {
    /// In From.
    From,
    /// In P-Asserted-Identity; From names the account if there is one.
    Asserted,
    /// In Remote-Party-ID, its predecessor; From names the account if there is one.
    RemoteParty,
    /// In From and in P-Asserted-Identity.
    Both,
}

/// A header that says who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallerIdIn {
    /// P-Asserted-Identity.
    Asserted,
    /// Remote-Party-ID.
    RemoteParty,
    /// From, which anybody can write.
    From,
}

impl CallerIdIn {
    /// Most trustworthy first.
    pub const ALL: [Self; 3] = [Self::Asserted, Self::RemoteParty, Self::From];

    /// The header's name.
    pub fn header(self) -> &'static str {
        match self {
            Self::Asserted => "P-Asserted-Identity",
            Self::RemoteParty => "Remote-Party-ID",
            Self::From => "From",
        }
    }
}

/// How a country writes its numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Country {
    /// Digits after the plus: `49`.
    pub code: String,
    /// What national numbers begin with: `0`, or nothing.
    pub trunk_prefix: String,
    /// What foreign numbers begin with: `00`, `011`.
    pub international_prefix: String,
}

/// How calls of one trunk say who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerIdPolicy {
    /// How numbers are written.
    pub format: NumberFormat,
    /// Where national numbers are at home.
    pub country: Option<Country>,
    /// The user part of From; `None` = the caller's number.
    pub from_user: Option<String>,
    /// The host of From and of the identity headers.
    pub from_host: String,
    /// Where we say who calls.
    pub out: CallerIdOut,
    /// Asks that the number be hidden (`Privacy: id`).
    pub privacy: bool,
}

/// What an INVITE says of its caller.
#[derive(Clone, PartialEq, Eq)]
pub struct CallerHeaders {
    /// The From name-addr, without tag.
    pub from: String,
    /// More header fields.
    pub headers: Vec<(String, String)>,
}

impl fmt::Debug for CallerHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallerHeaders({} more)", self.headers.len())
    }
}

impl CallerIdPolicy {
    /// The headers of a call from `number` (empty = nobody in particular) by the name of `display`.
    pub fn outgoing(&self, number: &str, display: Option<&str>) -> CallerHeaders {
        let number = self.number(number);
        let known = !number.is_empty();
        let asserted = known && matches!(self.out, CallerIdOut::Asserted | CallerIdOut::Both);
        let remote_party = known && self.out == CallerIdOut::RemoteParty;
        let mut headers = Vec::new();
        let identity = self.name_addr(display, &number);
        if asserted {
            headers.push(("P-Asserted-Identity".to_owned(), identity.clone()));
        }
        if remote_party {
            let privacy = if self.privacy { "full" } else { "off" };
            let value = format!("{identity};party=calling;screen=yes;privacy={privacy}");
            headers.push(("Remote-Party-ID".to_owned(), value));
        }
        if self.privacy {
            headers.push(("Privacy".to_owned(), "id".to_owned()));
        }
        CallerHeaders { from: self.from(display, &number), headers }
    }

    fn from(&self, display: Option<&str>, number: &str) -> String {
        match &self.from_user {
            // The trunk knows its account by it, so it stays even where the caller is hidden.
            Some(user) if self.privacy => self.name_addr(Some("Anonymous"), user),
            Some(user) => self.name_addr(display, user),
            None if self.privacy || number.is_empty() => ANONYMOUS.to_owned(),
            None => self.name_addr(display, number),
        }
    }

    fn name_addr(&self, display: Option<&str>, user: &str) -> String {
        let host = bracketed(&clean_host(&self.from_host));
        let uri = format!("<sip:{}@{host}>", escaped_user(user));
        match display.map(clean_display).filter(|display| !display.is_empty()) {
            Some(display) => format!("{} {uri}", quoted(&display)),
            None => uri,
        }
    }

    /// A number as this trunk wants it, for the caller and the called alike. What is no telephone number (a name, a
    /// short code, a service code) stays as it is.
    pub fn number<'a>(&self, number: &'a str) -> Cow<'a, str> {
        if self.format == NumberFormat::AsWritten {
            return Cow::Borrowed(number.trim());
        }
        let Some(international) = self.international(number) else {
            return Cow::Borrowed(number.trim());
        };
        Cow::Owned(match (self.format, &self.country) {
            (NumberFormat::E164, _) => international,
            (NumberFormat::National, Some(country)) => match international.strip_prefix(&country.code) {
                Some(national) => format!("{}{national}", country.trunk_prefix),
                None => format!("{}{international}", country.international_prefix),
            },
            (NumberFormat::AsWritten | NumberFormat::E164Plus | NumberFormat::National, _) => {
                format!("+{international}")
            }
        })
    }

    /// The digits that follow the plus.
    fn international(&self, number: &str) -> Option<String> {
        let bare: String = number.chars().filter(|c| !" -./()\u{a0}".contains(*c)).collect();
        let (plus, digits) = match bare.strip_prefix('+') {
            Some(digits) => (true, digits),
            None => (false, bare.as_str()),
        };
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        if plus {
            return Some(digits.to_owned());
        }
        if let Some(country) = &self.country {
            let without =
                |prefix: &String| digits.strip_prefix(prefix.as_str()).filter(|_| !prefix.is_empty());
            if let Some(digits) = without(&country.international_prefix) {
                return Some(digits.to_owned());
            }
            if let Some(digits) = without(&country.trunk_prefix) {
                return Some(format!("{}{digits}", country.code));
            }
        }
        (digits.len() >= MIN_INTERNATIONAL && !digits.starts_with('0')).then(|| digits.to_owned())
    }
}

/// Who calls us.
#[derive(Clone, PartialEq, Eq)]
pub struct Caller {
    /// The number or user name; empty if nobody says.
    pub number: String,
    /// The display name.
    pub display: Option<String>,
    /// Which header said so.
    pub source: CallerIdIn,
    /// The number is for us only, not for showing or passing on.
    pub private: bool,
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Caller(from {}, private {})", self.source.header(), self.private)
    }
}

/// The caller of an incoming INVITE. `order` are the headers to believe, the most trustworthy first; whoever is not
/// `trusted` is believed in From only, because the other headers are for use between those who trust each other.
pub fn incoming_caller(headers: &[(String, String)], order: &[CallerIdIn], trusted: bool) -> Caller {
    let order = if trusted { order } else { &[CallerIdIn::From] };
    let private = hides(headers);
    order
        .iter()
        .flat_map(|source| values(headers, source.header()).map(move |value| (*source, value)))
        .find_map(|(source, value)| {
            let addr = NameAddr::parse(value)?;
            let uri = Uri::parse(addr.uri).ok().filter(Uri::scheme_supported)?;
            let number = unescaped(uri.user.split(';').next().unwrap_or_default());
            let anonymous = number.is_empty() || number.eq_ignore_ascii_case("anonymous");
            let hidden = source == CallerIdIn::RemoteParty
                && param(addr.params, "privacy").is_some_and(|privacy| !privacy.eq_ignore_ascii_case("off"));
            let display = clean_display(&unquoted(addr.display));
            (!anonymous).then(|| Caller {
                number,
                display: (!display.is_empty()).then_some(display),
                source,
                private: private || hidden,
            })
        })
        .unwrap_or(Caller { number: String::new(), display: None, source: CallerIdIn::From, private })
}

fn values<'a>(headers: &'a [(String, String)], name: &str) -> impl Iterator<Item = &'a str> {
    let name = name.to_owned();
    headers
        .iter()
        .filter(move |(known, _)| known.eq_ignore_ascii_case(&name))
        .flat_map(|(_, value)| split_list(value))
}

/// `Privacy: id`, `header`, `user` or `full` (RFC 3323 section 4.2, RFC 3325 section 9.3).
fn hides(headers: &[(String, String)]) -> bool {
    values(headers, "Privacy")
        .flat_map(|value| value.split(';'))
        .any(|one| ["id", "header", "user", "full"].iter().any(|word| one.trim().eq_ignore_ascii_case(word)))
}

/// For a user part (RFC 3261 section 25.1); `;`, `?` and `:` too, so that a user stays a user.
fn escaped_user(user: &str) -> String {
    let mut out = String::with_capacity(user.len());
    for byte in user.bytes().filter(|byte| !byte.is_ascii_control()) {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out += &format!("%{byte:02X}");
        }
    }
    out
}

/// Undoes `%41`, but never into a control character, a quote or a bracket.
fn unescaped(user: &str) -> String {
    let mut bytes = Vec::with_capacity(user.len());
    let mut rest = user.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).filter(|_| *first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        let byte = code.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match byte.filter(|byte| !byte.is_ascii_control() && !b"\"<>\\".contains(byte)) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| user.to_owned())
}

fn clean_host(host: &str) -> String {
    host.chars().filter(|c| c.is_ascii_alphanumeric() || "-._:".contains(*c)).collect()
}

fn clean_display(display: &str) -> String {
    let clean: String = display.chars().filter(|c| !c.is_control()).take(MAX_DISPLAY).collect();
    clean.trim().to_owned()
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn unquoted(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        plain.push(if c == '\\' { chars.next().unwrap_or('\\') } else { c });
    }
    plain
}
