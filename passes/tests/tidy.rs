//! Kernel clean-up as text: `testdata/filetests/tidy/*.txt` hold a kernel and, behind `----`, what becomes of it.
//! `BLESS=1` writes the second part.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use sinter_ir::tile::verify::verify;
use sinter_ir::tile::{Kernel, interp};
use sinter_passes::tidy;
use std::path::Path;

const SEPARATOR: &str = "----\n";

#[test]
fn kernels_become_what_the_files_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/filetests/tidy");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let (input, want) = text.split_once(SEPARATOR).unwrap_or((&text, ""));
        // Lines that begin with a semicolon say what the file is about.
        let code: String = input.lines().filter(|l| !l.starts_with(';')).map(|l| format!("{l}\n")).collect();
        let kernel: Kernel = code.parse().unwrap_or_else(|d| panic!("{}: {d}", file.display()));
        let tidy = tidy::run(kernel.clone());
        for k in [&kernel, &tidy] {
            assert!(verify(k).is_empty(), "{}: {:?}", file.display(), verify(k));
        }
        same_results(&kernel, &tidy);
        let got = tidy.dump_text();
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&file, format!("{input}{SEPARATOR}{got}")).unwrap();
        } else {
            assert_eq!(got, want, "{}", file.display());
        }
    }
}

/// Runs both on the same memory.
fn same_results(a: &Kernel, b: &Kernel) {
    let n = 5i64;
    let run = |k: &Kernel| {
        let bytes = |e: &sinter_ir::Expr| e.eval(&|_| Some(n)).unwrap() as usize;
        let mut memory: Vec<Vec<u8>> =
            k.bufs.iter().map(|b| (0..bytes(&b.bytes)).map(|i| i as u8).collect()).collect();
        let mut bufs: Vec<&mut [u8]> = memory.iter_mut().map(Vec::as_mut_slice).collect();
        let code = interp::run(k, &mut bufs, &mut [n], 0, 1);
        (code.unwrap(), memory)
    };
    assert_eq!(run(a), run(b));
}
