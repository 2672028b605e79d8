//! Talking to a language model on the command line: answers, chats, limits, measures; on a model that is known by heart.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod apps;
mod bench;
#[path = "../common/mod.rs"]
mod common;
#[path = "../common/guard.rs"]
mod guard;
mod memory;
mod toy;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

#[global_allocator]
static ALLOCATOR: guard::Counting = guard::Counting;

/// An empty folder for one test.
fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("talk").join(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// Exit code, standard output, standard error.
fn sinter(arguments: &[&str], input: &str) -> (i32, String, String) {
    let mut c = Command::new(env!("CARGO_BIN_EXE_sinter"));
    c.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = c.spawn().unwrap();
    // It may end without reading.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let out = child.wait_with_output().unwrap();
    let text = |b: &[u8]| String::from_utf8(b.to_vec()).unwrap();
    let error = text(&out.stderr);
    assert!(!error.contains("panicked"), "{arguments:?}: {error}");
    (out.status.code().unwrap(), text(&out.stdout), error)
}

fn ok(arguments: &[&str], input: &str) -> (String, String) {
    let (code, out, error) = sinter(arguments, input);
    assert_eq!(code, 0, "{arguments:?}: {error}");
    (out, error)
}

fn refused(arguments: &[&str], code: i32, says: &str) {
    let (got, out, error) = sinter(arguments, "");
    assert_eq!(got, code, "{arguments:?}: {error}{out}");
    assert!(error.contains(says), "`{says}` is not in: {error}");
}

/// A prompt that is longer than one run takes, with an answer of some length.
fn prompt() -> (String, String, bool) {
    for i in 0..26u8 {
        let p = format!("the quick brown fox {} jumps", char::from(b'a' + i));
        let (said, end) = toy::answer(&toy::tokens(&p), 20);
        if !said.is_empty() && said.iter().all(|t| *t < 28) {
            return (p, toy::text(&said), end);
        }
    }
    panic!("no prompt has an answer");
}

#[test]
fn prompts() {
    let dir = scratch("prompts");
    let toy = toy::bundle(&dir, 0);
    let toy = toy.to_str().unwrap();
    let (p, said, end) = prompt();
    let (out, error) = ok(&["run", toy, "--prompt", &p, "--max-tokens", "20"], "");
    assert_eq!(out, said.clone() + "\n");
    assert!(error.contains(&format!("read {} tokens", p.len())) && error.contains("tokens/s"), "{error}");
    let (out, _) = ok(&["run", toy, "--prompt", &p, "--max-tokens", "20", "--json", "--threads", "2"], "");
    let v: serde_json::Value = serde_json::from_str(&out).unwrap();
    let finish = if end { "end" } else { "length" };
    assert_eq!((v["text"].as_str(), v["finish"].as_str()), (Some(said.as_str()), Some(finish)));
    // A stop sequence cuts the answer.
    let stop = &said[..2];
    assert_eq!(ok(&["run", toy, "--prompt", &p, "--max-tokens", "20", "--stop", stop], "").0, "\n");
    // The same seed, the same answer; it is one of the model's own.
    let random = |seed: &str| {
        ok(&["run", toy, "--prompt", &p, "--max-tokens", "20", "--temperature", "99", "--seed", seed], "").0
    };
    assert_eq!(random("5"), random("5"));
    assert!((0..5).any(|s| random(&s.to_string()) != said.clone() + "\n"));
    // The best of one is the greedy one.
    assert_eq!(
        ok(&["run", toy, "--prompt", &p, "--max-tokens", "20", "--temperature", "99", "--top-k", "1"], "").0,
        said + "\n"
    );
}

#[test]
fn chats() {
    let dir = scratch("chats");
    let toy = toy::bundle(&dir, 0);
    let toy = toy.to_str().unwrap();
    let say = |turns: &[(char, &str)]| {
        let mut t = toy::chat(turns);
        t.extend([28, 0, 26]);
        toy::text(&toy::answer(&t, 6).0)
    };
    let first = say(&[('s', "be brief"), ('u', "hello")]);
    let second = say(&[('s', "be brief"), ('u', "hello"), ('a', &first), ('u', "and more")]);
    let args = ["run", toy, "--chat", "--system", "be brief", "--max-tokens", "6"];
    let (out, error) = ok(&args, "hello\nand more\n\nhello\n");
    assert_eq!(out, format!("{first}\n{second}\n{first}\n"), "{error}");
    assert!(error.contains("said ") && error.contains("tokens/s"), "{error}");
    let (out, _) =
        ok(&["run", toy, "--chat", "--system", "be brief", "--max-tokens", "6", "--prompt", "hello"], "");
    assert_eq!(out, first + "\n");
}

#[test]
fn limits_and_missing_files() {
    let dir = scratch("limits");
    let folder = toy::bundle(&dir, 0);
    let toy = folder.to_str().unwrap();
    refused(
        &["run", toy, "--prompt", &"a".repeat(40), "--context", "30"],
        4,
        "40 tokens do not fit the cache, which holds 30",
    );
    refused(&["run", toy, "--prompt", "a", "--context", "300"], 4, "the bundle was compiled for 1 to 200");
    refused(&["run", toy, "--prompt", "a", "--temperature=-1"], 1, "temperature is -1");
    refused(&["run", toy, "--prompt", "", "--max-tokens", "1"], 1, "there is nothing to go on with");
    let (out, error) =
        ok(&["run", toy, "--prompt", "the quick brown fox", "--context", "20", "--temperature", "40"], "");
    assert!(error.contains("the cache holds 20 tokens") || out.len() <= 2, "{out}{error}");
    let file = |name: &str| folder.join(name);
    std::fs::remove_file(file("chat_template.jinja")).unwrap();
    refused(&["run", toy, "--chat", "--prompt", "a"], 1, "no chat template");
    std::fs::rename(file("tokenizer.json"), file("t")).unwrap();
    refused(&["run", toy, "--prompt", "a"], 1, "has no tokenizer.json");
    std::fs::write(file("tokenizer.json"), b"{\"decoder\": 1}").unwrap();
    refused(&["run", toy, "--prompt", "a"], 1, "tokenizer.json: ");
    std::fs::rename(file("t"), file("tokenizer.json")).unwrap();
    let mut m: serde_json::Value =
        serde_json::from_slice(&std::fs::read(file("manifest.json")).unwrap()).unwrap();
    m.as_object_mut().unwrap().remove("language_model");
    std::fs::write(file("manifest.json"), m.to_string()).unwrap();
    refused(&["run", toy, "--prompt", "a"], 1, "holds no language model");
}

#[test]
fn measures() {
    let dir = scratch("measures");
    let (a, b) = (toy::bundle(&dir, 0), toy::bundle(&dir, 2));
    let text: String = (0..100u32).map(|i| char::from(b'a' + (i * i % 26) as u8)).collect();
    let file = dir.join("text.txt");
    std::fs::write(&file, &text).unwrap();
    // By hand: windows of 40, the rest of 20 left out.
    let log_p = |twist: usize, seen: &[u32]| -> Vec<f64> {
        let l: Vec<f64> = toy::logits(seen, twist).iter().map(|l| f64::from(*l)).collect();
        let top = l.iter().copied().fold(f64::MIN, f64::max);
        let sum = top + l.iter().map(|x| (x - top).exp()).sum::<f64>().ln();
        l.iter().map(|x| x - sum).collect()
    };
    let all = toy::tokens(&text);
    let (mut loss, mut kl, mut n) = (0.0, 0.0, 0.0);
    for w in all.chunks_exact(40) {
        for i in 1..40 {
            let (p, q) = (log_p(0, &w[..i]), log_p(2, &w[..i]));
            loss -= p[w[i] as usize];
            kl += q.iter().zip(&p).map(|(q, p)| q.exp() * (q - p)).sum::<f64>();
            n += 1.0;
        }
    }
    let (a, b, file) = (a.to_str().unwrap(), b.to_str().unwrap(), file.to_str().unwrap());
    let (out, _) = ok(&["eval", a, "--text", file, "--window", "40", "--against", b, "--json"], "");
    let v: serde_json::Value = serde_json::from_str(&out).unwrap();
    let close = |v: &serde_json::Value, want: f64| {
        let got = v.as_f64().unwrap();
        assert!((got - want).abs() <= 1e-6 * want, "{got} {want}");
    };
    assert_eq!((v["tokens"].as_u64(), v["windows"].as_u64()), (Some(78), Some(2)));
    close(&v["perplexity"], (loss / n).exp());
    close(&v["against"]["kl"], kl / n);
    let (out, _) = ok(&["eval", a, "--text", file, "--window", "40", "--against", a, "--windows", "1"], "");
    assert!(out.contains("mean 0.000000") && out.contains("same most probable token: 100.00 %"), "{out}");
    refused(&["eval", a, "--text", file, "--window", "101"], 1, "the text has 100 tokens, a window has 101");
    refused(&["eval", a, "--text", file, "--window", "1"], 1, "predicts nothing");
}

/// A trained model goes on with its story, compiled on the fly and as a bundle that a session of its own opens.
#[test]
fn stories() {
    let folder = common::shared().map(|s| s.join("models/stories260k-hf")).filter(|d| d.is_dir());
    let Some(folder) = folder else { return common::skip("models/stories260k-hf not found") };
    let folder = folder.to_str().unwrap();
    let known = ", there was a little girl named Lily. She loved to play outside in the park.";
    let (out, _) = ok(&["run", folder, "--prompt", "Once upon a time", "--max-tokens", "40"], "");
    assert!(out.starts_with(known), "{out}");
    let dir = scratch("stories");
    ok(&["compile", folder, "-o", dir.to_str().unwrap()], "");
    let bundle = dir.join("native");
    let stop = ["run", bundle.to_str().unwrap(), "--prompt", "Once upon a time", "--stop", " loved to"];
    assert_eq!(ok(&stop, "").0, ", there was a little girl named Lily. She\n");
}

/// Recipes against floats, alone and behind pruning: fewer bits are further away.
#[test]
fn recipes_side_by_side() {
    let folder = common::shared().map(|s| s.join("models/stories260k-hf")).filter(|d| d.is_dir());
    let Some(folder) = folder else { return common::skip("models/stories260k-hf not found") };
    let (folder, file) = (folder.to_str().unwrap(), scratch("recipes").join("story.txt"));
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, "Once upon a time, there was a little girl named Lily. ".repeat(8)).unwrap();
    let eval =
        ["eval", folder, "--text", file.to_str().unwrap(), "--window", "48", "--windows", "2", "--json"];
    let compared = |more: &[&str]| -> Vec<(String, f64)> {
        let (out, _) = ok(&[&eval, more].concat(), "");
        let v: serde_json::Value = serde_json::from_str(&out).unwrap();
        let rows = v["recipes"].as_array().unwrap().clone();
        rows.iter().map(|r| (r["recipe"].as_str().unwrap().to_owned(), r["kl"].as_f64().unwrap())).collect()
    };
    let rows = compared(&["--quantize", "w8,w4-kv8,w2"]);
    assert!(rows.len() == 3 && rows.is_sorted_by(|a, b| a.1 < b.1) && rows[1].0 == "w4-kv8", "{rows:?}");
    let pruned = compared(&["--quantize", "w8", "--prune", "magnitude-50"]);
    assert!(pruned.len() == 1 && pruned[0].1 > rows[0].1, "{pruned:?}");
    // The same with speeds, and as pictures.
    let page = file.with_file_name("report.html");
    let out = page.parent().unwrap().to_str().unwrap();
    let text = ["--text", file.to_str().unwrap(), "--window", "48", "--windows", "2"];
    let (table, _) = ok(&[&["quantize", folder, "--compare", "w8,w4", "-o", out], &text[..]].concat(), "");
    let lines: Vec<Vec<&str>> = table.lines().map(|l| l.split('|').map(str::trim).collect()).collect();
    let number = |line: usize, cell: usize| lines[line][cell].parse::<f64>().unwrap();
    assert!(lines.len() == 5 && (lines[0][8], lines[0][9]) == ("pp512", "tg128"), "{table}");
    assert!((2..5).all(|i| number(i, 8) > 1.0 && number(i, 9) > 1.0), "{table}");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.matches("<svg").count() == 3 && page.matches("<circle").count() == 4, "{page}");
}

/// The perplexity of a trained model with its 4-bit weights as they are stored, known from another program.
#[test]
fn perplexity_as_stored() {
    let Some(shared) = common::shared() else { return common::skip("there is no folder of shared models") };
    let model = shared.join("models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf");
    let text = shared.join("text/wikitext2-test.txt");
    let (model, text) = (model.to_str().unwrap(), text.to_str().unwrap());
    let (out, _) = ok(&["eval", model, "--text", text, "--windows", "8", "--threads", "2", "--json"], "");
    let v: serde_json::Value = serde_json::from_str(&out).unwrap();
    let perplexity = v["perplexity"].as_f64().unwrap();
    assert!(v["tokens"] == 8 * 511 && (perplexity - 27.61).abs() <= 0.05, "{v}");
}
