//! Samples of a model's inputs, read from files one at a time.

use crate::data::{self, InputSpec, npz, picture::Normalise};
use crate::manifest::{sha256, sha256_of_file};
use crate::system;
use sinter_ir::{Diag, Module, Result, Tensor};
use std::path::{Path, PathBuf};

/// Where samples come from.
#[derive(Debug, Clone, Default)]
pub struct Data {
    /// Files and folders, as INPUT=PATH where a model has several inputs and each its own files.
    pub paths: Vec<String>,
    /// Shapes of inputs with open dims, for pictures.
    pub shapes: Vec<(String, Vec<usize>)>,
    /// What becomes of pixels.
    pub normalise: Normalise,
}

/// Something that one input is read from.
#[derive(Debug, Clone)]
struct Place {
    file: PathBuf,
    /// Which of several samples that lie in a file one behind the other.
    part: Option<usize>,
}

/// Samples, not yet read.
pub struct Samples<'a> {
    specs: Vec<InputSpec>,
    data: &'a Data,
    /// A place for every input, or one file with all of them.
    list: Vec<Vec<Place>>,
}

/// What the inputs of a module accept.
pub fn specs(module: &Module) -> Vec<InputSpec> {
    let g = &module.graph;
    let bound = |d: &sinter_ir::Expr| {
        let (lo, hi) = module.symbols.range(d);
        (usize::try_from(lo).unwrap_or(0), usize::try_from(hi).unwrap_or(usize::MAX))
    };
    let spec = |v: &sinter_ir::ValueId| {
        let (ty, name) = (g.ty(*v), g.value(*v).name.as_deref().unwrap_or_default());
        InputSpec { name: name.to_owned(), dtype: ty.dtype, dims: ty.dims.iter().map(bound).collect() }
    };
    g.inputs.iter().map(spec).collect()
}

impl<'a> Samples<'a> {
    /// Finds all samples for a module's inputs.
    pub fn new(module: &Module, data: &'a Data) -> Result<Self> {
        let mut specs = specs(module);
        for (name, shape) in &data.shapes {
            let spec = specs.iter_mut().find(|s| s.name == *name && s.dims.len() == shape.len());
            let spec = spec.ok_or_else(|| {
                Diag::input(format!("--shape {name}: the model has no input of this name and rank"))
            })?;
            spec.dims = shape.iter().map(|d| (*d, *d)).collect();
        }
        let mut found = Self { specs, data, list: vec![] };
        let mut columns: Vec<Vec<Place>> = vec![vec![]; found.specs.len()];
        for path in &data.paths {
            let named = path.split_once('=').and_then(|(n, f)| Some((found.input(n)?, f)));
            match named {
                Some((i, file)) => {
                    for file in files(Path::new(file))? {
                        let places = found.places(&file, i)?;
                        columns.get_mut(i).into_iter().for_each(|c| c.extend(places.iter().cloned()));
                    }
                }
                None => found.whole(Path::new(path))?,
            }
        }
        found.together(columns)?;
        Ok(found)
    }
    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
    /// What names a sample in messages.
    pub fn name(&self, i: usize) -> String {
        let first = self.list.get(i).and_then(|l| l.first());
        let part = |p: &Place| p.part.map_or(String::new(), |n| format!(", sample {n}"));
        first.map_or_else(String::new, |p| format!("{}{}", p.file.display(), part(p)))
    }
    /// The inputs of a sample.
    pub fn get(&self, i: usize) -> Result<Vec<Tensor>> {
        let places = self.list.get(i).ok_or_else(|| Diag::bug("a sample that is not there"))?;
        if let [Place { file, part: None }] = places.as_slice()
            && is_npz(file)
        {
            let mut arrays = npz::read(&system::read(file)?).map_err(|d| at(file, d))?;
            let mut take = |(i, spec): (usize, &InputSpec)| {
                let names = [spec.name.clone(), format!("input_{i}"), format!("arr_{i}")];
                let t = names.iter().find_map(|n| arrays.remove(n));
                let t = t.ok_or_else(|| at(file, Diag::input(format!("it has no array `{}`", spec.name))))?;
                checked(t, spec).map_err(|d| at(file, d))
            };
            return self.specs.iter().enumerate().map(&mut take).collect();
        }
        places.iter().zip(&self.specs).map(|(p, spec)| self.read(p, spec)).collect()
    }
    /// SHA-256 over those of all files.
    pub fn sum(&self) -> Result<String> {
        let mut sums = String::new();
        let mut last = None;
        for p in self.list.iter().flatten() {
            if last != Some(&p.file) {
                sums += &sha256_of_file(&p.file)?;
            }
            last = Some(&p.file);
        }
        Ok(sha256(sums.as_bytes()))
    }
    fn input(&self, name: &str) -> Option<usize> {
        self.specs.iter().position(|s| s.name == name)
    }
    fn read(&self, p: &Place, spec: &InputSpec) -> Result<Tensor> {
        let bytes = system::read(&p.file)?;
        let t = data::read(&p.file.to_string_lossy(), &bytes, spec, &self.data.normalise)?;
        let t = match p.part {
            Some(n) => part(&t, spec, n).ok_or_else(|| Diag::bug("a sample that was counted"))?,
            None => t,
        };
        checked(t, spec).map_err(|d| at(&p.file, d))
    }
    /// The samples that one file holds for one input.
    fn places(&self, file: &Path, i: usize) -> Result<Vec<Place>> {
        let spec = self.specs.get(i).ok_or_else(|| Diag::bug("an input that is not there"))?;
        let one = Place { file: file.to_owned(), part: None };
        if !file.extension().is_some_and(|e| e.eq_ignore_ascii_case("npy")) {
            return Ok(vec![one]);
        }
        let t = data::npy::read(&system::read(file)?).map_err(|d| at(file, d))?;
        if fits(t.shape(), spec) {
            return Ok(vec![one]);
        }
        let all = (0..).take_while(|n| part(&t, spec, *n).is_some());
        let all: Vec<Place> = all.map(|n| Place { part: Some(n), ..one.clone() }).collect();
        match all.is_empty() {
            true => Err(at(file, wrong(&t, spec))),
            false => Ok(all),
        }
    }
    /// Samples of all inputs from a path without a name.
    fn whole(&mut self, path: &Path) -> Result<()> {
        if system::is_dir(path) {
            let inside = system::list(path)?;
            // A folder like those of ONNX's tests: one file for every input.
            let of = |(i, s): (usize, &InputSpec)| {
                let stem = |f: &&PathBuf| {
                    let stem = f.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
                    stem == format!("input_{i}") || stem == s.name
                };
                inside.iter().find(stem).map(|f| Place { file: f.clone(), part: None })
            };
            let all: Option<Vec<Place>> = self.specs.iter().enumerate().map(of).collect();
            if let Some(all) = all {
                self.list.push(all);
                return Ok(());
            }
            return inside.iter().filter(|f| system::is_dir(f) || known(f)).try_for_each(|f| self.whole(f));
        }
        if is_npz(path) {
            self.list.push(vec![Place { file: path.to_owned(), part: None }]);
            return Ok(());
        }
        if let [_] = self.specs.as_slice() {
            let places = self.places(path, 0)?;
            self.list.extend(places.into_iter().map(|p| vec![p]));
            return Ok(());
        }
        let names: Vec<&str> = self.specs.iter().map(|s| s.name.as_str()).collect();
        let d = Diag::input(format!("{}: the model has {} inputs", path.display(), names.len()));
        Err(d.help(format!(
            "give .npz files with arrays named {}, or files of every input as NAME=FILE",
            names.join(", ")
        )))
    }
    /// Samples from files that were named input by input.
    fn together(&mut self, columns: Vec<Vec<Place>>) -> Result<()> {
        let counts: Vec<usize> = columns.iter().map(Vec::len).collect();
        let n = counts.iter().copied().max().unwrap_or(0);
        if counts.iter().any(|c| *c != n) {
            let each = self.specs.iter().zip(&counts).map(|(s, c)| format!("{} {c}", s.name));
            let each: Vec<String> = each.collect();
            return Err(Diag::input(format!(
                "inputs have different numbers of samples: {}",
                each.join(", ")
            )));
        }
        let row = |i: usize| columns.iter().filter_map(|c| c.get(i).cloned()).collect::<Vec<_>>();
        self.list.extend((0..n).map(row));
        Ok(())
    }
}

fn at(file: &Path, d: Diag) -> Diag {
    Diag { message: format!("{}: {}", file.display(), d.message), ..d }
}

fn is_npz(file: &Path) -> bool {
    file.extension().is_some_and(|e| e.eq_ignore_ascii_case("npz"))
}

/// Files that folders are searched for.
fn known(file: &Path) -> bool {
    let endings = ["png", "jpg", "jpeg", "npy", "npz", "pb", "wav", "json"];
    file.extension().is_some_and(|e| endings.iter().any(|k| e.eq_ignore_ascii_case(k)))
}

/// A file, or those in a folder in the order of their names.
fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if !system::is_dir(path) {
        return Ok(vec![path.to_owned()]);
    }
    Ok(system::list(path)?.into_iter().filter(|f| known(f)).collect())
}

fn fits(shape: &[usize], spec: &InputSpec) -> bool {
    shape.len() == spec.dims.len() && shape.iter().zip(&spec.dims).all(|(d, r)| (r.0..=r.1).contains(d))
}

fn wrong(t: &Tensor, spec: &InputSpec) -> Diag {
    Diag::input(format!("{}{:?} does not fit input `{}` {}", t.dtype(), t.shape(), spec.name, spec.show()))
}

fn checked(t: Tensor, spec: &InputSpec) -> Result<Tensor> {
    if !fits(t.shape(), spec) {
        return Err(wrong(&t, spec));
    }
    match t.dtype() == spec.dtype {
        true => Ok(t),
        // NumPy makes f64 and i64 where nothing else is said.
        false if t.dtype().is_float() && spec.dtype.is_float() => {
            Tensor::from_f64(spec.dtype, t.shape().to_vec(), &t.to_f64()?)
        }
        false if t.dtype().is_int() && spec.dtype.is_int() => {
            Tensor::from_i64(spec.dtype, t.shape().to_vec(), &t.to_i64()?)
        }
        false => Err(wrong(&t, spec)),
    }
}

/// Sample `n` of an array that has many along its first axis, beyond what the model takes at once.
fn part(t: &Tensor, spec: &InputSpec, n: usize) -> Option<Tensor> {
    let (&rows, rest) = t.shape().split_first()?;
    let added = rest.len() == spec.dims.len();
    let take = if added { 1 } else { spec.dims.first()?.1.min(spec.dims.first()?.0.max(1)) };
    let shape = if added { rest.to_vec() } else { [&[take], rest].concat() };
    if take == 0 || !fits(&shape, spec) || (n + 1) * take > rows || t.dtype().bits() < 8 {
        return None;
    }
    let bytes = take * rest.iter().product::<usize>() * t.dtype().bits() / 8;
    let data = t.bytes().get(n * bytes..(n + 1) * bytes)?;
    Tensor::from_bytes(t.dtype(), shape, data.to_vec()).ok()
}
