//! `manifest.json`: what a bundle is, needs and came from.

use crate::system;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sinter_backends::c::place::{Placed, placement};
use sinter_backends::fat::Share;
use sinter_ir::Result;
use sinter_ir::graph::{SymKind, SymbolInfo, Symbols};
use sinter_ir::program::{Port, Program};
use sinter_ir::target::{MemoryKind, TargetDesc};
use sinter_llm::LanguageModel;
use std::collections::BTreeMap;
use std::path::Path;

/// Version of this schema; readers refuse a newer one.
pub const SCHEMA: u32 = 1;

/// A model input or output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortInfo {
    /// Name in the model.
    pub name: String,
    /// Element type.
    pub dtype: sinter_ir::DType,
    /// Dims as text, with symbol names.
    pub dims: Vec<String>,
    /// Smallest and largest value per dim.
    pub range: Vec<(usize, usize)>,
    /// Bytes at the largest dims.
    pub max_bytes: u64,
}

/// A symbolic dim that the caller chooses at run time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DimInfo {
    /// Name in the model.
    pub name: String,
    /// Smallest value.
    pub min: i64,
    /// Largest value.
    pub max: i64,
}

/// Code for one of several levels of instruction sets in a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LevelInfo {
    /// Target name.
    pub target: String,
    /// ISA features that this code needs.
    pub features: Vec<String>,
    /// Its machine code, without what all levels share.
    pub code_bytes: u64,
    /// Weights that it reads.
    pub weights_bytes: u64,
    /// Those of them that are packed for this level alone.
    pub own_weights_bytes: u64,
    /// Arena that it needs.
    pub arena_bytes: u64,
}

impl LevelInfo {
    /// Describes a level.
    pub fn new(target: &TargetDesc, share: Share, code: &BTreeMap<String, u64>) -> Self {
        Self {
            target: target.name.clone(),
            features: target.features.clone(),
            code_bytes: code.values().sum(),
            weights_bytes: share.weights_bytes,
            own_weights_bytes: share.own_weights_bytes,
            arena_bytes: share.arena_bytes,
        }
    }
}

/// The whole manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Schema version.
    pub schema: u32,
    /// Compiler version.
    pub sinter: String,
    /// Version of the C ABI.
    pub abi: u32,
    /// C symbol prefix and file stem.
    pub name: String,
    /// Target name and object triple.
    pub target: String,
    /// Object triple.
    pub triple: String,
    /// ISA features that the code needs; of several levels, those that all need.
    pub features: Vec<String>,
    /// The levels that `init` chooses from, first that fits; empty in a bundle for one target.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub levels: Vec<LevelInfo>,
    /// SHA-256 of every input file, by file name.
    pub sources: BTreeMap<String, String>,
    /// Flags that shape the output.
    pub flags: BTreeMap<String, String>,
    /// What the model's file says of itself: labels, alphabets, whatever its makers put there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Choices that were measured, by target: `compile --tuned` takes them from here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tuned: BTreeMap<String, crate::tune::Answers>,
    /// Open dims.
    pub dims: Vec<DimInfo>,
    /// Inputs in call order.
    pub inputs: Vec<PortInfo>,
    /// Outputs in call order.
    pub outputs: Vec<PortInfo>,
    /// What the caller keeps from run to run, in the order in which it lies in the caller's block.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<PortInfo>,
    /// The dim that the sizes of states depend on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<DimInfo>,
    /// Arena that the caller provides.
    pub arena_bytes: u64,
    /// Largest sum of live buffers: the lower bound of the arena.
    pub live_bytes: u64,
    /// Packed weights.
    pub weights_bytes: u64,
    /// Which of the device's memories the arena and the weights lie in, where it has several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<PlaceInfo>,
    /// Machine code.
    pub code_bytes: u64,
    /// What the runtime has to know of a language model: see `runtime/llm`. The bundle then has a tokenizer beside the
    /// code, and a chat template if the checkpoint has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub language_model: Option<LanguageModel>,
    /// SHA-256 of the other files of the bundle.
    pub files: BTreeMap<String, String>,
}

/// A part of a program in one of the device's memories.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceInfo {
    /// `arena` or `weights`.
    pub what: String,
    /// The memory, as its maker calls it.
    pub memory: String,
    /// What it is.
    pub kind: MemoryKind,
    /// The linker's section, where it is not the usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section: Option<String>,
    /// Bytes of the part.
    pub bytes: u64,
    /// Bytes of the memory.
    pub of_bytes: u64,
}

/// Where the parts of a program lie, as far as a device's memories are known.
fn places(program: &Program, target: &TargetDesc) -> Vec<PlaceInfo> {
    let info = |p: Placed| PlaceInfo {
        what: p.what.to_owned(),
        memory: p.region.name.clone(),
        kind: p.region.kind,
        section: p.region.section.clone(),
        bytes: p.bytes,
        of_bytes: p.region.bytes,
    };
    placement(program, target).into_iter().map(info).collect()
}

/// SHA-256 in hex.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// SHA-256 of a file in hex; only a piece of it is in memory at a time.
pub fn sha256_of_file(path: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    system::read_pieces(path, |piece| hash.update(piece))?;
    Ok(hex(&hash.finalize()))
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

impl PortInfo {
    /// Describes a port under the module's symbols.
    pub fn of(port: &Port, symbols: &Symbols) -> Self {
        let range = |d| {
            let (lo, hi) = symbols.range(d);
            (usize::try_from(lo).unwrap_or(0), usize::try_from(hi).unwrap_or(0))
        };
        Self {
            name: port.name.clone(),
            dtype: port.dtype,
            dims: port.dims.iter().map(|d| symbols.show(d)).collect(),
            range: port.dims.iter().map(range).collect(),
            max_bytes: port.max_bytes,
        }
    }
    /// For messages: `input f32[batch, 3, 224, 224]`.
    pub fn show(&self) -> String {
        format!("{} {}[{}]", self.name, self.dtype, self.dims.join(", "))
    }
    /// What `run` may feed.
    pub fn spec(&self) -> crate::data::InputSpec {
        crate::data::InputSpec { name: self.name.clone(), dtype: self.dtype, dims: self.range.clone() }
    }
}

impl Manifest {
    /// Everything that follows from the program and the target; files and sources are added by the caller.
    pub fn new(program: &Program, target: &TargetDesc, code_bytes: u64) -> Self {
        let port = |p| PortInfo::of(p, &program.symbols);
        let capacity = program.capacity().and_then(|s| program.symbols.info(s));
        let open = program.symbols.table.iter().filter(|s| s.kind == SymKind::Input && s.min != s.max);
        let dim = |s: &SymbolInfo| DimInfo { name: s.name.clone(), min: s.min, max: s.max };
        Self {
            schema: SCHEMA,
            sinter: env!("CARGO_PKG_VERSION").to_owned(),
            abi: sinter_abi::ABI_VERSION,
            name: program.name.clone(),
            target: target.name.clone(),
            triple: target.triple.clone(),
            features: target.features.clone(),
            levels: vec![],
            sources: BTreeMap::new(),
            flags: BTreeMap::new(),
            metadata: BTreeMap::new(),
            tuned: BTreeMap::new(),
            dims: open.map(dim).collect(),
            inputs: program.inputs.iter().map(port).collect(),
            outputs: program.outputs.iter().map(port).collect(),
            states: program.states.iter().map(port).collect(),
            capacity: capacity.map(dim),
            arena_bytes: program.arena_bytes,
            live_bytes: program.live_bytes,
            weights_bytes: program.weights_bytes(),
            places: places(program, target),
            code_bytes,
            language_model: None,
            files: BTreeMap::new(),
        }
    }
    /// Makes it that of a bundle for several levels, strongest first.
    pub fn several(&mut self, levels: &[LevelInfo]) {
        self.target = levels.iter().map(|l| l.target.as_str()).collect::<Vec<_>>().join(",");
        self.features.retain(|f| levels.iter().all(|l| l.features.contains(f)));
        self.levels = levels.to_vec();
    }
}
