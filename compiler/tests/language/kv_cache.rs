//! Caches in codes: machine code against the evaluator, however a sequence is cut into runs, with and without a window.

use super::*;

/// Longer than sinks and newest positions together, so that there are pages; and than the window's ring.
const LENGTH: usize = 420;
/// Most tokens of a run.
const CHUNK: i64 = 70;

/// A tiny model with another configuration.
fn variant(name: &str, changes: &[(&str, serde_json::Value)]) -> Option<PathBuf> {
    let from = models()?.join("tiny-random/llama");
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("kv-cache-{name}"));
    std::fs::create_dir_all(&dir).unwrap();
    for file in std::fs::read_dir(&from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), dir.join(file.file_name())).unwrap();
    }
    let config = std::fs::read(from.join("config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    for (key, value) in [("max_position_embeddings", 512.into())].iter().chain(changes) {
        config[*key] = value.clone();
    }
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
    Some(dir)
}

fn module(dir: &Path, cache: KvCache) -> Module {
    let options = ImportOptions {
        all_logits: true,
        kv_cache: Some(cache),
        dims: [("tokens".to_owned(), (1, CHUNK))].into(),
        ..ImportOptions::default()
    };
    let m = llm::import(dir, &options).unwrap_or_else(|d| panic!("{d:?}")).module;
    assert_eq!(m.verify(), []);
    m
}

/// Logits of the last tokens, of which the first ones come in pieces of the longest kind.
fn logits(r: &mut dyn Runner, ids: &[i32], pieces: &[usize]) -> Vec<f32> {
    r.begin();
    let (mut at, mut all) = (0, vec![]);
    for n in pieces {
        all.extend(r.run(&ids[at..at + n], at));
        at += n;
    }
    assert_eq!(at, ids.len());
    all
}

/// Distance of logits, relative to the largest.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let largest = b.iter().fold(0f32, |m, v| m.max(v.abs()));
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max) / largest
}

fn check(name: &str, changes: &[(&str, serde_json::Value)], bits: u32, near: f32) {
    let Some(dir) = variant(name, changes) else {
        return common::skip("there is no folder of shared models");
    };
    let ids: Vec<i32> = (0..LENGTH).map(|i| ((i * i * 31 + i * 17 + 5) % 256) as i32).collect();
    let even = vec![CHUNK as usize; LENGTH / CHUNK as usize];
    let cuts = [
        even.clone(),
        // Pieces that begin and end anywhere, and single tokens over the border of a span.
        vec![61, 6, 70, 33, 70, 64, 8, 70, 38],
        [vec![70; 5], vec![1; 70]].concat(),
    ];
    let capacity = LENGTH as i64 + 3;
    let codes = module(&dir, KvCache::Codes(bits));
    let states = |m: &Module| native(m.clone(), capacity).states.bytes().len();
    let floats = module(&dir, KvCache::Floats(DType::F16));
    let (small, large) = (states(&codes), states(&floats));
    let mut evaluator = Evaluator { module: codes.clone(), capacity, states: vec![] };
    let want = logits(&mut evaluator, &ids, &even);
    let mut r = native(codes, capacity);
    for cut in &cuts {
        let got = logits(&mut r, &ids, cut);
        let off = distance(&got, &want);
        // Sums in another order may move an element to the next code.
        assert!(off < near, "{name}, {bits} bits in {} pieces: off by {off}", cut.len());
    }
    // As good as floats, within what the bits allow: and really other numbers.
    let exact = logits(&mut native(floats, capacity), &ids, &even);
    let off = distance(&want, &exact);
    let allowed = [0.0, 0.0, 0.6, 0.3, 0.15, 0.0, 0.0, 0.0, 0.01][bits as usize];
    println!("{name}, {bits} bits: {small} bytes instead of {large}, logits move by {off}");
    assert!(off > 0.0 && off < allowed, "{name}, {bits} bits: logits move by {off}");
}

#[test]
fn codes_of_8_bits() {
    check("llama8", &[], 8, 2e-3);
}

#[test]
fn codes_of_4_bits() {
    check("llama4", &[], 4, 2e-2);
}

#[test]
fn codes_of_3_and_2_bits() {
    check("llama3", &[], 3, 4e-2);
    check("llama2", &[], 2, 1e-1);
}

#[test]
fn codes_in_rings() {
    let window = [
        ("model_type", "mistral".into()),
        ("architectures", serde_json::json!(["MistralForCausalLM"])),
        ("sliding_window", 250.into()),
    ];
    check("window", &window, 4, 2e-2);
}

/// Vectors of 128 and of 256 bits.
#[test]
fn codes_on_other_levels() {
    let Some(dir) = variant("levels", &[]) else {
        return common::skip("there is no folder of shared models");
    };
    let ids: Vec<i32> = (0..300).map(|i| (i * i * 31 + i * 17 + 5) % 256).collect();
    let pieces = [vec![CHUNK as usize; 4], vec![1; 20]].concat();
    for (bits, near) in [(4, 2e-2), (3, 4e-2)] {
        let m = module(&dir, KvCache::Codes(bits));
        let mut evaluator = Evaluator { module: m.clone(), capacity: 300, states: vec![] };
        let want = logits(&mut evaluator, &ids, &pieces);
        for level in ["x86-64-v2", "x86-64-v3"] {
            let target = sinter_backends::target(level).unwrap();
            let (mut session, _) = open(target, &common::program_for(target, m.clone()).unwrap()).unwrap();
            let states = session.states(300).unwrap();
            let off = distance(&logits(&mut Native { session, states }, &ids, &pieces), &want);
            assert!(off < near, "{level}, {bits} bits: off by {off}");
        }
    }
}
