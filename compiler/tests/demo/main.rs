//! The demo page: made from real models, opened in headless Chromium, used like a visitor does.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// Milliseconds from the address to the first answer, of models up to 5 MB; of those of 16 MB that read text.
const FIRST_ANSWER: f64 = 1000.0;
const FIRST_LINE: f64 = 3000.0;
/// What the small model tells when it always takes the best word.
const STORY: &str =
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park.";
/// The sample picture's lines.
const LINES: &[&str] = &[
    "COFFEE AND CODE",
    "open daily from 7:30",
    "Espresso",
    "2.40",
    "Flat white",
    "3.80",
    "Cinnamon roll",
    "4.25",
];

/// Runs a command that must succeed; gives its standard output.
fn run(c: &mut Command) -> String {
    let out = c.output().unwrap_or_else(|e| panic!("{c:?}: {e}"));
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{c:?}: {}\n{text}{}", out.status, String::from_utf8_lossy(&out.stderr));
    text
}

#[test]
fn visitor() {
    let Some(shared) = common::shared() else { return common::skip("real models not found") };
    if !common::browser::chromium() {
        return;
    }
    let root = common::root();
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("demo");
    let _ = std::fs::remove_dir_all(&place);
    std::fs::create_dir_all(&place).unwrap();
    let page = place.join("page");
    run(Command::new(root.join("demo/build.sh"))
        .arg(shared.join("models"))
        .arg(&page)
        .env("SINTER", env!("CARGO_BIN_EXE_sinter")));
    let out = run(Command::new("node")
        .arg(root.join("compiler/tests/demo/click.mjs"))
        .arg(&page)
        .arg(&place)
        .arg(root.join("testdata/media/chelsea.png")));
    println!("{out}pictures: {}", place.display());
    let seen: Value = serde_json::from_str(&out).unwrap();
    let text = |key: &str| seen[key].as_str().unwrap_or_default().to_owned();
    assert!(text("story").starts_with(STORY), "{}", text("story"));
    assert!(text("offline").starts_with("The dog ") && text("offline").len() > 100, "{}", text("offline"));
    assert!(text("stopped").len() < text("offline").len(), "a stopped story is as long as a whole one");
    assert!(text("offline").starts_with(&text("stopped")), "{}", text("stopped"));
    assert_eq!(seen["lines"], serde_json::json!(LINES));
    assert_eq!((text("program").as_str(), text("picture").as_str()), ("JavaScript source", "PNG image"));
    // How a browser scales pictures decides between its kinds.
    assert!(text("thing").ends_with("cat"), "{}", text("thing"));
    assert_eq!(seen["complaints"], serde_json::json!([]));
    for (name, most) in
        [("story", FIRST_ANSWER), ("read", FIRST_LINE), ("see", FIRST_ANSWER), ("file", FIRST_ANSWER)]
    {
        let first = seen["first"][name].as_f64().unwrap();
        assert!(first < most, "{name}: {first} ms to the first answer");
    }
    for picture in ["story", "read", "see", "file", "dark"] {
        let bytes = std::fs::read(place.join(format!("{picture}.png"))).unwrap();
        assert!(bytes.starts_with(b"\x89PNG") && bytes.len() > 10_000, "{picture}: {} bytes", bytes.len());
    }
}
