//! Audio between the wire and the conversation: RTP, jitter buffer, codecs, voice activity, playout.
//! Knows packets and 20 ms frames. Knows nothing of SIP, turns or providers.

mod codec;
mod conceal;
mod digits;
mod frame;
mod g711;
mod jitter;
mod playout;
mod receiver;
mod resample;
mod rtcp;
mod rtp;
mod sender;
mod srtp;
pub mod tone;
mod vad;

pub use codec::Codec;
pub use digits::Digit;
pub use frame::{FRAME, Frame, SampleRate};
pub use jitter::{Heard, HeardSource, JitterConfig};
pub use playout::{Played, Playout, SegmentId, SegmentProgress};
pub use receiver::{Receiver, ReceiverConfig, ReceiverStatistics};
pub use resample::Resampler;
pub use rtcp::{REPORT_INTERVAL, RemoteReport, RtcpEvent, RtcpSession, RtcpStatistics};
pub use rtp::{RtpError, RtpPacket, is_rtcp};
pub use sender::{Sender, SenderConfig, SenderCounts};
pub use srtp::{Srtp, SrtpCounts, SrtpKeyError, SrtpProfile, SrtpRefusal};
pub use vad::{SpeechGate, Vad};
