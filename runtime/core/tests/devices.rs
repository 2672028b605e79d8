//! The core links into programs for devices without an operating system: nothing is missing but what is here.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

const PROGRAM: &str = r#"
#![no_std]
#![no_main]

use sinter_runtime_core::{is_aligned, verify_weights, weights_info};

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

/// # Safety
/// `image` must point to `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _start(image: *const u8, len: usize) -> i32 {
    let bytes = unsafe { core::slice::from_raw_parts(image, len) };
    if !is_aligned(image as usize) || weights_info(bytes).is_err() {
        return 1;
    }
    verify_weights(bytes).map_or_else(|code| code as i32, |info| (info.total != len as u64) as i32)
}
"#;

fn installed(target: &str) -> bool {
    let out = Command::new("rustc").args(["--print", "target-libdir", "--target", target]).output();
    out.is_ok_and(|o| Path::new(String::from_utf8_lossy(&o.stdout).trim()).is_dir())
}

/// Builds a program of the core and nothing else; gives the linked file.
fn link(target: &str) -> Option<PathBuf> {
    if !installed(target) {
        eprintln!("SKIP: no rust target {target}");
        println!("SKIP: no rust target {target}");
        return None;
    }
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("device-{target}"));
    std::fs::create_dir_all(dir.join("src")).unwrap();
    let manifest = format!(
        "[package]\nname = \"device\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[dependencies]\n\
         sinter-runtime-core = {{ path = {:?} }}\n\n[profile.release]\npanic = \"abort\"\nopt-level = \"s\"\n\
         lto = true\n\n[workspace]\n",
        env!("CARGO_MANIFEST_DIR")
    );
    std::fs::write(dir.join("Cargo.toml"), manifest).unwrap();
    std::fs::write(dir.join("src/main.rs"), PROGRAM).unwrap();
    let out = Command::new(env!("CARGO"))
        .args(["build", "--release", "--offline", "--quiet", "--target", target])
        .current_dir(&dir)
        .env("CARGO_TARGET_DIR", dir.join("target"))
        .env("RUSTFLAGS", "-Dwarnings")
        .output()
        .unwrap();
    assert!(out.status.success(), "{target}: {}", String::from_utf8_lossy(&out.stderr));
    Some(dir.join("target").join(target).join("release"))
}

#[test]
fn cortex_m4() {
    let Some(dir) = link("thumbv7em-none-eabihf") else { return };
    let bytes = std::fs::read(dir.join("device")).unwrap();
    assert_eq!(bytes[..4], *b"\x7fELF");
    // e_machine: ARM.
    assert_eq!(bytes[18..20], [40, 0]);
}

#[test]
fn web_assembly() {
    let Some(dir) = link("wasm32-unknown-unknown") else { return };
    let bytes = std::fs::read(dir.join("device.wasm")).unwrap();
    assert_eq!(bytes[..8], *b"\0asm\x01\0\0\0");
    // Section 2 lists imports: a module that needs something of its host.
    let mut at = 8;
    while at < bytes.len() {
        assert_ne!(bytes[at], 2, "the module imports something");
        let (mut size, mut shift, mut i) = (0usize, 0, at + 1);
        loop {
            size |= usize::from(bytes[i] & 127) << shift;
            shift += 7;
            i += 1;
            if bytes[i - 1] < 128 {
                break;
            }
        }
        at = i + size;
    }
}
