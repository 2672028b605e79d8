//! Lifetimes: the first and last step, in pre-order, that touches each buffer.

use super::{BufId, VStep};

/// An inclusive interval of pre-order step numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// First step that touches the buffer.
    pub first: u32,
    /// Last one.
    pub last: u32,
}

/// Life of every buffer; `None` where no step touches it. Branches of an `If` are numbered one after the
/// other, so buffers of one branch may share memory with buffers of the other. A buffer from outside a loop
/// that the body touches lives through the whole loop.
pub fn lives(steps: &[VStep], buffers: usize) -> Vec<Option<Life>> {
    let mut lives = vec![None; buffers];
    walk(steps, &mut 0, &mut lives);
    lives
}

fn touch(lives: &mut [Option<Life>], b: BufId, at: u32) {
    if let Some(life) = lives.get_mut(b.0 as usize) {
        let life = life.get_or_insert(Life { first: at, last: at });
        life.first = life.first.min(at);
        life.last = life.last.max(at);
    }
}

fn walk(steps: &[VStep], next: &mut u32, lives: &mut [Option<Life>]) {
    for step in steps {
        let at = *next;
        *next += 1;
        step.touches().into_iter().for_each(|b| touch(lives, b, at));
        match step {
            VStep::If { then, els, .. } => {
                walk(then, next, lives);
                walk(els, next, lives);
            }
            VStep::Loop { body, first_inner, .. } => {
                walk(body, next, lives);
                // The loop ends at its own step number: nothing that starts after it may overlap.
                let end = *next;
                *next += 1;
                for life in lives.iter_mut().take(*first_inner as usize).flatten() {
                    if life.last >= at {
                        life.first = life.first.min(at);
                        life.last = end;
                    }
                }
            }
            _ => {}
        }
    }
}
