//! libFuzzer's way to `targets::rtcp`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::targets::rtcp(data));
