//! States: what the graph leaves in the caller's memory must be made by writing into it, one writer after the other.

use super::Verifier;
use crate::Graph;
use crate::graph::{Module, ValueId};

/// The values that share the memory of an input, in the order they are made: the input, then the result of every
/// op that [overwrites](crate::Op::overwrites) the one before.
pub fn versions(g: &Graph, input: ValueId) -> Vec<ValueId> {
    let mut all = vec![input];
    for (_, n) in g.iter() {
        if let (true, Some(x), Some(y)) = (n.op.overwrites(), n.inputs.first(), n.outputs.first())
            && all.contains(x)
        {
            all.push(*y);
        }
    }
    all
}

impl Verifier<'_> {
    pub(super) fn states(&mut self, m: &Module) {
        let g = &m.graph;
        let mut seen = Vec::new();
        for s in &m.states {
            let (input, output) = (g.inputs.get(s.input as usize), g.outputs.get(s.output as usize));
            let (Some(&input), Some(&output)) = (input, output) else {
                self.problem(format!(
                    "state of input {} and output {}, which do not exist",
                    s.input, s.output
                ));
                continue;
            };
            if seen.contains(&input) || g.outputs.iter().filter(|v| **v == output).count() != 1 {
                self.problem(format!("the state of input {} has two names", s.input));
            }
            seen.push(input);
            let all = versions(g, input);
            let writers = |v: &ValueId| {
                let writes = |n: &crate::Node| n.op.overwrites() && n.inputs.first() == Some(v);
                g.iter().filter(|(_, n)| writes(n)).count()
            };
            if all.iter().any(|v| writers(v) > 1) {
                self.problem(format!("the state of input {} is written twice from one value", s.input));
            }
            if all.last() != Some(&output) {
                let what = "is not what the last write left";
                self.problem(format!("output {} {what} in the state of input {}", s.output, s.input));
            }
        }
    }
}
