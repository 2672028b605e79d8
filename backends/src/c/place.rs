//! Which memory of a device holds what: the arena, which a program writes, and the weights, which it reads.

use sinter_ir::program::Program;
use sinter_ir::target::{MemoryKind, MemoryRegion, TargetDesc};
use std::fmt::Write;

/// A part of a program in a memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed<'t> {
    /// `arena` or `weights`.
    pub what: &'static str,
    /// Its size.
    pub bytes: u64,
    /// Where it is.
    pub region: &'t MemoryRegion,
}

/// Both parts, as far as the device's memories are known and have room. A device's memories come fastest first: the arena
/// takes the first RAM that holds it, weights stay in flash, or lie in RAM where there is none.
pub fn placement<'t>(p: &Program, target: &'t TargetDesc) -> Vec<Placed<'t>> {
    let regions = &target.memory.regions;
    let arena = p.arena_bytes;
    let written = regions.iter().find(|r| r.kind != MemoryKind::Flash && r.bytes >= arena);
    let weights = sinter_abi::WEIGHTS_HEADER_BYTES as u64 + p.weights_bytes();
    let left = |r: &MemoryRegion| r.bytes - if written == Some(r) { arena } else { 0 };
    let flash = regions.iter().find(|r| r.kind == MemoryKind::Flash && r.bytes >= weights);
    let read = flash.or_else(|| regions.iter().find(|r| r.kind != MemoryKind::Flash && left(r) >= weights));
    let placed =
        |what, bytes, region: Option<&'t MemoryRegion>| region.map(|region| Placed { what, bytes, region });
    [placed("arena", arena, written), placed("weights", weights, read)].into_iter().flatten().collect()
}

/// For the header: what the caller writes in front of the arena's definition.
pub(super) fn macros(p: &Program, target: &TargetDesc) -> String {
    let up = p.name.to_ascii_uppercase();
    let mut out = String::new();
    for q in placement(p, target) {
        let _ =
            writeln!(out, "/* The {} ({} bytes): {} of {}. */", q.what, q.bytes, q.region.name, target.name);
    }
    let section =
        placement(p, target).into_iter().find(|q| q.what == "arena").and_then(|q| q.region.section.clone());
    let attribute = section.map_or(String::new(), |s| format!(" __attribute__((section(\"{s}\")))"));
    let _ = write!(
        out,
        "/* In front of the arena's name: `static _Alignas({up}_ALIGNMENT) unsigned char {up}_ARENA_MEMORY arena[..];`. */\n\
         #define {up}_ARENA_MEMORY{attribute}\n\n"
    );
    out
}

/// The section that holds the weights.
pub(super) fn weights_section(p: &Program, target: &TargetDesc) -> String {
    let weights = placement(p, target).into_iter().find(|q| q.what == "weights");
    weights.and_then(|q| q.region.section.clone()).unwrap_or_else(|| ".rodata".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A device with memories of 1000 and 9000 bytes, and flash of 5000.
    fn device() -> TargetDesc {
        let text = "name = 'd'\nsummary = ''\ntriple = 'c-none'\nvector-bits = 0\nvector-registers = 14\ncores = 1\n\
             cache-bytes = []\npage-bytes = 4096\nverified = ''\n\
             [[memory.regions]]\nname = 'fast'\nkind = 'sram'\nbytes = 1000\n\
             [[memory.regions]]\nname = 'large'\nkind = 'psram'\nbytes = 9000\nsection = '.ext'\n\
             [[memory.regions]]\nname = 'rom'\nkind = 'flash'\nbytes = 5000\n";
        TargetDesc::from_toml(text).unwrap()
    }

    fn places(arena: u64, weights: usize) -> Vec<(&'static str, String)> {
        let weights = vec![(0, bytes::Bytes::from(vec![0; weights]))];
        let p = Program { name: "m".into(), arena_bytes: arena, weights, ..Program::default() };
        placement(&p, &device()).into_iter().map(|q| (q.what, q.region.name.clone())).collect()
    }

    #[test]
    fn the_fastest_memory_with_room_is_taken() {
        let expect = |a: &str, w: &str| vec![("arena", a.to_owned()), ("weights", w.to_owned())];
        assert_eq!(places(1000, 100), expect("fast", "rom"));
        assert_eq!(places(1001, 100), expect("large", "rom"));
        // Weights beside the arena, where there is room.
        assert_eq!(places(1001, 6000), expect("large", "large"));
        assert_eq!(places(4000, 6000), [("arena", "large".to_owned())]);
        assert_eq!(places(9001, 6000), [("weights", "large".to_owned())]);
        let d = device();
        assert_eq!((d.memory.ram(), d.memory.flash()), (Some(9000), Some(5000)));
    }

    #[test]
    fn headers_say_where_the_arena_lies() {
        let p = Program { name: "m".into(), arena_bytes: 2000, ..Program::default() };
        let text = macros(&p, &device());
        assert!(text.contains("#define M_ARENA_MEMORY __attribute__((section(\".ext\")))\n"), "{text}");
        assert!(text.contains("The arena (2000 bytes): large of d."), "{text}");
        let p = Program { arena_bytes: 10, ..p };
        assert!(macros(&p, &device()).contains("#define M_ARENA_MEMORY\n"));
        assert_eq!(weights_section(&p, &device()), ".rodata");
    }
}
