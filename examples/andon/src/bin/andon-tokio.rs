//! The light client for the command line, on tokio.

use std::process::ExitCode;

fn main() -> ExitCode {
    andon::run::<andon_tokio::Driver>()
}
