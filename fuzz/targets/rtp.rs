//! libFuzzer's way to `targets::rtp`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::targets::rtp(data));
