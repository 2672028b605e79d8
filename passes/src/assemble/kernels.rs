//! The program's kernel table: each distinct kernel once, names unique.

use crate::report::PassReport;
use crate::{math, tidy};
use sinter_ir::tile::Kernel;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Kernels collected so far.
#[derive(Debug, Default)]
pub struct KernelTable {
    have: math::Primitives,
    /// Kernels stay as lowerings wrote them: equal code then looks equal whatever the shapes.
    raw: bool,
    kernels: Vec<Kernel>,
    by_content: BTreeMap<u64, Vec<usize>>,
    names: BTreeSet<String>,
}

impl KernelTable {
    /// An empty table for kernels of a target.
    pub fn new(have: math::Primitives, raw: bool) -> Self {
        Self { have, raw, ..Self::default() }
    }
    /// Index of a kernel, which is added in its final form when no structurally equal one is there.
    pub fn add(&mut self, kernel: Kernel, report: &mut PassReport) -> u32 {
        // Once with functions whole, for what is known of them, and once when they are arithmetic.
        let tidy = |k: Kernel| if self.raw { k } else { tidy::run(k) };
        let mut kernel = tidy(math::expand(tidy(kernel), self.have));
        let bucket = self.by_content.entry(fingerprint(&kernel)).or_default();
        if let Some(&i) = bucket.iter().find(|&&i| same(&self.kernels[i], &kernel)) {
            report.fired("assemble/shared-kernel");
            return i as u32;
        }
        let mut n = 1;
        let base = kernel.name.clone();
        while !self.names.insert(kernel.name.clone()) {
            n += 1;
            kernel.name = format!("{base}_v{n}");
        }
        bucket.push(self.kernels.len());
        self.kernels.push(kernel);
        self.kernels.len() as u32 - 1
    }
    /// Name of a kernel.
    pub fn name(&self, index: u32) -> &str {
        self.kernels.get(index as usize).map_or("", |k| &k.name)
    }
    /// All kernels, in the order of their first call.
    pub fn finish(self) -> Vec<Kernel> {
        self.kernels
    }
}

/// Equality up to names of kernel and parameters.
pub(super) fn same(a: &Kernel, b: &Kernel) -> bool {
    let bufs = |k: &Kernel| k.bufs.iter().map(|b| (b.access, b.bytes.clone())).collect::<Vec<_>>();
    a.regs == b.regs && a.parallel == b.parallel && bufs(a) == bufs(b) && a.body == b.body
}

/// FNV-1a over the debug text: narrows candidates, equality is checked structurally.
pub(super) fn fingerprint(k: &Kernel) -> u64 {
    struct Fnv(u64);
    impl Write for Fnv {
        fn write_str(&mut self, s: &str) -> std::fmt::Result {
            self.0 = s.bytes().fold(self.0, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3));
            Ok(())
        }
    }
    let mut h = Fnv(0xcbf2_9ce4_8422_2325);
    // Writing to a hasher cannot fail.
    let _ = write!(h, "{:?}{:?}", k.regs, k.body);
    h.0
}
