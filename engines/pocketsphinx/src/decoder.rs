//! PocketSphinx's decoder as a safe type: cepstra in, words out. All unsafe code of this crate is here.
//! Knows nothing of audio, and nothing of what an agent expects.

use crate::ffi;
use crate::frontend::Cepstrum;
use std::ffi::{CStr, CString, c_char, c_int};
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::Once;

/// How much the language model counts against the sound: measured best for domain trigrams.
const LANGUAGE_WEIGHT: &str = "9";

/// Files that make up a decoder.
pub(crate) struct Files<'a> {
    /// Directory of the acoustic model.
    pub(crate) acoustic: &'a Path,
    pub(crate) dictionary: &'a Path,
}

/// One decoder. May move between threads, but serves one at a time.
pub(crate) struct Decoder {
    raw: NonNull<ffi::Decoder>,
}

// SAFETY: a decoder owns all it points to; the library keeps no thread-local or shared mutable state besides the error
// callback, which is set once before the first decoder exists.
#[expect(unsafe_code, reason = "see above")]
unsafe impl Send for Decoder {}

/// A word or a filler in the best path.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) text: String,
    /// First and last frame, both inclusive, counted from the start of the utterance.
    pub(crate) frames: (u32, u32),
    /// Log probability of the sound; 0 would be the best possible state in every frame.
    pub(crate) acoustic: i32,
}

#[expect(unsafe_code, reason = "the one place that calls the C library")]
impl Decoder {
    /// Loads a decoder, which takes some milliseconds. `None` when the library refuses; it does not say why.
    pub(crate) fn load(files: &Files<'_>) -> Option<Self> {
        static QUIET: Once = Once::new();
        // SAFETY: null means, in both, that nothing is printed.
        QUIET.call_once(|| unsafe {
            ffi::err_set_callback(ptr::null(), ptr::null_mut());
            ffi::err_set_logfp(ptr::null_mut());
        });
        let model = |name: &str| c_path(&files.acoustic.join(name));
        let arguments = [
            (c"-mdef", model("mdef")?),
            (c"-mean", model("means")?),
            (c"-var", model("variances")?),
            (c"-tmat", model("transition_matrices")?),
            (c"-sendump", model("sendump")?),
            (c"-fdict", model("noisedict")?),
            (c"-dict", c_path(files.dictionary)?),
            (c"-lw", CString::new(LANGUAGE_WEIGHT).ok()?),
        ];
        let [mdef, mean, var, tmat, sendump, fdict, dict, lw] =
            arguments.each_ref().map(|(name, value)| (name.as_ptr(), value.as_ptr()));
        // The directory's feat.params is left aside: it would override `-cmn none`, and the front-end normalises itself.
        // SAFETY: pairs of C strings ended by a null pointer; all outlive the call, which copies them.
        let config = unsafe {
            ffi::cmd_ln_init(
                ptr::null_mut(),
                ffi::ps_args(),
                1,
                mdef.0,
                mdef.1,
                mean.0,
                mean.1,
                var.0,
                var.1,
                tmat.0,
                tmat.1,
                sendump.0,
                sendump.1,
                fdict.0,
                fdict.1,
                dict.0,
                dict.1,
                lw.0,
                lw.1,
                c"-feat".as_ptr(),
                c"1s_c_d_dd".as_ptr(),
                c"-svspec".as_ptr(),
                c"0-12/13-25/26-38".as_ptr(),
                c"-cmn".as_ptr(),
                c"none".as_ptr(),
                c"-agc".as_ptr(),
                c"none".as_ptr(),
                c"-varnorm".as_ptr(),
                c"no".as_ptr(),
                c"-fwdflat".as_ptr(),
                c"no".as_ptr(),
                c"-bestpath".as_ptr(),
                c"yes".as_ptr(),
                ptr::null::<c_char>(),
            )
        };
        if config.is_null() {
            return None;
        }
        // SAFETY: `config` is valid; the decoder takes its own reference, so that ours is given back in any case.
        let raw = unsafe {
            let raw = ffi::ps_init(config);
            ffi::cmd_ln_free_r(config);
            raw
        };
        NonNull::new(raw).map(|raw| Self { raw })
    }

    /// Adds an n-gram search under a name.
    pub(crate) fn add_language_model(&mut self, name: &CStr, file: &Path) -> bool {
        let Some(file) = c_path(file) else { return false };
        // SAFETY: valid decoder and C strings.
        unsafe { ffi::ps_set_lm_file(self.raw.as_ptr(), name.as_ptr(), file.as_ptr()) == 0 }
    }

    /// Adds a grammar search under a name.
    pub(crate) fn add_grammar(&mut self, name: &CStr, jsgf: &CStr) -> bool {
        // SAFETY: valid decoder and C strings.
        unsafe { ffi::ps_set_jsgf_string(self.raw.as_ptr(), name.as_ptr(), jsgf.as_ptr()) == 0 }
    }

    /// Chooses the search for the next utterance. Only between utterances.
    pub(crate) fn select(&mut self, name: &CStr) -> bool {
        // SAFETY: valid decoder and C string.
        unsafe { ffi::ps_set_search(self.raw.as_ptr(), name.as_ptr()) == 0 }
    }

    pub(crate) fn start(&mut self) -> bool {
        // SAFETY: valid decoder; starting twice is refused by the library.
        unsafe { ffi::ps_start_utt(self.raw.as_ptr()) == 0 }
    }

    /// Searches one frame. Only within an utterance.
    pub(crate) fn process(&mut self, mut cepstrum: Cepstrum) -> bool {
        let mut row = cepstrum.as_mut_ptr();
        // SAFETY: one row of as many coefficients as the model's features need; the library copies it.
        unsafe { ffi::ps_process_cep(self.raw.as_ptr(), &raw mut row, 1, 0, 0) >= 0 }
    }

    pub(crate) fn end(&mut self) -> bool {
        // SAFETY: valid decoder; ending what has not started is refused by the library.
        unsafe { ffi::ps_end_utt(self.raw.as_ptr()) == 0 }
    }

    /// The words of the best path so far.
    pub(crate) fn hypothesis(&mut self) -> Option<String> {
        let mut score = 0;
        // SAFETY: the string belongs to the decoder and is copied before anything else can happen to it.
        unsafe {
            let words = ffi::ps_get_hyp(self.raw.as_ptr(), &raw mut score);
            (!words.is_null()).then(|| CStr::from_ptr(words).to_string_lossy().into_owned())
        }
    }

    /// The best path, fillers included.
    pub(crate) fn segments(&mut self) -> Vec<Segment> {
        let mut segments = Vec::new();
        // SAFETY: the iterator is advanced until the library frees it; strings are copied at once.
        unsafe {
            let mut at = ffi::ps_seg_iter(self.raw.as_ptr());
            while !at.is_null() {
                let (mut first, mut last, mut acoustic): (c_int, c_int, i32) = (0, 0, 0);
                let (mut language, mut back_off) = (0, 0);
                ffi::ps_seg_frames(at, &raw mut first, &raw mut last);
                ffi::ps_seg_prob(at, &raw mut acoustic, &raw mut language, &raw mut back_off);
                let word = ffi::ps_seg_word(at);
                if !word.is_null() {
                    let text = CStr::from_ptr(word).to_string_lossy().into_owned();
                    segments.push(Segment {
                        text,
                        frames: (first.max(0) as u32, last.max(0) as u32),
                        acoustic,
                    });
                }
                at = ffi::ps_seg_next(at);
            }
        }
        segments
    }
}

#[expect(unsafe_code, reason = "gives the decoder back to the C library")]
impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: the only reference.
        unsafe { ffi::ps_free(self.raw.as_ptr()) };
    }
}

#[cfg(unix)]
fn c_path(path: &Path) -> Option<CString> {
    use std::os::unix::ffi::OsStrExt;
    CString::new(path.as_os_str().as_bytes()).ok()
}
