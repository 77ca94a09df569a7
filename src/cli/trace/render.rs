//! One call as a waterfall: what was said, why the turn ended, and where the time went.
//! Knows characters and colours; takes a trace and gives text.

use super::{in_seconds, millis, moment, safe};
use crate::store::{CallRecord, Quality};
use crate::telemetry::call_trace::{
    BargeInTrace, CallTrace, KnowledgeTrace, LatencyTrace, Mark, Note, StageTrace, TurnTrace,
};
use call::FoundPassage;

/// What a bar has beside it: indent, name, frame and figures.
const BESIDE_BAR: usize = 42;
/// Where words start.
const INDENT: usize = 12;

#[derive(Clone, Copy)]
enum Ink {
    Head,
    Caller,
    Good,
    Bad,
    Note,
}

/// Where text goes, with its width and whether it may be coloured.
struct Page {
    text: String,
    width: usize,
    colour: bool,
}

/// The whole call as text, `width` characters wide. Without `colour` it is plain text.
pub fn render_call(trace: &CallTrace, width: usize, colour: bool) -> String {
    let mut page = Page { text: String::new(), width, colour };
    if let Some(record) = &trace.call {
        head(&mut page, record, trace);
    }
    for turn in &trace.turns {
        page.line("");
        draw_turn(&mut page, turn, trace.running);
    }
    if trace.turns.is_empty() && !trace.running {
        page.line("");
        page.line("Nothing was said, or its trace is no longer kept.");
    }
    for (number, Note { at_us, about, text }) in trace.notes.iter().enumerate() {
        if number == 0 {
            page.line("");
        }
        page.inked(Ink::Note, &format!("at {}  {}: {}", in_seconds(*at_us, 3), safe(about), safe(text)));
    }
    for (number, warning) in trace.warnings.iter().enumerate() {
        if number == 0 {
            page.line("");
        }
        page.inked(Ink::Bad, &format!("warning: {}", safe(warning)));
    }
    page.text
}

/// One turn as text; for whoever follows a call.
pub fn render_turn(turn: &TurnTrace, running: bool, width: usize, colour: bool) -> String {
    let mut page = Page { text: String::new(), width, colour };
    draw_turn(&mut page, turn, running);
    page.text
}

fn head(page: &mut Page, record: &CallRecord, trace: &CallTrace) {
    let end = match (&record.end_cause, record.sip_status) {
        (Some(cause), Some(status)) => format!("ended: {} (SIP {status})", safe(cause)),
        (Some(cause), None) => format!("ended: {}", safe(cause)),
        (None, _) => "running".to_owned(),
    };
    page.inked(Ink::Head, &format!("call {}  {end}", record.call));
    let over = record.trunk.as_deref().map(|trunk| format!(" over {}", safe(trunk))).unwrap_or_default();
    let agent = record.agent.as_deref().map(|agent| format!(", agent {}", safe(agent))).unwrap_or_default();
    let (from, to) = (safe(record.caller.expose()), safe(record.called.expose()));
    page.line(&format!("{} from {from} to {to}{over}{agent}", record.direction.name()));
    let mut facts = vec![moment(record.invite_us)];
    if let Some(end) = record.end_us {
        facts.push(in_seconds(end.saturating_sub(record.invite_us).unsigned_abs(), 1));
    }
    facts.extend(record.codec.as_deref().map(safe));
    if let Some(slot) = record.port_slot {
        let concurrency = record.concurrency.map(|busy| format!(" ({busy} in use)")).unwrap_or_default();
        facts.push(format!("slot {slot}{concurrency}"));
    }
    page.line(&facts.join("  "));
    summary(page, record, trace);
}

/// While the call runs its record has no figures yet; the trace has.
fn summary(page: &mut Page, record: &CallRecord, trace: &CallTrace) {
    let gaps = trace.gaps_us();
    let barge_ins = trace.turns.iter().filter(|turn| turn.barge_in.is_some()).count();
    let plural = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    let mut facts = vec![plural(trace.turns.len(), "turn"), plural(barge_ins, "barge-in")];
    let middle = gaps.get(gaps.len().saturating_sub(1) / 2).copied();
    if let (Some(p50), Some(max)) = (record.gap_p50_us.or(middle), record.gap_max_us.or(gaps.last().copied()))
    {
        facts.push(format!("gap p50 {} ms, max {} ms", millis(p50), millis(max)));
    }
    if let Some(us) = trace.greeting_us {
        facts.push(format!("greeting after {} ms", millis(us)));
    }
    page.line(&facts.join("  "));
    let quality = &record.quality;
    if quality.received + quality.sent > 0 {
        page.line(&format!(
            "packets: {} received, {} lost, {} late, {} concealed, jitter {} ms; {} sent",
            quality.received,
            quality.lost,
            quality.late,
            quality.concealed,
            millis(quality.jitter_us),
            quality.sent
        ));
    }
    page.scores(quality);
}

/// Letters of a passage that are shown; `--json` has all of them.
const SHOWN: usize = 100;

fn draw_turn(page: &mut Page, turn: &TurnTrace, running: bool) {
    let what = if turn.turn == 0 { "  greeting" } else { "" };
    let gap = turn.latency.as_ref().map(gap).unwrap_or_default();
    page.inked(Ink::Head, &format!("turn {}  at {}{what}{gap}", turn.turn, in_seconds(turn.at_us, 3)));
    if let Some(caller) = &turn.caller {
        page.words(Ink::Caller, "caller", &format!("\"{}\"", safe(&caller.text)));
        page.words(Ink::Note, "", &format!("{}; waited {} ms", safe(&caller.reason), caller.waited_ms));
    }
    if let Some(latency) = &turn.latency {
        waterfall(page, latency);
    }
    draw_work(page, turn);
    if !turn.sentences.is_empty() {
        page.words(Ink::Good, "agent", &format!("\"{}\"", safe(&turn.sentences.join(" "))));
    }
    if let Some(barge_in) = &turn.barge_in {
        draw_barge_in(page, barge_in);
    }
    if running && turn.latency.is_none() && turn.barge_in.is_none() && turn.reached < Some(Mark::FirstPacket)
    {
        page.words(Ink::Note, "now", waiting_for(turn));
    }
}

/// Models, tools and what went wrong. One model that answered is nothing to mention.
fn draw_work(page: &mut Page, turn: &TurnTrace) {
    if turn.attempts.len() > 1 || turn.attempts.iter().any(|attempt| attempt.role != "primary") {
        let tried = turn
            .attempts
            .iter()
            .map(|attempt| format!("{} ({})", safe(&attempt.target), safe(&attempt.role)));
        page.words(Ink::Note, "model", &tried.collect::<Vec<_>>().join(", then "));
    }
    if let Some(knowledge) = &turn.knowledge {
        draw_knowledge(page, knowledge);
    }
    for tool in &turn.tools {
        let outcome = match (tool.ok, tool.ms) {
            (Some(true), Some(ms)) => format!("ok, {ms} ms"),
            (Some(false), Some(ms)) => format!("failed, {ms} ms"),
            _ => "running".to_owned(),
        };
        page.words(Ink::Note, "tool", &format!("{}: {outcome}", safe(&tool.name)));
    }
    for Note { about, text, .. } in &turn.asides {
        page.words(Ink::Note, about, &safe(text));
    }
    for Note { about, text, .. } in &turn.fallbacks {
        page.words(Ink::Bad, "fallback", &format!("{} failed: {}", safe(about), safe(text)));
    }
}

/// Where the agent's documents say something about the question, and how that came.
fn draw_knowledge(page: &mut Page, knowledge: &KnowledgeTrace) {
    let KnowledgeTrace { came, took_ms, waited_ms, passages } = knowledge;
    let came = match came.as_str() {
        "ready" => format!("ready when the caller had finished (search {took_ms} ms)"),
        "in_time" => format!("waited {waited_ms} ms for the search"),
        "earlier" => format!("not in time ({waited_ms} ms): found for the beginning of the question"),
        _ => format!("not in time ({waited_ms} ms): answered without"),
    };
    let nothing = if passages.is_empty() { "nothing found; " } else { "" };
    page.words(Ink::Note, "knowledge", &format!("{nothing}{came}"));
    for FoundPassage { source, title, text, fit_percent } in passages {
        let text: String = text.chars().take(SHOWN).collect();
        let what = format!("{fit_percent} % {} ({}): {}", safe(source), safe(title), safe(&text));
        page.words(Ink::Note, "", &what);
    }
}

fn gap(latency: &LatencyTrace) -> String {
    let budget =
        if latency.budget_us > 0 { format!(" of {}", millis(latency.budget_us)) } else { String::new() };
    let over = match latency.violated_by {
        Some(stage) => format!("  OVER BUDGET by {}", stage.name()),
        None if latency.over => "  OVER".to_owned(),
        None => String::new(),
    };
    format!("  gap {}{budget} ms{over}", millis(latency.total_us))
}

fn draw_barge_in(page: &mut Page, barge_in: &BargeInTrace) {
    let (at, state) = (in_seconds(barge_in.at_us, 3), safe(&barge_in.state));
    page.words(
        Ink::Bad,
        "barge-in",
        &format!("at {at} while {state}, after {} ms of speech", barge_in.reaction_ms),
    );
    page.words(Ink::Note, "heard", &format!("\"{}\"", safe(&barge_in.heard)));
    page.words(Ink::Note, "unsaid", &format!("\"{}\"", safe(&barge_in.unsaid)));
}

fn waiting_for(turn: &TurnTrace) -> &'static str {
    match turn.reached {
        None => "the turn has just begun",
        Some(_) if turn.tools.iter().any(|tool| tool.ok.is_none()) => "waiting for a tool",
        Some(Mark::Asked) => "waiting for the model's first word",
        Some(Mark::FirstToken) => "waiting for the first sentence",
        Some(Mark::Sentence) => "waiting for the first audio",
        Some(Mark::FirstAudio | Mark::FirstPacket | Mark::Done) => "about to speak",
    }
}

/// A line for each part that took time, each bar beginning where the one before it ended.
fn waterfall(page: &mut Page, latency: &LatencyTrace) {
    let size = page.width.saturating_sub(BESIDE_BAR).clamp(10, 60);
    let sum = latency.stages.iter().fold(0_u64, |sum, stage| sum.saturating_add(stage.time.us));
    let scale = u128::from(latency.total_us.max(sum).max(1));
    let place = |us: u64| {
        let place = (u128::from(us) * size as u128 + scale / 2) / scale;
        usize::try_from(place).unwrap_or(size).min(size)
    };
    let mut from = 0_u64;
    for stage in latency.stages.iter().filter(|stage| stage.time.us > 0) {
        let to = from.saturating_add(stage.time.us);
        let start = place(from).min(size - 1);
        let length = place(to).saturating_sub(start).max(1);
        draw_stage(page, stage, start, length, size);
        from = to;
    }
}

fn draw_stage(page: &mut Page, stage: &StageTrace, start: usize, length: usize, size: usize) {
    let mark = if page.colour { "█" } else { "#" };
    let ink = if stage.over { Ink::Bad } else { Ink::Good };
    let bar = page.ink(ink, &mark.repeat(length));
    let (before, after) = (" ".repeat(start), " ".repeat(size - start - length));
    let budget = stage.time.budget_us.map(|budget| format!(" of {:>4}", millis(budget))).unwrap_or_default();
    let over = if stage.over { format!(" {}", page.ink(Ink::Bad, "OVER")) } else { String::new() };
    let (name, us) = (stage.time.stage.name(), millis(stage.time.us));
    page.line(&format!("  {name:<15} |{before}{bar}{after}|{us:>5} ms{budget}{over}"));
}

impl Page {
    /// How the call sounded on either side, as far as it is known.
    fn scores(&mut self, quality: &Quality) {
        let mut facts = Vec::new();
        if let (Some(mean), Some(worst)) = (quality.mos_in, quality.mos_in_min) {
            facts.push(format!("caller heard with MOS {mean:.2} (worst {worst:.2})"));
        }
        if let (Some(mean), Some(worst)) = (quality.mos_out, quality.mos_out_min) {
            facts.push(format!("agent heard with {mean:.2} (worst {worst:.2})"));
        }
        if let (Some(lost), Some(jitter)) = (quality.remote_lost, quality.remote_jitter_us) {
            facts.push(format!("{lost} of ours lost, jitter there {} ms", millis(jitter)));
        }
        facts.extend(quality.rtt_us.map(|rtt| format!("round trip {} ms", millis(rtt))));
        if !facts.is_empty() {
            self.line(&format!("quality: {}", facts.join("; ")));
        }
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    fn inked(&mut self, ink: Ink, line: &str) {
        let line = self.ink(ink, line);
        self.line(&line);
    }

    /// A label and words beside it, folded at the page's width.
    fn words(&mut self, ink: Ink, label: &str, words: &str) {
        let room = self.width.saturating_sub(INDENT).max(20);
        for (number, line) in fold(words, room).into_iter().enumerate() {
            let label = if number == 0 { label } else { "" };
            let line = self.ink(ink, &line);
            self.line(&format!("  {label:<10}{line}"));
        }
    }

    fn ink(&self, ink: Ink, text: &str) -> String {
        if !self.colour || text.is_empty() {
            return text.to_owned();
        }
        let code = match ink {
            Ink::Head => "1",
            Ink::Caller => "36",
            Ink::Good => "32",
            Ink::Bad => "1;31",
            Ink::Note => "2",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// Breaks text at spaces into lines of at most `room` characters; a longer word is cut.
fn fold(text: &str, room: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    for word in text.split_whitespace() {
        let letters: Vec<char> = word.chars().collect();
        for piece in letters.chunks(room.max(1)) {
            if used > 0 && used + 1 + piece.len() > room {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            if used > 0 {
                line.push(' ');
                used += 1;
            }
            line.extend(piece);
            used += piece.len();
        }
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::fold;

    #[test]
    fn words_are_folded_and_too_long_ones_cut() {
        assert_eq!(fold("one two three", 8), ["one two", "three"]);
        assert_eq!(fold("abcdefghijk lm", 5), ["abcde", "fghij", "k lm"]);
        assert_eq!(fold("", 5), [""]);
    }
}
