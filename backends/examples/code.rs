//! Machine code of the kernels in a dump: `cargo run -p sinter-backends --example code FILE TARGET DIR` reads a text with
//! kernels (`sinter compile --dump-ir`), writes the code of each to DIR and prints sizes and times of emission.
//!
//! Look at it with `objdump -D -b binary -m i386:x86-64 -M intel FILE`.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use sinter_backends::{kernel, refuses, target};
use sinter_ir::tile::Kernel;
use std::time::Instant;

/// Kernels in a text: each from its first line to the closing brace at the margin.
fn kernels(text: &str) -> Vec<Kernel> {
    let mut out = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines() {
        if line.starts_with("kernel ") {
            open = Some(String::new());
        }
        if let Some(k) = &mut open {
            k.push_str(line);
            k.push('\n');
        }
        if line == "}"
            && let Some(k) = open.take()
        {
            out.push(k.parse().unwrap());
        }
    }
    out
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [file, name, dir] = &args[..] else { panic!("usage: code FILE TARGET DIR") };
    let t = target(name).expect("a target of the table");
    let (mut bytes, mut seconds) = (0, 0.0);
    for k in kernels(&std::fs::read_to_string(file).unwrap()) {
        if let Some(why) = refuses(&k, t) {
            println!("{:60} refused: {why}", k.name);
            continue;
        }
        let start = Instant::now();
        let code = kernel(&k, t).unwrap().0;
        let took = start.elapsed().as_secs_f64();
        println!("{:60} {:6} bytes {:8.2} ms", k.name, code.len(), took * 1e3);
        std::fs::write(format!("{dir}/{}.bin", k.name), &code).unwrap();
        bytes += code.len();
        seconds += took;
    }
    println!("{bytes} bytes in {:.1} ms", seconds * 1e3);
}
