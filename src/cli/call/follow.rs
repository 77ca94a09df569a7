//! The server's side of a call while it goes on: words, floor, and at the end its trace, over the HTTP API.
//! Knows the API's paths. A server that does not answer costs the caller nothing but these words.

use crate::{
    caller::engine::News,
    cli::encode,
    telemetry::{CallTrace, NumberedEvent},
};
use serde::Deserialize;
use std::{
    sync::mpsc::{Receiver, Sender, channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// How long the API may take to answer at all.
const CONNECT: Duration = Duration::from_millis(700);
/// How long after the end of the call its trace may still grow.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Follows one call.
pub(super) struct Follower {
    base: String,
    reading: Option<(String, JoinHandle<()>)>,
}

#[derive(Deserialize)]
struct Followed {
    events: Vec<NumberedEvent>,
    next: u64,
    ended: bool,
}

impl Follower {
    /// A follower, if a server answers there.
    pub(super) fn connect(base: &str) -> Option<Self> {
        if base == "none" {
            return None;
        }
        let base = base.trim_end_matches('/').to_owned();
        let url = format!("{base}/health");
        let answers = block(async move { client().get(url).timeout(CONNECT).send().await.is_ok() });
        answers.then_some(Self { base, reading: None })
    }

    /// Begins to follow the call of this Call-ID: events go to the phone, and to the screen.
    pub(super) fn follow(&mut self, call_id: &str, news: Sender<News>, screen: Sender<NumberedEvent>) {
        let url = format!("{}/calls/{}", self.base, encode(call_id));
        let events = format!("{url}/events");
        let reading = std::thread::Builder::new().spawn(move || block(read(&events, &news, &screen)));
        self.reading = reading.ok().map(|thread| (url, thread));
    }

    /// The trace of the call, once the server says that it is complete.
    pub(super) fn trace(self) -> Option<CallTrace> {
        let (url, thread) = self.reading?;
        let patience = Instant::now() + LAST_WORDS;
        while !thread.is_finished() && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(20));
        }
        let url = format!("{url}/trace");
        block(async move { client().get(url).timeout(LAST_WORDS).send().await.ok()?.json().await.ok() })
    }
}

/// Long polls until the call has ended. The call appears a moment after the INVITE: until then it is unknown.
async fn read(url: &str, news: &Sender<News>, screen: &Sender<NumberedEvent>) {
    let client = client();
    let mut after = 0;
    let mut failures = 0;
    while failures < 100 {
        let answer = client.get(format!("{url}?after={after}&wait_s=5")).send().await;
        let followed = match answer {
            Ok(answer) if answer.status().is_success() => answer.json::<Followed>().await.ok(),
            Ok(_) | Err(_) => None,
        };
        let Some(followed) = followed else {
            failures += 1;
            tokio::time::sleep(Duration::from_millis(30)).await;
            continue;
        };
        failures = 0;
        after = followed.next;
        let over = followed.ended && followed.events.is_empty();
        for event in followed.events {
            let _phone_may_have_hung_up = news.send(News::Server(0, Box::new(event.stamped.clone())));
            if screen.send(event).is_err() {
                return;
            }
        }
        if over {
            return;
        }
    }
}

fn client() -> reqwest::Client {
    crate::cli::api_client()
}

/// Runs a future on a runtime of its own: the phone's thread has none.
fn block<T: Default>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map(|runtime| runtime.block_on(future)).unwrap_or_default()
}

/// A channel for the screen.
pub(super) fn words() -> (Sender<NumberedEvent>, Receiver<NumberedEvent>) {
    channel()
}
