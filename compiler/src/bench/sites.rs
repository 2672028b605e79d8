//! What every kernel call of a program has to do: operations and bytes, whatever it takes.

use bytes::Bytes;
use sinter_backends as backends;
use sinter_ir::program::{Loc, Program};
use sinter_ir::target::TargetDesc;
use sinter_ir::tile::{Access, Inst, Stmt};
use sinter_ir::{Expr, Result, Sym};
use sinter_passes::report::{KernelStat, PassReport};
use sinter_passes::work::Work;

/// A kernel call or a copy.
#[derive(Debug, Clone)]
pub struct SiteInfo {
    /// The kernel, or `copy`.
    pub kernel: String,
    /// The user's node.
    pub label: String,
    /// Core ops that it computes.
    pub ops: String,
    /// Its arithmetic.
    pub work: Work,
    /// Bytes that it must read, buffer by buffer.
    pub reads: Vec<Expr>,
    /// Bytes that it must write.
    pub writes: Vec<Expr>,
    /// Which of `reads` are weights: a run reads them once, so that no near cache still holds them.
    pub weights: Vec<bool>,
    /// What multiplies.
    pub unit: Unit,
}

/// A program that measures itself.
#[derive(Debug, Clone)]
pub struct Measured {
    /// Static archive.
    pub archive: Bytes,
    /// What is measured, by the numbers of the sites.
    pub sites: Vec<SiteInfo>,
    /// Symbols of the program.
    pub symbols: usize,
}

impl Measured {
    /// Emits the program for measuring.
    pub fn new(program: &Program, target: &TargetDesc, report: &PassReport) -> Result<Self> {
        let archive = backends::emit_measured(program, target)?.archive.into();
        Ok(Self { archive, sites: sites(program, report), symbols: program.symbols.table.len() })
    }
}

/// All sites of a program. The passes told the calls in the order of the program.
pub fn sites(program: &Program, report: &PassReport) -> Vec<SiteInfo> {
    let mut stats = report.kernels.iter();
    let one = |site: backends::Site| {
        let kernel = site.kernel.and_then(|k| program.kernels.get(k as usize));
        let Some(kernel) = kernel else {
            let bytes = site.bytes.unwrap_or_default();
            return SiteInfo {
                kernel: "copy".into(),
                label: site.label,
                ops: String::new(),
                work: Work::default(),
                reads: vec![bytes.clone()],
                writes: vec![bytes],
                weights: vec![false],
                unit: Unit::Fma,
            };
        };
        let stat = stats.next().cloned().unwrap_or_default();
        let used = |access: Access| {
            let bufs = kernel.bufs.iter().zip(&site.sizes);
            let bufs = bufs.filter(move |(b, _)| b.access == access || b.access == Access::ReadWrite);
            bufs.map(|(_, bytes)| bytes.clone()).collect::<Vec<_>>()
        };
        let read = kernel.bufs.iter().zip(&site.places);
        let read = read.filter(|(b, _)| matches!(b.access, Access::Read | Access::ReadWrite));
        let weights = read.map(|(_, place)| matches!(place, Loc::Weights { .. })).collect();
        let writes = used(Access::Write);
        let mut reads = used(Access::Read);
        if stat.ops.contains("Gather") {
            // Of a table no more is read than comes out.
            let most = writes.iter().fold(Expr::from(0), |a, b| a + b.clone());
            reads.iter_mut().for_each(|r| *r = r.min_of(&most));
        }
        let KernelStat { ops, work, .. } = stat;
        let name = kernel.name.clone();
        let unit = unit(&kernel.body);
        SiteInfo { kernel: name, label: site.label, ops, work, reads, writes, weights, unit }
    };
    backends::sites(program).into_iter().map(one).collect()
}

/// What multiplies in a kernel: the peak that it is measured against.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unit {
    /// Multiply-adds of f32.
    #[default]
    Fma,
    /// Dot products of bf16.
    Bf16,
    /// Dot products of bytes.
    Dot8,
}

fn unit(body: &[Stmt]) -> Unit {
    let one = |s: &Stmt| match s {
        Stmt::Let { inst: Inst::Dot4 { .. } | Inst::Mat8 { .. }, .. } => Unit::Dot8,
        Stmt::Let { inst: Inst::Dot2 { .. } | Inst::Mat4 { .. }, .. } => Unit::Bf16,
        _ => s.blocks().into_iter().map(|b| unit(b)).max().unwrap_or_default(),
    };
    body.iter().map(one).max().unwrap_or_default()
}

/// Numbers of a site at given values of the symbols.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Needs {
    /// Operations.
    pub operations: f64,
    /// Bytes read and written.
    pub bytes: f64,
    /// Those of them that are weights.
    pub weights: f64,
}

impl SiteInfo {
    /// What one visit needs.
    pub fn needs(&self, value: &dyn Fn(Sym) -> Option<i64>) -> Needs {
        let number = |e: &Expr| e.eval(value).unwrap_or(0).max(0) as f64;
        let weights = self.reads.iter().zip(&self.weights).filter(|(_, w)| **w);
        let all = self.reads.iter().chain(&self.writes).map(number).sum();
        let share = self.work.part as f64 / self.work.parts.max(1) as f64;
        Needs {
            operations: number(&self.work.operations) * share,
            bytes: self.work.bytes.as_ref().map_or(all, number),
            weights: weights.map(|(e, _)| number(e)).sum(),
        }
    }
}
