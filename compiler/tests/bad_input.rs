//! Broken copies of every model: each must end in a result or a typed error, in bounded time and memory.
//!
//! `MUTATIONS=n` or `MUTATIONS=from..to` runs those of every model instead, `MUTATION=model#number` runs one and shows what happens, `MODELS=dir`
//! takes the models `dir/*/model.onnx`.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod common;
#[path = "common/guard.rs"]
mod guard;
#[path = "common/mutate/mod.rs"]
mod mutate;

use mutate::Seed;
use sinter::frontend::onnx::{self, ImportOptions};
use sinter_ir::{Diag, Fault};
use sinter_passes::pipeline::{self, PipelineOptions};
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: guard::Counting = guard::Counting;

/// One mutation may take this long, on a machine that does other things as well.
const TIME: Duration = Duration::from_secs(20);
/// An import holds at most three times the file and this.
const IMPORT_BYTES: usize = 64 << 20;
/// A compilation holds at most three times the file and this.
const COMPILE_BYTES: usize = 512 << 20;
/// Files up to this size go through the whole compiler, larger ones only now and then.
const SMALL_FILE: usize = 300 << 10;

/// What is wrong with how a broken file is handled; nothing when all is well.
fn verdict(file: bytes::Bytes, whole: bool) -> Result<bool, String> {
    let size = file.len();
    let options = ImportOptions::default();
    let (imported, held) =
        guard::peak(|| guard::caught(|| onnx::import_bytes(file, None, "broken", &options)));
    if held > 3 * size + IMPORT_BYTES {
        return Err(format!("import of {size} bytes held {held} bytes"));
    }
    let module = match imported? {
        Ok(i) => i.module,
        Err(diags) if diags.is_empty() => return Err("an error without a message".into()),
        Err(diags) => return diags.iter().try_for_each(typed).map(|()| false),
    };
    if !whole {
        return Ok(true);
    }
    let target = sinter_backends::target("x86-64-v3").unwrap();
    let (done, held) = guard::peak(|| {
        guard::caught(|| {
            let compiled = pipeline::run(module, &mut PipelineOptions::default(), target)?;
            let Some(program) = compiled.program else { return Err(vec![Diag::bug("no program")]) };
            let problems = sinter_backends::legalise(&program, target);
            if problems.is_empty() { Ok(()) } else { Err(problems) }
        })
    });
    if held > 3 * size + COMPILE_BYTES {
        return Err(format!("compilation of {size} bytes held {held} bytes"));
    }
    match done? {
        Ok(()) => Ok(true),
        Err(diags) => diags.iter().try_for_each(typed).map(|()| true),
    }
}

/// A bad model is the model's fault, never Sinter's.
fn typed(d: &Diag) -> Result<(), String> {
    if d.fault == Fault::Bug || d.message.starts_with('\0') { Err(d.to_string()) } else { Ok(()) }
}

/// Numbers of the mutations of a model: more of those that are quick to read.
fn numbers(seed: &Seed) -> Range<u64> {
    match std::env::var("MUTATIONS") {
        Ok(n) => {
            let (from, to) = n.split_once("..").unwrap_or(("0", &n));
            from.parse().unwrap()..to.parse().unwrap()
        }
        Err(_) if seed.file.len() > 4 << 20 => 0..700,
        Err(_) => 0..1500,
    }
}

fn models() -> Vec<(String, std::path::PathBuf)> {
    let mut dirs = vec![common::root().join("testdata/models")];
    match common::shared() {
        Some(s) => dirs.push(s.join("models")),
        None => common::skip("models beside the checkout not found: only those in the repository are broken"),
    }
    if let Ok(d) = std::env::var("MODELS") {
        dirs = vec![d.into()];
    }
    let mut out = BTreeMap::new();
    for case in dirs.iter().flat_map(|d| common::cases(d)) {
        out.insert(case.name, case.model);
    }
    out.into_iter().collect()
}

/// Runs mutations of one model; returns the distinct complaints with the first case of each, and how many
/// copies were still models.
fn run(seed: &Seed, name: &'static str, numbers: impl Iterator<Item = u64>) -> (BTreeMap<String, u64>, u64) {
    let mut bad = BTreeMap::new();
    let mut imported = 0;
    for number in numbers {
        guard::working_on(name, number);
        let whole = seed.file.len() <= SMALL_FILE || number % 16 == 0;
        match guard::caught(|| seed.broken(number)).and_then(|file| verdict(file, whole)) {
            Ok(ok) => imported += u64::from(ok),
            Err(e) => drop(bad.entry(e).or_insert(number)),
        }
    }
    guard::idle();
    (bad, imported)
}

#[test]
fn broken_models_end_in_typed_errors() {
    guard::quiet_panics();
    guard::watchdog(TIME);
    let only = std::env::var("MUTATION").ok();
    let only = only.as_deref().and_then(|t| t.split_once('#'));
    let mut work = vec![];
    for (name, path) in models() {
        if only.is_some_and(|(n, _)| n != name) {
            continue;
        }
        let name: &'static str = name.leak();
        let seed: &'static Seed = Box::leak(Box::new(Seed::new(name, std::fs::read(path).unwrap())));
        let all = match only {
            Some((_, number)) => {
                let number: u64 = number.parse().unwrap();
                number..number + 1
            }
            None => numbers(seed),
        };
        work.extend(all.clone().step_by(100).map(|start| (seed, name, start..all.end.min(start + 100))));
    }
    let done = common::parallel(&work, |(seed, name, numbers)| {
        // Stacks as small as a library user's threads have.
        std::thread::scope(|s| {
            let begin = Instant::now();
            let builder = std::thread::Builder::new().stack_size(2 << 20);
            let r = builder.spawn_scoped(s, || run(seed, name, numbers.clone())).unwrap().join().unwrap();
            (r, begin.elapsed())
        })
    });
    let mut bad: BTreeMap<String, String> = BTreeMap::new();
    let mut totals: BTreeMap<&str, (u64, u64, Duration)> = BTreeMap::new();
    for ((_, name, numbers), ((complaints, imported), time)) in work.iter().zip(done) {
        let t = totals.entry(name).or_default();
        *t = (t.0 + numbers.end - numbers.start, t.1 + imported, t.2 + time);
        for (what, number) in complaints {
            bad.entry(what).or_insert_with(|| format!("{name}#{number}"));
        }
    }
    for (name, (n, imported, time)) in &totals {
        println!("{name}: {n} broken copies, {imported} still a model, {time:.1?}");
    }
    let total: u64 = totals.values().map(|t| t.0).sum();
    println!("{total} broken copies");
    for (what, case) in &bad {
        println!("{case}: {what}");
    }
    drop(std::panic::take_hook());
    assert!(bad.is_empty(), "{} complaints, see above", bad.len());
    if only.is_none() && common::shared().is_some() && std::env::var("MUTATIONS").is_err() {
        assert!(total >= 20_000, "only {total} mutations");
    }
}
