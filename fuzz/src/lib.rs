//! What is fuzzed, without a fuzzer. `tests/fuzz_corpus.rs` of the main workspace replays the corpora through it.

pub mod targets;
