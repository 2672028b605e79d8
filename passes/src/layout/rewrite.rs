//! The graph with every value in the order chosen for it.

use super::carry::Need;
use super::choose::Choice;
use super::perm::{Layout, convert, pick, relaid, relative, transpose};
use super::spread::Options;
use crate::rebuild::{Rebuild, map_regions};
use crate::report::PassReport;
use sinter_ir::graph::Origin;
use sinter_ir::op::{Constant, Reshape, Transpose};
use sinter_ir::{Diag, Expr, Graph, Module, Node, NodeId, Op, Result, Symbols, ValueId};

/// How regions of a node are rewritten.
pub(super) type Regions<'a> = &'a mut dyn FnMut(&Graph, &mut Symbols, &mut PassReport) -> Result<Graph>;

struct Rewrite<'a> {
    rb: Rebuild<'a>,
    /// By old value: the new values that hold it, the one that is made first.
    forms: Vec<Vec<(Option<Layout>, ValueId)>>,
}

/// Rebuilds a graph.
pub(super) fn rewrite(
    g: &Graph,
    (options, choice): (&Options, &Choice),
    symbols: &mut Symbols,
    report: &mut PassReport,
    main: bool,
    regions: Regions,
) -> Result<Graph> {
    let rb = Rebuild::new(g, symbols, report);
    let mut w = Rewrite { rb, forms: vec![vec![]; g.value_count()] };
    for &v in &g.inputs {
        let new = w.rb.get(v)?;
        w.forms[v.0 as usize].push((None, new));
    }
    for (id, node) in g.iter() {
        w.node(id, node, options, choice, regions)?;
    }
    for &v in &g.outputs {
        w.get(v, None)?;
    }
    let mut new = w.rb.finish(main)?;
    new.sweep()?;
    Ok(new)
}

impl Rewrite<'_> {
    fn node(&mut self, id: NodeId, node: &Node, o: &Options, c: &Choice, regions: Regions) -> Result<()> {
        let carried = o.carried[id.0 as usize].as_ref().filter(|_| c.node[id.0 as usize]);
        if let (Some(carried), [y]) = (carried, &node.outputs[..]) {
            let operands = node.inputs.iter().zip(&carried.needs);
            let inputs = operands.map(|(&v, n)| self.need(v, n)).collect::<Result<Vec<_>>>()?;
            let new = match (&carried.op, &inputs[..]) {
                (Op::Identity(_), &[x]) => x,
                (Op::Reshape(r), &[x]) => self.emit_reshape(x, r.clone(), &node.origin)?,
                _ => self.rb.add1(carried.op.clone(), &inputs, &node.origin)?,
            };
            self.rb.report.fired(carried.rule);
            self.made(*y, carried.gives.clone(), new);
            return Ok(());
        }
        if let (Op::Transpose(t), [x], [y]) = (&node.op, &node.inputs[..], &node.outputs[..])
            && self.rb.old.constant(*x).is_none()
        {
            let to = o.layout[y.0 as usize].clone().filter(|_| c.value[y.0 as usize]);
            return self.transpose(t, *x, *y, to, &node.origin);
        }
        if matches!(node.op, Op::Constant(_)) {
            // Made when something needs it.
            return Ok(());
        }
        let inputs = node.inputs.iter().map(|&v| self.get(v, None)).collect::<Result<Vec<_>>>()?;
        if let (Op::Reshape(r), &[x], &[y]) = (&node.op, &inputs[..], &node.outputs[..]) {
            let new = self.emit_reshape(x, r.clone(), &node.origin)?;
            self.made(y, None, new);
            return Ok(());
        }
        let (symbols, report) = (&mut *self.rb.symbols, &mut *self.rb.report);
        let op = map_regions(&node.op, &mut |r| regions(r, symbols, report))?;
        let new = self.rb.add(op, &inputs, &node.origin)?;
        node.outputs.iter().zip(new).for_each(|(&y, n)| self.made(y, None, n));
        Ok(())
    }

    /// Notes where a value is. Its name goes to the form that has the model's order.
    fn made(&mut self, old: ValueId, layout: Option<Layout>, new: ValueId) {
        if layout.is_none() {
            self.rb.bind(old, new);
        }
        self.forms[old.0 as usize].push((layout, new));
    }

    /// A transpose that stays reads its operand as it is stored.
    fn transpose(
        &mut self,
        t: &Transpose,
        x: ValueId,
        y: ValueId,
        to: Option<Layout>,
        origin: &Origin,
    ) -> Result<()> {
        let own: Vec<usize> = (0..t.perm.len()).collect();
        let order = |l: &Option<Layout>| match l {
            None => Some(own.clone()),
            Some(Layout::Axes(p)) => Some(p.clone()),
            Some(Layout::Mixed { .. }) => None,
        };
        let stored = self.forms[x.0 as usize].iter().find_map(|(l, v)| Some((order(l)?, *v)));
        let (from, source) = match stored {
            Some(s) => s,
            None => (own.clone(), self.get(x, None)?),
        };
        let bug = || Diag::bug("layout: a transpose of an unknown order");
        let wanted = pick(&t.perm, &order(&to).ok_or_else(bug)?).ok_or_else(bug)?;
        let perm = relative(&from, &wanted).ok_or_else(bug)?;
        let new = self.emit_transpose(source, perm, origin)?;
        self.made(y, to, new);
        Ok(())
    }

    fn need(&mut self, v: ValueId, need: &Need) -> Result<ValueId> {
        let perm = match need {
            Need::Own => return self.get(v, None),
            Need::In(l) => return self.get(v, Some(l)),
            Need::Extended(perm) => perm,
        };
        let dims = &self.rb.old.ty(v).dims;
        let ones = vec![Expr::from(1); perm.len().saturating_sub(dims.len())];
        let dims = [ones, dims.clone()].concat();
        if let Some(t) = self.rb.old.constant(v) {
            let shape = dims.iter().map(|d| d.as_const().unwrap_or(1) as usize).collect();
            let tensor = relaid(&t.reshaped(shape)?, &Layout::Axes(perm.clone()))?;
            return self.constant(v, tensor);
        }
        let (x, origin) = (self.get(v, None)?, self.origin(v));
        let x = self.emit_reshape(x, Reshape { dims }, &origin)?;
        self.emit_transpose(x, perm.clone(), &origin)
    }

    /// The value in a layout.
    fn get(&mut self, v: ValueId, layout: Option<&Layout>) -> Result<ValueId> {
        let forms = &self.forms[v.0 as usize];
        if let Some((_, new)) = forms.iter().find(|(l, _)| l.as_ref() == layout) {
            return Ok(*new);
        }
        let new = match (self.rb.old.constant(v), layout) {
            (Some(t), None) => {
                let tensor = t.clone();
                let origin = self.origin(v);
                self.rb.add1(Constant { tensor }, &[], &origin)?
            }
            (Some(t), Some(l)) => {
                let tensor = relaid(t, l)?;
                self.constant(v, tensor)?
            }
            (None, _) => {
                let (from, mut new) =
                    forms.first().cloned().ok_or_else(|| Diag::bug("layout: a value that is not made"))?;
                let ops = convert(self.rb.old.ty(v), from.as_ref(), layout)
                    .ok_or_else(|| Diag::bug("layout: no way from one order to the other"))?;
                let origin = self.origin(v);
                for op in ops {
                    new = match op {
                        Op::Transpose(t) => self.emit_transpose(new, t.perm, &origin)?,
                        Op::Reshape(r) => self.emit_reshape(new, r, &origin)?,
                        op => self.rb.add1(op, &[new], &origin)?,
                    };
                }
                new
            }
        };
        self.made(v, layout.cloned(), new);
        Ok(new)
    }

    fn constant(&mut self, v: ValueId, tensor: Option<sinter_ir::Tensor>) -> Result<ValueId> {
        let tensor = tensor.ok_or_else(|| Diag::bug("layout: a constant without the order asked for"))?;
        self.rb.report.fired("layout/constant");
        let origin = self.origin(v);
        self.rb.add1(Constant { tensor }, &[], &origin)
    }

    /// Transposes are joined with those in front, and become reshapes where only axes of 1 move.
    fn emit_transpose(&mut self, x: ValueId, perm: Vec<usize>, origin: &Origin) -> Result<ValueId> {
        let before = self.rb.graph.def(x).and_then(|n| match &n.op {
            Op::Transpose(t) => Some((t.perm.clone(), n.inputs[0])),
            _ => None,
        });
        let (perm, x) = match before {
            Some((first, source)) => {
                let both = pick(&first, &perm).ok_or_else(|| Diag::bug("layout: ranks of transposes"))?;
                (both, source)
            }
            None => (perm, x),
        };
        if perm.is_sorted() {
            return Ok(x);
        }
        match transpose(&self.rb.graph.ty(x).dims, perm).ok_or_else(|| Diag::bug("layout: ranks"))? {
            Op::Reshape(r) => self.emit_reshape(x, r, origin),
            op => self.rb.add1(op, &[x], origin),
        }
    }

    /// Reshapes are joined with those in front.
    fn emit_reshape(&mut self, x: ValueId, op: Reshape, origin: &Origin) -> Result<ValueId> {
        let before = self.rb.graph.def(x).filter(|n| matches!(n.op, Op::Reshape(_)));
        let x = before.map_or(x, |n| n.inputs[0]);
        match self.rb.graph.ty(x).dims == op.dims {
            true => Ok(x),
            false => self.rb.add1(op, &[x], origin),
        }
    }

    fn origin(&self, v: ValueId) -> Origin {
        self.rb.old.def(v).map(|n| n.origin.clone()).unwrap_or_default()
    }
}

/// Number of transposes, and the bytes that they write.
pub(super) fn transposes(module: &Module, bytes: &dyn Fn(&Graph, ValueId) -> u64) -> (u64, u64) {
    fn count(g: &Graph, bytes: &dyn Fn(&Graph, ValueId) -> u64) -> (u64, u64) {
        g.iter().fold((0, 0), |(n, b), (_, node)| {
            let inner = crate::rebuild::regions(&node.op).into_iter().map(|r| count(r, bytes));
            let own = match (&node.op, &node.outputs[..]) {
                (Op::Transpose(_), [y]) => (1, bytes(g, *y)),
                _ => (0, 0),
            };
            inner.chain([own]).fold((n, b), |(n, b), (m, c)| (n + m, b + c))
        })
    }
    count(&module.graph, bytes)
}
