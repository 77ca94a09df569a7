//! libFuzzer's way to `targets::digest`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::targets::digest(data));
