//! Carries out what the AI gateway decides: asks targets, holds back, passes on, cancels.
//! Decides nothing itself: whom to ask, and for how long, is `ai_gateway::Attempt`'s business.

use crate::{
    providers::{CallInfo, Events, LLM_EVENTS, LanguageModel, ProviderEvent, Request},
    telemetry::Metrics,
};
use ::ai_gateway::{
    Attempt, AttemptId, Cancelled, Change, Choice, Failure, FailureClass, Input, Output, Role, Route,
    Standings, TargetEvent, TargetId,
};
use call::LlmEvent;
use conversation::{LlmRequest, TurnId};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{runtime::Handle, sync::mpsc, time::Instant};

/// The routes, and the models behind their targets.
pub struct AiGateway {
    routes: BTreeMap<String, Route>,
    targets: BTreeMap<String, Arc<dyn LanguageModel>>,
    runtime: Handle,
    metrics: Option<Metrics>,
    standings: Shared,
}

/// How targets have been doing, for the requests of all calls. Held for a moment, by the tasks of requests.
type Shared = Arc<Mutex<Standings>>;

fn lock(standings: &Shared) -> MutexGuard<'_, Standings> {
    standings.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A route names a target that does not exist.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("route {route} names target {target}, which does not exist")]
pub struct UnknownTarget {
    /// The route.
    pub route: String,
    /// What it names.
    pub target: String,
}

impl AiGateway {
    /// Joins routes and targets. Requests run on the runtime that this is called from.
    ///
    /// # Errors
    /// [`UnknownTarget`] when a route names a target that is not among `targets`.
    ///
    /// # Panics
    /// When called outside a tokio runtime.
    pub fn new(
        routes: impl IntoIterator<Item = Route>,
        targets: BTreeMap<String, Arc<dyn LanguageModel>>,
    ) -> Result<Self, UnknownTarget> {
        let routes: BTreeMap<_, _> = routes.into_iter().map(|route| (route.name.clone(), route)).collect();
        for route in routes.values() {
            if let Some(target) = route.targets.iter().find(|target| !targets.contains_key(&target.0)) {
                return Err(UnknownTarget { route: route.name.clone(), target: target.to_string() });
            }
        }
        let standings = Arc::new(Mutex::new(Standings::new(Duration::ZERO)));
        Ok(Self { routes, targets, runtime: Handle::current(), metrics: None, standings })
    }

    /// What the first words of a reply may take: a late target is passed over, or another one is asked beside it. What is
    /// known of targets is shared by all gateways that are given the same standings.
    #[must_use]
    pub fn with_standings(self, standings: Arc<Mutex<Standings>>) -> Self {
        Self { standings, ..self }
    }

    /// Counts what becomes of requests.
    #[must_use]
    pub fn counted_by(self, metrics: Metrics) -> Self {
        Self { metrics: Some(metrics), ..self }
    }

    /// Whether agents may name this route.
    pub fn has_route(&self, route: &str) -> bool {
        self.routes.contains_key(route)
    }

    /// Opens the connections that the next request on this route will need: its first target's and its first
    /// fallback's. For the moment a call rings.
    pub fn warm(&self, route: &str) {
        let targets = self.routes.get(route).map_or(&[][..], |route| &route.targets);
        for target in targets.iter().take(2).filter_map(|target| self.targets.get(&target.0)) {
            target.warm();
        }
    }

    /// Asks a route for the reply of a turn without waiting. Everything is reported to `events` under that turn;
    /// `Done` or `Failed` comes last. Dropping the request closes what is open upstream.
    pub fn ask(
        &self,
        route: &str,
        call: &CallInfo,
        turn: TurnId,
        request: LlmRequest,
        events: Events,
    ) -> Request {
        let Some(route) = self.routes.get(route).cloned() else {
            let failure = Failure::new(FailureClass::BadRequest, format!("no route is called {route}"));
            return Request::new(self.runtime.spawn(async move {
                let failed = LlmEvent::Failed { reason: failure.to_string() };
                let _ = events.send(ProviderEvent::Llm(turn, failed)).await;
            }));
        };
        let targets = route.targets.iter().filter_map(|t| Some((t.clone(), self.targets.get(&t.0)?.clone())));
        let may_hedge = call.may_hedge && !request.acted;
        let runner = Runner {
            targets: targets.collect(),
            standings: Arc::clone(&self.standings),
            may_hedge,
            is_probe: false,
            call: CallInfo { turn: Some(turn), ..call.clone() },
            turn,
            request,
            events,
            route: route.name.clone(),
            open: Vec::new(),
            trouble: None,
            heard: None,
            metrics: self.metrics.clone(),
        };
        Request::new(self.runtime.spawn(runner.run(route)))
    }
}

/// One request on its way.
struct Runner {
    targets: BTreeMap<TargetId, Arc<dyn LanguageModel>>,
    call: CallInfo,
    turn: TurnId,
    request: LlmRequest,
    events: Events,
    route: String,
    standings: Shared,
    /// Whether a second target may be asked beside the first.
    may_hedge: bool,
    /// The first target is asked to see whether it is well again: a second one may be asked in any case.
    is_probe: bool,
    /// Who is being asked: one target, or two.
    open: Vec<Try>,
    /// What the last target failed with.
    trouble: Option<Trouble>,
    /// When the first word of the current target came.
    heard: Option<Instant>,
    metrics: Option<Metrics>,
}

/// Why somebody else is asked.
struct Trouble {
    target: TargetId,
    class: FailureClass,
    reason: String,
}

/// A target that is being asked.
struct Try {
    attempt: AttemptId,
    target: TargetId,
    replies: mpsc::Receiver<LlmEvent>,
    _request: Request,
    /// Events that came before anything speakable; `None` once they are passed on as they come.
    held: Option<Vec<LlmEvent>>,
    opening: Opening,
    asked: Instant,
    role: Role,
    outcome: &'static str,
    /// From asking to something speakable.
    spoke_after: Option<Duration>,
    /// Bytes of what it has said.
    said: usize,
    /// What it took is a measure of how fast it is.
    is_timed: bool,
    standings: Shared,
    metrics: Option<Metrics>,
}

impl Drop for Try {
    /// Whoever was asked is counted once, whether it won, failed, or nobody waited for it any more.
    fn drop(&mut self) {
        if self.is_timed {
            let took = self.spoke_after.unwrap_or_else(|| self.asked.elapsed());
            lock(&self.standings).note(Instant::now().into_std(), &self.target, took);
        }
        if let Some(metrics) = &self.metrics {
            metrics.gateway_attempt(&self.target.0, self.role.name(), self.outcome, self.spoke_after);
        }
    }
}

/// The next event of a target; without one, never.
async fn next_of(open: Option<&mut Try>) -> (AttemptId, LlmEvent) {
    let Some(open) = open else { return std::future::pending().await };
    let event = open.replies.recv().await;
    let silent = Failure::new(FailureClass::Internal, "the provider ended without a word");
    (open.attempt, event.unwrap_or(LlmEvent::Failed { reason: silent.to_string() }))
}

/// The call has ended or the reply is over: there is nothing left to do.
struct Over;

impl Runner {
    async fn run(mut self, mut route: Route) {
        let choice = self.choose(&route);
        (route.targets, self.is_probe) = (choice.targets, choice.is_probe);
        let hedge_after = choice.hedge_after.filter(|_| self.may_hedge);
        let mut attempt = Attempt::new(Instant::now().into_std(), route).hedged_after(hedge_after);
        let mut out = Vec::new();
        let mut wake = attempt.step(Instant::now().into_std(), Input::Start, &mut out);
        loop {
            let hedges = match self.carry_out(&mut out).await {
                Ok(hedges) => hedges,
                Err(Over) => return,
            };
            let Some(until) = wake else { return };
            let input = match hedges {
                true => Input::Hedge,
                false => match self.next_event(until).await {
                    Some((id, event)) => match self.take(id, event).await {
                        Ok(event) => Input::TargetEvent { attempt: id, event },
                        Err(Over) => return,
                    },
                    None => Input::Timeout,
                },
            };
            wake = attempt.step(Instant::now().into_std(), input, &mut out);
        }
    }

    /// Who is asked, by how targets have been doing. A change is told once.
    fn choose(&self, route: &Route) -> Choice {
        let mut changes = Vec::new();
        let choice = lock(&self.standings).choose(Instant::now().into_std(), route, &mut changes);
        for Change { target, passed_over, p95 } in changes {
            let p95_ms = p95.as_millis() as u64;
            if let Some(metrics) = &self.metrics {
                metrics.gateway_passed_over(&target.0, passed_over);
            }
            match passed_over {
                true => tracing::warn!(
                    route = route.name,
                    %target,
                    p95_ms,
                    "a target is over its budget and passed over while another is within"
                ),
                false => {
                    tracing::info!(route = route.name, %target, p95_ms, "a target is asked again as before")
                }
            }
        }
        choice
    }

    /// Whether another target may be asked now beside the one that is late.
    fn take_hedge(&self) -> bool {
        let granted = self.is_probe || lock(&self.standings).take_hedge(&self.route);
        if let Some(metrics) = self.metrics.as_ref().filter(|_| !granted) {
            metrics.gateway_hedge("suppressed");
        }
        granted
    }

    /// Takes what a target says: it is passed on or held back, and what it means for the decision is returned.
    async fn take(&mut self, id: AttemptId, event: LlmEvent) -> Result<TargetEvent, Over> {
        let at = self.open.iter().position(|open| open.attempt == id).ok_or(Over)?;
        let reported = target_event(&event, Some(&mut self.open[at].opening));
        match &reported {
            TargetEvent::Failed(failure) => self.note_trouble(at, failure.class, failure.to_string()),
            TargetEvent::Done => self.note_trouble(at, FailureClass::Internal, "an empty reply".to_owned()),
            TargetEvent::Speakable => _ = self.heard.get_or_insert_with(Instant::now),
            TargetEvent::Progress => {}
        }
        self.pass_on(at, event).await?;
        if matches!(reported, TargetEvent::Failed(_) | TargetEvent::Done) {
            // A target that has ended would be read as ending again and again.
            drop(self.open.remove(at));
        }
        Ok(reported)
    }

    /// Keeps what went wrong with a target until it is known who is asked instead.
    fn note_trouble(&mut self, at: usize, class: FailureClass, reason: String) {
        let Some(open) = self.open.get_mut(at) else { return };
        if open.held.is_some() {
            open.outcome = "failed";
            // A failure says nothing of how fast it is; being waited for in vain does.
            open.is_timed = class == FailureClass::Timeout;
        }
        self.trouble = Some(Trouble { target: open.target.clone(), class, reason });
    }

    /// What a target says next; `None` when `until` comes first. A target's word counts before the clock, because it may
    /// have been waiting here while the call was slow to listen.
    async fn next_event(&mut self, until: std::time::Instant) -> Option<(AttemptId, LlmEvent)> {
        let mut open = self.open.iter_mut();
        let (first, second) = (open.next(), open.next());
        tokio::select! {
            biased;
            event = next_of(first) => Some(event),
            event = next_of(second) => Some(event),
            () = tokio::time::sleep_until(until.into()) => None,
        }
    }

    /// Holds an event back or sends it to the call. Failures are the machine's to report.
    async fn pass_on(&mut self, at: usize, event: LlmEvent) -> Result<(), Over> {
        let is_sign_of_life = matches!(&event, LlmEvent::Delta(text) if text.is_empty());
        if is_sign_of_life || matches!(event, LlmEvent::Failed { .. } | LlmEvent::Attempt { .. }) {
            return Ok(());
        }
        match self.open.get_mut(at) {
            Some(Try { held: Some(held), said, .. }) => {
                *said += if let LlmEvent::Delta(text) = &event { text.len() } else { 0 };
                held.push(event);
                Ok(())
            }
            Some(_) | None => self.tell(event).await,
        }
    }

    /// True when another target is to be asked beside the one that is late.
    async fn carry_out(&mut self, out: &mut Vec<Output>) -> Result<bool, Over> {
        let mut hedges = false;
        for output in out.drain(..) {
            match output {
                Output::Try { attempt, target, role } => self.begin(attempt, target, role).await?,
                Output::MayHedge => hedges = self.take_hedge(),
                Output::Cancel { attempt, why } => self.cancel(attempt, why).await?,
                Output::Forward { attempt } => self.forward(attempt).await?,
                Output::Done => return Err(Over),
                Output::Failed { failures, partial } => {
                    self.open.clear();
                    self.tell(LlmEvent::Failed { reason: describe(&failures, partial) }).await?;
                    return Err(Over);
                }
            }
        }
        Ok(hedges)
    }

    async fn begin(&mut self, attempt: AttemptId, target: TargetId, role: Role) -> Result<(), Over> {
        let Some(model) = self.targets.get(&target) else { return Err(Over) };
        let (sink, replies) = mpsc::channel(LLM_EVENTS);
        let request = model.ask(&self.call, self.request.clone(), sink);
        if let Some(Trouble { target: from, class, reason }) = self.trouble.take_if(|_| role != Role::Hedge) {
            if let Some(metrics) = &self.metrics {
                metrics.gateway_fallback(&self.route, (&from.0, &target.0), class.name());
            }
            let reason = format!("{from}: {reason}; {target} is asked");
            let failed = ProviderEvent::Failed { stage: "llm", reason };
            self.events.send(failed).await.map_err(|_| Over)?;
        }
        self.heard = None;
        self.open.push(Try {
            attempt,
            target: target.clone(),
            replies,
            _request: request,
            held: Some(Vec::new()),
            opening: Opening::default(),
            asked: Instant::now(),
            role,
            outcome: "cancelled",
            spoke_after: None,
            said: 0,
            is_timed: true,
            standings: Arc::clone(&self.standings),
            metrics: self.metrics.clone(),
        });
        self.tell(LlmEvent::Attempt { target: target.0, role: role.name() }).await
    }

    /// Closes a request. What it has cost although nobody hears it is told.
    async fn cancel(&mut self, attempt: AttemptId, why: Cancelled) -> Result<(), Over> {
        let Some(at) = self.open.iter().position(|open| open.attempt == attempt) else { return Ok(()) };
        if why == Cancelled::Late {
            self.note_trouble(at, FailureClass::Timeout, "nothing to say in time".to_owned());
            drop(self.open.remove(at));
            return Ok(());
        }
        let lost = self.open.remove(at);
        let said = lost.said.div_ceil(LlmRequest::BYTES_PER_TOKEN);
        let event = LlmEvent::HedgeLost {
            target: lost.target.0.clone(),
            input_tokens: u32::try_from(self.request.tokens()).unwrap_or(u32::MAX),
            output_tokens: u32::try_from(said).unwrap_or(u32::MAX),
        };
        if let Some(metrics) = &self.metrics {
            metrics.gateway_hedge(if lost.role == Role::Hedge { "lost" } else { "won" });
        }
        drop(lost);
        self.tell(event).await
    }

    async fn forward(&mut self, attempt: AttemptId) -> Result<(), Over> {
        let held = self.open.iter_mut().find(|open| open.attempt == attempt).and_then(|open| {
            (open.outcome, open.spoke_after) = ("won", Some(open.asked.elapsed()));
            open.held.take()
        });
        if let (Some(metrics), Some(heard)) = (&self.metrics, self.heard) {
            metrics.gateway_overhead(heard.elapsed());
        }
        for event in held.into_iter().flatten() {
            self.tell(event).await?;
        }
        Ok(())
    }

    async fn tell(&self, event: LlmEvent) -> Result<(), Over> {
        self.events.send(ProviderEvent::Llm(self.turn, event)).await.map_err(|_| Over)
    }
}

/// What a model's event means to the machine.
fn target_event(event: &LlmEvent, opening: Option<&mut Opening>) -> TargetEvent {
    match event {
        LlmEvent::Delta(text) => {
            let speakable = opening.is_none_or(|opening| opening.is_speakable(text));
            if speakable { TargetEvent::Speakable } else { TargetEvent::Progress }
        }
        LlmEvent::ToolCall(_) => TargetEvent::Speakable,
        LlmEvent::Expect(_) | LlmEvent::Attempt { .. } | LlmEvent::HedgeLost { .. } => TargetEvent::Progress,
        LlmEvent::Done { .. } => TargetEvent::Done,
        LlmEvent::Failed { reason } => TargetEvent::Failed(Failure::parse(reason)),
    }
}

/// How a reply begins, until something speakable has come. Reasoning between think tags is not spoken.
#[derive(Default)]
struct Opening {
    text: String,
    spoken: bool,
}

/// What models that reason in the open put around it.
const THINKING: (&str, &str) = ("<think>", "</think>");

impl Opening {
    fn is_speakable(&mut self, delta: &str) -> bool {
        if self.spoken {
            return !delta.is_empty();
        }
        self.text.push_str(delta);
        let text = self.text.trim_start();
        self.spoken = match text.strip_prefix(THINKING.0) {
            Some(thoughts) => {
                thoughts.split_once(THINKING.1).is_some_and(|(_, speech)| !speech.trim().is_empty())
            }
            None => !THINKING.0.starts_with(text),
        };
        self.spoken
    }
}

/// Every failure in one line for the operator.
fn describe(failures: &[(TargetId, Failure)], partial: bool) -> String {
    let reasons: Vec<_> = failures.iter().map(|(target, failure)| format!("{target}: {failure}")).collect();
    let what = if partial { "the reply broke off" } else { "no target answered" };
    format!("{what} ({})", reasons.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::LlmSink;
    use conversation::ToolCall;
    use media::SampleRate;

    /// Milliseconds to wait, and what to say then.
    type Script = Vec<(u64, fn() -> LlmEvent)>;

    /// A model that follows a script.
    struct Scripted(Script);

    impl LanguageModel for Scripted {
        fn ask(&self, _: &CallInfo, _: LlmRequest, events: LlmSink) -> Request {
            let script = self.0.clone();
            Request::new(tokio::spawn(async move {
                for (wait_ms, event) in script {
                    tokio::time::sleep(Duration::from_millis(wait_ms)).await;
                    let _ = events.send(event()).await;
                }
            }))
        }
    }

    fn hello() -> LlmEvent {
        LlmEvent::Delta("Hello.".into())
    }
    fn thought() -> LlmEvent {
        LlmEvent::Delta("<think>hm".into())
    }
    fn done() -> LlmEvent {
        LlmEvent::Done { input_tokens: None, output_tokens: None }
    }
    fn refused() -> LlmEvent {
        LlmEvent::Failed { reason: "auth: no".into() }
    }
    fn tool() -> LlmEvent {
        LlmEvent::ToolCall(ToolCall { id: "1".into(), name: "look".into(), arguments: "{}".into() })
    }

    async fn ask(targets: Vec<Script>) -> Vec<String> {
        ask_within(targets, Duration::ZERO, false).await
    }

    /// The same where there is a budget, and where a tool may have changed something before.
    async fn ask_within(targets: Vec<Script>, budget: Duration, acted: bool) -> Vec<String> {
        let names: Vec<_> = (0..targets.len()).map(|n| format!("t{n}")).collect();
        let route = Route::new("default", names.iter().cloned().map(TargetId));
        let models = targets.into_iter().map(|script| Arc::new(Scripted(script)) as Arc<dyn LanguageModel>);
        let gateway =
            AiGateway::new([route], names.into_iter().zip(models).collect()).expect("known targets");
        let standings = Arc::new(Mutex::new(Standings::new(budget)));
        // Two requests before this one: a hedge has been saved up.
        let saved = Route {
            hedge_percent: 100,
            ..Route::new("default", [TargetId("a".into()), TargetId("b".into())])
        };
        lock(&standings).choose(Instant::now().into_std(), &saved, &mut Vec::new());
        let gateway = gateway.with_standings(standings);
        let (events, mut inbox) = Events::channel(Arc::new(|| {}));
        let call = CallInfo {
            call: call::CallId(1),
            rate: SampleRate::Hz8000,
            language: "en-US".into(),
            turn: None,
            may_hedge: true,
        };
        let today = jiff::civil::date(2026, 11, 20);
        let question = LlmRequest {
            system: String::new(),
            messages: vec![],
            tools: vec![],
            today,
            variables: Default::default(),
            looked_up: Vec::new(),
            acted,
        };
        let _request = gateway.ask("default", &call, TurnId(3), question, events);
        let mut told = Vec::new();
        while let Some(event) = inbox.recv().await {
            if let ProviderEvent::Failed { reason, .. } = event {
                told.push(reason);
                continue;
            }
            let ProviderEvent::Llm(TurnId(3), event) = event else { panic!("{event:?}") };
            told.push(match event {
                LlmEvent::Attempt { target, role } => format!("{role} {target}"),
                LlmEvent::HedgeLost { target, .. } => format!("lost {target}"),
                LlmEvent::Delta(text) => text,
                LlmEvent::ToolCall(call) => call.name,
                LlmEvent::Expect(_) => "expect".into(),
                LlmEvent::Done { .. } => "done".into(),
                LlmEvent::Failed { reason } => reason,
            });
        }
        told
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_is_passed_on_as_it_comes() {
        assert_eq!(
            ask(vec![vec![(100, hello), (50, tool), (10, done)], vec![]]).await,
            ["primary t0", "Hello.", "look", "done"]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn thoughts_of_a_loser_are_never_heard() {
        assert_eq!(
            ask(vec![vec![(100, thought), (60_000, done)], vec![(100, hello), (10, done)]]).await,
            ["primary t0", "t0: nothing to say in time; t1 is asked", "fallback t1", "Hello.", "done"]
        );
    }

    const BUDGET: Duration = Duration::from_millis(350);

    fn late() -> LlmEvent {
        LlmEvent::Delta("Late.".into())
    }

    #[tokio::test(start_paused = true)]
    async fn beside_a_late_target_the_next_is_asked_and_the_loser_is_not_heard() {
        let slow: Script = vec![(1_500, late), (10, done)];
        assert_eq!(
            ask_within(vec![slow.clone(), vec![(100, hello), (10, done)]], BUDGET, false).await,
            ["primary t0", "hedge t1", "lost t0", "Hello.", "done"]
        );
        // The first one makes it after all.
        assert_eq!(
            ask_within(vec![slow, vec![(2_000, hello), (10, done)]], BUDGET, false).await,
            ["primary t0", "hedge t1", "lost t1", "Late.", "done"]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_tool_that_changes_something_nobody_is_asked_twice() {
        let targets = vec![vec![(1_500, late as fn() -> _), (10, done)], vec![(100, hello as fn() -> _)]];
        assert_eq!(ask_within(targets, BUDGET, true).await, ["primary t0", "Late.", "done"]);
    }

    #[tokio::test(start_paused = true)]
    async fn when_nobody_answers_every_reason_is_told() {
        assert_eq!(
            ask(vec![vec![(1, refused)], vec![]]).await,
            [
                "primary t0",
                "t0: auth: no; t1 is asked",
                "fallback t1",
                "t1: internal: the provider ended without a word; t1 is asked",
                "retry t1",
                "no target answered (t0: auth: no; t1: internal: the provider ended without a word; \
                 t1: internal: the provider ended without a word)"
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_that_stalls_is_told_to_have_broken_off() {
        assert_eq!(
            ask(vec![vec![(100, hello), (60_000, done)], vec![(1, hello)]]).await,
            ["primary t0", "Hello.", "the reply broke off (t0: timeout: silent in the middle of the reply)"]
        );
    }

    #[tokio::test]
    async fn a_route_must_lead_somewhere() {
        let route = Route::new("default", [TargetId("nowhere".into())]);
        let error = AiGateway::new([route], BTreeMap::new()).err().expect("refused");
        assert_eq!(error.target, "nowhere");
    }
}
