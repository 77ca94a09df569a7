//! Audio between the wire and the conversation: RTP, jitter buffer, codecs, voice activity, playout.
//! Knows packets and 20 ms frames. Knows nothing of SIP, turns or providers.

mod codec;
pub mod comfort_noise;
mod conceal;
mod decoder;
mod digit_merger;
mod digits;
mod encoder;
mod frame;
mod g711;
mod g722;
mod in_band;
mod jitter;
mod media_watch;
mod playout;
pub mod quality;
mod receiver;
mod resample;
mod rtcp;
mod rtp;
mod sender;
mod srtp;
pub mod tone;
pub mod vad;

pub use codec::Codec;
pub use comfort_noise::ComfortNoise;
pub use decoder::Decoder;
pub use digit_merger::{DigitMerger, DigitSource, SAME_PRESS};
pub use digits::Digit;
pub use encoder::Encoder;
pub use frame::{FRAME, Frame, SampleRate};
pub use in_band::InBandDigits;
pub use jitter::{Heard, HeardSource, JitterConfig};
pub use media_watch::{MediaEvent, MediaFault, MediaWatch, MediaWatchConfig, Signs};
pub use playout::{Played, Playout, SegmentId, SegmentProgress};
pub use quality::{DirectionQuality, Quality, QualityMeter, Score};
pub use receiver::{Receiver, ReceiverConfig, ReceiverStatistics};
pub use resample::Resampler;
pub use rtcp::{REPORT_INTERVAL, RemoteReport, RtcpEvent, RtcpSession, RtcpStatistics};
pub use rtp::{RtpError, RtpPacket, is_rtcp};
pub use sender::{Sender, SenderConfig, SenderCounts};
pub use srtp::{Srtp, SrtpCounts, SrtpKeyError, SrtpProfile, SrtpRefusal};
pub use vad::{SpeechGate, Vad, VadModel, VadStream, VadWindow};
