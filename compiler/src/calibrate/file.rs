//! Statistics in a file, so that other recipes need not run the model again.
//!
//! `SINTSTA3`, the length of a JSON header (u64, little-endian), the header, then for every tap in its order the upper
//! triangle of the moments, the magnitudes and a sample of rows, as f32.

use super::Calibration;
use super::prepared::Prepared;
use super::runner::kept;
use crate::frontend::onnx::ImportOptions;
use crate::manifest::{sha256, sha256_of_file};
use crate::system::{self, Growing, Mapping};
use serde::{Deserialize, Serialize};
use sinter_ir::{Diag, Result};
use sinter_passes::compress::segments::Segment;
use sinter_passes::compress::stats::Statistics;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"SINTSTA3";

/// What statistics are of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// SHA-256 of the model's files, by name.
    pub model: BTreeMap<String, String>,
    /// SHA-256 of the text.
    pub text: String,
    /// Tokens of a window.
    pub window: usize,
    /// Windows that were read.
    pub windows: usize,
    /// What stands for the rotation of the model.
    basis: String,
    /// Channels, and products that read them.
    taps: Vec<(usize, Vec<String>)>,
}

impl Header {
    /// For the taps of all pieces.
    pub fn new(
        model: BTreeMap<String, String>,
        text: String,
        (window, windows): (usize, usize),
        basis: String,
        pieces: &[Segment],
    ) -> Self {
        let taps = pieces.iter().flat_map(|p| &p.taps);
        let taps = taps.map(|t| (t.k, t.products.iter().map(|p| p.name.clone()).collect())).collect();
        Self { model, text, window, windows, basis, taps }
    }
    /// Rows of every sample.
    fn sample(&self) -> usize {
        self.windows * kept(self.windows, self.window)
    }
}

/// Statistics that were stored, read one after the other.
pub struct Stored {
    file: Mapping,
    at: usize,
    rows: u64,
    sample: usize,
}

fn triangle(k: usize) -> usize {
    k * (k + 1) / 2
}

impl Stored {
    /// Opens a file, which must be of what the header says.
    pub fn open(path: &Path, header: &Header) -> Result<Self> {
        let bad = |why: &str| {
            let d = Diag::input(format!("--stats {}: {why}", path.display()));
            d.help("name a file that does not exist yet to make one")
        };
        let file = Mapping::of(path)?;
        let bytes = file.bytes();
        let (head, rest) = bytes.split_at_checked(16).ok_or_else(|| bad("no statistics"))?;
        let length = head.last_chunk().map_or(0, |l| u64::from_le_bytes(*l)) as usize;
        if !head.starts_with(MAGIC) || length > rest.len() {
            return Err(bad("no statistics"));
        }
        let (text, data) = rest.split_at(length);
        let found: Header = serde_json::from_slice(text).map_err(|_| bad("a damaged header"))?;
        if found != *header {
            return Err(bad("made of another model, another text or other windows"));
        }
        let need: usize = found.taps.iter().map(|t| 4 * (triangle(t.0) + (1 + header.sample()) * t.0)).sum();
        if data.len() != need {
            return Err(bad("it is cut off"));
        }
        Ok(Self {
            file,
            at: 16 + length,
            rows: (header.window * header.windows) as u64,
            sample: header.sample(),
        })
    }
    /// Those of the next piece.
    pub fn next(&mut self, piece: &Segment) -> Result<Vec<Statistics>> {
        piece.taps.iter().map(|t| self.tap(t.k)).collect()
    }
    fn tap(&mut self, k: usize) -> Result<Statistics> {
        let bytes = self.file.bytes();
        let end = self.at + 4 * (triangle(k) + (1 + self.sample) * k);
        let part = bytes.get(self.at..end).ok_or_else(|| Diag::bug("statistics that were counted"))?;
        self.at = end;
        let mut numbers = part.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b));
        let mut gram = vec![0f32; k * k];
        for i in 0..k {
            for j in i..k {
                let v = numbers.next().unwrap_or(0.0);
                for at in [i * k + j, j * k + i] {
                    if let Some(g) = gram.get_mut(at) {
                        *g = v;
                    }
                }
            }
        }
        let made = Statistics::new(self.rows, gram, numbers.by_ref().take(k).collect());
        let sample = numbers.collect();
        self.file.release();
        Ok(made?.seen(sample))
    }
}

/// Statistics while they are written.
pub struct Writer(Growing);

impl Writer {
    /// Begins a file beside `path`.
    pub fn create(path: &Path, header: &Header) -> Result<Self> {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file = Growing::create(folder)?;
        let text = serde_json::to_vec(header).map_err(|e| Diag::bug(format!("writing JSON: {e}")))?;
        file.append(MAGIC)?;
        file.append(&(text.len() as u64).to_le_bytes())?;
        file.append(&text)?;
        Ok(Self(file))
    }
    /// Adds those of the next piece.
    pub fn add(&mut self, all: &[Statistics]) -> Result<()> {
        for s in all {
            let rows = s.gram.chunks(s.k.max(1)).enumerate();
            let upper = rows.flat_map(|(i, row)| row.get(i..).unwrap_or(&[]));
            let bytes: Vec<u8> =
                upper.chain(&s.magnitude).chain(&s.sample).flat_map(|v| v.to_le_bytes()).collect();
            self.0.append(&bytes)?;
        }
        Ok(())
    }
    /// The file gets its name.
    pub fn finish(self, path: &Path) -> Result<()> {
        self.0.move_to(path)
    }
}

/// A file of statistics.
pub enum Kept {
    /// None is wanted.
    No,
    /// It is there.
    There(Stored),
    /// It is made.
    Missing(Writer),
}

impl Kept {
    /// The file of statistics of a model, where one is wanted.
    pub(super) fn new(m: &Prepared, import: &ImportOptions, how: &Calibration) -> Result<Self> {
        let Some(path) = &how.stats else { return Ok(Self::No) };
        let name = |f: &PathBuf| f.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let files = m.files.iter().map(|f| Ok((name(f), sha256_of_file(f)?))).collect::<Result<_>>()?;
        let basis = import.rotations.as_ref().map_or(String::new(), |r| sha256(format!("{r:?}").as_bytes()));
        let header = Header::new(files, sha256_of_file(&how.text)?, (m.window, m.windows), basis, &m.pieces);
        match system::exists(path) {
            true => Stored::open(path, &header).map(Self::There),
            false => Writer::create(path, &header).map(Self::Missing),
        }
    }
}
