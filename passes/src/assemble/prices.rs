//! What code is worth where there is little room for it.
//!
//! Code that makes a kernel faster by some part is worth as much as the kernel's part of the program's time. With a
//! price of code in time, the same for all, a kernel of time `t` has the least `t + price * code` about where lowerings
//! that weigh `time * (n + code)` find it for `n = t / price`.

use crate::layout::Sizes;
use crate::work;
use sinter_ir::target::TargetDesc;
use sinter_ir::{Expr, Graph, Node, Op, Symbols, TensorType};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Instructions of all kernels together that are worth as much as all the time, at the first step; half with every one
/// after it.
const WORTH: f64 = (1 << 16) as f64;
/// Times that bodies of loops are expected to run.
const TRIPS: f64 = 16.0;

/// The time of every node, as a part of the program's.
pub struct Prices {
    step: u32,
    /// By op and types: nodes that are equal there share a kernel as a rule.
    parts: BTreeMap<String, f64>,
    total: f64,
}

impl Prices {
    /// Of a module's graph; `step` 0 changes nothing.
    pub fn new(g: &Graph, symbols: &Symbols, lanes: u16, step: u32) -> Self {
        let mut prices = Self { step, parts: BTreeMap::new(), total: 0.0 };
        if step > 0 {
            prices.graph(g, &Sizes::new(symbols), f64::from(lanes.max(1)), 1.0);
        }
        prices
    }
    fn graph(&mut self, g: &Graph, sizes: &Sizes, lanes: f64, times: f64) {
        for (_, node) in g.iter() {
            let (x, y) = types(g, node);
            // Two operations each of two units in a cycle, half a vector of memory.
            let operations = sizes.of(&work::operations(&node.op, &x, &y).0) / (4.0 * lanes);
            let bytes: Expr = x.iter().chain(&y).fold(0.into(), |n, t| n + work::bytes(t));
            let time = (operations + sizes.of(&bytes) / (2.0 * lanes)) * times;
            self.total += time;
            *self.parts.entry(key(g, node)).or_default() += time;
            // A group's body is part of its kernel.
            if !matches!(node.op, Op::Group(_)) {
                node.op.regions().iter().for_each(|(_, r)| self.graph(r, sizes, lanes, times * TRIPS));
            }
        }
    }
    /// The machine as lowerings of a node are to see it.
    pub fn machine<'t>(&self, target: &'t TargetDesc, g: &Graph, node: &Node) -> Cow<'t, TargetDesc> {
        if self.step == 0 {
            return Cow::Borrowed(target);
        }
        let part = self.parts.get(&key(g, node)).copied().unwrap_or(0.0) / self.total.max(1.0);
        let instructions = part * WORTH / 2f64.powi(self.step as i32 - 1);
        Cow::Owned(TargetDesc { cost: target.cost.code_worth(instructions as i64), ..target.clone() })
    }
}

fn types<'g>(g: &'g Graph, node: &Node) -> (Vec<&'g TensorType>, Vec<&'g TensorType>) {
    (node.inputs.iter().map(|&v| g.ty(v)).collect(), node.outputs.iter().map(|&v| g.ty(v)).collect())
}

fn key(g: &Graph, node: &Node) -> String {
    let (x, y) = types(g, node);
    format!("{} {x:?} {y:?}", node.op.name())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use sinter_ir::DType;
    use sinter_ir::graph::Origin;
    use sinter_ir::op::MatMul;

    const MACHINE: &str = "name = 'm'\nsummary = ''\ntriple = ''\nvector-bits = 256\nvector-registers = 16\ncores = 1\n\
                           cache-bytes = [32768]\npage-bytes = 4096\nverified = ''";

    #[test]
    fn what_takes_long_keeps_its_code() {
        let mut g = Graph::default();
        let mut symbols = Symbols::default();
        for n in [512i64, 64, 64] {
            let input =
                |g: &mut Graph| g.add_input(TensorType::new(DType::F32, vec![n.into(), n.into()]), None);
            let (a, b) = (input(&mut g), input(&mut g));
            g.add(&mut symbols, MatMul::default().into(), &[a, b], &Origin::default()).unwrap();
        }
        let target = TargetDesc::from_toml(MACHINE).unwrap();
        let code = |step| {
            let prices = Prices::new(&g, &symbols, 8, step);
            let of = |(_, n): (_, &Node)| prices.machine(&target, &g, n).cost.code;
            g.iter().map(of).collect::<Vec<i64>>()
        };
        assert_eq!(code(0), [target.cost.code; 3]);
        for step in 1..6 {
            let (now, before) = (code(step), code(step - 1));
            assert!(now[0] > now[1] && now.iter().zip(&before).all(|(n, b)| n <= b), "{step}: {now:?}");
            assert_eq!(now[1], now[2]);
        }
    }
}
