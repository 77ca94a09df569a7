//! Audio between the wire and the conversation: RTP, jitter buffer, codecs, voice activity, playout.
//! Knows packets and 20 ms frames. Knows nothing of SIP, turns or providers.

mod frame;

pub use frame::{FRAME, Frame, SampleRate};
