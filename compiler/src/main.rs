//! The `sinter` command.

use clap::Parser;
use sinter::cli::{self, Cli};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(diags) => {
            for d in &diags {
                sinter::system::warn(format_args!("{d}"));
            }
            ExitCode::from(cli::exit_code(&diags))
        }
    }
}
