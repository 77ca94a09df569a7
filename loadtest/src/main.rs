//! Load and measurements: `loadtest figures`, `loadtest agent`, `loadtest sip`, `loadtest simulators`.
//! Knows nothing but where they are.

fn main() -> std::process::ExitCode {
    loadtest::main()
}
