//! Modules written out between passes (`--dump-ir`), and read back to go on from there (`--start-from`).
//!
//! A folder holds one text per pass (`03-fold.mir`), the program's (`12-assemble.txt`), the data of large constants of
//! all modules (`constants.bin`), and an index (`dump.json`) of what a bundle tells about its past: sources, flags, warnings, counted rules. With it
//! a compilation that goes on from a text gives the same bytes as one that was never interrupted. A text that was
//! edited has no past: the bundle then names the text itself as its source.

use crate::manifest::{hex, sha256};
use crate::system;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sinter_ir::graph::text::ConstTable;
use sinter_ir::program::Program;
use sinter_ir::{Diag, Module, Result};
use sinter_passes::pipeline;
use sinter_passes::report::PassReport;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Extension of a module's text.
pub const EXTENSION: &str = "mir";
const CONSTANTS: &str = "constants.bin";
const INDEX: &str = "dump.json";

/// What a bundle tells about the time before its passes ran.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Past {
    /// SHA-256 of every input file, by file name.
    pub sources: BTreeMap<String, String>,
    /// Flags that shape the output.
    pub flags: BTreeMap<String, String>,
    /// What the model's file says of itself.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// Things in the model that look wrong.
    pub warnings: Vec<String>,
    /// What passes did.
    pub report: PassReport,
}

/// `dump.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Index {
    /// SHA-256 of `constants.bin`.
    constants: String,
    /// By file name: SHA-256 of the text, and its past.
    modules: BTreeMap<String, (String, Past)>,
}

/// A folder of dumps being written. The first error is kept for the end: passes do not wait for files.
pub struct Dump {
    dir: PathBuf,
    before: Past,
    table: ConstTable,
    index: Index,
    problem: Option<Diag>,
}

impl Dump {
    /// Starts; the report of `before` is replaced by that of each module.
    pub fn new(dir: &Path, before: &Past) -> Self {
        let (table, index) = (ConstTable::default(), Index::default());
        Self { dir: dir.to_owned(), before: before.clone(), table, index, problem: None }
    }
    /// Writes the text of the module that was imported.
    pub fn imported(&mut self, m: &Module) {
        let report = self.before.report.clone();
        self.write("00-import", m, &report);
    }
    /// Writes the text after a pass.
    pub fn pass(&mut self, name: &str, m: &Module, report: &PassReport) {
        let number = pipeline::position(name).map_or(0, |p| p + 1);
        self.write(&format!("{number:02}-{name}"), m, report);
    }
    fn write(&mut self, stem: &str, m: &Module, report: &PassReport) {
        let name = format!("{stem}.{EXTENSION}");
        let text = m.to_text(&mut self.table);
        self.file(&name, &text);
        let past = Past { report: report.clone(), ..self.before.clone() };
        self.index.modules.insert(name, (sha256(text.as_bytes()), past));
    }
    /// Writes the text of the program; for reading only.
    pub fn program(&mut self, p: &Program) {
        let name = format!("{:02}-{}.txt", pipeline::PASSES.len() + 1, pipeline::ASSEMBLE);
        self.file(&name, &p.dump_text());
    }
    fn file(&mut self, name: &str, text: &str) {
        if let Err(d) = system::write_file(&self.dir.join(name), text.as_bytes()) {
            self.problem.get_or_insert(d);
        }
    }
    /// Writes the constants and the index.
    pub fn finish(mut self) -> Result<()> {
        if let Some(d) = self.problem {
            return Err(d);
        }
        let padding = [0u8; 64];
        let (mut parts, mut end): (Vec<&[u8]>, u64) = (Vec::new(), 0);
        for (at, data) in self.table.chunks() {
            parts.push(padding.get(..(at - end) as usize).unwrap_or(&padding));
            parts.push(data);
            end = at + data.len() as u64;
        }
        let mut hash = Sha256::new();
        parts.iter().for_each(|p| hash.update(p));
        self.index.constants = hex(&hash.finalize());
        system::write_parts(&self.dir.join(CONSTANTS), &parts)?;
        let index = serde_json::to_string_pretty(&self.index)
            .map_err(|e| Diag::bug(format!("writing {INDEX}: {e}")))?;
        system::write_file(&self.dir.join(INDEX), (index + "\n").as_bytes())
    }
}

/// Whether a model file is a dumped text.
pub fn is_dump(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == EXTENSION)
}

/// Reads a dumped text with its constants and its past.
pub fn read(path: &Path) -> Result<(Module, Past)> {
    let beside = |name: &str| path.with_file_name(name);
    let bytes = system::read(path)?;
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let text = std::str::from_utf8(&bytes).map_err(|_| Diag::input(format!("{name} is not UTF-8 text")))?;
    let constants = match system::exists(&beside(CONSTANTS)) {
        true => system::map(&beside(CONSTANTS))?,
        false => Bytes::new(),
    };
    let in_file = |d: Diag| Diag { message: format!("{name}: {}", d.message), ..d };
    let module = Module::from_text(text, &constants).map_err(in_file)?;
    let hashes = (sha256(&bytes), sha256(&constants));
    let past = match known_past(&beside(INDEX), &name, &hashes)? {
        Some(past) => past,
        None => {
            let sources = BTreeMap::from([(name, hashes.0), (CONSTANTS.to_owned(), hashes.1)]);
            Past { sources, ..Past::default() }
        }
    };
    Ok((module, past))
}

/// The past of a text that is still what was written.
fn known_past(index: &Path, name: &str, hashes: &(String, String)) -> Result<Option<Past>> {
    if !system::exists(index) {
        return Ok(None);
    }
    let index: Index = serde_json::from_slice(&system::read(index)?)
        .map_err(|e| Diag::input(format!("{}: {e}", index.display())))?;
    let known = index.modules.get(name).filter(|m| m.0 == hashes.0 && index.constants == hashes.1);
    Ok(known.map(|m| m.1.clone()))
}
