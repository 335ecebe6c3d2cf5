//! The light client for the command line, on async-io, which is under smol.

use std::process::ExitCode;

fn main() -> ExitCode {
    andon::run::<andon_smol::Driver>()
}
