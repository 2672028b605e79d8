//! Clean-up of kernels before emission: constants of index arithmetic folded, addresses made short, equal
//! computations shared, those that a loop does not change moved in front of it, unused ones dropped.
//!
//! Lowerings write what is easy to read (`n * 0 + row * 1`); emitters translate one statement at a time. What lies
//! between is done here, once for all of them.

mod dead;
mod fold;
mod forward;
mod hoist;

use sinter_ir::tile::{Inst, Kernel, Reg, Stmt};

/// Cleans a kernel. What it computes stays the same, bit for bit.
pub fn run(mut kernel: Kernel) -> Kernel {
    forward(&mut kernel);
    let facts = Facts::of(&mut kernel);
    hoist::run(&mut kernel, &facts);
    // What was apart may now stand side by side.
    forward(&mut kernel);
    dead::run(&mut kernel);
    kernel
}

fn forward(kernel: &mut Kernel) {
    let facts = Facts::of(kernel);
    let mut body = std::mem::take(&mut kernel.body);
    forward::Forward::new(&facts, kernel).block(&mut body);
    kernel.body = body;
}

/// What holds for a kernel as a whole.
struct Facts {
    /// Registers that one statement or loop assigns and whose value is not read behind the loop that computes it.
    /// Assignment comes before every use (the verifier's law), so such a register stands for its right-hand side
    /// wherever it is read.
    single: Vec<bool>,
    /// The kernel defines symbols: symbolic integers may change while it runs.
    sets_symbols: bool,
}

impl Facts {
    fn of(kernel: &mut Kernel) -> Self {
        let n = kernel.regs.len();
        let mut c =
            Count { assigned: vec![0; n], home: vec![0; n], loops: vec![0], next: 1, sets_symbols: false };
        c.block(&mut kernel.body);
        Self { single: c.assigned.into_iter().map(|n| n == 1).collect(), sets_symbols: c.sets_symbols }
    }
    fn is_single(&self, r: Reg) -> bool {
        self.single.get(r.0 as usize).copied().unwrap_or(false)
    }
}

/// Counts the assignments of each register; one that is read behind its loop counts twice.
struct Count {
    assigned: Vec<u32>,
    /// Innermost loop around the last assignment.
    home: Vec<u32>,
    /// Loops around the statement, 0 is the kernel.
    loops: Vec<u32>,
    next: u32,
    sets_symbols: bool,
}

impl Count {
    fn assign(&mut self, r: Reg) {
        self.assigned[r.0 as usize] += 1;
        self.home[r.0 as usize] = self.loops.last().copied().unwrap_or(0);
    }
    fn block(&mut self, body: &mut [Stmt]) {
        for s in body {
            s.reads_mut(&mut |r| {
                if !self.loops.contains(&self.home[r.0 as usize]) {
                    self.assigned[r.0 as usize] += 1;
                }
            });
            let looping = matches!(s, Stmt::For { .. } | Stmt::While { .. });
            if looping {
                self.loops.push(self.next);
                self.next += 1;
            }
            match s {
                Stmt::Let { dst: r, .. } | Stmt::For { var: r, .. } => self.assign(*r),
                Stmt::SetSym { .. } => self.sets_symbols = true,
                Stmt::Store { .. } | Stmt::While { .. } | Stmt::If { .. } | Stmt::FailIf { .. } => {}
            }
            s.blocks_mut().into_iter().for_each(|b| self.block(b));
            if looping {
                self.loops.pop();
            }
        }
    }
}

/// Reads no memory.
fn is_pure(inst: &Inst) -> bool {
    !matches!(inst, Inst::Load { .. } | Inst::LoadGather { .. })
}
