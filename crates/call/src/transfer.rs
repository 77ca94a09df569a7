//! A caller passed on by REFER (RFC 3515), without anybody being asked first: from the wish to what became of it.
//! Knows the dialog's reports. Whom a caller may be passed on to is the agent file's: a model only picks a name.

use crate::{Event, Output, SipOutput, ToolResult, cdr::Cause, machine::Call, tools::arguments};
use conversation::{ToolCall, Transfer, TurnId};
use std::time::{Duration, Instant};

/// From the REFER to its outcome: as long as a phone rings. After that the agent has its caller back.
const PATIENCE: Duration = Duration::from_secs(30);
/// What the turn waits beyond that, for the sentence before the REFER.
const SPEECH: Duration = Duration::from_secs(30);

/// A transfer under way.
pub(crate) struct Passing {
    call_id: String,
    turn: TurnId,
    destination: String,
    refer_to: String,
    headers: Vec<(String, String)>,
    /// When the REFER left; before that the agent is still speaking.
    asked: Option<Instant>,
    /// The other side has taken the REFER.
    accepted: bool,
}

impl Passing {
    pub(crate) const fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    pub(crate) const fn is_accepted(&self) -> bool {
        self.accepted
    }
}

impl Call {
    pub(crate) fn begin_transfer(
        &mut self,
        now: Instant,
        turn: TurnId,
        call: ToolCall,
        transfer: &Transfer,
        out: &mut Vec<Output>,
    ) {
        let chosen = match self.destination(&call, transfer) {
            Ok(chosen) => chosen,
            Err(error) => return self.answer_tool(turn, call, Err(error), out),
        };
        let variables = self.context.variables();
        let header = |name: &String, value: &conversation::Template| (name.clone(), value.with(variables));
        self.transfer = Some(Passing {
            call_id: call.id.clone(),
            turn,
            refer_to: transfer.destinations[&chosen].with(variables),
            headers: transfer.headers.iter().map(|(name, value)| header(name, value)).collect(),
            destination: chosen,
            asked: None,
            accepted: false,
        });
        self.await_tool(now, turn, &call, PATIENCE + SPEECH);
    }

    /// The destination that the model names, or the only one there is.
    fn destination(&self, call: &ToolCall, transfer: &Transfer) -> Result<String, String> {
        if !self.setup.context.may_refer {
            return Err("callers cannot be passed on over this line".to_owned());
        }
        if self.transfer.is_some() {
            return Err("the caller is being passed on already".to_owned());
        }
        let arguments = arguments(call);
        let names: Vec<&str> = transfer.destinations.keys().map(String::as_str).collect();
        match (arguments["destination"].as_str(), &names[..]) {
            (None, [only]) => Ok((*only).to_owned()),
            (Some(name), _) if transfer.destinations.contains_key(name) => Ok(name.to_owned()),
            (Some(_) | None, _) => Err(format!("\"destination\" must be one of {}", names.join(", "))),
        }
    }

    /// Asks the other side once the agent has said what it had to say, and gives up when nothing comes of it.
    pub(crate) fn watch_transfer(&mut self, now: Instant, out: &mut Vec<Output>) {
        let Some(transfer) = &self.transfer else { return };
        if let Some(asked) = transfer.asked {
            if now >= asked + PATIENCE {
                self.end_transfer(now, None, "nobody answered in time", out);
            }
            return;
        }
        let said = self.reply.as_ref().is_none_or(|reply| {
            reply.turn != transfer.turn
                || !reply.asked && reply.sentences.iter().all(|sentence| sentence.done)
        });
        let heard = self.leg.as_ref().is_none_or(|leg| leg.playout.is_empty());
        if !said || !heard {
            return;
        }
        let Some(transfer) = &mut self.transfer else { return };
        transfer.asked = Some(now);
        let (refer_to, headers) = (transfer.refer_to.clone(), transfer.headers.clone());
        let destination = transfer.destination.clone();
        out.push(Output::Event(Event::Transfer { destination, state: "asked".into(), status: None }));
        out.push(Output::Sip(SipOutput::Refer { refer_to, headers }));
    }

    /// The final response to our REFER.
    pub(crate) fn handle_referred(&mut self, now: Instant, status: u16, out: &mut Vec<Output>) {
        let Some(transfer) = self.transfer.as_mut().filter(|transfer| transfer.is_asked()) else { return };
        if status >= 300 {
            return self.end_transfer(now, Some(status), "it was refused", out);
        }
        transfer.accepted = true;
        let destination = transfer.destination.clone();
        let state = "accepted".to_owned();
        out.push(Output::Event(Event::Transfer { destination, state, status: Some(status) }));
    }

    /// A NOTIFY: how the call that our REFER asked for goes, as the first line of a response (RFC 3420).
    pub(crate) fn handle_notify(&mut self, now: Instant, body: &str, out: &mut Vec<Output>) {
        let Some(transfer) = self.transfer.as_mut().filter(|transfer| transfer.is_asked()) else { return };
        // Without the subscription there would be no NOTIFY, even if it overtakes the 202.
        transfer.accepted = true;
        let Some(status) = sipfrag_status(body).filter(|status| *status >= 200) else { return };
        if status >= 300 {
            let why =
                if status == 486 || status == 600 { "the line is busy" } else { "nobody took the call" };
            return self.end_transfer(now, Some(status), why, out);
        }
        let destination = transfer.destination.clone();
        let state = "done".to_owned();
        out.push(Output::Event(Event::Transfer { destination, state, status: Some(status) }));
        self.end(Cause::Transferred, out);
    }

    /// It failed: the agent has its caller back, and hears why.
    fn end_transfer(&mut self, now: Instant, status: Option<u16>, why: &str, out: &mut Vec<Output>) {
        let Some(transfer) = self.transfer.take() else { return };
        let Passing { call_id, turn, destination, .. } = transfer;
        let state = "failed".to_owned();
        out.push(Output::Event(Event::Transfer { destination, state, status }));
        let status = status.map(|status| format!(" ({status})")).unwrap_or_default();
        let result = Err(format!("the transfer failed: {why}{status}; the caller is still here"));
        self.handle_tool(now, turn, ToolResult { call_id, result }, out);
    }
}

/// The status in the first line of a `message/sipfrag` body.
fn sipfrag_status(body: &str) -> Option<u16> {
    let mut words = body.lines().next()?.split_whitespace();
    words.next().filter(|version| version.eq_ignore_ascii_case("SIP/2.0"))?;
    words.next()?.parse().ok().filter(|status| (100..700).contains(status))
}

#[cfg(test)]
mod tests {
    use super::sipfrag_status;

    #[test]
    fn only_a_status_line_says_how_it_went() {
        assert_eq!(sipfrag_status("SIP/2.0 486 Busy Here\r\nX: y\r\n"), Some(486));
        assert_eq!(sipfrag_status("SIP/2.0 100 Trying"), Some(100));
        for nonsense in
            ["", "\r\n", "200 OK", "SIP/2.0", "SIP/2.0 abc", "SIP/2.0 99999 Hm", "HTTP/1.1 200 OK"]
        {
            assert_eq!(sipfrag_status(nonsense), None, "{nonsense}");
        }
    }
}
