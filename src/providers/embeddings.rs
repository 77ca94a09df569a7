//! Embeddings of texts, from OpenAI's endpoint and the many servers that speak the same format.
//! Knows that format. Does not know what the vectors are compared with.

use crate::secret::Secret;
use reqwest::Client;
use serde::Deserialize;
use serde_json::json;
use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{sync::Semaphore, time::timeout};

/// How to reach a server and what to ask of it.
#[derive(Clone, Debug)]
pub struct EmbeddingsConfig {
    /// Up to and with `/v1`.
    pub base_url: String,
    /// Sent as a bearer token; servers of one's own often need none.
    pub api_key: Option<Secret>,
    /// The model's name.
    pub model: String,
    /// How long a caller's question may take; after that the words alone must do.
    pub timeout: Duration,
}

/// A server that turns texts into vectors.
pub struct Embeddings {
    config: EmbeddingsConfig,
    client: Client,
    /// Room for questions under way.
    room: Semaphore,
    health: Mutex<Health>,
}

#[derive(Default)]
struct Health {
    /// Questions in a row without a vector.
    failed: u32,
    /// Until then none is asked.
    rests_until: Option<Instant>,
}

/// Why a question has no vector.
#[derive(Debug, PartialEq, Eq)]
pub enum Without {
    /// It was not asked: the server has failed several times in a row.
    Resting,
    /// It was not asked: too many others are under way.
    Full,
    /// What the server or the network did instead.
    Failed(String),
}

#[derive(Deserialize)]
struct Reply {
    data: Vec<Embedded>,
}

#[derive(Deserialize)]
struct Embedded {
    index: usize,
    embedding: Vec<f32>,
}

/// Questions under way at most; further ones are answered by their words at once.
pub const QUESTIONS: usize = 64;
/// Failures in a row after which the server is left alone, so that nobody waits for it in vain.
const FAILURES: u32 = 3;
/// For so long.
const REST: Duration = Duration::from_secs(30);
/// Bytes of an answer at most: 64 passages with 4,096 numbers of some 20 characters.
const MAX_REPLY: usize = 8 * 1024 * 1024;

impl Embeddings {
    /// Requests share connections.
    ///
    /// # Errors
    /// When the TLS library cannot be set up.
    pub fn new(config: EmbeddingsConfig) -> Result<Self, String> {
        let client = Client::builder().connect_timeout(Duration::from_secs(1)).tcp_nodelay(true).build();
        let client = client.map_err(|error| error.to_string())?;
        Ok(Self { config, client, room: Semaphore::new(QUESTIONS), health: Mutex::default() })
    }

    /// The vector of a caller's question, if it comes in time.
    ///
    /// # Errors
    /// Why there is none; the words alone must do.
    pub async fn question(&self, words: &str) -> Result<Vec<f32>, Without> {
        let resting = |health: &Health| health.rests_until.is_some_and(|until| Instant::now() < until);
        if resting(&self.health.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Err(Without::Resting);
        }
        let Ok(_room) = self.room.try_acquire() else { return Err(Without::Full) };
        let asked = self.embed(&[words.to_owned()], self.config.timeout).await;
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        match asked.map(|mut vectors| vectors.pop()) {
            Ok(vector) => {
                *health = Health::default();
                vector.ok_or_else(|| Without::Failed("an answer without a vector".into()))
            }
            Err(reason) => {
                health.failed += 1;
                if health.failed >= FAILURES {
                    *health = Health { failed: 0, rests_until: Some(Instant::now() + REST) };
                }
                Err(Without::Failed(reason))
            }
        }
    }

    /// One vector for each text, in their order.
    ///
    /// # Errors
    /// What the server or the network did instead, without the key.
    pub async fn embed(&self, texts: &[String], patience: Duration) -> Result<Vec<Vec<f32>>, String> {
        let late = || format!("no embeddings within {} ms", patience.as_millis());
        let reply = timeout(patience, self.ask(texts)).await.map_err(|_| late())?;
        let mut data = reply
            .map_err(|error| self.config.api_key.as_ref().map_or(error.clone(), |key| key.redact(&error)))?;
        data.sort_by_key(|embedded| embedded.index);
        let complete =
            data.len() == texts.len() && (0..).zip(&data).all(|(at, embedded)| embedded.index == at);
        let length = data.first().map_or(0, |embedded| embedded.embedding.len());
        let same = data.iter().all(|embedded| embedded.embedding.len() == length && length > 0);
        let finite = data.iter().flat_map(|embedded| &embedded.embedding).all(|x| x.is_finite());
        if !complete || !same || !finite {
            return Err(format!("{} texts came back as something else than vectors", texts.len()));
        }
        Ok(data.into_iter().map(|embedded| embedded.embedding).collect())
    }

    async fn ask(&self, texts: &[String]) -> Result<Vec<Embedded>, String> {
        let EmbeddingsConfig { base_url, api_key, model, .. } = &self.config;
        let url = format!("{}/embeddings", base_url.trim_end_matches('/'));
        let body = json!({ "model": model, "input": texts, "encoding_format": "float" });
        let post = self.client.post(url).json(&body);
        let post = api_key.iter().fold(post, |post, key| post.bearer_auth(key.expose()));
        // The error's own text would hold the address.
        let unreachable = |error: reqwest::Error| format!("not reached: {}", error.without_url());
        let mut response = post.send().await.map_err(unreachable)?;
        if !response.status().is_success() {
            return Err(format!("the endpoint answers {}", response.status()));
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if bytes.len() + chunk.len() > MAX_REPLY {
                return Err(format!("the answer has more than {} MB", MAX_REPLY >> 20));
            }
            bytes.extend_from_slice(&chunk);
        }
        let reply: Reply =
            serde_json::from_slice(&bytes).map_err(|error| format!("no embeddings: {error}"))?;
        Ok(reply.data)
    }
}
