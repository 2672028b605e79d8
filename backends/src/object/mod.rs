//! Files that a linker and a C compiler read.

pub mod header;
pub mod weights;

use crate::Blob;
use ar_archive_writer::{ArchiveKind, DEFAULT_OBJECT_READER, NewArchiveMember, write_archive_to_stream};
use object::write::{MachOBuildVersion, Object, StandardSection, Symbol, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, FileFlags, SectionKind, SymbolFlags, SymbolKind, SymbolScope,
};
use sinter_ir::target::TargetDesc;
use sinter_ir::{Diag, Result};
use std::io::Cursor;

/// File format and architecture of a target's objects.
fn kind(target: &TargetDesc) -> Result<(BinaryFormat, Architecture)> {
    let parts: Vec<&str> = target.triple.split('-').collect();
    let arch = match parts[0] {
        "x86_64" => Architecture::X86_64,
        "aarch64" => Architecture::Aarch64,
        "riscv64" | "riscv64gc" => Architecture::Riscv64,
        other => return Err(Diag::unsupported(format!("object files for {other}"))),
    };
    let format = match parts.get(2) {
        Some(&"linux") => BinaryFormat::Elf,
        Some(&("darwin" | "macosx" | "ios")) => BinaryFormat::MachO,
        Some(&"windows") => BinaryFormat::Coff,
        _ => return Err(Diag::unsupported(format!("object files for {}", target.triple))),
    };
    Ok((format, arch))
}

/// The object file: one read-only code section and the public symbols.
pub fn object(blob: &Blob, target: &TargetDesc) -> Result<Vec<u8>> {
    let (format, arch) = kind(target)?;
    let mut o = Object::new(format, arch, Endianness::Little);
    let text = o.section_id(StandardSection::Text);
    o.append_section_data(text, &blob.bytes, 64);
    if format == BinaryFormat::Elf {
        // Linkers take the absence of this note as a wish for an executable stack.
        o.add_section(vec![], b".note.GNU-stack".to_vec(), SectionKind::Other);
    }
    if arch == Architecture::Riscv64 {
        let e_flags = object::elf::EF_RISCV_FLOAT_ABI_DOUBLE;
        o.flags = FileFlags::Elf { os_abi: 0, abi_version: 0, e_flags };
    }
    if format == BinaryFormat::MachO {
        let mut version = MachOBuildVersion::default();
        (version.platform, version.minos) = match target.triple.contains("ios") {
            true => (object::macho::PLATFORM_IOS, 13 << 16),
            false => (object::macho::PLATFORM_MACOS, 11 << 16),
        };
        version.sdk = version.minos;
        o.set_macho_build_version(version);
    }
    for (name, at) in &blob.entries {
        o.add_symbol(Symbol {
            name: name.clone().into_bytes(),
            value: *at,
            size: 0,
            kind: SymbolKind::Text,
            scope: SymbolScope::Linkage,
            weak: false,
            section: SymbolSection::Section(text),
            flags: SymbolFlags::None,
        });
    }
    o.write().map_err(|e| Diag::bug(format!("object file: {e}")))
}

/// A static archive with the object, without times or owners.
pub fn archive(name: &str, blob: &Blob, target: &TargetDesc) -> Result<Vec<u8>> {
    let bytes = object(blob, target)?;
    let kind = match kind(target)?.0 {
        BinaryFormat::MachO => ArchiveKind::Darwin,
        BinaryFormat::Coff => ArchiveKind::Coff,
        _ => ArchiveKind::Gnu,
    };
    let member = NewArchiveMember::new(bytes, &DEFAULT_OBJECT_READER, format!("{name}.o"));
    let mut out = Cursor::new(Vec::new());
    write_archive_to_stream(&mut out, &[member], kind, false, None)
        .map_err(|e| Diag::bug(format!("archive: {e}")))?;
    Ok(out.into_inner())
}
