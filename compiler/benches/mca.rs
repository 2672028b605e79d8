//! Inner loops for AArch64 against what processors can do, by LLVM's models of them: no such processor is needed.
//!
//! `cargo bench -p sinter --bench mca`: compiles single contractions, takes the loop with the most products out of their
//! code and lets `llvm-mca` run it (Debian: `llvm-19`). The peak is that of a loop of nothing but the same products, by
//! the same model; weights of four bits are measured against a loop of loads, a mask, a shift and two products for every
//! 16 bytes (the least with dot products), and their bytes per cycle against what the first cache and a device's memory give. One line per contraction and processor: cycles, share of
//! the peak with its bar, and instructions per thousand multiply-adds, beside those that tiles of XNNPACK's kernels need
//! for the same.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod single;

use sinter_backends::{kernel, refuses, target};
use sinter_ir::op::quantized_matmul::{Activations, Offset};
use sinter_ir::op::{MatMul, QuantizedMatMul};
use sinter_ir::{DType, Op, Tensor, TensorType};
use sinter_passes::lower::Precision;
use std::io::Write;
use std::process::{Command, Stdio};

/// Processors as LLVM names them, and devices with such: `cortex-x4` has the model of a smaller one there, `neoverse-v2`
/// is of its class.
const CPUS: [(&str, &str); 4] = [
    ("cortex-a76", "raspberry-pi-5"),
    ("cortex-x4", "pixel-9"),
    ("neoverse-v2", "galaxy-s25"),
    ("apple-m1", "apple-m4"),
];
/// What counts as products.
const PRODUCTS: [&str; 8] = ["fmla", "sdot", "udot", "usdot", "sudot", "smmla", "usmmla", "bfmmla"];
/// Rounds of a loop that are simulated.
const ROUNDS: f64 = 200.0;

/// Programs of LLVM, newest first.
fn tool(name: &str) -> Option<String> {
    let names = ["-22", "-19", "-18", "-17", "-16", ""].map(|v| format!("{name}{v}"));
    names.into_iter().find(|n| Command::new(n).arg("--version").output().is_ok())
}

/// What a program prints for a text.
fn ask(program: &str, args: &[&str], text: &str) -> String {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{program}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// Whether this LLVM has a model of a processor.
fn knows(cpu: &str) -> bool {
    let cpu = format!("-mcpu={cpu}");
    let mut command = Command::new(tool("llvm-mca").unwrap());
    let out = command.args(["-mtriple=aarch64", &cpu, "/dev/null"]).output().unwrap();
    !String::from_utf8_lossy(&out.stderr).contains("is not a recognized processor")
}

/// Instructions of words, one a line.
fn disassembled(words: &[u32]) -> Vec<String> {
    let bytes: Vec<String> =
        words.iter().flat_map(|w| w.to_le_bytes()).map(|b| format!("0x{b:02x}")).collect();
    let args = ["--disassemble", "-triple=aarch64", "-mattr=+dotprod,+i8mm,+bf16,+fullfp16"];
    let text = ask(&tool("llvm-mc").unwrap(), &args, &bytes.join(" "));
    let lines = text.lines().map(|l| l.trim().replace('\t', " "));
    lines.filter(|l| !l.is_empty() && !l.starts_with('.')).collect()
}

/// Bodies of the loops that have none inside.
fn loops(code: &[u8]) -> Vec<Vec<u32>> {
    let words: Vec<u32> = code.chunks_exact(4).map(|w| u32::from_le_bytes(w.try_into().unwrap())).collect();
    let mut found: Vec<(usize, usize)> = vec![];
    for (at, w) in words.iter().enumerate().filter(|(_, w)| *w & 0xff00_0010 == 0x5400_0000) {
        // Conditional branches: the distance in words, with its sign.
        let distance = (*w as i32) << 8 >> 13;
        if distance < 0 {
            found.push((at.saturating_add_signed(distance as isize), at));
        }
    }
    let inner = |l: &(usize, usize)| !found.iter().any(|o| o != l && o.0 >= l.0 && o.1 <= l.1);
    found.iter().filter(|l| inner(l)).map(|l| words[l.0..=l.1].to_vec()).collect()
}

/// Cycles of a round.
fn cycles(cpu: &str, lines: &[String]) -> f64 {
    let rounds = format!("-iterations={ROUNDS}");
    let cpu = format!("-mcpu={cpu}");
    let args = ["-mtriple=aarch64", &cpu, "-mattr=+dotprod,+i8mm,+bf16,+fullfp16", &rounds];
    let out = ask(&tool("llvm-mca").unwrap(), &args, &lines.join("\n"));
    let line = out.lines().find_map(|l| l.strip_prefix("Total Cycles:")).unwrap();
    line.trim().parse::<f64>().unwrap() / ROUNDS
}

fn mnemonic(line: &str) -> &str {
    line.split(' ').next().unwrap_or_default()
}

fn is_load(line: &str) -> bool {
    line.starts_with("ld")
}

/// A contraction and what is looked at.
struct Case {
    name: &'static str,
    target: &'static str,
    op: Op,
    x: (DType, Vec<usize>),
    constants: Vec<Tensor>,
    /// Percent of the peak.
    bar: Option<f64>,
    /// Whether weights of four bits come from memory for a single row: each 16 bytes cost a load, a mask, a shift and two
    /// products.
    stream: bool,
}

/// What bounds a loop that reads weights: beside what it computes, reads of the first cache at two vectors a cycle, and
/// the device's memory, which all its cores share.
fn bound(device: &str, bytes_per_cycle: f64) -> String {
    let t = target(device).unwrap();
    let peaks = t.peaks.as_ref().unwrap();
    let memory = peaks.memory_mbps as f64 / peaks.clock_mhz as f64;
    let waiting = (memory / bytes_per_cycle).ceil();
    let cache = 100.0 * bytes_per_cycle / 32.0;
    let what = match waiting <= f64::from(t.cores) {
        true => format!("bound by memory from {waiting} of {} cores on", t.cores),
        false => "bound by vector instructions".to_owned(),
    };
    format!(
        "; {bytes_per_cycle:.1} bytes a cycle, {cache:.0} % of the first cache's; {device} reads {memory:.1}: {what}"
    )
}

/// Small numbers of any type.
fn numbers(dtype: DType, shape: &[usize]) -> Tensor {
    let n = shape.iter().product::<usize>();
    match dtype {
        DType::F16 | DType::BF16 => Tensor::from_f32(dtype, shape.to_vec(), &vec![0.5; n]),
        DType::F32 => Tensor::f32s(shape.to_vec(), &vec![0.5; n]),
        _ => {
            let bytes = dtype.bytes_for(n).unwrap();
            Tensor::from_bytes(dtype, shape.to_vec(), (0..bytes).map(|i| (i % 251) as u8).collect::<Vec<_>>())
        }
    }
    .unwrap()
}

fn product(
    name: &'static str,
    target: &'static str,
    types: [DType; 2],
    zero: Option<i64>,
    bar: Option<f64>,
) -> Case {
    let (m, k, n) = (384, 512, 768);
    let op = MatMul { zero, ..MatMul::default() }.into();
    let constants = vec![numbers(types[1], &[k, n])];
    Case { name, target, op, x: (types[0], vec![m, k]), constants, bar, stream: false }
}

/// Rows of activations times weights of four bits.
fn quantized(name: &'static str, target: &'static str, m: usize, bar: Option<f64>) -> Case {
    let (k, n, block) = (2048, 2048, 128);
    let (activations, offset) = (Activations::Rows, Offset::None);
    let op = QuantizedMatMul { block, activations, offset, middle: 8, nibbles: None, table: vec![] }.into();
    let constants = vec![numbers(DType::U4, &[n, k]), numbers(DType::F16, &[n, k / block])];
    Case { name, target, op, x: (DType::F32, vec![m, k]), constants, bar, stream: m == 1 }
}

fn cases() -> Vec<Case> {
    use DType::{BF16, F32, I8, U8};
    vec![
        product("f32", "aarch64", [F32; 2], None, Some(90.0)),
        product("i8 x i8 (sdot)", "aarch64-v8.2", [I8, I8], Some(0), Some(90.0)),
        product("u8 x i8 (sdot, sign flipped)", "aarch64-v8.2", [U8, I8], Some(128), None),
        product("i8 x i8 (smmla)", "aarch64-v8.6", [I8, I8], Some(0), Some(90.0)),
        product("u8 x i8 (usmmla)", "aarch64-v8.6", [U8, I8], Some(128), Some(90.0)),
        product("f32 x bf16 (bfmmla)", "aarch64-v8.6", [F32, BF16], None, Some(90.0)),
        quantized("4 bits, 1 row", "aarch64-v8.2", 1, Some(90.0)),
        quantized("4 bits, 64 rows", "aarch64-v8.2", 64, None),
    ]
}

/// The loop with the most products in the kernels of a case.
fn inner_loop(case: &Case) -> Vec<String> {
    let t = target(case.target).unwrap();
    let x = TensorType::new(case.x.0, case.x.1.iter().map(|&d| d.into()).collect());
    let bf16 = case.constants.iter().any(|t| t.dtype() == DType::BF16);
    let precision = if bf16 { Precision::Bf16 } else { Precision::F32 };
    let (program, _) = single::compile_as(case.op.clone(), x, &case.constants, t, precision);
    let count = |lines: &[String]| lines.iter().filter(|l| PRODUCTS.contains(&mnemonic(l))).count();
    let kernels = program.kernels.iter().inspect(|k| assert_eq!(refuses(k, t), None));
    let code = kernels.map(|k| kernel(k, t).unwrap().0);
    let all = code.flat_map(|c| loops(&c)).map(|words| disassembled(&words));
    all.max_by_key(|l| count(l)).unwrap_or_default()
}

/// Bytes of weights that a loop reads: what vectors of loads hold.
fn weights(lines: &[String]) -> usize {
    let vectors = |l: &&String| match (mnemonic(l), l.contains(" q")) {
        ("ldr", true) => 1,
        ("ldp", true) => 2,
        _ => 0,
    };
    16 * lines.iter().map(|l| vectors(&l)).sum::<usize>()
}

/// As many cycles as the same number of independent products takes; where weights are read, with their loads and what
/// makes bytes of them.
fn least(cpu: &str, lines: &[String], stream: bool) -> f64 {
    let product = lines.iter().find(|l| PRODUCTS.contains(&mnemonic(l))).unwrap();
    // By lane, like those of the loop: some models let these go faster than whole vectors.
    let last = match mnemonic(product) {
        "fmla" => "v30.4s, v31.s[0]",
        "smmla" | "usmmla" => "v30.16b, v31.16b",
        "bfmmla" => "v30.8h, v31.8h",
        _ => "v30.16b, v31.4b[0]",
    };
    let one = |i: usize| format!("{} v{}.4s, {last}", mnemonic(product), i % 24);
    if !stream {
        let n = lines.iter().filter(|l| PRODUCTS.contains(&mnemonic(l))).count();
        return cycles(cpu, &(0..24).map(one).collect::<Vec<_>>()) * n as f64 / 24.0;
    }
    let vector = |i: usize| {
        let unpacked = ["and v29.16b, v28.16b, v31.16b", "ushr v28.16b, v28.16b, #4"].map(str::to_owned);
        let load = format!("ldr q28, [x0, #{}]", 16 * i);
        [load].into_iter().chain(unpacked).chain([one(2 * i), one(2 * i + 1)])
    };
    let block: Vec<String> = (0..12).flat_map(vector).collect();
    cycles(cpu, &block) * weights(lines) as f64 / (12.0 * 16.0)
}

/// Instructions per thousand multiply-adds that loads and products of a tile take: `k` steps of a row in one load.
fn tile(mr: f64, nv: f64, per_product: f64) -> f64 {
    let steps = 4.0;
    1000.0 * (mr + steps * nv + steps * mr * nv) / (steps * mr * nv * per_product)
}

fn main() {
    if tool("llvm-mca").is_none() || tool("llvm-mc").is_none() {
        return println!("SKIP: llvm-mca is not installed");
    }
    let (known, unknown): (Vec<_>, Vec<_>) = CPUS.into_iter().partition(|(cpu, _)| knows(cpu));
    for (cpu, _) in unknown {
        println!("SKIP: this LLVM does not know {cpu}");
    }
    println!("{:30} {:12} {:>6} {:>7} {:>6}", "", "", "cycles", "least", "%");
    for case in cases() {
        let lines = inner_loop(&case);
        let products = lines.iter().filter(|l| PRODUCTS.contains(&mnemonic(l))).count();
        let loads = lines.iter().filter(|l| is_load(l)).count();
        let terms = match lines.iter().map(|l| mnemonic(l)).find(|m| PRODUCTS.contains(m)) {
            Some("fmla") => 4,
            Some("bfmmla") => 16,
            Some("smmla" | "usmmla") => 32,
            _ => 16,
        };
        let per = 1000.0 * lines.len() as f64 / (products * terms) as f64;
        println!(
            "{:30} {}: {} instructions, {products} products, {loads} loads; {per:.1} per 1000 multiply-adds",
            case.name,
            case.target,
            lines.len()
        );
        if std::env::args().any(|a| a == "--code") {
            lines.iter().for_each(|l| println!("    {l}"));
        }
        for &(cpu, device) in &known {
            // It has no products of matrices.
            if cpu == "cortex-a76" && case.target == "aarch64-v8.6" {
                continue;
            }
            let (took, least) = (cycles(cpu, &lines), least(cpu, &lines, case.stream));
            let share = 100.0 * least / took;
            let bar = case.bar.map_or(String::new(), |b| {
                format!(" {} {b} %", if share >= b { "reaches" } else { "below" })
            });
            let stream = match case.stream {
                true => bound(device, weights(&lines) as f64 / took),
                false => String::new(),
            };
            println!("{:30} {cpu:12} {took:6.1} {least:7.1} {share:6.1}{bar}{stream}", "");
        }
    }
    println!(
        "Loads and products per 1000 multiply-adds of tiles of XNNPACK's shapes, without loop and addresses:"
    );
    for (name, mr, nv, per) in [
        ("f32 6x8 neonfma ld128", 6.0, 2.0, 4.0),
        ("f32 4x16 neonfma ld128", 4.0, 4.0, 4.0),
        ("qs8 4x16c4 neondot ld128", 4.0, 4.0, 16.0),
    ] {
        println!("{name:30} {:6.1}", tile(mr, nv, per));
    }
    // Sixteen bytes of a row: pairs of rows are made by as many instructions as there are loads of A.
    let (mr, nr) = (4.0, 16.0);
    let (products, loads) = (mr / 2.0 * nr / 2.0 * 2.0, mr + nr);
    let name = "qs8 4x16c8 neoni8mm";
    println!("{name:30} {:6.1}", 1000.0 * (products + loads + mr) / (mr * nr * 16.0));
}
