//! The twenty functions of libpocketsphinx (0.8+5prealpha) that the recogniser needs, as its headers declare them.
//! Only [`crate::decoder`] calls them.

use std::ffi::{c_char, c_int, c_void};

/// `ps_decoder_t`.
#[repr(C)]
pub(crate) struct Decoder {
    _opaque: [u8; 0],
}

/// `cmd_ln_t`.
#[repr(C)]
pub(crate) struct Config {
    _opaque: [u8; 0],
}

/// `arg_t`.
#[repr(C)]
pub(crate) struct Arguments {
    _opaque: [u8; 0],
}

/// `ps_seg_t`.
#[repr(C)]
pub(crate) struct Segment {
    _opaque: [u8; 0],
}

#[expect(unsafe_code, reason = "the declarations of a C library")]
unsafe extern "C" {
    // sphinxbase/err.h and cmd_ln.h
    pub(crate) fn err_set_callback(callback: *const c_void, user_data: *mut c_void);
    pub(crate) fn err_set_logfp(stream: *mut c_void);
    pub(crate) fn cmd_ln_init(config: *mut Config, known: *const Arguments, strict: i32, ...) -> *mut Config;
    pub(crate) fn cmd_ln_free_r(config: *mut Config) -> c_int;

    // pocketsphinx.h
    pub(crate) fn ps_args() -> *const Arguments;
    pub(crate) fn ps_init(config: *mut Config) -> *mut Decoder;
    pub(crate) fn ps_free(decoder: *mut Decoder) -> c_int;
    pub(crate) fn ps_start_utt(decoder: *mut Decoder) -> c_int;
    pub(crate) fn ps_process_cep(
        decoder: *mut Decoder,
        rows: *mut *mut f32,
        frames: c_int,
        no_search: c_int,
        full_utterance: c_int,
    ) -> c_int;
    pub(crate) fn ps_end_utt(decoder: *mut Decoder) -> c_int;
    pub(crate) fn ps_get_hyp(decoder: *mut Decoder, score: *mut i32) -> *const c_char;
    pub(crate) fn ps_seg_iter(decoder: *mut Decoder) -> *mut Segment;
    pub(crate) fn ps_seg_next(segment: *mut Segment) -> *mut Segment;
    pub(crate) fn ps_seg_word(segment: *mut Segment) -> *const c_char;
    pub(crate) fn ps_seg_frames(segment: *mut Segment, first: *mut c_int, last: *mut c_int);
    pub(crate) fn ps_seg_prob(
        segment: *mut Segment,
        acoustic: *mut i32,
        language: *mut i32,
        back_off: *mut i32,
    ) -> i32;

    // ps_search.h
    pub(crate) fn ps_set_search(decoder: *mut Decoder, name: *const c_char) -> c_int;
    pub(crate) fn ps_set_lm_file(decoder: *mut Decoder, name: *const c_char, path: *const c_char) -> c_int;
    pub(crate) fn ps_set_jsgf_string(
        decoder: *mut Decoder,
        name: *const c_char,
        jsgf: *const c_char,
    ) -> c_int;
}
