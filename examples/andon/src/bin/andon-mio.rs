//! The light client for the command line, on mio.

use std::process::ExitCode;

fn main() -> ExitCode {
    andon::run::<andon_mio::Driver>()
}
