//! Loads and stores of two neighbouring vectors become one instruction.

use super::form::{self, Form};
use super::mir::{Base, Func, Item, Mem, Opnd, VReg};

/// A load or store of a vector: its form, the register, its address.
fn access(item: &Item, form: Form) -> Option<(VReg, Mem)> {
    let Item::Op(op) = item else { return None };
    match op.opnds[..] {
        [Opnd::Def(v, _) | Opnd::Use(v, _), Opnd::Mem(m)] if op.code == form => Some((v, m)),
        _ => None,
    }
}

/// The address of a pair, where its displacement fits.
fn neighbours(a: Mem, b: Mem) -> bool {
    let near = (-64..64).contains(&(a.disp / 16)) && a.disp % 16 == 0;
    matches!(a.base, Base::Reg(_)) && a.index.is_none() && a.plus(16) == b && near
}

/// Joins what stands side by side.
pub fn join(f: &mut Func) {
    for (one, two) in [(form::LDR_Q, form::LDP_Q), (form::STR_Q, form::STP_Q)] {
        let mut out: Vec<Item> = Vec::with_capacity(f.items.len());
        for item in f.items.drain(..) {
            let pair = out.last().and_then(|last| Some((access(last, one)?, access(&item, one)?)));
            match pair {
                Some(((v, m), (w, n))) if v != w && neighbours(m, n) => {
                    let load = one == form::LDR_Q;
                    let opnd = |v| if load { Opnd::Def(v, 16) } else { Opnd::Use(v, 16) };
                    out.pop();
                    out.push(Item::Op(super::mir::Op::plain(two, vec![opnd(v), opnd(w), Opnd::Mem(m)])));
                }
                _ => out.push(item),
            }
        }
        f.items = out;
    }
}
