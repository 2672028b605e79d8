//! Calibration on a small language model: methods that look at activations come closer to the float model, results do not
//! depend on threads, and what is wrong is said.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use sinter::calibrate::{self, Budget, Calibration};
use sinter::cli::language::model_of;
use sinter::driver::{self, Request};
use sinter::frontend::onnx::ImportOptions;
use sinter_ir::{Diag, Fault};
use sinter_llm::bundle::BundleModel;
use sinter_llm::eval;
use sinter_llm::files::Opening;
use sinter_llm::tokenizer::Tokenizer;
use sinter_passes::compress::{Calibrated, Recipe, Wanted};
use std::path::{Path, PathBuf};

const WINDOW: usize = 128;

/// A small model that tells stories, and English text.
fn files() -> Option<(PathBuf, PathBuf)> {
    let shared = common::shared()?;
    let files = (shared.join("models/stories260k-hf"), shared.join("text/calibration_en.txt"));
    (files.0.is_dir() && files.1.is_file()).then_some(files)
}

fn calibration(text: &Path, threads: usize, stats: Option<PathBuf>) -> Calibration {
    Calibration {
        text: text.to_owned(),
        window: WINDOW,
        windows: 12,
        threads,
        stats,
        ..Calibration::default()
    }
}

fn compiled(model: &Path, recipe: &str, how: Option<Calibration>) -> Result<driver::Bundle, Vec<Diag>> {
    told(model, recipe, how, &|_| {})
}

fn told(
    model: &Path,
    recipe: &str,
    how: Option<Calibration>,
    step: &dyn Fn(&str),
) -> Result<driver::Bundle, Vec<Diag>> {
    let (stored, compress) = Wanted::parse(recipe).unwrap().parts();
    let request = Request {
        model: model.to_owned(),
        import: ImportOptions { all_logits: true, stored, ..ImportOptions::default() },
        targets: vec!["native".into()],
        compress,
        calibrate: how,
        ..Request::default()
    };
    Ok(driver::compile(&request, step)?.bundles.remove(0))
}

fn weights(b: &driver::Bundle) -> Bytes {
    b.files.iter().find(|(n, _)| n.ends_with(".weights")).unwrap().1.clone()
}

fn opened(b: &driver::Bundle) -> BundleModel {
    model_of(b, Opening { threads: 1, capacity: Some(WINDOW) }).unwrap().0
}

/// The float model and text to compare with it on.
struct Measure {
    model: PathBuf,
    text: PathBuf,
    reference: BundleModel,
    held_out: Vec<u32>,
}

impl Measure {
    fn new() -> Option<Self> {
        let (model, text) = files()?;
        let float = compiled(&model, "none", None).unwrap();
        let tokenizer = Tokenizer::from_json(&float.files["tokenizer.json"]).unwrap();
        let all = tokenizer.encode(&std::fs::read_to_string(&text).unwrap(), false).unwrap();
        // Calibration reads windows that are far apart, the first of them in front of these.
        let held_out = all[WINDOW..].to_vec();
        Some(Self { model, text, reference: opened(&float), held_out })
    }
    fn how(&self) -> Calibration {
        calibration(&self.text, 2, None)
    }
    /// What a recipe makes, and how far it is from the float model over some windows.
    fn kl(&mut self, recipe: &str, how: Calibration, windows: usize) -> (f64, driver::Bundle) {
        let b = compiled(&self.model, recipe, Some(how)).unwrap();
        let (tokens, reference) = (&self.held_out, &mut self.reference);
        let compared = eval::compare(&mut opened(&b), reference, tokens, WINDOW, windows, &mut |_| {});
        let kl = compared.unwrap().2.mean();
        println!("{recipe}: KL {kl:.5}");
        (kl, b)
    }
}

#[test]
fn looking_at_activations_comes_closer_than_rounding() {
    let Some(mut m) = Measure::new() else { return common::skip("no model or no text") };
    let mut kl = |recipe: &str| {
        let how = m.how();
        m.kl(recipe, how, 8)
    };
    let (nearest, _) = kl("w3-g32-a16-asym");
    let (gptq, b) = kl("gptq-w3-g32-a16-asym");
    let (awq, _) = kl("awq-w3-g32-a16");
    // Scales move between matrices and norms, and are not felt where rounding is fine.
    let (close, fine) = kl("awq-w8-g32-a16");
    assert!(close < 1e-3, "{close}");
    assert!(gptq < 0.75 * nearest && awq < 0.9 * nearest);
    let stat = |name: &str| b.report.compressed.iter().find(|l| l.name.contains(name)).unwrap();
    let down = stat("layers.0.mlp.down_proj");
    assert!(down.output_db.unwrap() > 8.0 && down.cosine.unwrap() > 0.9, "{down:?}");
    assert!(down.scheme.starts_with("gptq-w3g32"), "{down:?}");
    // What all layers lose together is told of the stream behind each block.
    let last = |b: &driver::Bundle, name: &str| {
        let all = &b.report.compressed;
        all.iter().find(|l| l.name.contains(name)).map(|l| (l.accumulated_db, l.accumulated_cosine)).unwrap()
    };
    let (few, many) = (last(&b, "layers.4.mlp.down_proj"), last(&fine, "layers.4.mlp.down_proj"));
    assert!(
        few.0.unwrap() > 10.0 && few.1.unwrap() > 0.95 && few == last(&b, "layers.4.mlp.up_proj"),
        "{few:?}"
    );
    assert!(many.0.unwrap() > few.0.unwrap() + 20.0 && many.1 > few.1, "{many:?}");
    // The same is told of rounding, where there is a text; the codes are those made without.
    let (model, how) = (m.model.clone(), m.how());
    let (looked, blind) = (compiled(&model, "w3", Some(how)).unwrap(), compiled(&model, "w3", None).unwrap());
    assert!(weights(&looked) == weights(&blind));
    let told = |b: &driver::Bundle| b.report.compressed.iter().filter(|l| l.accumulated_db.is_some()).count();
    assert!(told(&looked) == 25 && told(&blind) == 0);
}

#[test]
fn smoothing_and_rotating_make_few_bits_do() {
    let Some(mut m) = Measure::new() else { return common::skip("no model or no text") };
    let mut kl = |recipe: &str| {
        let how = m.how();
        m.kl(recipe, how, 8).0
    };
    assert!(kl("smooth-w8a8-gall") < 0.9 * kl("w8a8-gall"));
    assert!(kl("smooth-w8a8") < kl("w8a8"));
    let (own, rotated, learned) = (kl("w8a4-token"), kl("rotate-w8a4-token"), kl("spin-w8a4-token"));
    assert!(rotated < 0.9 * own && learned < 0.9 * own);
}

#[test]
fn threads_and_stored_statistics_change_nothing() {
    let Some((model, text)) = files() else { return common::skip("no model or no text") };
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("calibrate");
    let _ = std::fs::remove_dir_all(&dir);
    let file = dir.join("stats");
    for recipe in ["gptq-w4-g64", "awq-w4-g64", "smooth-w8a8"] {
        let weights = |threads, stats| {
            let b = compiled(&model, recipe, Some(calibration(&text, threads, stats))).unwrap();
            let weights = weights(&b);
            (weights, b.files["report.json"].clone())
        };
        assert!(weights(1, None) == weights(3, None), "{recipe}");
        // The first run writes the file, the second reads it.
        let (written, read) = (weights(2, Some(file.clone())), weights(2, Some(file.clone())));
        assert!(written == read, "{recipe}");
        assert!(recipe.starts_with("gptq") || written == weights(1, None), "{recipe}");
    }
    let refused = |how: Calibration| {
        compiled(&model, "gptq-w4", Some(how)).unwrap_err().iter().map(|d| d.to_string()).collect::<String>()
    };
    let other = Calibration { windows: 11, ..calibration(&text, 1, Some(file.clone())) };
    assert!(refused(other).contains("another model, another text or other windows"));
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 4]).unwrap();
    assert!(refused(calibration(&text, 1, Some(file.clone()))).contains("cut off"));
    std::fs::write(&file, b"no statistics at all").unwrap();
    assert!(refused(calibration(&text, 1, Some(file))).contains("no statistics"));
}

#[test]
fn bits_where_they_matter_beat_the_same_bits_everywhere() {
    let Some(mut m) = Measure::new() else { return common::skip("no model or no text") };
    let how = m.how();
    let within = |budget| Calibration { budget, ..how.clone() };
    let sized = |size| within(Budget { size, ..Budget::default() });
    let mut measure = |recipe: &str, how| {
        let (kl, b) = m.kl(recipe, how, 24);
        (b.manifest.weights_bytes, kl)
    };
    let (bytes, uniform) = measure("rtn-w3-g32-a16", how.clone());
    let (kept, mixed) = measure("rtn-auto-g32-a16", sized(Some(bytes)));
    assert!(kept <= bytes && mixed < uniform, "{kept} of {bytes}: {mixed} {uniform}");
    let lossy = |part| Budget { kl: Some(part * mixed), ..Budget::default() };
    let (small, lost) = measure("rtn-auto-g32-a16", within(lossy(2.0)));
    assert!(small < bytes && lost < 2.5 * mixed, "{small} {bytes}: {lost} {mixed}");
    let grown = Budget { perplexity: Some(0.1), ..Budget::default() };
    let (fine, _) = measure("rtn-auto-g32-a16", within(grown));
    assert!(fine > bytes, "{fine} {bytes}");
}

#[test]
fn what_no_choice_of_bits_can_do_names_what_can() {
    let Some(m) = Measure::new() else { return common::skip("no model or no text") };
    let refused = |budget| {
        let how = Calibration { budget, ..m.how() };
        let d = compiled(&m.model, "rtn-auto-g32-a16", Some(how)).unwrap_err().remove(0);
        assert_eq!(d.fault, Fault::Limit, "{d}");
        d.help.unwrap()
    };
    let none = Budget::default();
    // What is said to do does.
    let help = refused(Budget { size: Some(100_000), ..none });
    let least: u64 = help.split("--max-size ").nth(1).unwrap().parse().unwrap();
    let how = Calibration { budget: Budget { size: Some(least), ..none }, ..m.how() };
    let b = compiled(&m.model, "rtn-auto-g32-a16", Some(how)).unwrap();
    assert!(least > 100_000 && b.manifest.weights_bytes <= least);
    let help = refused(Budget { ram: Some(least), ..none });
    assert!(help.contains("--max-ram") && help.contains("--dim capacity"), "{help}");
    let help = refused(Budget { kl: Some(1e-9), ..none });
    assert!(help.contains("--max-kl 0.0") && help.contains("--quantize none"), "{help}");
    let help = refused(Budget { size: Some(least), perplexity: Some(0.05), ..none });
    assert!(
        help.contains("the cheapest that does: --max-size") && help.contains("or --max-ppl-increase"),
        "{help}"
    );
}

#[test]
fn interrupted_work_goes_on_behind_what_is_finished() {
    let Some((model, text)) = files() else { return common::skip("no model or no text") };
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("work");
    let _ = std::fs::remove_dir_all(&dir);
    for recipe in ["gptq-w4-g64", "awq-gptq-w4-g64", "awq-w4-g64", "smooth-gptq-w4a8"] {
        let how = Calibration { work: Some(dir.clone()), ..calibration(&text, 2, None) };
        let whole = weights(&compiled(&model, recipe, Some(calibration(&text, 2, None))).unwrap());
        // Pieces that are run, and the one in front of which all ends.
        let run = |end: Option<&str>| {
            let seen = std::cell::RefCell::new(vec![]);
            let step = |what: &str| {
                assert!(!end.is_some_and(|end| what.starts_with(end)), "the end");
                if let Some((piece, "rounding")) = what.split_once(", ") {
                    seen.borrow_mut().push(piece.to_owned());
                }
            };
            let calm =
                std::panic::AssertUnwindSafe(|| told(&model, recipe, Some(how.clone()), &step).unwrap());
            let done = std::panic::catch_unwind(calm).ok().map(|b| weights(&b));
            (done, seen.into_inner())
        };
        let (none, begun) = run(Some("calibrating: piece 4 of"));
        assert!(none.is_none() && begun.len() == 3, "{begun:?}");
        let (done, rest) = run(None);
        assert!(done.unwrap() == whole, "{recipe}");
        assert!(rest.len() > 3 && rest[0].starts_with("calibrating: piece 4 of"), "{rest:?}");
        // All is finished: nothing runs. What is damaged counts as nothing.
        assert!(run(None) == (Some(whole.clone()), vec![]), "{recipe}");
        let own = std::fs::read_dir(&dir).unwrap().next().unwrap().unwrap().path();
        let piece = std::fs::read(own.join("piece-1")).unwrap();
        std::fs::write(own.join("piece-1"), &piece[..piece.len() - 9]).unwrap();
        let (done, all) = run(None);
        assert!(done.unwrap() == whole && all.len() == rest.len() + 3, "{recipe}");
        std::fs::write(dir.join("mine"), "to stay").unwrap();
        calibrate::Work::discard(&dir).unwrap();
        assert!(dir.join("mine").is_file() && !own.exists());
        std::fs::remove_file(dir.join("mine")).unwrap();
        calibrate::Work::discard(&dir).unwrap();
    }
}

/// A copy of a model, one tensor's elements changed.
fn changed(model: &Path, tensor: &str, by: fn(f32) -> f32) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("changed-{tensor}"));
    std::fs::create_dir_all(&dir).unwrap();
    for f in std::fs::read_dir(model).unwrap() {
        let f = f.unwrap().path();
        let mut bytes = std::fs::read(&f).unwrap();
        if f.extension().is_some_and(|e| e == "safetensors") {
            let head = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            let json: serde_json::Value = serde_json::from_slice(&bytes[8..head]).unwrap();
            let at = |i: usize| head + json[tensor]["data_offsets"][i].as_u64().unwrap() as usize;
            assert_eq!(json[tensor]["dtype"], "F32");
            for v in bytes[at(0)..at(1)].chunks_exact_mut(4) {
                let new = by(f32::from_le_bytes(v.try_into().unwrap()));
                v.copy_from_slice(&new.to_le_bytes());
            }
        }
        std::fs::write(dir.join(f.file_name().unwrap()), bytes).unwrap();
    }
    dir
}

#[test]
fn activations_that_say_nothing_or_are_no_numbers() {
    let Some((model, text)) = files() else { return common::skip("no model or no text") };
    let norm = "model.layers.2.input_layernorm.weight";
    let how = || Some(calibration(&text, 1, None));
    for recipe in ["gptq-w4", "awq-w4", "smooth-w8a8", "rtn-auto"] {
        let d = compiled(&changed(&model, norm, |_| f32::NAN), recipe, how()).unwrap_err().remove(0);
        assert!(d.fault == Fault::Input && d.to_string().contains("finite"), "{recipe}: {d}");
    }
    // Inputs that are always zero have moments of zero: their weights are rounded to nearest.
    let silent = changed(&model, norm, |_| 0.0);
    let b = compiled(&silent, "gptq-w4", how()).unwrap();
    let plain = compiled(&silent, "w4", None).unwrap();
    let own = |b: &driver::Bundle| {
        b.report.compressed.iter().find(|l| l.name.contains("layers.2.self_attn.q_proj")).unwrap().sqnr_db
    };
    assert_eq!(own(&b), own(&plain));
}

#[test]
fn what_is_missing_is_said() {
    let Some((model, text)) = files() else { return common::skip("no model or no text") };
    let said = |r: Result<driver::Bundle, Vec<Diag>>| {
        r.unwrap_err().iter().map(|d| d.to_string()).collect::<String>()
    };
    assert!(said(compiled(&model, "gptq-w4", None)).contains("--calibrate"));
    let short = Path::new(env!("CARGO_TARGET_TMPDIR")).join("short.txt");
    std::fs::write(&short, "Once upon a time").unwrap();
    assert!(
        said(compiled(&model, "awq-w4", Some(calibration(&short, 1, None)))).contains("a window has 128")
    );
    std::fs::write(&short, "and ".repeat(4000)).unwrap();
    let same = said(compiled(&model, "gptq-w4", Some(calibration(&short, 1, None))));
    assert!(same.contains("are different"), "{same}");
    std::fs::write(&short, [0xffu8; 4000]).unwrap();
    assert!(said(compiled(&model, "gptq-w4", Some(calibration(&short, 1, None)))).contains("utf-8"));
    let few = Calibration { windows: 1, ..calibration(&text, 1, None) };
    let recipe = Recipe::parse("gptq-w4").unwrap().unwrap();
    let no = |_: &Calibrated| unreachable!();
    let done = calibrate::run(&model, &ImportOptions::default(), &recipe, &few, &[], &no, &|_| {}).unwrap();
    // 128 tokens are fewer than the 172 channels in the middle of its blocks.
    assert!(
        done.warnings.iter().any(|w| w.contains("down_proj") && w.contains("are few")),
        "{:?}",
        done.warnings
    );
}
