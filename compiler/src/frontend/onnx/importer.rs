//! Visits an ONNX graph in dependency order and builds the module.

use super::node::NodeCx;
use super::op;
use super::proto::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TypeProto, ValueInfoProto,
    tensor_shape_proto, type_proto,
};
use super::scope::{Item, Level, Scope};
use super::{ImportOptions, tensor};
use sinter_ir::{Diag, Expr, Fault, Result, SymKind, Symbols, TensorType};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// Largest number of nodes in a model, functions expanded.
pub const MAX_NODES: usize = 1 << 20;
/// Deepest nesting of regions and functions.
pub const MAX_DEPTH: usize = 64;
const POISON: &str = "\0poison";

/// State of an import.
pub struct Importer<'m> {
    /// The file that external data lies beside.
    pub path: Option<&'m Path>,
    /// What the user asked for.
    pub options: &'m ImportOptions,
    /// Symbols and constraints.
    pub symbols: Symbols,
    /// Names and graphs.
    pub scope: Scope,
    /// All problems.
    pub diags: Vec<Diag>,
    /// Things that look wrong but do not matter.
    pub warnings: Vec<String>,
    opsets: BTreeMap<String, i64>,
    functions: BTreeMap<(String, String), &'m FunctionProto>,
    hints: BTreeMap<String, Vec<Option<i64>>>,
    nodes: usize,
    depth: usize,
}

impl<'m> Importer<'m> {
    /// New import of a decoded model.
    pub fn new(model: &'m ModelProto, path: Option<&'m Path>, options: &'m ImportOptions) -> Result<Self> {
        let mut opsets: BTreeMap<String, i64> =
            model.opset_import.iter().map(|o| (domain(&o.domain).to_owned(), o.version)).collect();
        let version = *opsets.entry(String::new()).or_insert(op::NEWEST_OPSET);
        if version < op::OLDEST_OPSET {
            return Err(Diag::unsupported(format!(
                "opset {version}: {} is the oldest supported",
                op::OLDEST_OPSET
            ))
            .help("convert the model with onnx.version_converter"));
        }
        let functions =
            model.functions.iter().map(|f| ((domain(&f.domain).to_owned(), f.name.clone()), f)).collect();
        Ok(Self {
            path,
            options,
            symbols: Symbols::default(),
            scope: Scope::default(),
            diags: Vec::new(),
            warnings: Vec::new(),
            opsets,
            functions,
            hints: BTreeMap::new(),
            nodes: 0,
            depth: 0,
        })
    }

    /// The error of an operand that failed before: never shown.
    pub fn poison() -> Diag {
        Diag::bug(POISON)
    }
    fn report(&mut self, d: Diag) {
        if d.message != POISON && !self.diags.contains(&d) {
            self.diags.push(d);
        }
    }
    /// Finds a name.
    pub fn lookup(&self, name: &str) -> Result<Item> {
        match self.scope.find(name) {
            Some(Item::Poison) => Err(Self::poison()),
            Some(item) => Ok(item),
            None => Err(Diag::input(format!("`{name}` is used but nothing makes it"))),
        }
    }
    /// Declared dims of a value name.
    pub fn declared(&self, name: &str) -> Option<Vec<Option<i64>>> {
        self.hints.get(name).cloned()
    }

    /// Imports the main graph.
    pub fn main(&mut self, graph: &'m GraphProto) -> Result<Level> {
        self.scope.push_level();
        self.note_hints(graph);
        let held: BTreeSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
        for input in graph.input.iter().filter(|i| !held.contains(i.name.as_str())) {
            match self.main_input(input) {
                Ok(item) => self.bind_new(&input.name, item),
                Err(d) => {
                    self.report(Diag { message: format!("input `{}`: {}", input.name, d.message), ..d });
                    self.bind_new(&input.name, Item::Poison);
                }
            }
        }
        self.body(graph)?;
        for out in &graph.output {
            match self.output(&out.name) {
                Ok(v) => {
                    let top = self.scope.top();
                    top.graph.outputs.push(v);
                    if top.graph.value(v).name.is_none() {
                        top.graph.set_name(v, Arc::from(out.name.as_str()));
                    }
                }
                Err(d) if d.message == POISON => {}
                Err(d) => self.report(Diag { message: format!("output `{}`: {}", out.name, d.message), ..d }),
            }
        }
        self.scope.pop_level()
    }
    fn output(&mut self, name: &str) -> Result<sinter_ir::ValueId> {
        match self.lookup(name)? {
            Item::Tensor(level, v) => self.scope.reach(&mut self.symbols, level, v),
            Item::Seq(_) => Err(Diag::unsupported("a sequence as model output")),
            Item::None => Err(Diag::unsupported("an optional as model output")),
            Item::Poison => Err(Self::poison()),
        }
    }
    fn bind_new(&mut self, name: &str, item: Item) {
        if !self.scope.bind(name, item) {
            self.report(Diag::input(format!("`{name}` is defined twice")));
        }
    }
    fn note_hints(&mut self, graph: &GraphProto) {
        for v in graph.output.iter().chain(&graph.value_info) {
            if let Some(dims) = declared_dims(v) {
                self.hints.insert(v.name.clone(), dims);
            }
        }
    }
    fn main_input(&mut self, input: &ValueInfoProto) -> Result<Item> {
        if let Some(tensor) = self.options.fixed.get(&input.name) {
            let op = sinter_ir::op::Constant { tensor: tensor.clone() }.into();
            let v = self.scope.top().graph.add1(&mut self.symbols, op, &[], &vec![])?;
            return Ok(Item::Tensor(self.scope.depth(), v));
        }
        let Some(type_proto::Value::TensorType(t)) = input.r#type.as_ref().and_then(|t| t.value.as_ref())
        else {
            return Err(Diag::unsupported("only tensor inputs are supported"));
        };
        let dtype = tensor::dtype(t.elem_type)?;
        let shape = t.shape.as_ref().ok_or_else(|| {
            Diag::unsupported("an input of unknown rank")
                .help("re-export the model with the input's rank fixed")
        })?;
        let ranges = super::dims::ranges(&input.name, dtype, shape, self.options);
        let mut dims = Vec::new();
        for (i, d) in shape.dim.iter().enumerate() {
            let own = format!("{}.{i}", input.name);
            let known = match &d.value {
                Some(tensor_shape_proto::dimension::Value::DimValue(v)) if *v > 0 => Some(*v),
                _ => None,
            };
            let symbol = match &d.value {
                Some(tensor_shape_proto::dimension::Value::DimParam(p)) if super::dims::is_name(p) => {
                    p.clone()
                }
                _ => own.clone(),
            };
            let asked = self.options.dims.get(&own).or_else(|| self.options.dims.get(&symbol)).copied();
            let (lo, hi) = match (known, asked) {
                (Some(v), Some((lo, hi))) if lo > v || hi < v => {
                    return Err(Diag::input(format!(
                        "dim {i} is {v} in the model, {lo}..{hi} was asked for"
                    )));
                }
                (Some(v), _) => (v, v),
                (None, Some(r)) => r,
                (None, None) => ranges[i],
            };
            if lo == hi {
                dims.push(Expr::from(lo));
                continue;
            }
            let same = self.symbols.table.iter().position(|s| s.name == symbol);
            let sym = match same {
                Some(p) => {
                    // Several inputs share the symbol: the tightest default wins.
                    let info = &mut self.symbols.table[p];
                    if asked.is_none() {
                        info.max = info.max.min(hi).max(info.min);
                    }
                    sinter_ir::Sym(p as u32)
                }
                None => self.symbols.fresh(symbol, lo, hi, SymKind::Input),
            };
            dims.push(sym.into());
        }
        let ty = TensorType::new(dtype, dims);
        let v = self.scope.top().graph.add_input(ty, Some(Arc::from(input.name.as_str())));
        Ok(Item::Tensor(self.scope.depth(), v))
    }

    /// Imports initialisers and nodes of a graph into the innermost level.
    pub fn body(&mut self, graph: &GraphProto) -> Result<()> {
        for t in &graph.initializer {
            let item = self.initializer(t);
            self.bind_new(&t.name, item);
        }
        for s in &graph.sparse_initializer {
            let name = s.values.as_ref().map(|v| v.name.clone()).unwrap_or_default();
            self.report(Diag::unsupported(format!("sparse initialiser `{name}`")));
            self.bind_new(&name, Item::Poison);
        }
        let wanted: Vec<&str> = graph.output.iter().map(|o| o.name.as_str()).collect();
        self.nodes(&graph.node, &wanted)
    }
    fn initializer(&mut self, t: &super::proto::TensorProto) -> Item {
        let made = tensor::read(t, self.path).and_then(|tensor| {
            let level = self.scope.top();
            let op = sinter_ir::op::Constant { tensor }.into();
            let v = level.graph.add1(&mut self.symbols, op, &[], &vec![])?;
            Ok(v)
        });
        match made {
            Ok(v) => {
                if !t.name.is_empty() {
                    self.scope.top().graph.set_name(v, Arc::from(t.name.as_str()));
                }
                Item::Tensor(self.scope.depth(), v)
            }
            Err(d) => {
                self.report(d);
                Item::Poison
            }
        }
    }

    /// Imports nodes in dependency order, those that `wanted` needs.
    fn nodes(&mut self, nodes: &[NodeProto], wanted: &[&str]) -> Result<()> {
        self.nodes += nodes.len();
        if self.nodes > MAX_NODES {
            return Err(Diag::limit(format!("more than {MAX_NODES} nodes")));
        }
        let mut makers: BTreeMap<&str, usize> = BTreeMap::new();
        for (i, n) in nodes.iter().enumerate() {
            for out in n.output.iter().filter(|o| !o.is_empty()) {
                if makers.insert(out, i).is_some() {
                    self.report(Diag::input(format!("`{out}` is made by two nodes")).at(label(n)));
                }
            }
        }
        for i in order(nodes, &makers, wanted)? {
            let n = &nodes[i];
            match self.node(n) {
                Ok(items) => {
                    let mut items = items.into_iter();
                    for out in &n.output {
                        let item = items.next().unwrap_or(Item::None);
                        if out.is_empty() {
                            continue;
                        }
                        self.name(&item, out);
                        self.bind_new(out, item);
                    }
                }
                Err(d) => {
                    if d.fault == Fault::Limit && d.message.starts_with("more than") {
                        return Err(d);
                    }
                    self.report(d.at(label(n)));
                    for out in n.output.iter().filter(|o| !o.is_empty()) {
                        self.bind_new(out, Item::Poison);
                    }
                }
            }
        }
        Ok(())
    }
    fn name(&mut self, item: &Item, name: &str) {
        if let Item::Tensor(level, v) = item
            && *level == self.scope.depth()
            && self.scope.top().graph.value(*v).name.is_none()
        {
            self.scope.top().graph.set_name(*v, Arc::from(name));
        }
    }

    /// Imports one node.
    fn node(&mut self, n: &NodeProto) -> Result<Vec<Item>> {
        let domain = domain(&n.domain).to_owned();
        if let Some(f) = self.functions.get(&(domain.clone(), n.op_type.clone())).copied() {
            return self.function(n, f);
        }
        let opset = self.opsets.get(&domain).copied().unwrap_or(1);
        let build = op::find(&domain, &n.op_type).ok_or_else(|| {
            let full = if domain.is_empty() { n.op_type.clone() } else { format!("{domain}.{}", n.op_type) };
            Diag::unsupported(format!("operator {full} (opset {opset})"))
        })?;
        for name in n.input.iter().filter(|i| !i.is_empty()) {
            if let Some(Item::Poison) = self.scope.find(name) {
                return Err(Self::poison());
            }
        }
        let origin = vec![Arc::from(label(n))];
        build(&mut NodeCx { im: self, node: n, opset, origin })
    }

    /// Expands a model-local function.
    fn function(&mut self, n: &NodeProto, f: &FunctionProto) -> Result<Vec<Item>> {
        self.enter()?;
        let args = n.input.iter().map(|i| if i.is_empty() { Ok(Item::None) } else { self.lookup(i) });
        let args = args.collect::<Result<Vec<_>>>()?;
        let mut known: BTreeMap<String, AttributeProto> =
            f.attribute_proto.iter().map(|a| (a.name.clone(), a.clone())).collect();
        known.extend(n.attribute.iter().map(|a| (a.name.clone(), a.clone())));
        let mut nodes = f.node.clone();
        bind_attributes(&mut nodes, &known);
        let outer = self.opsets.clone();
        self.opsets.extend(f.opset_import.iter().map(|o| (domain(&o.domain).to_owned(), o.version)));
        self.scope.push_frame(true);
        for (i, name) in f.input.iter().enumerate() {
            let item = args.get(i).cloned().unwrap_or(Item::None);
            // An absent operand stays absent inside.
            if !matches!(item, Item::None) {
                self.bind_new(name, item);
            } else {
                blank(&mut nodes, name);
            }
        }
        let wanted: Vec<&str> = f.output.iter().map(String::as_str).collect();
        let done = self.nodes(&nodes, &wanted);
        let outs = f.output.iter().map(|o| self.lookup(o)).collect::<Result<Vec<_>>>();
        self.scope.pop_frame();
        self.opsets = outer;
        self.depth -= 1;
        done.and(outs)
    }
    /// Counts nesting.
    pub fn enter(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            self.depth -= 1;
            return Err(Diag::limit(format!("regions and functions nested deeper than {MAX_DEPTH}")));
        }
        Ok(())
    }
    /// Imports a region: `bind` gives the names of its explicit inputs and their types. Returns the finished
    /// level and its outputs as items.
    pub fn region(&mut self, graph: &GraphProto, types: &[TensorType]) -> Result<(Level, Vec<Item>)> {
        self.enter()?;
        self.scope.push_level();
        self.note_hints(graph);
        for (i, ty) in graph.input.iter().zip(types) {
            let v = self.scope.top().graph.add_input(ty.clone(), Some(Arc::from(i.name.as_str())));
            let item = Item::Tensor(self.scope.depth(), v);
            self.bind_new(&i.name, item);
        }
        self.scope.top().explicit_inputs = types.len();
        let done = self.body(graph).and_then(|()| self.region_outputs(graph));
        self.depth -= 1;
        let level = self.scope.pop_level()?;
        Ok((level, done?))
    }
    fn region_outputs(&mut self, graph: &GraphProto) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        for out in &graph.output {
            let item = match self.lookup(&out.name)? {
                Item::Tensor(level, v) => {
                    let v = self.scope.reach(&mut self.symbols, level, v)?;
                    self.scope.top().graph.outputs.push(v);
                    Item::Tensor(self.scope.depth(), v)
                }
                other => other,
            };
            items.push(item);
        }
        Ok(items)
    }
    /// Imports a graph inline, in the current level (an If whose condition is known).
    pub fn inline(&mut self, graph: &GraphProto) -> Result<Vec<Item>> {
        self.enter()?;
        self.scope.push_frame(false);
        self.note_hints(graph);
        let done = self.body(graph);
        let outs = graph.output.iter().map(|o| self.lookup(&o.name)).collect::<Result<Vec<_>>>();
        self.scope.pop_frame();
        self.depth -= 1;
        done.and(outs)
    }
    /// Number of problems so far: lets a caller undo a trial.
    pub fn mark(&self) -> (usize, Symbols) {
        (self.diags.len(), self.symbols.clone())
    }
    /// Forgets problems and symbols made since a mark.
    pub fn rewind(&mut self, mark: (usize, Symbols)) {
        self.diags.truncate(mark.0);
        self.symbols = mark.1;
    }
}

/// The default domain under one name.
fn domain(d: &str) -> &str {
    if d == "ai.onnx" { "" } else { d }
}

/// How a node is named to the user.
pub fn label(n: &NodeProto) -> String {
    let name = if n.name.is_empty() { n.output.first().map_or("", String::as_str) } else { &n.name };
    format!("{name} ({})", n.op_type)
}

fn declared_dims(v: &ValueInfoProto) -> Option<Vec<Option<i64>>> {
    let TypeProto { value: Some(type_proto::Value::TensorType(t)), .. } = v.r#type.as_ref()? else {
        return None;
    };
    let dim = |d: &super::proto::tensor_shape_proto::Dimension| match d.value {
        Some(tensor_shape_proto::dimension::Value::DimValue(v)) if v >= 0 => Some(v),
        _ => None,
    };
    Some(t.shape.as_ref()?.dim.iter().map(dim).collect())
}

/// Names that a node's subgraphs use (any name: those made inside are harmless).
fn inner_names<'g>(n: &'g NodeProto, out: &mut Vec<&'g str>) {
    let mut stack: Vec<&GraphProto> = graphs(n).collect();
    while let Some(g) = stack.pop() {
        out.extend(g.output.iter().map(|o| o.name.as_str()));
        for n in &g.node {
            out.extend(n.input.iter().map(String::as_str));
            stack.extend(graphs(n));
        }
    }
}

fn graphs(n: &NodeProto) -> impl Iterator<Item = &GraphProto> {
    n.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs))
}

/// Needed nodes in dependency order; a cycle is an error.
fn order(nodes: &[NodeProto], makers: &BTreeMap<&str, usize>, wanted: &[&str]) -> Result<Vec<usize>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let needs = |i: usize| -> Vec<usize> {
        let mut names: Vec<&str> = nodes[i].input.iter().map(String::as_str).collect();
        inner_names(&nodes[i], &mut names);
        let mut deps: Vec<usize> = names.iter().filter_map(|n| makers.get(n).copied()).collect();
        deps.sort_unstable();
        deps.dedup();
        deps
    };
    let mut marks = vec![Mark::New; nodes.len()];
    let mut out = Vec::with_capacity(nodes.len());
    let mut roots: Vec<usize> = wanted.iter().filter_map(|w| makers.get(w).copied()).collect();
    roots.sort_unstable();
    for root in roots {
        let mut stack = vec![(root, Vec::new(), true)];
        while let Some((i, deps, fresh)) = stack.pop() {
            let mut deps: Vec<usize> = deps;
            if fresh {
                if marks[i] != Mark::New {
                    continue;
                }
                marks[i] = Mark::Open;
                deps = needs(i);
                deps.reverse();
            }
            match deps.pop() {
                Some(d) => {
                    stack.push((i, deps, false));
                    match marks[d] {
                        Mark::New => stack.push((d, Vec::new(), true)),
                        Mark::Open => {
                            return Err(
                                Diag::input("the graph has a cycle through this node").at(label(&nodes[d]))
                            );
                        }
                        Mark::Done => {}
                    }
                }
                None => {
                    marks[i] = Mark::Done;
                    out.push(i);
                }
            }
        }
    }
    Ok(out)
}

/// Replaces references to function attributes by their values, in nested graphs as well.
fn bind_attributes(nodes: &mut [NodeProto], known: &BTreeMap<String, AttributeProto>) {
    for n in nodes {
        n.attribute.retain(|a| a.ref_attr_name.is_empty() || known.contains_key(&a.ref_attr_name));
        for a in &mut n.attribute {
            if let Some(v) = known.get(&a.ref_attr_name).filter(|_| !a.ref_attr_name.is_empty()) {
                *a = AttributeProto { name: a.name.clone(), ref_attr_name: String::new(), ..v.clone() };
            }
            if let Some(g) = &mut a.g {
                bind_attributes(&mut g.node, known);
            }
        }
    }
}

/// Marks an absent function operand as absent wherever it is used.
fn blank(nodes: &mut [NodeProto], name: &str) {
    for n in nodes {
        n.input.iter_mut().filter(|i| *i == name).for_each(String::clear);
        for a in &mut n.attribute {
            if let Some(g) = &mut a.g {
                blank(&mut g.node, name);
            }
        }
    }
}
