//! How much memory there is: a size, or one of the device's memories by its name.

use sinter_ir::target::{MemoryKind, TargetDesc};
use sinter_ir::{Diag, Result};

/// What `--max-ram` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Room {
    /// So many bytes.
    Bytes(u64),
    /// What the memory of this name has.
    Memory(String),
}

impl Room {
    /// Reads a size or a name.
    pub fn parse(text: &str) -> std::result::Result<Self, String> {
        let name = text.starts_with(|c: char| c.is_ascii_alphabetic());
        if name { Ok(Self::Memory(text.to_owned())) } else { super::bytes(text).map(Self::Bytes) }
    }
    /// The bytes on devices; all must have a memory that is named.
    pub fn bytes(&self, targets: &[String]) -> Result<u64> {
        let name = match self {
            Self::Bytes(n) => return Ok(*n),
            Self::Memory(name) => name,
        };
        let on = |target: &String| {
            let t = sinter_backends::target(target);
            let all = t.map_or(&[][..], |t: &TargetDesc| &t.memory.regions);
            let ram = || all.iter().filter(|r| r.kind != MemoryKind::Flash);
            ram().find(|r| r.name == *name).map(|r| r.bytes).ok_or_else(|| {
                let names: Vec<&str> = ram().map(|r| r.name.as_str()).collect();
                let has = if names.is_empty() { "none by name".to_owned() } else { names.join(", ") };
                Diag::input(format!("--max-ram: {target} has no memory `{name}`"))
                    .help(format!("its memories: {has}; or say how many bytes there are, like 256K"))
            })
        };
        let sizes = targets.iter().map(on).collect::<Result<Vec<u64>>>()?;
        Ok(sizes.into_iter().min().unwrap_or(0))
    }
}
