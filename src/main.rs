//! The program `tandem`.
//! Knows nothing but where its commands are.

fn main() -> std::process::ExitCode {
    tandem::cli::main()
}
