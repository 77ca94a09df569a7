//! From what was negotiated to the codec that speaks it, and the rate that a conversation runs at.
//! Knows names and parameters of SDP. Knows no stream.

use media::{Codec, SampleRate};
use sip::{LocalMedia, Negotiated};

/// The codec that was agreed on; `None` for one that we do not speak. Opus is wide band unless the peer says that it
/// neither plays nor sends more than a telephone does (RFC 7587 section 6.1).
pub fn codec_of(media: &Negotiated) -> Option<Codec> {
    let codec = Codec::from_name(&media.codec)?;
    let narrow = codec == Codec::Opus(SampleRate::Hz16000) && is_narrow(media.fmtp.as_deref());
    Some(if narrow { Codec::Opus(SampleRate::Hz8000) } else { codec })
}

/// The rate of a call's frames, from the caller's ear to speech-to-text and back: that of the codec which answers the
/// offer. It stays for the whole call, whatever is agreed on later. Without an offer it is that of our first codec.
pub(crate) fn conversation_rate(offer: Option<&str>, local: &LocalMedia) -> SampleRate {
    let codec = match offer {
        Some(offer) => sip::make_answer(offer, local).ok().and_then(|(_, media)| codec_of(&media)),
        None => local.codecs.first().and_then(|codec| Codec::from_name(codec.name)),
    };
    codec.map_or(SampleRate::Hz8000, Codec::rate)
}

fn is_narrow(fmtp: Option<&str>) -> bool {
    const LIMITS: [&str; 2] = ["maxplaybackrate", "sprop-maxcapturerate"];
    let parameters = fmtp.unwrap_or_default().split(';').filter_map(|parameter| parameter.split_once('='));
    let limits =
        parameters.filter(|(name, _)| LIMITS.iter().any(|limit| name.trim().eq_ignore_ascii_case(limit)));
    let mut rates = limits.filter_map(|(_, rate)| rate.trim().parse::<u32>().ok()).peekable();
    rates.peek().is_some() && rates.all(|rate| rate <= SampleRate::Hz8000.hz())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sip::CodecSpec;

    fn local(codecs: &[CodecSpec]) -> LocalMedia {
        LocalMedia { codecs: codecs.to_vec(), ..LocalMedia::new([10, 0, 0, 1].into(), 4_000) }
    }

    #[test]
    fn the_conversation_has_the_rate_of_the_codec_that_answers_the_offer() {
        let ours = local(&CodecSpec::ALL);
        let rate = |theirs: &[CodecSpec]| conversation_rate(Some(&sip::make_offer(&local(theirs))), &ours);
        assert_eq!(rate(&[CodecSpec::PCMA, CodecSpec::G722]), SampleRate::Hz8000);
        assert_eq!(rate(&[CodecSpec::G722, CodecSpec::PCMA]), SampleRate::Hz16000);
        assert_eq!(rate(&[CodecSpec::OPUS]), SampleRate::Hz16000);
        assert_eq!(conversation_rate(None, &ours), SampleRate::Hz16000);
        assert_eq!(conversation_rate(None, &local(&[CodecSpec::PCMU, CodecSpec::OPUS])), SampleRate::Hz8000);
        assert_eq!(conversation_rate(Some("no offer"), &ours), SampleRate::Hz8000);
    }

    #[test]
    fn opus_is_narrow_where_the_peer_has_a_telephone_behind_it() {
        for (fmtp, narrow) in [
            (None, false),
            (Some("useinbandfec=1"), false),
            (Some("maxplaybackrate=8000;useinbandfec=1"), true),
            (Some("useinbandfec=1; MAXPLAYBACKRATE = 8000; sprop-maxcapturerate=8000"), true),
            (Some("maxplaybackrate=8000;sprop-maxcapturerate=16000"), false),
            (Some("maxplaybackrate=48000"), false),
        ] {
            assert_eq!(is_narrow(fmtp), narrow, "{fmtp:?}");
        }
    }
}
