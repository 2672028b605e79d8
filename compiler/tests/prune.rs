//! Pruning a small language model: methods that look closer lose less, what goes makes the model smaller, and what is
//! missing is said.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod common;

use sinter::calibrate::{self, Calibration};
use sinter::cli::language::model_of;
use sinter::driver::{self, Request};
use sinter::frontend::onnx::ImportOptions;
use sinter_ir::Diag;
use sinter_llm::bundle::BundleModel;
use sinter_llm::eval;
use sinter_llm::files::Opening;
use sinter_llm::tokenizer::Tokenizer;
use sinter_passes::compress::Wanted;
use sinter_passes::prune::Recipe;
use std::path::{Path, PathBuf};

const WINDOW: usize = 128;

/// A small model that tells stories, and English text.
fn files() -> Option<(PathBuf, PathBuf)> {
    let shared = common::shared()?;
    let files = (shared.join("models/stories260k-hf"), shared.join("text/calibration_en.txt"));
    (files.0.is_dir() && files.1.is_file()).then_some(files)
}

fn compiled(
    model: &Path,
    text: Option<&Path>,
    prune: &str,
    quantize: &str,
) -> Result<driver::Bundle, Vec<Diag>> {
    told(model, text, None, (prune, quantize), &|_| {})
}

fn told(
    model: &Path,
    text: Option<&Path>,
    work: Option<&Path>,
    (prune, quantize): (&str, &str),
    step: &dyn Fn(&str),
) -> Result<driver::Bundle, Vec<Diag>> {
    let calibrate = text.map(|t| Calibration {
        text: t.to_owned(),
        window: WINDOW,
        windows: 12,
        threads: 2,
        work: work.map(Path::to_owned),
        ..Calibration::default()
    });
    let request = Request {
        model: model.to_owned(),
        import: ImportOptions { all_logits: true, ..ImportOptions::default() },
        targets: vec!["native".into()],
        prune: Recipe::parse(prune).unwrap(),
        compress: Wanted::parse(quantize).unwrap().parts().1,
        calibrate,
        ..Request::default()
    };
    Ok(driver::compile(&request, step)?.bundles.remove(0))
}

fn opened(b: &driver::Bundle) -> BundleModel {
    model_of(b, Opening { threads: 1, capacity: Some(WINDOW) }).unwrap().0
}

/// Divergence of recipes from the float model, with the bundles.
fn divergences(model: &Path, text: &Path, recipes: &[(&str, &str)]) -> Vec<(f64, driver::Bundle)> {
    let float = compiled(model, None, "none", "none").unwrap();
    let tokenizer = Tokenizer::from_json(&float.files["tokenizer.json"]).unwrap();
    let all = tokenizer.encode(&std::fs::read_to_string(text).unwrap(), false).unwrap();
    // Calibration reads windows that are far apart, the first of them in front of these.
    let held_out = &all[WINDOW..][..6 * WINDOW];
    let mut reference = opened(&float);
    let one = |(prune, quantize): &(&str, &str)| {
        let b = compiled(model, Some(text), prune, quantize).unwrap();
        let d = eval::compare(&mut opened(&b), &mut reference, held_out, WINDOW, 6, &mut |_| {}).unwrap().2;
        println!("{prune}, {quantize}: KL {:.4}", d.mean());
        (d.mean(), b)
    };
    recipes.iter().map(one).collect()
}

#[test]
fn looking_at_activations_and_making_up_for_zeros_lose_less() {
    let Some((model, text)) = files() else { return common::skip("no model or no text") };
    let recipes =
        ["magnitude-50", "wanda-50", "sparsegpt-50", "wanda-2:4", "sparsegpt-2:4"].map(|r| (r, "none"));
    let all = divergences(&model, &text, &recipes);
    let kl: Vec<f64> = all.iter().map(|a| a.0).collect();
    assert!(kl[2] < 0.95 * kl[1] && kl[1] < 0.95 * kl[0], "{kl:?}");
    // A pattern is a constraint.
    assert!(kl[4] < kl[3] && kl[2] < kl[4], "{kl:?}");
    let stats = &all[4].1.report.pruned;
    // Matrices of 64 by 32 are too small to be worth it.
    assert_eq!(stats.len(), 5 * 5);
    let down = stats.iter().find(|s| s.name.contains("layers.0.mlp.down_proj")).unwrap();
    assert_eq!((&down.before, &down.after, down.zeros), (&vec![64, 172], &vec![64, 172], 50.0));
    assert!(down.output_db.unwrap() > down.sqnr_db.unwrap() && down.cosine.unwrap() > 0.8, "{down:?}");
    assert!(all[4].1.report.html().contains("sparsegpt-2:4"));
}

#[test]
fn what_goes_as_a_whole_makes_the_model_smaller() {
    let Some((model, text)) = files() else { return common::skip("no model or no text") };
    let float = compiled(&model, None, "none", "none").unwrap();
    let recipes = [
        ("ffn-30", "none"),
        ("heads-25", "none"),
        ("layers-1", "none"),
        ("ffn-10+heads-25+wanda-20", "none"),
        ("ffn-10", "gptq-w8-g16-a16"),
    ];
    let all = divergences(&model, &text, &recipes);
    let bytes = |b: &driver::Bundle| b.manifest.weights_bytes;
    let less = |i: usize| bytes(&float) - bytes(&all[i].1);
    // 112 of 172 channels, 3 of 4 heads of keys with their queries, 4 of 5 layers; f32, filled up to whole panels.
    let near = |i: usize, elements: u64| less(i).abs_diff(4 * elements) < elements / 4;
    assert!(near(0, 5 * 3 * 60 * 64), "{}", less(0));
    // Keys and values are narrower than a panel.
    assert!(less(1) >= 4 * 5 * 2 * 64 * 16 && less(1) <= 4 * 5 * (2 * 64 * 16 + 2 * 64 * 8), "{}", less(1));
    assert!(near(2, 3 * 172 * 64 + 2 * 64 * 64 + 2 * 64 * 32 + 2 * 64), "{}", less(2));
    assert!(all.iter().all(|a| a.0.is_finite() && a.0 > 0.0));
    let heads = all[1].1.report.pruned.iter().find(|s| s.name.contains("layers.2.self_attn.q_proj")).unwrap();
    assert_eq!((&heads.before, &heads.after), (&vec![64, 64], &vec![48, 64]));
    // Rounding what is left costs little beside.
    assert!(all[4].1.report.compressed.iter().all(|l| !l.name.contains("down_proj") || l.dims == [64, 144]));
    assert!(bytes(&all[4].1) < bytes(&float) / 3);
}

#[test]
fn pruning_is_the_same_with_any_number_of_threads() {
    let Some((model, text)) = files() else { return common::skip("no model or no text") };
    let weights = |threads| {
        let request = Request {
            model: model.clone(),
            targets: vec!["native".into()],
            prune: Recipe::parse("ffn-30+sparsegpt-50").unwrap(),
            calibrate: Some(Calibration {
                text: text.clone(),
                window: 64,
                windows: 4,
                threads,
                ..Calibration::default()
            }),
            ..Request::default()
        };
        let b = driver::compile(&request, &|_| {}).unwrap().bundles.remove(0);
        (b.files.iter().find(|f| f.0.ends_with(".weights")).unwrap().1.clone(), b.report.pruned)
    };
    assert!(weights(1) == weights(3));
}

#[test]
fn interrupted_pruning_goes_on_behind_what_is_finished() {
    let Some((model, text)) = files() else { return common::skip("no model or no text") };
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("prune-work");
    let _ = std::fs::remove_dir_all(&dir);
    let weights =
        |b: &driver::Bundle| b.files.iter().find(|(n, _)| n.ends_with(".weights")).unwrap().1.clone();
    for recipes in [("sparsegpt-50", "none"), ("ffn-30+wanda-2:4", "gptq-w4")] {
        let whole = compiled(&model, Some(&text), recipes.0, recipes.1).unwrap();
        // Pieces whose weights are chosen, and the one in front of which all ends.
        let run = |end: Option<&str>| {
            let seen = std::cell::RefCell::new(vec![]);
            let step = |what: &str| {
                assert!(!end.is_some_and(|end| what.starts_with(end)), "the end");
                if let Some((piece, "choosing")) = what.split_once(", ") {
                    seen.borrow_mut().push(piece.to_owned());
                }
            };
            let calm = std::panic::AssertUnwindSafe(|| told(&model, Some(&text), Some(&dir), recipes, &step));
            (std::panic::catch_unwind(calm).ok().map(Result::unwrap), seen.into_inner())
        };
        // The last step, so that those before it are whole.
        let last = recipes.0.rsplit('+').next().unwrap();
        let (none, begun) = run(Some(&format!("pruning ({last}): piece 4 of")));
        assert!(none.is_none() && begun.len() >= 3, "{begun:?}");
        let (done, rest) = run(None);
        let done = done.unwrap();
        assert!(weights(&done) == weights(&whole) && done.report.pruned == whole.report.pruned);
        assert!(rest[0].starts_with(&format!("pruning ({last}): piece 4 of")), "{rest:?}");
        // All is finished: nothing is chosen anew.
        assert_eq!(run(None).1, Vec::<String>::new());
        calibrate::Work::discard(&dir).unwrap();
    }
}

#[test]
fn what_is_missing_is_said() {
    let Some((model, text)) = files() else { return common::skip("no model or no text") };
    let said = |text, prune| {
        compiled(&model, text, prune, "none").unwrap_err().iter().map(|d| d.to_string()).collect::<String>()
    };
    assert!(said(None, "wanda-50").contains("--calibrate"));
    assert!(said(None, "ffn-30").contains("--calibrate"));
    assert!(said(Some(&text), "layers-4").contains("of 5 layers"));
    assert!(said(None, "channels-30").contains("nothing of the kind"));
}

#[test]
fn zeros_in_blocks_are_left_out_and_what_others_gain_is_said() {
    let Some((model, _)) = files() else { return common::skip("no model or no text") };
    let [float, half, blocks] = ["none", "magnitude-50", "magnitude-block32x1-50"]
        .map(|prune| compiled(&model, None, prune, "none").unwrap());
    let told = |b: &driver::Bundle| b.report.warnings.iter().any(|w| w.contains("(1.00 x)"));
    let skips = |b: &driver::Bundle| b.report.kernels.iter().any(|k| k.name.starts_with("matmul_sparse"));
    assert!(!told(&float) && told(&half) && !told(&blocks));
    assert!(!skips(&float) && !skips(&half) && skips(&blocks));
    assert_eq!(half.manifest.weights_bytes, float.manifest.weights_bytes);
    // Half of the five layers' matrices; keys and values are too small to be worth it.
    let halved = 5 * (3 * 172 * 64 + 2 * 64 * 64) * 4 / 2;
    let less = float.manifest.weights_bytes - blocks.manifest.weights_bytes;
    assert!(less > halved * 9 / 10 && less < halved * 11 / 10, "{less} {halved}");
    // Both compute the same kind of model.
    let logits = |b: &driver::Bundle| {
        let mut m = opened(b);
        eval::perplexity(&mut m, &(1..=WINDOW as u32).collect::<Vec<_>>(), WINDOW, 1, &mut |_| {})
            .unwrap()
            .value()
    };
    assert!(logits(&blocks).is_finite());
}
