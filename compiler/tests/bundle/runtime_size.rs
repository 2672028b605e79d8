//! What a bundle brings beside its kernels, and what the runtime's core adds to an image: at most 8 KB each.

use super::{common, has, run, scratch, sinter};
use common::model::{encode, node, port};
use sinter::frontend::onnx::proto::GraphProto;
use std::process::Command;

/// Most bytes of code.
const MOST: u64 = 8 << 10;

/// A model that does nothing: init, run, errors and their texts.
#[test]
fn code_around_kernels_is_small() {
    let dir = scratch("nothing");
    let graph = GraphProto {
        node: vec![node("Identity", &["x"], "y")],
        input: vec![port("x", 1, Some(&[5]))],
        output: vec![port("y", 1, None)],
        ..Default::default()
    };
    let file = dir.join("nothing.onnx");
    std::fs::write(&file, encode(graph, 20)).unwrap();
    for target in
        ["x86-64-v2", "x86-64-v4", "aarch64", "riscv64-rv64gcv", "windows-arm64", "apple-m4", "browser-wasm"]
    {
        run(sinter().arg("compile").arg(&file).args(["--target", target, "-o"]).arg(&dir));
        let manifest = std::fs::read(dir.join(target).join("manifest.json")).unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        let code = manifest["code_bytes"].as_u64().unwrap();
        println!("{target}: {code} bytes of code around kernels");
        assert!(code > 0 && code <= MOST, "{target}: {code}");
    }
}

const APP: &str = r#"
#![no_std]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
/// Everything that there is.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn check(at: *const u8, bytes: usize) -> u64 {
    let image = unsafe { core::slice::from_raw_parts(at, bytes) };
    let total = sinter_runtime_core::weights_info(image).map_or(1, |i| i.total);
    let hash = sinter_runtime_core::verify_weights(image).map_or(2, |i| i.hash);
    total ^ hash ^ u64::from(sinter_runtime_core::is_aligned(at as usize))
}
"#;

/// All functions of the core in an image for Cortex-M4F.
#[test]
fn the_core_is_small_on_cortex_m4() {
    const TARGET: &str = "thumbv7em-none-eabihf";
    let probe = Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]).output();
    if !probe.is_ok_and(|o| std::path::Path::new(String::from_utf8_lossy(&o.stdout).trim()).is_dir()) {
        return common::skip(&format!("no rust target {TARGET}"));
    }
    if !has("arm-none-eabi-gcc") {
        return;
    }
    let dir = scratch("core");
    let core = common::root().join("runtime/core");
    std::fs::create_dir_all(dir.join("src")).unwrap();
    let manifest = format!(
        "[package]\nname = \"core-app\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[lib]\ncrate-type = [\"staticlib\"]\n\n\
         [dependencies]\nsinter-runtime-core = {{ path = \"{}\" }}\n\n[workspace]\n\n\
         [profile.release]\nopt-level = \"s\"\npanic = \"abort\"\n",
        core.display()
    );
    std::fs::write(dir.join("Cargo.toml"), manifest).unwrap();
    std::fs::write(dir.join("src/lib.rs"), APP).unwrap();
    run(Command::new(env!("CARGO"))
        .args(["build", "--offline", "--quiet", "--release", "--target", TARGET])
        .current_dir(&dir)
        .env("CARGO_TARGET_DIR", dir.join("target")));
    let library = dir.join("target").join(TARGET).join("release/libcore_app.a");
    run(Command::new("arm-none-eabi-gcc")
        .args(["-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard", "-nostdlib"])
        .args(["-Wl,--gc-sections,-e,check,-u,check"])
        .arg(library)
        .arg("-o")
        .arg(dir.join("image")));
    let sizes = run(Command::new("arm-none-eabi-size").arg(dir.join("image")));
    let line: Vec<u64> =
        sizes.lines().nth(1).unwrap().split_whitespace().take(3).map(|n| n.parse().unwrap()).collect();
    println!(
        "the runtime's core on Cortex-M4: {} bytes of code, {} of variables",
        line[0],
        line[1] + line[2]
    );
    assert!(line[0] > 100 && line[0] <= MOST && line[1] + line[2] == 0, "{sizes}");
}
