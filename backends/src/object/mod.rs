//! Files that a linker and a C compiler read.

pub mod header;
pub mod weights;

use crate::Blob;
use ar_archive_writer::{ArchiveKind, DEFAULT_OBJECT_READER, NewArchiveMember, write_archive_to_stream};
use object::write::{Object, Symbol, SymbolSection};
use object::{Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope};
use sinter_ir::target::TargetDesc;
use sinter_ir::{Diag, Result};
use std::io::Cursor;

/// The object file: one read-only code section and the public symbols.
pub fn object(blob: &Blob, target: &TargetDesc) -> Result<Vec<u8>> {
    let (format, arch) = match target.triple.as_str() {
        t if t.starts_with("x86_64-") && t.contains("linux") => (BinaryFormat::Elf, Architecture::X86_64),
        t => return Err(Diag::unsupported(format!("object files for {t}"))),
    };
    let mut o = Object::new(format, arch, Endianness::Little);
    let text = o.add_section(vec![], b".text".to_vec(), SectionKind::Text);
    o.append_section_data(text, &blob.bytes, 64);
    // Linkers take the absence of this note as a wish for an executable stack.
    o.add_section(vec![], b".note.GNU-stack".to_vec(), SectionKind::Other);
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
    let member = NewArchiveMember::new(bytes, &DEFAULT_OBJECT_READER, format!("{name}.o"));
    let mut out = Cursor::new(Vec::new());
    write_archive_to_stream(&mut out, &[member], ArchiveKind::Gnu, false, None)
        .map_err(|e| Diag::bug(format!("archive: {e}")))?;
    Ok(out.into_inner())
}
