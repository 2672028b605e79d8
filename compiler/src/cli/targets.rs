//! `sinter targets`.

use clap::Args;
use sinter_ir::Diag;

/// Options of `targets`.
#[derive(Debug, Clone, Args)]
pub struct TargetsArgs {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
pub fn run(a: &TargetsArgs) -> Result<(), Vec<Diag>> {
    let native = crate::driver::native().map(|t| t.name.as_str()).ok();
    use sinter_backends as backends;
    let tables = [backends::targets(), backends::variants(), backends::cpus(), backends::sources()];
    for t in tables.into_iter().flatten() {
        if a.json {
            println!("{}", serde_json::to_string(t).unwrap_or_default());
            continue;
        }
        let here = if Some(t.name.as_str()) == native { " (native here)" } else { "" };
        println!("{:<32} {}{here}; verified: {}", t.name, t.summary, t.verified);
    }
    Ok(())
}
