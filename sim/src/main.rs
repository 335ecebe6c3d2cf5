//! Runs experiments of the simulator.

use std::process::ExitCode;

use andon_sim::experiment::Kinds;

fn main() -> ExitCode {
    andon_sim::program::main(&Kinds::default())
}
