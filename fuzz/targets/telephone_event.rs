//! libFuzzer's way to `targets::telephone_event`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::targets::telephone_event(data));
