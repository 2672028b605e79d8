//! Reference evaluator of graphs: slow, obvious, the oracle.

use crate::{Diag, Expr, Graph, Module, Result, Sym, Tensor};
use std::collections::BTreeMap;

/// State of an evaluation: values of symbols, limits.
#[derive(Debug, Default, Clone)]
pub struct EvalCx {
    /// Known symbols.
    pub syms: BTreeMap<Sym, i64>,
    /// Ranges that run-time symbols must keep; symbols without an entry are free.
    pub ranges: BTreeMap<Sym, (i64, i64)>,
}

impl EvalCx {
    /// Value of an expression.
    pub fn expr(&self, e: &Expr) -> Result<i64> {
        e.eval(&|s| self.syms.get(&s).copied())
            .ok_or_else(|| Diag::input(format!("`{e}` has no value: a symbol is unknown or it overflows")))
    }
    /// Value of a dim: an expression that must not be negative.
    pub fn dim(&self, e: &Expr) -> Result<usize> {
        let v = self.expr(e)?;
        usize::try_from(v).map_err(|_| Diag::input(format!("dim `{e}` is negative ({v})")))
    }
    /// Defines a run-time symbol.
    pub fn define(&mut self, sym: Sym, value: i64) -> Result<()> {
        if let Some(&(lo, hi)) = self.ranges.get(&sym)
            && !(lo..=hi).contains(&value)
        {
            return Err(Diag::input(format!("run-time value {value} of s{} is outside {lo}..={hi}", sym.0)));
        }
        self.syms.insert(sym, value);
        Ok(())
    }
    /// Values of dims.
    pub fn dims(&self, d: &[Expr]) -> Result<Vec<usize>> {
        d.iter().map(|e| self.dim(e)).collect()
    }
}

/// Evaluates a closed graph on concrete inputs.
pub fn graph(g: &Graph, cx: &mut EvalCx, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    let mut env: Vec<Option<Tensor>> = vec![None; g.value_count()];
    if inputs.len() != g.inputs.len() {
        return Err(Diag::input(format!("{} inputs given, {} needed", inputs.len(), g.inputs.len())));
    }
    for (v, t) in g.inputs.iter().zip(inputs) {
        env[v.0 as usize] = Some(t.clone());
    }
    // Values are dropped after their last use.
    let mut left = vec![0usize; g.value_count()];
    for (_, n) in g.iter() {
        n.inputs.iter().for_each(|v| left[v.0 as usize] += 1);
    }
    g.outputs.iter().for_each(|v| left[v.0 as usize] += 1);
    for (_, node) in g.iter() {
        let at = |d: Diag| match node.origin.first() {
            Some(o) => d.at(o.to_string()),
            None => d.at(node.op.name()),
        };
        let args = node
            .inputs
            .iter()
            .map(|v| env[v.0 as usize].clone().ok_or_else(|| at(Diag::bug("operand has no value"))))
            .collect::<Result<Vec<_>>>()?;
        let outs = node.op.eval(cx, &args).map_err(at)?;
        for v in &node.inputs {
            left[v.0 as usize] -= 1;
            if left[v.0 as usize] == 0 {
                env[v.0 as usize] = None;
            }
        }
        for (v, t) in node.outputs.iter().zip(outs) {
            if left[v.0 as usize] > 0 {
                env[v.0 as usize] = Some(t);
            }
        }
    }
    g.outputs
        .iter()
        .map(|v| env[v.0 as usize].clone().ok_or_else(|| Diag::bug("graph output has no value")))
        .collect()
}

/// Evaluates a module: binds input dims to symbols, checks ranges and constraints, runs the main graph.
pub fn module(m: &Module, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    let mut cx = bind_inputs(m, inputs)?;
    graph(&m.graph, &mut cx, inputs)
}

/// Binds the dims of concrete inputs to the module's symbols; checks dtypes, ranks, dims, ranges and constraints.
pub fn bind_inputs(m: &Module, inputs: &[Tensor]) -> Result<EvalCx> {
    let ranges = m.symbols.table.iter().enumerate().map(|(i, s)| (Sym(i as u32), (s.min, s.max))).collect();
    let mut cx = EvalCx { ranges, ..EvalCx::default() };
    if inputs.len() != m.graph.inputs.len() {
        return Err(Diag::input(format!(
            "{} inputs given, the model needs {}",
            inputs.len(),
            m.graph.inputs.len()
        )));
    }
    let wrong = |i: usize, t: &Tensor| {
        let v = m.graph.value(m.graph.inputs[i]);
        let name = v.name.as_deref().unwrap_or("?");
        let want = m.symbols.show_type(&v.ty);
        Diag::input(format!("input {i} `{name}` must be {want}, got {}{:?}", t.dtype(), t.shape()))
    };
    for (i, t) in inputs.iter().enumerate() {
        let ty = m.graph.ty(m.graph.inputs[i]);
        if t.dtype() != ty.dtype || t.rank() != ty.rank() {
            return Err(wrong(i, t));
        }
        for (d, &n) in ty.dims.iter().zip(t.shape()) {
            if let Some(s) = d.as_sym() {
                let prev = *cx.syms.entry(s).or_insert(n as i64);
                let info = m.symbols.info(s);
                if prev != n as i64 || info.is_some_and(|x| (n as i64) < x.min || (n as i64) > x.max) {
                    return Err(wrong(i, t));
                }
            }
        }
    }
    for (i, t) in inputs.iter().enumerate() {
        for (d, &n) in m.graph.ty(m.graph.inputs[i]).dims.iter().zip(t.shape()) {
            if cx.expr(d)? != n as i64 {
                return Err(wrong(i, t));
            }
        }
    }
    for c in &m.symbols.constraints {
        let env = |s: Sym| cx.syms.get(&s).copied();
        if let (Some(a), Some(b)) = (c.a.eval(&env), c.b.eval(&env))
            && a != b
        {
            return Err(Diag::input(format!(
                "{}: {} = {a} but {} = {b}",
                c.why,
                m.symbols.show(&c.a),
                m.symbols.show(&c.b)
            )));
        }
    }
    Ok(cx)
}
