//! The descriptions of one dialog: what we said last, and under which version (RFC 3264 sections 5 and 8).
//! Knows offers and answers in their order. Which message carries them is decided elsewhere.

use super::{LocalMedia, MasterKey, Negotiated, OfferError, accept_answer, make_answer, make_offer};

/// Our side of a dialog's media, from the first description to the last.
#[derive(Debug, Clone)]
pub struct MediaSession {
    local: LocalMedia,
    /// Our last description, under the version in `local`.
    said: Option<String>,
    /// The peer's last description that counted.
    heard: Option<String>,
    /// The key the peer sends with.
    remote_key: Option<MasterKey>,
}

impl MediaSession {
    /// Nothing has been said yet.
    pub const fn new(local: LocalMedia) -> Self {
        Self { local, said: None, heard: None, remote_key: None }
    }

    /// What we offer or accept.
    pub const fn local(&self) -> &LocalMedia {
        &self.local
    }

    /// For changes of what we offer or accept: they take effect, and raise the version, with the next description.
    pub const fn local_mut(&mut self) -> &mut LocalMedia {
        &mut self.local
    }

    /// Our offer.
    pub fn offer(&mut self) -> String {
        let text = make_offer(&self.local);
        self.say(text, false)
    }

    /// Our answer to an offer, and what it means for the media. A refused offer changes nothing. The version goes up
    /// whenever the offer is another one than the last, even if we have nothing new to say about it: only a refresh
    /// that repeats itself gets its answer repeated.
    pub fn answer(&mut self, offer: &str) -> Result<(String, Negotiated), OfferError> {
        let (mut text, mut negotiated) = make_answer(offer, &self.local)?;
        if self.is_rekeyed(&negotiated) {
            // Who changes its key begins anew in both directions more often than not. A new key of ours as well lets
            // both sides count packets from zero together (RFC 3711 section 3.3.1).
            self.local.srtp_seed.change();
            (text, negotiated) = make_answer(offer, &self.local)?;
        }
        self.remember(&negotiated);
        let moved = self.heard.as_deref().is_some_and(|heard| heard != offer);
        self.heard = Some(offer.to_owned());
        Ok((self.say(text, moved), negotiated))
    }

    /// What the peer's answer to our last offer means for the media.
    pub fn accept(&mut self, answer: &str) -> Result<Negotiated, OfferError> {
        let negotiated = accept_answer(&self.local, answer)?;
        self.remember(&negotiated);
        self.heard = Some(answer.to_owned());
        Ok(negotiated)
    }

    fn is_rekeyed(&self, negotiated: &Negotiated) -> bool {
        let new = negotiated.srtp.as_ref().map(|keys| &keys.remote);
        matches!((&self.remote_key, new), (Some(old), Some(new)) if old != new)
    }

    fn remember(&mut self, negotiated: &Negotiated) {
        self.remote_key = negotiated.srtp.as_ref().map(|keys| keys.remote.clone());
    }

    /// The version goes up by one when the description is another one than the last, or the peer's is.
    fn say(&mut self, text: String, moved: bool) -> String {
        let text = match &self.said {
            Some(said) if moved || *said != text => {
                let (before, id) = (self.local.version, self.local.session_id);
                self.local.version += 1;
                let (old, new) = (format!("o=- {id} {before} "), format!("o=- {id} {} ", self.local.version));
                text.replacen(&old, &new, 1)
            }
            Some(_) | None => text,
        };
        self.said = Some(text.clone());
        text
    }
}
