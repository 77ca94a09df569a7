//! libFuzzer's way to `targets::sdp`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::targets::sdp(data));
