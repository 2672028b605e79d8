//! Models on boards: results as stored or as on this machine, images within the chip.

use crate::board::{
    Board, CORTEX_M7, CORTEX_M55, IMXRT1060, LM3S6965, Run, STM32F405, model_on, place, ready,
};
use crate::{common, kws};
use sinter_ir::Tensor;

/// Runs a keyword spotter; its outputs are compared with this machine's.
fn spotter(board: &Board, bytes: bool) -> Option<Run> {
    if !ready() {
        return None;
    }
    let model = place(&format!("{}-kws-{bytes}.onnx", board.target));
    std::fs::write(&model, kws::model(bytes)).unwrap();
    let case = common::Case { name: "kws".into(), model: model.clone(), rtol: 1e-4, atol: 1e-6 };
    let input = kws::input();
    let module = common::import(&case, vec![]).unwrap().0.module;
    let want = common::native(module, std::slice::from_ref(&input)).unwrap();
    let run = model_on(board, &model, &[], &[input]);
    for (got, want) in run.outputs.iter().zip(&want) {
        assert_eq!(common::compare(got, want, 1e-4, 1e-6), Ok(()), "{}", board.machine);
    }
    println!("{} bytes={bytes}: code {}, flash {}, ram {}", board.machine, run.code, run.flash, run.ram);
    Some(run)
}

/// Runs a model of the collection beside the checkout on its stored inputs.
fn stored(board: &Board, name: &str, options: &[&str]) {
    let Some(dir) = common::shared().map(|s| s.join("models")).filter(|d| d.join(name).is_dir()) else {
        return common::skip(&format!("model {name} not found"));
    };
    if !ready() {
        return;
    }
    let case = common::cases(&dir).into_iter().find(|c| c.name == name).unwrap();
    let (inputs, want): (Vec<Tensor>, Vec<Tensor>) = common::data(&case).unwrap().into_iter().next().unwrap();
    let run = model_on(board, &case.model, options, &inputs);
    assert_eq!(run.outputs.len(), want.len());
    for (got, want) in run.outputs.iter().zip(&want) {
        let full = want.to_f64().unwrap().iter().fold(0f64, |m, v| m.max(v.abs()));
        assert_eq!(common::compare(got, want, 1e-3, 1e-4 * full), Ok(()), "{name} on {}", board.machine);
    }
    println!("{name} on {}: code {}, flash {}, ram {}", board.machine, run.code, run.flash, run.ram);
}

/// A model of the collection made of bytes by `--quantize int8`: near the float model's stored output.
#[test]
fn embedding_of_bytes() {
    let name = "oww-embedding";
    let Some(dir) = common::shared().map(|s| s.join("models")).filter(|d| d.join(name).is_dir()) else {
        return common::skip(&format!("model {name} not found"));
    };
    if !ready() {
        return;
    }
    let case = common::cases(&dir).into_iter().find(|c| c.name == name).unwrap();
    let (inputs, want) = common::data(&case).unwrap().swap_remove(0);
    let sample = dir.join(name).join("test_data_set_0/input_0.pb");
    let options = ["--quantize", "int8", "--calibrate", sample.to_str().unwrap()];
    let run = model_on(&CORTEX_M7, &case.model, &options, &inputs);
    let (got, want) = (run.outputs[0].to_f64().unwrap(), want[0].to_f64().unwrap());
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let cosine = dot(&got, &want) / (dot(&got, &got) * dot(&want, &want)).sqrt();
    println!("{name} of bytes: code {}, flash {}, ram {}, cosine {cosine:.5}", run.code, run.flash, run.ram);
    assert!(got.len() == want.len() && cosine > 0.99, "{cosine}");
    // As floats its weights alone take three times as much.
    assert!(run.flash <= 512 << 10 && run.ram <= 256 << 10, "{} {}", run.flash, run.ram);
}

#[test]
fn spotter_of_bytes_in_256_kb_of_flash_and_64_kb_of_ram() {
    if let Some(run) = spotter(&LM3S6965, true) {
        assert!(run.flash <= 256 << 10 && run.ram <= 64 << 10, "{} {}", run.flash, run.ram);
    }
}

#[test]
fn spotter_of_floats_in_16_kb_of_code() {
    if let Some(run) = spotter(&STM32F405, false) {
        assert!(run.code <= 16 << 10, "{}", run.code);
    }
}

#[test]
fn spotter_of_bytes_on_armv7em_and_helium() {
    spotter(&STM32F405, true);
    spotter(&CORTEX_M55, true);
}

/// The first values of a network do not fit the chip: they are computed in parts. Where there is no way, the least that
/// splitting gives is named.
#[test]
fn what_does_not_fit_is_computed_in_parts() {
    let model = place("images.onnx");
    std::fs::write(&model, kws::wide_first(96)).unwrap();
    let compile = |out: &str, ram: &str| {
        let out = place(out);
        let _ = std::fs::remove_dir_all(&out);
        let mut compile = std::process::Command::new(env!("CARGO_BIN_EXE_sinter"));
        compile.args(["compile", "--target", "stm32f405", "--max-ram", ram, "-o"]).arg(&out).arg(&model);
        let done = compile.output().unwrap();
        (done.status.code(), String::from_utf8_lossy(&done.stderr).into_owned(), out.join("stm32f405"))
    };
    let (code, text, whole) = compile("images-whole", "1M");
    assert_eq!(code, Some(0), "{text}");
    assert!(!text.contains("parts"), "{text}");
    let report = |dir: &std::path::Path| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(dir.join("report.json")).unwrap()).unwrap()
    };
    assert!(report(&whole)["arena_bytes"].as_u64().unwrap() > 147_456);
    let (code, text, _) = compile("images-refused", "60K");
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("at best") && text.contains("are computed in"), "{text}");
    if !ready() {
        return;
    }
    let case = common::Case { name: "images".into(), model: model.clone(), rtol: 1e-4, atol: 1e-6 };
    let input = kws::image();
    let module = common::import(&case, vec![]).unwrap().0.module;
    let want = common::native(module, std::slice::from_ref(&input)).unwrap();
    let run = model_on(&STM32F405, &model, &[], &[input]);
    for (got, want) in run.outputs.iter().zip(&want) {
        assert_eq!(common::compare(got, want, 1e-4, 1e-6), Ok(()));
    }
    println!("images: code {}, flash {}, ram {}", run.code, run.flash, run.ram);
    assert!(run.ram <= 128 << 10, "{}", run.ram);
}

/// 17 MB of values as a whole: in parts they fit the memory beside the chip many times over. The header says where the
/// arena lies, the weights stay in flash.
#[test]
fn dnsmos_in_parts_beside_the_chip() {
    stored(&IMXRT1060, "dnsmos-p808-v8", &["--max-ram", "4M"]);
}

/// The memory beside the chip holds a network as a whole; within that of the chip, named, it is computed in parts. The
/// manifest and the report tell where everything lies.
#[test]
fn memories_by_name() {
    let model = place("named-images.onnx");
    std::fs::write(&model, kws::wide_first(256)).unwrap();
    let compile = |ram: Option<&str>| {
        let out = place(&format!("named-{}", ram.unwrap_or("any")));
        let _ = std::fs::remove_dir_all(&out);
        let mut compile = std::process::Command::new(env!("CARGO_BIN_EXE_sinter"));
        compile.args(["compile", "--target", "imxrt1060", "-o"]).arg(&out).arg(&model);
        let done = compile.args(ram.map(|r| format!("--max-ram={r}"))).output().unwrap();
        (String::from_utf8_lossy(&done.stderr).into_owned(), out.join("imxrt1060"), done.status.code())
    };
    let places = |dir: &std::path::Path, file: &str| -> serde_json::Value {
        let all: serde_json::Value = serde_json::from_slice(&std::fs::read(dir.join(file)).unwrap()).unwrap();
        all["places"].clone()
    };
    for (ram, memory) in [(None, "sdram"), (Some("ocram"), "ocram")] {
        let (text, dir, code) = compile(ram);
        assert_eq!(code, Some(0), "{text}");
        let told = places(&dir, "manifest.json");
        assert_eq!((told[0]["what"].as_str(), told[0]["memory"].as_str()), (Some("arena"), Some(memory)));
        assert_eq!(
            (told[1]["what"].as_str(), told[1]["memory"].as_str()),
            (Some("weights"), Some("flexspi"))
        );
        assert!(told[0]["bytes"].as_u64() <= told[0]["of_bytes"].as_u64(), "{told}");
        assert_eq!(places(&dir, "report.json"), told);
        assert!(std::fs::read_to_string(dir.join("report.html")).unwrap().contains("<h2>Memories</h2>"));
    }
    let (text, _, code) = compile(Some("tcm"));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("no memory `tcm`") && text.contains("ocram, sdram"), "{text}");
}

#[test]
fn memory_that_does_not_suffice_is_named() {
    let model = place("refused-kws.onnx");
    std::fs::write(&model, kws::model(false)).unwrap();
    let out = place("refused");
    let _ = std::fs::remove_dir_all(&out);
    let mut compile = std::process::Command::new(env!("CARGO_BIN_EXE_sinter"));
    compile.args(["compile", "--target", "lm3s6965", "--max-flash", "20K", "-o"]).arg(&out).arg(&model);
    let done = compile.output().unwrap();
    let text = String::from_utf8_lossy(&done.stderr);
    // The RAM as the device has it, the flash as it was said: both at once, nothing written.
    assert_eq!(done.status.code(), Some(4), "{text}");
    for part in ["lm3s6965 has 65.5 KB", "make_depth", "20.5 KB of flash", "make_point", "--max-ram"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!out.join("lm3s6965").exists());
}

#[test]
fn embedding() {
    stored(&CORTEX_M7, "oww-embedding", &[]);
}

#[test]
fn stress() {
    stored(&CORTEX_M7, "slovorez", &["--dim", "unk__191=1..64"]);
}

#[test]
fn voice_activity() {
    stored(&CORTEX_M7, "silero-vad", &["--dim", "input.1=1..576", "--dim", "state.1=1"]);
}
