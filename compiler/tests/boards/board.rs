//! Building an image for a board and running it.

use crate::common;
use sinter::manifest::Manifest;
use sinter_ir::tensor::storage_bytes;
use sinter_ir::{Result, Tensor};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A board of the emulator with the memory of a chip that it stands for.
pub struct Board {
    /// Device of `--target`.
    pub target: &'static str,
    /// Machine of qemu-system-arm.
    pub machine: &'static str,
    /// Where flash begins, and its bytes.
    pub flash: (u64, u64),
    /// Where RAM begins, and its bytes.
    pub ram: (u64, u64),
    /// The same of memory beside the chip.
    pub psram: Option<(u64, u64)>,
}

const KB: u64 = 1024;

/// 256 KB of flash, 64 KB of RAM.
pub const LM3S6965: Board = Board {
    target: "lm3s6965",
    machine: "lm3s6965evb",
    flash: (0, 256 * KB),
    ram: (0x2000_0000, 64 * KB),
    psram: None,
};
/// 1 MB of flash, 128 KB of RAM.
pub const STM32F405: Board = Board {
    target: "stm32f405",
    machine: "netduinoplus2",
    flash: (0x0800_0000, 1024 * KB),
    ram: (0x2000_0000, 128 * KB),
    psram: None,
};
/// As an i.MX RT1060 with 4 MB of flash: 1 MB of RAM.
pub const CORTEX_M7: Board = Board {
    target: "cortex-m7",
    machine: "mps2-an500",
    flash: (0, 4096 * KB),
    ram: (0x2000_0000, 1024 * KB),
    psram: None,
};
/// An i.MX RT1060 board: 1 MB of RAM in the chip, memory beside it.
pub const IMXRT1060: Board = Board {
    target: "imxrt1060",
    machine: "mps2-an500",
    flash: (0, 4096 * KB),
    ram: (0x2000_0000, 1024 * KB),
    psram: Some((0x6000_0000, 16 * 1024 * KB)),
};
/// As an Alif Ensemble E1 without its MRAM: 512 KB each.
pub const CORTEX_M55: Board = Board {
    target: "cortex-m55",
    machine: "mps3-an547",
    flash: (0, 512 * KB),
    ram: (0x2000_0000, 512 * KB),
    psram: None,
};

/// What a run on a board gives.
pub struct Run {
    pub outputs: Vec<Tensor>,
    /// Bytes of the model's code and constants in the image, its weights left out.
    pub code: u64,
    /// Bytes in flash: startup code, code, weights, inputs.
    pub flash: u64,
    /// Bytes of RAM: variables, arena, outputs and the deepest stack.
    pub ram: u64,
}

/// Whether the tools are here; says so when they are not.
pub fn ready() -> bool {
    let missing: Vec<&str> = ["arm-none-eabi-gcc", "qemu-system-arm"]
        .into_iter()
        .filter(|t| !Command::new(t).arg("--version").output().is_ok_and(|o| o.status.success()))
        .collect();
    if !missing.is_empty() {
        common::skip(&format!("boards: {} not installed", missing.join(", ")));
    }
    missing.is_empty()
}

fn run(c: &mut Command) -> String {
    let out = c.output().unwrap_or_else(|e| panic!("{c:?}: {e}"));
    let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{c:?}: {}\n{text}", out.status);
    text
}

/// Compiles a model for a board, builds the image, runs it.
pub fn model_on(board: &Board, model: &Path, options: &[&str], inputs: &[Tensor]) -> Run {
    let name = format!("{}-{}", board.machine, model.file_stem().unwrap().to_string_lossy());
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("boards")
        .join(name + &options.join("").replace('/', "_"));
    let _ = std::fs::remove_dir_all(&dir);
    run(Command::new(env!("CARGO_BIN_EXE_sinter"))
        .args(["compile", "--name", "net", "--target", board.target, "-o"])
        .arg(&dir)
        .arg(model)
        .args(options));
    let dir = dir.join(board.target);
    let manifest = serde_json::from_slice(&std::fs::read(dir.join("manifest.json")).unwrap()).unwrap();
    let (code, flash, ram) = build(board, &dir, &manifest, inputs);
    let qemu = Command::new("qemu-system-arm")
        .current_dir(&dir)
        .args(["-M", board.machine, "-nographic", "-monitor", "none", "-serial", "none"])
        .args(["-semihosting-config", "enable=on,target=native", "-kernel", "image"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&qemu.stdout).into_owned() + &String::from_utf8_lossy(&qemu.stderr);
    assert!(qemu.status.success(), "{}: {text}", board.machine);
    // The emulator has words of its own in between.
    let mut lines = text.lines().filter(|l| l.starts_with(|c: char| c.is_ascii_digit())).map(numbers);
    let (dims, stack) = (lines.next().unwrap(), lines.next().unwrap()[0] as u64);
    let outputs = outputs(&dir, &manifest, &dims).unwrap();
    Run { outputs, code, flash, ram: ram + stack }
}

fn numbers(line: &str) -> Vec<usize> {
    line.split_whitespace().map(|n| n.parse().unwrap_or_else(|_| panic!("{line}"))).collect()
}

fn outputs(dir: &Path, m: &Manifest, dims: &[usize]) -> Result<Vec<Tensor>> {
    let mut rest = dims;
    let mut all = vec![];
    for (i, port) in m.outputs.iter().enumerate() {
        let (shape, more) = rest.split_at(port.range.len());
        rest = more;
        let mut bytes = std::fs::read(dir.join(format!("output.{i}"))).unwrap();
        bytes.truncate(storage_bytes(port.dtype, shape)?);
        all.push(Tensor::from_bytes(port.dtype, shape.to_vec(), bytes)?);
    }
    Ok(all)
}

/// Links the image; gives the bytes of the model's code, of the image in flash and of variables in RAM.
fn build(board: &Board, dir: &Path, m: &Manifest, inputs: &[Tensor]) -> (u64, u64, u64) {
    let mut table = String::from(".section .rodata\n.balign 8\n.global inputs\ninputs:\n");
    let mut data = String::new();
    for (i, t) in inputs.iter().enumerate() {
        std::fs::write(dir.join(format!("input.{i}")), t.bytes()).unwrap();
        table += &format!(".word input_{i}\n");
        data += &format!(".balign 8\ninput_{i}: .incbin \"input.{i}\"\n");
    }
    std::fs::write(dir.join("inputs.S"), table + &data).unwrap();
    let ((flash, flash_bytes), (ram, ram_bytes)) = (board.flash, board.ram);
    let (psram, psram_bytes) = board.psram.unwrap_or((0, 0));
    let script = format!(
        "MEMORY {{ flash (rx) : ORIGIN = {flash}, LENGTH = {flash_bytes} ram (rw) : ORIGIN = {ram}, LENGTH = {ram_bytes} \
         psram (rw) : ORIGIN = {psram}, LENGTH = {psram_bytes} }}\n\
         SECTIONS {{\n .text : {{ KEEP(*(.vectors)) *(.text* .rodata*) . = ALIGN(8); }} > flash\n\
         .data : {{ data_start = .; *(.data*) . = ALIGN(8); data_end = .; }} > ram AT > flash\n\
         data_load = LOADADDR(.data);\n\
         .bss (NOLOAD) : {{ bss_start = .; *(.bss* COMMON) . = ALIGN(8); bss_end = .; }} > ram\n\
         .psram (NOLOAD) : {{ *(.psram*) }} > psram\n\
         stack_top = {ram} + {ram_bytes};\n\
         ASSERT(bss_end + 2048 <= stack_top, \"no room for a stack\")\n\
         /DISCARD/ : {{ *(.ARM.exidx* .ARM.extab*) }}\n}}\nENTRY(reset)\n"
    );
    std::fs::write(dir.join("board.ld"), script).unwrap();
    let flags = &sinter_backends::target(board.target).unwrap().compiler_flags;
    let gcc = || {
        let mut c = Command::new("arm-none-eabi-gcc");
        c.current_dir(dir).args(["-std=gnu11", "-O2", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror"]);
        c.args(["-Wno-unused-function", "-Wno-maybe-uninitialized"]).args(flags);
        c
    };
    run(gcc().args(["-c", "net.c", "-o", "net.o"]));
    let list = |v: &mut dyn Iterator<Item = String>| v.collect::<Vec<_>>().join(",");
    let dims = inputs.iter().flat_map(|t| t.shape().iter().map(ToString::to_string));
    let sizes = || m.outputs.iter().map(|o| o.max_bytes);
    run(gcc()
        .args(["-DHEADER=\"net.h\"", "-DNAME=net", "-DUP=NET", "-I.", "-nostartfiles", "-Wl,-Tboard.ld"])
        .arg(format!("-DGIVEN={}", list(&mut dims.into_iter())))
        .arg(format!("-DOUTPUT_BYTES={}", list(&mut sizes().map(|n| n.to_string()))))
        .arg(format!("-DRESULTS_BYTES={}", sizes().map(|n| n.next_multiple_of(8)).sum::<u64>()))
        .arg(common::root().join("compiler/tests/boards/board.c"))
        .args(["net.o", "net_weights.S", "inputs.S", "-Wl,--no-warn-rwx-segments", "-o", "image"]));
    let size = |file: &str| {
        let text = run(Command::new("arm-none-eabi-size").current_dir(dir).arg(file));
        let line = text.lines().nth(1).unwrap().to_owned();
        let n: Vec<u64> = line.split_whitespace().take(3).map(|n| n.parse().unwrap()).collect();
        (n[0] + n[1], n[1] + n[2])
    };
    let (image, object) = (size("image"), size("net.o"));
    assert_eq!(object.1, 0, "the model's code has variables of its own");
    (object.0, image.0, image.1)
}

/// Where a test's models are written.
pub fn place(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("boards");
    std::fs::create_dir_all(&dir).unwrap();
    dir.join(name)
}
