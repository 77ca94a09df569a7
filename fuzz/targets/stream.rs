//! libFuzzer's way to `targets::stream`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::targets::stream(data));
