//! The code of a bundle's static archive.

use object::{BinaryFormat, Object, ObjectSection, ObjectSymbol};
use std::collections::BTreeMap;

/// Code bytes and the offsets of its public functions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// The only section with content.
    pub bytes: Vec<u8>,
    /// Functions by name.
    pub entries: BTreeMap<String, u64>,
}

const MAGIC: &[u8] = b"!<arch>\n";
const HEADER: usize = 60;

/// Members of an archive that are objects: `(size field, data)` pairs checked against the file.
fn members(bytes: &[u8]) -> Result<Vec<&[u8]>, String> {
    let mut rest = bytes.strip_prefix(MAGIC).ok_or("not a static archive")?;
    let mut out = Vec::new();
    while rest.len() >= HEADER {
        let (head, tail) = rest.split_at(HEADER);
        let size = std::str::from_utf8(&head[48..58]).ok().and_then(|s| s.trim().parse::<usize>().ok());
        let size = size.filter(|&s| s <= tail.len()).ok_or("a damaged archive member")?;
        // `/` and `//` are the symbol and name tables.
        if head[0] != b'/' || head[1].is_ascii_digit() {
            out.push(&tail[..size]);
        }
        rest = tail.get(size + size % 2..).unwrap_or(&[]);
    }
    Ok(out)
}

/// Finds the code. Relocations are refused: bundles have none.
pub fn text(archive: &[u8]) -> Result<Text, String> {
    let members = members(archive)?;
    let [member] = members.as_slice() else {
        return Err(format!("{} objects in the archive", members.len()));
    };
    let file = object::File::parse(*member).map_err(|e| e.to_string())?;
    if (file.format() == BinaryFormat::Coff) != cfg!(windows) {
        return Err("the code is called as on another system".to_owned());
    }
    let section = file.section_by_name(".text").ok_or("no code in the object")?;
    if section.relocations().next().is_some() {
        return Err("the code has relocations".to_owned());
    }
    let bytes = section.data().map_err(|e| e.to_string())?.to_vec();
    let mut entries = BTreeMap::new();
    for s in file.symbols().filter(|s| s.is_global() && s.is_definition()) {
        let name = s.name().map_err(|e| e.to_string())?.to_owned();
        if s.address() >= bytes.len() as u64 {
            return Err(format!("{name} lies outside the code"));
        }
        entries.insert(name, s.address());
    }
    Ok(Text { bytes, entries })
}
