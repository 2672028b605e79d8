//! Calibration on a small language model: methods that look at activations come closer to the float model, results do not
//! depend on threads, and what is wrong is said.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod common;

use sinter::calibrate::{self, Calibration};
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
    let (stored, compress) = Wanted::parse(recipe).unwrap().parts();
    let request = Request {
        model: model.to_owned(),
        import: ImportOptions { all_logits: true, stored, ..ImportOptions::default() },
        targets: vec!["native".into()],
        compress,
        calibrate: how,
        ..Request::default()
    };
    Ok(driver::compile(&request, &|_| {})?.bundles.remove(0))
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
    assert!(gptq < 0.75 * nearest && awq < 0.9 * nearest);
    let stat = |name: &str| b.report.compressed.iter().find(|l| l.name.contains(name)).unwrap();
    let down = stat("layers.0.mlp.down_proj");
    assert!(down.output_db.unwrap() > 8.0 && down.cosine.unwrap() > 0.9, "{down:?}");
    assert!(down.scheme.starts_with("gptq-w3g32"), "{down:?}");
    // Scales move between matrices and norms, and are not felt where rounding is fine.
    let (fine, _) = kl("awq-w8-g32-a16");
    assert!(fine < 1e-3, "{fine}");
}

#[test]
fn smoothing_and_rotating_make_few_bits_do() {
    let Some(mut m) = Measure::new() else { return common::skip("no model or no text") };
    let mut kl = |recipe: &str| {
        let how = m.how();
        m.kl(recipe, how, 8).0
    };
    assert!(kl("smooth-w8a8") < 0.97 * kl("w8a8-gall"));
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
            let weights = b.files.iter().find(|(n, _)| n.ends_with(".weights")).unwrap().1.clone();
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
    let (model, how) = (m.model.clone(), m.how());
    let sized = |max_size| Calibration { max_size, ..how.clone() };
    let mut measure = |recipe: &str, how| {
        let (kl, b) = m.kl(recipe, how, 24);
        (b.manifest.weights_bytes, kl)
    };
    let (bytes, uniform) = measure("rtn-w3-g32-a16", how.clone());
    let (kept, mixed) = measure("rtn-auto-g32-a16", sized(Some(bytes)));
    assert!(kept <= bytes && mixed < uniform, "{kept} of {bytes}: {mixed} {uniform}");
    let (small, _) = measure("rtn-auto-g32-a16", Calibration { max_kl: Some(2.0 * mixed), ..how.clone() });
    assert!(small < bytes, "{small} {bytes}");
    let wrong = compiled(&model, "auto", Some(sized(Some(bytes / 2)))).unwrap_err();
    assert!(
        wrong[0].fault == Fault::Limit && wrong[0].help.iter().any(|h| h.contains("--max-size")),
        "{wrong:?}"
    );
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
