//! The places of a program that measured code puts a stopwatch around.

use sinter_ir::Expr;
use sinter_ir::program::{Loc, Program, Step};

/// A kernel call or a copy.
#[derive(Debug, Clone, PartialEq)]
pub struct Site {
    /// The kernel, by its number; `None` for a copy.
    pub kernel: Option<u32>,
    /// The user's node.
    pub label: String,
    /// Where its buffers are, in the order of the kernel's parameters; source and target of a copy.
    pub places: Vec<Loc>,
    /// Bytes of a copy.
    pub bytes: Option<Expr>,
    /// Bytes of each buffer of a kernel.
    pub sizes: Vec<Expr>,
}

/// All sites, in the order of their numbers: as the steps are written down, branches one after the other.
pub fn sites(program: &Program) -> Vec<Site> {
    let mut all = Vec::new();
    visit(program, &program.steps, &mut all);
    all
}

fn visit(program: &Program, steps: &[Step], all: &mut Vec<Site>) {
    for step in steps {
        match step {
            Step::Call { kernel, args, sizes, label } => {
                let own = program.kernels.get(*kernel as usize).filter(|_| sizes.is_empty());
                let own = own.iter().flat_map(|k| &k.bufs).map(|b| b.bytes.clone());
                all.push(Site {
                    kernel: Some(*kernel),
                    label: label.clone(),
                    places: args.clone(),
                    bytes: None,
                    sizes: sizes.iter().cloned().chain(own).collect(),
                });
            }
            Step::Copy { dst, src, bytes } => all.push(Site {
                kernel: None,
                label: "copy".into(),
                places: vec![*src, *dst],
                bytes: Some(bytes.clone()),
                sizes: vec![],
            }),
            Step::If { then, els, .. } => {
                visit(program, then, all);
                visit(program, els, all);
            }
            Step::Loop { body, .. } => visit(program, body, all),
            Step::SetSym { .. } | Step::ReadSym { .. } | Step::Require { .. } => {}
        }
    }
}
