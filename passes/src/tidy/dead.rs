//! Dropping assignments that nothing reads, loops that do nothing and registers that are left over.

use sinter_ir::tile::{Kernel, Reg, Stmt};

/// Removes dead code until there is none, then numbers the registers in the order of the text.
pub(super) fn run(kernel: &mut Kernel) {
    loop {
        let mut read = vec![false; kernel.regs.len()];
        mark(&mut kernel.body, &mut |r| read[r.0 as usize] = true);
        if !sweep(&mut kernel.body, &read) {
            break;
        }
    }
    let mut order: Vec<Reg> = Vec::new();
    let mut number: Vec<Option<Reg>> = vec![None; kernel.regs.len()];
    renumber(&mut kernel.body, &mut |r| {
        *r = *number[r.0 as usize].get_or_insert_with(|| {
            order.push(*r);
            Reg(order.len() as u32 - 1)
        });
    });
    kernel.regs = order.iter().map(|r| kernel.regs[r.0 as usize]).collect();
}

fn renumber(body: &mut [Stmt], f: &mut dyn FnMut(&mut Reg)) {
    for s in body {
        // The condition of a While is assigned in its test.
        let late = matches!(s, Stmt::While { .. });
        if !late {
            s.reads_mut(f);
        }
        if let Stmt::Let { dst: r, .. } | Stmt::For { var: r, .. } = s {
            f(r);
        }
        s.blocks_mut().into_iter().for_each(|b| renumber(b, f));
        if late {
            s.reads_mut(f);
        }
    }
}

fn mark(body: &mut [Stmt], f: &mut dyn FnMut(Reg)) {
    for s in body {
        s.reads_mut(&mut |r| f(*r));
        s.blocks_mut().into_iter().for_each(|b| mark(b, f));
    }
}

/// Whether anything was removed.
fn sweep(body: &mut Vec<Stmt>, read: &[bool]) -> bool {
    let before = body.len();
    let mut changed = false;
    body.retain_mut(|s| {
        for b in s.blocks_mut() {
            changed |= sweep(b, read);
        }
        match s {
            Stmt::Let { dst, .. } => read[dst.0 as usize],
            // An empty While may run forever: it stays. The Parallel loop is what the caller splits.
            Stmt::For { kind, body, .. } => *kind == sinter_ir::tile::LoopKind::Parallel || !body.is_empty(),
            Stmt::If { then, els, .. } => !then.is_empty() || !els.is_empty(),
            Stmt::Store { .. } | Stmt::While { .. } | Stmt::SetSym { .. } | Stmt::FailIf { .. } => true,
        }
    });
    changed || body.len() != before
}
