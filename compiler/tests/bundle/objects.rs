//! What is in the archives: code, and nothing that a device's linker or loader would have to act on.

use crate::{common, has, run, scratch};
use object::{Object, ObjectSection, ObjectSymbol, SectionFlags, elf};
use sinter::driver::{self, Request};
use sinter::frontend::onnx::ImportOptions;
use std::path::PathBuf;
use std::process::Command;

/// What a C compiler's own output may refer to without any library.
const FREESTANDING: [&str; 4] = ["memcpy", "memmove", "memset", "memcmp"];

/// All archives of the models here, for every target.
fn archives() -> Vec<(String, Vec<u8>)> {
    let mut dirs = vec![common::root().join("testdata/models")];
    dirs.extend(common::shared().map(|s| s.join("models")));
    let models: Vec<PathBuf> = dirs.iter().flat_map(|d| common::cases(d)).map(|c| c.model).collect();
    assert!(!models.is_empty());
    let mut out = vec![];
    let with_archives = sinter_backends::targets().iter().filter(|t| t.triple.contains("-linux-"));
    let targets: Vec<String> = with_archives.map(|t| t.name.clone()).collect();
    let made = common::parallel(&models, |model| {
        let request = Request {
            model: model.clone(),
            import: ImportOptions::default(),
            targets: targets.clone(),
            ..Request::default()
        };
        let done =
            driver::compile(&request, &|_| {}).unwrap_or_else(|d| panic!("{}: {d:?}", model.display()));
        done.bundles
            .iter()
            .map(|b| {
                let name = b.manifest.name.clone();
                (name.clone(), b.files[&format!("lib{name}.a")].to_vec())
            })
            .collect::<Vec<_>>()
    });
    made.into_iter().for_each(|m| out.extend(m));
    out
}

/// The members of an archive that are not its symbol or name table.
fn members(archive: &[u8]) -> Vec<&[u8]> {
    let mut rest = archive.strip_prefix(b"!<arch>\n").expect("an archive");
    let mut out = vec![];
    while rest.len() >= 60 {
        let size: usize = std::str::from_utf8(&rest[48..58]).unwrap().trim().parse().unwrap();
        if !rest.starts_with(b"/ ") && !rest.starts_with(b"//") {
            out.push(&rest[60..60 + size]);
        }
        rest = &rest[(60 + size.next_multiple_of(2)).min(rest.len())..];
    }
    out
}

fn check_object(name: &str, bytes: &[u8]) {
    let file = object::File::parse(bytes).unwrap();
    let mut defined = vec![];
    for s in file.symbols() {
        let symbol = s.name().unwrap();
        if s.is_undefined() {
            assert!(symbol.is_empty() || FREESTANDING.contains(&symbol), "{name}: needs {symbol}");
        } else if s.is_global() {
            assert!(symbol.starts_with(&format!("{name}_")), "{name}: defines {symbol}");
            defined.push(symbol[name.len() + 1..].to_owned());
        }
    }
    defined.sort();
    assert_eq!(defined, ["abi_version", "error_text", "init", "run", "sizes"], "{name}");
    let mut stack_note = false;
    for s in file.sections() {
        let section = s.name().unwrap();
        let starts = ["init", "fini", "ctors", "dtors", "preinit", "tdata", "tbss", "eh_frame"];
        assert!(!starts.iter().any(|p| section[1..].starts_with(p)), "{name}: has {section}");
        assert_eq!(s.relocations().count(), 0, "{name}: {section} has relocations");
        let SectionFlags::Elf { sh_flags } = s.flags() else { panic!("{name}: not ELF") };
        let loaded = sh_flags & u64::from(elf::SHF_ALLOC) != 0;
        let written = sh_flags & u64::from(elf::SHF_WRITE) != 0;
        let executed = sh_flags & u64::from(elf::SHF_EXECINSTR) != 0;
        assert!(!written, "{name}: {section} is writable");
        assert!(!loaded || section == ".text" || s.size() == 0, "{name}: loads {section}");
        if section == ".note.GNU-stack" {
            stack_note = true;
            assert!(!executed, "{name}: asks for an executable stack");
        }
    }
    assert!(stack_note, "{name}: without the note, linkers make the stack executable");
}

#[test]
fn archives_hold_code_only() {
    let all = archives();
    let dir = scratch("objects");
    let nm = has("nm");
    for (name, bytes) in &all {
        let objects = members(bytes);
        assert_eq!(objects.len(), 1, "{name}");
        check_object(name, objects[0]);
        if nm {
            // The same through the tool that people use, the archive's own symbol table included.
            let path = dir.join(format!("lib{name}.a"));
            std::fs::write(&path, bytes).unwrap();
            let listing = run(Command::new("nm").args(["--print-armap", "--format=posix"]).arg(&path));
            assert!(listing.contains(&format!("{name}_run in ")), "{name}: no symbol table: {listing}");
            for line in listing.lines() {
                let words: Vec<&str> = line.split_whitespace().collect();
                if let [symbol, kind, ..] = words.as_slice()
                    && kind.len() == 1
                {
                    let fine = match *kind {
                        "T" => symbol.starts_with(&format!("{name}_")),
                        "U" => FREESTANDING.contains(symbol),
                        _ => false,
                    };
                    assert!(fine, "{name}: nm says {line}");
                }
            }
        }
    }
    println!("{} archives", all.len());
}
