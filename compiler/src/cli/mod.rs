//! The command line: one file per command.

/// Shadows the standard macro, which panics when standard output is closed or full.
macro_rules! println {
    ($($text:tt)*) => {
        $crate::system::say(format_args!($($text)*))
    };
}

/// Shadows the standard macro, which panics when standard error is closed or full.
macro_rules! eprintln {
    ($($text:tt)*) => {
        $crate::system::warn(format_args!($($text)*))
    };
}

pub mod agreement;
pub mod bench;
pub mod calibrate;
pub mod check;
pub mod compare;
pub mod compile;
pub mod eval;
pub mod inspect;
pub mod language;
pub mod quantize;
pub mod room;
pub mod run;
pub mod targets;

use crate::{frontend, system};
use clap::{Args, Parser, Subcommand};
use sinter_ir::{Diag, Fault, Result};
use std::collections::BTreeMap;
use std::path::Path;

/// Shown below the help; see [`exit_code`].
const EXIT_CODES: &str = "Exit codes: 0 done, 1 a model, file or value is wrong, 2 the command line is wrong, \
                          3 not supported yet, 4 a limit is exceeded, 5 results could not be written, \
                          70 a defect of sinter";

/// Ahead-of-time compiler for neural networks: a model in, a device bundle out.
#[derive(Debug, Parser)]
#[command(name = "sinter", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Compile a model to a bundle.
    Compile(compile::CompileArgs),
    /// Tell everything that keeps a model from compiling, without reading weights.
    Check(check::CheckArgs),
    /// Run a bundle (or a model, compiled on the fly) on this machine.
    Run(run::RunArgs),
    /// Measure a bundle or a model on this machine, alone or next to other runtimes.
    Bench(bench::BenchArgs),
    /// Measure how well a language model predicts a text, and how close it is to another one.
    Eval(eval::EvalArgs),
    /// Compare what recipes of compression make of a language model: size, loss and speed, as a table and as pictures.
    Quantize(quantize::QuantizeArgs),
    /// Show a model or a bundle: signature, ops, sizes, memory timeline.
    Inspect(inspect::InspectArgs),
    /// List the targets.
    Targets(targets::TargetsArgs),
}

/// How a model is read.
#[derive(Debug, Clone, Args)]
pub struct ModelArgs {
    /// ONNX file, GGUF file, or folder of a language model from the Hugging Face hub. `compile` and `run` also take a module dumped by `compile --dump-ir` (.mir).
    #[arg(value_parser = given)]
    pub model: String,
    /// Fix or bound a symbolic dim, by its name or as INPUT.AXIS: `batch=1`, `height=32..960`.
    #[arg(long = "dim", value_name = "NAME=N|MIN..MAX")]
    pub dims: Vec<String>,
}

impl ModelArgs {
    /// The parsed `--dim` options.
    pub fn dim_ranges(&self) -> Result<BTreeMap<String, (i64, i64)>> {
        self.dims.iter().map(|d| parse_dim(d)).collect()
    }
}

fn parse_dim(text: &str) -> Result<(String, (i64, i64))> {
    let bad = || Diag::input(format!("--dim {text}: expected NAME=N or NAME=MIN..MAX with 0 <= MIN <= MAX"));
    let (name, range) = text.rsplit_once('=').ok_or_else(bad)?;
    let (lo, hi) = range.split_once("..").unwrap_or((range, range));
    let lo: i64 = lo.trim().parse().map_err(|_| bad())?;
    let hi: i64 = hi.trim().trim_start_matches('=').parse().map_err(|_| bad())?;
    if name.is_empty() || lo < 0 || hi < lo {
        return Err(bad());
    }
    Ok((name.to_owned(), (lo, hi)))
}

/// Exit codes, stable; with several problems the largest counts. A wrong command line gives 2.
///
/// | code | meaning |
/// |---|---|
/// | 0 | done |
/// | 1 | the model, a file or a value that was given is wrong |
/// | 2 | the command line is wrong |
/// | 3 | valid, but not supported yet |
/// | 4 | a stated limit was exceeded |
/// | 5 | results could not be written |
/// | 70 | a defect of Sinter |
pub fn exit_code(diags: &[Diag]) -> u8 {
    match diags.iter().map(|d| d.fault).max() {
        None => 0,
        Some(Fault::Input) => 1,
        Some(Fault::Unsupported) => 3,
        Some(Fault::Limit) => 4,
        Some(Fault::Output) => 5,
        Some(Fault::Bug) => 70,
    }
}

/// Runs a command; returns all problems.
pub fn run(cli: Cli) -> Result<(), Vec<Diag>> {
    match cli.command {
        Command::Compile(a) => compile::run(&a),
        Command::Check(a) => check::run(&a),
        Command::Run(a) => run::run(&a),
        Command::Bench(a) => bench::run(&a),
        Command::Eval(a) => eval::run(&a),
        Command::Quantize(a) => quantize::run(&a),
        Command::Inspect(a) => inspect::run(&a),
        Command::Targets(a) => targets::run(&a),
    }?;
    system::said().map_err(|d| vec![d])
}

/// A model or a bundle; a folder that `compile` wrote one bundle to is that bundle.
fn given(text: &str) -> std::result::Result<String, String> {
    let path = Path::new(text);
    if !system::is_dir(path) || frontend::llm::is_model(path) || inspect::is_bundle(path) {
        return Ok(text.to_owned());
    }
    let all = system::list(path).map_err(|d| d.message)?;
    let bundles: Vec<String> =
        all.iter().filter(|p| inspect::is_bundle(p)).map(|p| p.display().to_string()).collect();
    match bundles.as_slice() {
        [] => Ok(text.to_owned()),
        [one] => Ok(one.clone()),
        _ => Err(format!("the folder holds several bundles: {}", bundles.join(", "))),
    }
}

/// A size in memory: `65536`, `64K`, `2M`.
fn bytes(text: &str) -> std::result::Result<u64, String> {
    let (digits, unit) = match text.strip_suffix(['K', 'k']) {
        Some(digits) => (digits, 1 << 10),
        None => text.strip_suffix(['M', 'm']).map_or((text, 1), |digits| (digits, 1 << 20)),
    };
    let size = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(unit));
    size.ok_or_else(|| "a size is a number of bytes, or one followed by K or M".to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn dims() {
        assert_eq!(parse_dim("x=3").unwrap(), ("x".into(), (3, 3)));
        assert_eq!(parse_dim("a.b=1..8").unwrap(), ("a.b".into(), (1, 8)));
        for bad in ["x", "=3", "x=-1", "x=5..2", "x=a"] {
            assert!(parse_dim(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
