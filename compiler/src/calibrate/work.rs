//! Finished pieces of a calibration, or of a step of pruning, in a folder, so that interrupted work goes on behind them.
//!
//! `calibration-KEY/` holds for one model, text, recipe and machine: `schemes` (what mixed recipes chose), `piece-N`
//! (codes, or pruned weights), and `carried` (what the last finished piece gave for every window). Every file is written whole under another
//! name first; `carried` comes behind its piece and says where to go on.
//! A file is `SINTWORK`, the length of a JSON header (u64, little-endian), the header, and tensors one behind the other.

use super::runner::Stream;
use crate::manifest::sha256;
use crate::system;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sinter_ir::{DType, Diag, Result, Tensor};
use sinter_passes::compress::{Calibrated, Codes, Error, Layer, LayerStat, Scheme};
use sinter_passes::prune::shelf::Shelf;
use sinter_passes::prune::units::shrink::Removed;
use sinter_passes::prune::{PruneStat, Pruned};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"SINTWORK";
const FOLDER: &str = "calibration-";

/// A tensor in a file.
type Place = (DType, Vec<usize>);

#[derive(Serialize, Deserialize)]
struct Matrix {
    middle: i64,
    float: bool,
    block: usize,
    error: Error,
    stat: LayerStat,
    /// Codes, scales, zero points, minima, factors of inputs.
    parts: [Option<Place>; 5],
}

#[derive(Serialize, Deserialize)]
struct Piece {
    layers: BTreeMap<String, Matrix>,
    warnings: Vec<String>,
}

/// What a step of pruning made of a piece.
#[derive(Serialize, Deserialize)]
struct Cut {
    weights: Vec<(String, Place)>,
    units: Vec<Removed>,
    stats: Vec<PruneStat>,
    warnings: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Carried {
    /// Pieces that are finished.
    done: usize,
    streams: Vec<Vec<Place>>,
}

/// Where finished pieces of one calibration are.
pub struct Work(PathBuf);

impl Work {
    /// In a folder, for what the words describe: everything that results depend on.
    pub fn new(folder: &Path, words: &[String]) -> Self {
        let key = sha256(words.join("\n").as_bytes());
        Self(folder.join(format!("{FOLDER}{}", key.get(..16).unwrap_or_default())))
    }
    /// Takes all work out of a folder, and the folder where nothing else is in it.
    pub fn discard(folder: &Path) -> Result<()> {
        if !system::is_dir(folder) {
            return Ok(());
        }
        let ours = |p: &PathBuf| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with(FOLDER));
        let all = system::list(folder)?;
        all.iter().filter(|p| ours(p)).try_for_each(|p| system::remove_dir(p))?;
        if all.iter().all(ours) { system::remove_dir(folder) } else { Ok(()) }
    }
    /// What a mixed recipe chose before.
    pub fn schemes(&self) -> Option<Vec<Vec<Scheme>>> {
        self.read("schemes").map(|(schemes, _)| schemes)
    }
    /// Keeps what a mixed recipe chose.
    pub fn keep_schemes(&self, schemes: &[Vec<Scheme>]) -> Result<()> {
        self.write("schemes", &schemes, &[])
    }
    /// How many pieces are finished, what became of them, and what the last of them gave in every stream. A damaged file
    /// counts as none.
    pub fn finished(&self) -> Option<(usize, Calibrated, Vec<Stream>)> {
        let (done, carried) = self.carried()?;
        let mut out = Calibrated::default();
        for i in 0..done {
            let (piece, mut data) = self.read::<Piece>(&format!("piece-{i}"))?;
            for (name, m) in piece.layers {
                out.layers.insert(name, layer(m, &mut data)?);
            }
            out.warnings.extend(piece.warnings);
        }
        Some((done, out, carried))
    }
    /// The same of a step of pruning; weights go to a shelf.
    pub fn pruned(&self, shelf: &mut Shelf<'_>) -> Option<(usize, Pruned, Vec<Stream>)> {
        let (done, carried) = self.carried()?;
        let mut out = Pruned::default();
        for i in 0..done {
            let (cut, mut data) = self.read::<Cut>(&format!("piece-{i}"))?;
            for (name, place) in cut.weights {
                out.weights.insert(name, shelf.keep(take(&mut data, &place)?).ok()?);
            }
            out.add(Pruned {
                units: cut.units,
                stats: cut.stats,
                warnings: cut.warnings,
                ..Pruned::default()
            });
        }
        Some((done, out, carried))
    }
    /// How many pieces are finished, and all streams behind the last of them.
    fn carried(&self) -> Option<(usize, Vec<Stream>)> {
        let (head, mut data) = self.read::<Carried>("carried")?;
        let mut stream =
            |places: &Vec<Place>| places.iter().map(|p| take(&mut data, p)).collect::<Option<Stream>>();
        let carried = head.streams.iter().map(&mut stream).collect::<Option<Vec<Stream>>>()?;
        Some((head.done, carried))
    }
    /// Keeps a piece: its matrices and warnings, and what it gave.
    pub fn keep(
        &self,
        i: usize,
        layers: &BTreeMap<&String, &Layer>,
        warnings: &[String],
        carried: &[&[Tensor]],
    ) -> Result<()> {
        let mut tensors = vec![];
        let mut piece = Piece { layers: BTreeMap::new(), warnings: warnings.to_vec() };
        for (name, l) in layers {
            let c = &l.codes;
            let parts =
                [Some(&c.codes), Some(&c.scale), c.zero.as_ref(), c.minimum.as_ref(), l.inverse.as_ref()];
            tensors.extend(parts.into_iter().flatten());
            let parts = parts.map(|t| t.map(place));
            let m = Matrix {
                middle: c.middle,
                float: c.float,
                block: c.block,
                error: c.error,
                stat: l.stat.clone(),
                parts,
            };
            piece.layers.insert(String::clone(name), m);
        }
        self.write(&format!("piece-{i}"), &piece, &tensors)?;
        self.go_on(i, carried)
    }
    /// Keeps what a step of pruning made of a piece, and what it gave.
    pub fn keep_pruned(&self, i: usize, made: &Pruned, carried: &[Tensor]) -> Result<()> {
        let tensors: Vec<Tensor> = made.weights.values().map(Tensor::load).collect::<Result<_>>()?;
        let weights = made.weights.keys().cloned().zip(tensors.iter().map(place)).collect();
        let Pruned { units, stats, warnings, .. } = made.clone();
        let cut = Cut { weights, units, stats, warnings };
        self.write(&format!("piece-{i}"), &cut, &tensors.iter().collect::<Vec<_>>())?;
        self.go_on(i, &[carried])
    }
    /// Says that a piece is finished.
    fn go_on(&self, i: usize, carried: &[&[Tensor]]) -> Result<()> {
        let streams = carried.iter().map(|s| s.iter().map(place).collect()).collect();
        let head = Carried { done: i + 1, streams };
        self.write("carried", &head, &carried.iter().copied().flatten().collect::<Vec<_>>())
    }
    fn write<T: Serialize>(&self, name: &str, head: &T, tensors: &[&Tensor]) -> Result<()> {
        let text = serde_json::to_vec(head).map_err(|e| Diag::bug(format!("writing JSON: {e}")))?;
        let length = (text.len() as u64).to_le_bytes();
        let mut parts: Vec<&[u8]> = vec![MAGIC, &length, &text];
        parts.extend(tensors.iter().map(|t| t.bytes()));
        system::write_parts(&self.0.join(name), &parts)
    }
    fn read<T: DeserializeOwned>(&self, name: &str) -> Option<(T, Bytes)> {
        let path = self.0.join(name);
        let bytes = system::exists(&path).then(|| system::read(&path).ok()).flatten()?;
        let rest = bytes.strip_prefix(MAGIC)?;
        let (length, rest) = rest.split_first_chunk()?;
        let (text, _) = rest.split_at_checked(u64::from_le_bytes(*length) as usize)?;
        let head = serde_json::from_slice(text).ok()?;
        Some((head, bytes.slice(16 + text.len()..)))
    }
}

fn place(t: &Tensor) -> Place {
    (t.dtype(), t.shape().to_vec())
}

fn take(data: &mut Bytes, (dtype, shape): &Place) -> Option<Tensor> {
    let bytes = sinter_ir::tensor::storage_bytes(*dtype, shape).ok().filter(|n| *n <= data.len())?;
    Tensor::from_bytes(*dtype, shape.clone(), data.split_to(bytes)).ok()
}

fn layer(m: Matrix, data: &mut Bytes) -> Option<Layer> {
    let mut parts = vec![];
    for p in &m.parts {
        parts.push(match p {
            Some(p) => Some(take(data, p)?),
            None => None,
        });
    }
    let [codes, scale, zero, minimum, inverse] = <[Option<Tensor>; 5]>::try_from(parts).ok()?;
    let (middle, float, block, error) = (m.middle, m.float, m.block, m.error);
    let codes = Codes { codes: codes?, scale: scale?, zero, minimum, middle, float, block, error };
    Some(Layer { codes, inverse, stat: m.stat })
}
