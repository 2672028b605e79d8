//! The text of modules: what is printed can be parsed, and gives the same text again; broken text is an error.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod common;

use common::{Case, cases, no_panic, parallel};
use sinter::frontend::onnx::{self, ImportOptions};
use sinter_ir::Module;
use sinter_ir::graph::text::ConstTable;
use sinter_passes::pipeline::{self, PipelineOptions};
use sinter_passes::report::PassReport;

const FOLDERS: [&str; 4] = ["node", "simple", "pytorch-converted", "pytorch-operator"];

/// Every case of the suite; none where it is not there.
fn suite() -> Vec<Case> {
    match common::suite() {
        Some(dir) => FOLDERS.iter().flat_map(|f| cases(&dir.join(f))).collect(),
        None => {
            common::skip("ONNX backend suite not found");
            vec![]
        }
    }
}

/// What the importer makes of a case; `None` where it refuses the model.
fn import(case: &Case) -> Option<Module> {
    onnx::import(&case.model, &ImportOptions::default()).ok().map(|i| i.module)
}

/// Text and side table, through the parser and back.
fn round_trip(m: &Module, when: &str) -> Result<(), String> {
    let mut table = ConstTable::default();
    let text = m.to_text(&mut table);
    let side = bytes::Bytes::from(table.to_bytes());
    let parsed = Module::from_text(&text, &side).map_err(|d| format!("{when}: {d}\n{text}"))?;
    let mut again = ConstTable::default();
    if parsed.to_text(&mut again) != text {
        return Err(format!("{when}: another text\n{text}\n---\n{}", parsed.dump_text()));
    }
    // Ids may change once (dead slots go), never again.
    let twice = Module::from_text(&text, &again).map_err(|d| format!("{when}: {d}"))?;
    if again.to_bytes() != side || twice != parsed {
        return Err(format!("{when}: the text is the same, the module is not\n{text}"));
    }
    Ok(())
}

/// Round trips of one case: after the import and after every pass. Gives the number of modules.
fn modules_of(case: &Case) -> Result<usize, String> {
    no_panic(|| {
        let Some(module) = import(case) else { return Ok(0) };
        round_trip(&module, "import")?;
        let (mut done, mut error) = (1, None);
        let mut each = |pass: &str, m: &Module, _: &PassReport| {
            done += 1;
            error = error.take().or(round_trip(m, pass).err());
        };
        let last = pipeline::PASSES.last().unwrap().name.to_owned();
        let mut options = PipelineOptions {
            stop_after: Some(last),
            on_dump: Some(&mut each),
            ..PipelineOptions::default()
        };
        let target = sinter::driver::native().unwrap();
        pipeline::run(module, &mut options, target).map_err(|d| d[0].to_string())?;
        error.map_or(Ok(done), Err)
    })
}

#[test]
fn suite_round_trips_after_every_pass() {
    let list = suite();
    let results = parallel(&list, modules_of);
    let failures: Vec<String> = list
        .iter()
        .zip(&results)
        .filter_map(|(c, r)| Some(format!("{}: {}", c.name, r.as_ref().err()?)))
        .collect();
    let modules: usize = results.iter().filter_map(|r| r.as_ref().ok()).sum();
    println!("{modules} modules of {} cases", list.len());
    assert!(failures.is_empty(), "{} fail:\n{}", failures.len(), failures.join("\n"));
    assert!(list.is_empty() || modules > 1500 * pipeline::PASSES.len(), "only {modules} modules");
}

/// Pseudo-random numbers (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n.max(1) as u64) as usize
    }
}

/// Positions of the numbers in a text.
fn numbers(text: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut out: Vec<std::ops::Range<usize>> = vec![];
    for (i, _) in text.iter().enumerate().filter(|(_, b)| b.is_ascii_digit()) {
        match out.last_mut() {
            Some(r) if r.end == i => r.end = i + 1,
            _ => out.push(i..i + 1),
        }
    }
    out
}

/// One change: a number becomes an extreme one, a byte another, a piece goes, two lines swap places.
fn mutate(text: &str, random: &mut Random) -> String {
    const EXTREMES: [&str; 8] = [
        "0",
        "1",
        "-1",
        "7",
        "4294967296",
        "-9223372036854775808",
        "9223372036854775807",
        "18446744073709551615",
    ];
    let mut bytes = text.as_bytes().to_vec();
    let at = random.below(bytes.len());
    match random.below(6) {
        0..3 => {
            let places = numbers(&bytes);
            let place = places[random.below(places.len())].clone();
            bytes.splice(place, EXTREMES[random.below(EXTREMES.len())].bytes());
        }
        3 => bytes[at] = b" \"{}[]()%,:;=x@-+*s0"[random.below(20)],
        4 => {
            let end = (at + 1 + random.below(12)).min(bytes.len());
            bytes.drain(at..end);
        }
        _ => {
            let mut lines: Vec<&str> = text.lines().collect();
            let (a, b) = (random.below(lines.len()), random.below(lines.len()));
            lines.swap(a, b);
            return lines.join("\n");
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Mutated texts of every case: parsed or refused, never a panic. Gives how many were refused.
fn mutations_of(case: &Case) -> Result<usize, String> {
    const PER_CASE: usize = 24;
    let Some(module) = import(case) else { return Ok(0) };
    let mut table = ConstTable::default();
    let text = module.to_text(&mut table);
    if text.len() > 20_000 {
        return Ok(0);
    }
    let seed = case.name.bytes().fold(7u64, |h, b| h.wrapping_mul(31).wrapping_add(u64::from(b)));
    let mut random = Random(seed);
    let mut refused = 0;
    for _ in 0..PER_CASE {
        let bad = mutate(&text, &mut random);
        let parsed = no_panic(|| Ok(Module::from_text(&bad, &table).is_err()));
        refused += usize::from(parsed.map_err(|e| format!("{e}\n{bad}"))?);
    }
    Ok(refused)
}

#[test]
fn mutated_text_never_panics() {
    let list = suite();
    let results = parallel(&list, mutations_of);
    let panics: Vec<String> = list
        .iter()
        .zip(&results)
        .filter_map(|(c, r)| Some(format!("{}: {}", c.name, r.as_ref().err()?)))
        .collect();
    let refused: usize = results.iter().filter_map(|r| r.as_ref().ok()).sum();
    println!("{refused} texts refused");
    assert!(panics.is_empty(), "{} panics:\n{}", panics.len(), panics.join("\n\n"));
    assert!(list.is_empty() || refused > 10_000, "only {refused} texts were refused");
}
