//! What callers must know of a kernel.

use crate::Sym;
use crate::tile::{Buf, Elem, Inst, Kernel, Stmt};
use std::collections::BTreeSet;

/// Needs and effects of a kernel.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Symbols that must have values before.
    pub needs: BTreeSet<Sym>,
    /// Symbols that it defines.
    pub sets: Vec<Sym>,
    /// Alignment in bytes per buffer: that of the widest element.
    pub align: Vec<u64>,
}

impl Facts {
    pub fn of(k: &Kernel) -> Self {
        let mut f = Self { sets: k.defines(), align: vec![1; k.bufs.len()], ..Self::default() };
        f.block(k, &k.body);
        f.needs.extend(k.bufs.iter().map(|b| &b.bytes).chain(&k.parallel).flat_map(|e| e.syms()));
        f.needs.retain(|s| !f.sets.contains(s));
        f
    }
    fn access(&mut self, b: Buf, e: Elem) {
        if let Some(a) = self.align.get_mut(b.0 as usize) {
            *a = (*a).max(e.bytes().into());
        }
    }
    fn block(&mut self, k: &Kernel, body: &[Stmt]) {
        for s in body {
            match s {
                Stmt::Let { dst, inst: Inst::Load { buf, .. } | Inst::LoadGather { buf, .. } } => {
                    self.access(*buf, k.ty(*dst).elem);
                }
                Stmt::Let { inst: Inst::Dim(e), .. } => self.needs.extend(e.syms()),
                Stmt::Store { buf, value, .. } => self.access(*buf, k.ty(*value).elem),
                _ => {}
            }
            s.blocks().into_iter().for_each(|b| self.block(k, b));
        }
    }
}
