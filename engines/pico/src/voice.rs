//! Pico as a safe type: text in, samples out while it speaks. All unsafe code of this crate is here.
//! Knows the engine's interface; what the text should say is `text`'s business.

use crate::half_band::HalfBand;
use crate::text::spoken;
use std::ffi::{CString, c_void};
use std::os::unix::ffi::OsStrExt;
use std::ptr;
use ttspico_sys as pico;

const TEXT_ANALYSIS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/en-US_ta.bin"));
const SIGNAL_GENERATION: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/en-US_lh0_sg.bin"));

/// Memory of one engine; Pico takes no other. It uses about 1.7 MB of it, the rest is never touched.
const ARENA: usize = 3 << 20;
/// Samples given out at a time, at 16 kHz: 20 ms.
const CHUNK: usize = 320;
/// Quieter than this at the beginning is waiting, not speech.
const SILENCE: u16 = 100;
/// How much of the silence before the first sound stays, at 16 kHz: 5 ms.
const LEAD: usize = 80;
/// Calls in a row that may return nothing before the engine counts as stuck; a sentence's analysis needs some hundreds.
const PATIENCE: u32 = 100_000;

/// Why there is no speech.
#[derive(Debug)]
pub enum VoiceError {
    /// No place for the voice's files.
    Scratch(std::io::Error),
    /// Pico refused; the name of the step and its status.
    Refused(&'static str, i32),
}

impl std::fmt::Display for VoiceError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Scratch(error) => {
                write!(f, "cannot write the voice's files to the temporary directory: {error}")
            }
            Self::Refused(step, status) => write!(f, "the Pico engine refused to {step} (status {status})"),
        }
    }
}

impl std::error::Error for VoiceError {}

/// One engine with the American voice. May move between threads, but serves one at a time.
pub struct Voice {
    system: pico::pico_System,
    engine: pico::pico_Engine,
    /// All of the engine's memory. Eight-byte words, because it holds pointers.
    _arena: Vec<u64>,
}

// SAFETY: the engine lives in its own arena and uses nothing else; the library's few globals are debug counters.
#[expect(unsafe_code, reason = "see above")]
unsafe impl Send for Voice {}

fn check(step: &'static str, status: i32) -> Result<(), VoiceError> {
    if status == pico::PICO_OK { Ok(()) } else { Err(VoiceError::Refused(step, status)) }
}

#[expect(unsafe_code, reason = "the one place that calls the C library")]
impl Voice {
    /// Loads the voice: some milliseconds and 1.7 MB.
    ///
    /// # Errors
    /// When the temporary directory cannot be written, or there is no memory.
    pub fn new() -> Result<Self, VoiceError> {
        let mut arena = vec![0u64; ARENA / 8];
        let mut system = ptr::null_mut();
        // SAFETY: the arena is ARENA bytes long, aligned, and stays where it is until after `pico_terminate`.
        let status = unsafe {
            pico::pico_initialize(arena.as_mut_ptr().cast::<c_void>(), ARENA as u32, &raw mut system)
        };
        check("start", status)?;
        let mut voice = Self { system, engine: ptr::null_mut(), _arena: arena };
        voice.load()?;
        Ok(voice)
    }

    fn load(&mut self) -> Result<(), VoiceError> {
        const NAME: *const u8 = c"en-US".as_ptr().cast();
        // The engine reads files only, their names must end in `.bin`, and it has read them when this returns.
        let scratch = tempfile::tempdir().map_err(VoiceError::Scratch)?;
        // SAFETY: valid system and C strings.
        check("define a voice", unsafe { pico::pico_createVoiceDefinition(self.system, NAME) })?;
        for (name, content) in [("ta.bin", TEXT_ANALYSIS), ("sg.bin", SIGNAL_GENERATION)] {
            let path = scratch.path().join(name);
            std::fs::write(&path, content).map_err(VoiceError::Scratch)?;
            let path = CString::new(path.as_os_str().as_bytes())
                .map_err(|error| VoiceError::Scratch(std::io::Error::other(error)))?;
            let mut resource = ptr::null_mut();
            let mut resource_name = [0; pico::PICO_RETSTRINGSIZE];
            // SAFETY: valid system and C string; the name's buffer has the size the library documents.
            unsafe {
                check("load a voice", {
                    pico::pico_loadResource(self.system, path.as_ptr().cast(), &raw mut resource)
                })?;
                check("name a voice", {
                    pico::pico_getResourceName(self.system, resource, resource_name.as_mut_ptr())
                })?;
                check("add to a voice", {
                    pico::pico_addResourceToVoiceDefinition(self.system, NAME, resource_name.as_ptr().cast())
                })?;
            }
        }
        // SAFETY: valid system and C string.
        check("make an engine", unsafe { pico::pico_newEngine(self.system, NAME, &raw mut self.engine) })
    }

    /// Speaks a text at 16 kHz, in pieces of 20 ms as they come. Dropping what is returned stops at once.
    pub fn speak(&mut self, text: &str) -> Speech<'_> {
        Speech::new(self, text, None)
    }

    /// Speaks a text at 8 kHz, in pieces of 20 ms as they come. Dropping what is returned stops at once.
    pub fn speak_8k(&mut self, text: &str) -> Speech<'_> {
        Speech::new(self, text, Some(HalfBand::new()))
    }

    /// Takes as much of the text as fits and says how much that was.
    fn put(&mut self, text: &[u8]) -> Result<usize, VoiceError> {
        let length = text.len().min(i16::MAX as usize) as i16;
        let mut taken = 0;
        // SAFETY: valid engine; `text` is at least `length` bytes long.
        let status = unsafe { pico::pico_putTextUtf8(self.engine, text.as_ptr(), length, &raw mut taken) };
        check("take a text", status)?;
        Ok(taken.max(0) as usize)
    }

    /// Works a little; appends what came of it and says whether there is more to do.
    fn get(&mut self, out: &mut Vec<i16>) -> Result<bool, VoiceError> {
        let mut buffer = [0i16; 128];
        let (mut bytes, mut kind) = (0, 0);
        let size = size_of_val(&buffer) as i16;
        // SAFETY: valid engine; the buffer is `size` bytes long.
        let status = unsafe {
            pico::pico_getData(self.engine, buffer.as_mut_ptr().cast(), size, &raw mut bytes, &raw mut kind)
        };
        out.extend_from_slice(&buffer[..bytes.clamp(0, size) as usize / 2]);
        match status {
            pico::PICO_STEP_BUSY => Ok(true),
            pico::PICO_STEP_IDLE => Ok(false),
            other => Err(VoiceError::Refused("speak", other)),
        }
    }

    /// Drops whatever it was about to say.
    fn reset(&mut self, mode: u32) {
        // SAFETY: valid engine.
        unsafe { pico::pico_resetEngine(self.engine, mode as i32) };
    }
}

#[expect(unsafe_code, reason = "gives the engine back to the C library")]
impl Drop for Voice {
    fn drop(&mut self) {
        // SAFETY: disposed of once, in the order the library asks for; the arena is freed after this.
        unsafe {
            if !self.engine.is_null() {
                pico::pico_disposeEngine(self.system, &raw mut self.engine);
            }
            pico::pico_terminate(&raw mut self.system);
        }
    }
}

/// Samples of quiet after the last sound: 160 ms, a speaker's breath between two sentences.
const BREATH: usize = 2_560;

/// The engine's volume in percent. At 100 it clips inside; at 50 speech lies near -18 dBFS, as a telephone's does.
const LEVEL: u32 = 50;

/// Speech under way: an iterator over its pieces. After an error there are no more.
pub struct Speech<'a> {
    voice: &'a mut Voice,
    half_band: Option<HalfBand>,
    /// Ends with the NUL that makes the engine speak what it has.
    text: Vec<u8>,
    put: usize,
    ready: Vec<i16>,
    /// Quiet that may be a pause or the end: given out when sound follows, cut short when none does.
    quiet: Vec<i16>,
    begun: bool,
    done: bool,
}

impl<'a> Speech<'a> {
    fn new(voice: &'a mut Voice, text: &str, half_band: Option<HalfBand>) -> Self {
        let text = spoken(text);
        let done = text.is_empty();
        let mut text = format!("<volume level=\"{LEVEL}\">{text}</volume>").into_bytes();
        text.push(0);
        let ready = Vec::with_capacity(2 * CHUNK);
        Self { voice, half_band, text, put: 0, ready, quiet: Vec::new(), begun: false, done }
    }

    /// Works until a piece is complete or all has been said.
    fn fill(&mut self) -> Result<(), VoiceError> {
        let mut idle = 0;
        let mut fresh = Vec::new();
        while self.ready.len() < CHUNK && !self.done {
            if self.put < self.text.len() {
                self.put += self.voice.put(&self.text[self.put..])?;
            }
            let busy = self.voice.get(&mut fresh)?;
            idle = if fresh.is_empty() { idle + 1 } else { 0 };
            if idle > PATIENCE {
                return Err(VoiceError::Refused("go on", pico::PICO_STEP_BUSY));
            }
            self.done = !busy && self.put == self.text.len();
            self.sort(&mut fresh);
            self.trim();
        }
        Ok(())
    }

    /// Sound is ready at once; quiet waits for what follows it. Of the quiet at the end a breath remains: the engine adds
    /// more than half a second, which would be dead air between two sentences.
    fn sort(&mut self, fresh: &mut Vec<i16>) {
        match fresh.iter().rposition(|sample| sample.unsigned_abs() > SILENCE) {
            Some(last) => {
                self.ready.append(&mut self.quiet);
                self.ready.extend(fresh.drain(..=last));
            }
            None if !self.begun => self.ready.append(fresh),
            None => {}
        }
        self.quiet.append(fresh);
        if self.done {
            self.quiet.truncate(BREATH);
            self.ready.append(&mut self.quiet);
        }
    }

    /// Drops the silence before the first sound, so that it is heard at once.
    fn trim(&mut self) {
        if self.begun {
            return;
        }
        match self.ready.iter().position(|sample| sample.unsigned_abs() > SILENCE) {
            Some(first) => {
                self.begun = true;
                self.ready.drain(..first.saturating_sub(LEAD));
            }
            None => {
                let spare = self.ready.len().saturating_sub(LEAD);
                self.ready.drain(..spare);
            }
        }
    }
}

impl Iterator for Speech<'_> {
    type Item = Result<Vec<i16>, VoiceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Err(error) = self.fill() {
            self.ready.clear();
            self.done = true;
            self.voice.reset(pico::PICO_RESET_FULL);
            return Some(Err(error));
        }
        if self.ready.is_empty() || !self.begun {
            return None;
        }
        let rest = self.ready.split_off(self.ready.len().min(CHUNK));
        let chunk = std::mem::replace(&mut self.ready, rest);
        let Some(half_band) = &mut self.half_band else { return Some(Ok(chunk)) };
        let mut narrow = Vec::with_capacity(CHUNK / 2);
        half_band.push(&chunk, &mut narrow);
        Some(Ok(narrow))
    }
}

impl Drop for Speech<'_> {
    /// What has not been said yet will not be said in front of the next text.
    fn drop(&mut self) {
        if !self.done {
            self.voice.reset(pico::PICO_RESET_SOFT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(speech: Speech<'_>) -> Vec<i16> {
        speech.flat_map(|chunk| chunk.expect("the engine speaks")).collect()
    }

    fn voice() -> Voice {
        Voice::new().expect("the voice is inside the binary")
    }

    #[test]
    fn speech_begins_at_once_and_lasts_as_long_as_the_words() {
        let mut voice = voice();
        let audio = all(voice.speak("Good morning, how can I help you today?"));
        assert!((16_000..64_000).contains(&audio.len()), "{} samples", audio.len());
        assert!(audio[..=LEAD].iter().any(|s| s.unsigned_abs() > SILENCE));
    }

    #[test]
    fn speech_ends_with_a_breath_and_no_dead_air() {
        let audio = all(voice().speak("It ends here."));
        let quiet = audio.iter().rev().take_while(|sample| sample.unsigned_abs() <= SILENCE).count();
        assert!(quiet <= BREATH, "{quiet} quiet samples at the end");
    }

    #[test]
    fn eight_kilohertz_is_half_as_many_samples() {
        let wide = all(voice().speak("One two three.")).len();
        let narrow = all(voice().speak_8k("One two three.")).len();
        assert!(narrow.abs_diff(wide / 2) <= 1, "{wide} and {narrow}");
    }

    #[test]
    fn what_was_cut_off_is_not_said_later() {
        let mut voice = voice();
        let alone = all(voice.speak("Yes.")).len();
        let mut long =
            voice.speak("This is a long sentence that nobody will hear to its end, because it is cut off.");
        assert!(long.next().is_some());
        drop(long);
        let after = all(voice.speak("Yes.")).len();
        assert!(after.abs_diff(alone) < 1_600, "{alone} samples alone, {after} after a cut");
    }

    #[test]
    fn nothing_to_say_is_silence_not_an_error() {
        let mut voice = voice();
        for text in ["", "   ", "\0\n", "<>", "…"] {
            assert!(all(voice.speak(text)).len() < 16_000, "{text:?}");
        }
        assert!(!all(voice.speak("Hello.")).is_empty());
    }

    #[test]
    fn markup_does_not_reach_the_engine() {
        let mut voice = voice();
        let plain = all(voice.speak("Hello there.")).len();
        let marked = all(voice.speak("<speed level=\"20\">Hello there.</speed>")).len();
        assert!(marked < plain * 4, "{plain} samples plain, {marked} with markup");
    }

    #[test]
    fn odd_text_does_not_harm_the_voice() {
        let mut voice = voice();
        for text in [
            "\u{1}\u{7f}\u{fffd}",
            "日本語 привет",
            &"a".repeat(5_000),
            &"1".repeat(300),
            "?!?!?!",
            "a\u{300}",
        ] {
            let _ = all(voice.speak_8k(text));
        }
        assert!(all(voice.speak("Still here.")).len() > 8_000);
    }

    #[test]
    fn voices_on_several_threads_say_the_same() {
        let say = || all(voice().speak("Several at once."));
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(say)).collect();
        let expected = say();
        for thread in threads {
            assert_eq!(thread.join().expect("no panic"), expected);
        }
    }
}
