//! Visits an ONNX graph in dependency order and builds the module.

use super::ImportOptions;
use super::external::Store;
use super::node::NodeCx;
use super::op;
use super::order::{differentiated, order};
use super::proto::{
    FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, ValueInfoProto,
    tensor_shape_proto, type_proto,
};
use super::scope::{Item, Level, Scope};
use sinter_ir::{Diag, Fault, Origin, Result, Symbols, TensorType, ValueId};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// Largest number of nodes in a model, functions expanded.
pub const MAX_NODES: usize = 1 << 18;
/// Deepest nesting of regions and functions.
pub const MAX_DEPTH: usize = 64;
const POISON: &str = "\0poison";

/// State of an import.
pub struct Importer<'m> {
    /// Files beside the model that hold tensors.
    pub store: Store,
    /// Inputs of the main graph that stand for constants whose data was not read.
    pub unread: BTreeMap<ValueId, TensorProto>,
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
    /// Opset version per domain.
    pub opsets: BTreeMap<String, i64>,
    functions: BTreeMap<(String, String), &'m FunctionProto>,
    hints: BTreeMap<String, Vec<Option<i64>>>,
    /// Names that a Gradient differentiates by: never folded into what uses them.
    differentiated: BTreeSet<String>,
    node_count: usize,
    pub(super) depth: usize,
    /// Functions that are being expanded.
    pub(super) active: Vec<&'m FunctionProto>,
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
            store: Store::new(path),
            unread: BTreeMap::new(),
            options,
            symbols: Symbols::default(),
            scope: Scope::default(),
            diags: Vec::new(),
            warnings: Vec::new(),
            opsets,
            functions,
            hints: BTreeMap::new(),
            differentiated: differentiated(model),
            node_count: 0,
            depth: 0,
            active: Vec::new(),
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
            Item::Seq(_) | Item::Stack(..) => Err(Diag::unsupported("a sequence as model output")),
            Item::None => Err(Diag::unsupported("an optional as model output")),
            Item::Poison => Err(Self::poison()),
        }
    }
    /// Binds a name that must be new in its name space.
    pub fn bind_new(&mut self, name: &str, item: Item) {
        let item = self.opaque(item, name).unwrap_or_else(|d| {
            self.report(d);
            Item::Poison
        });
        if !self.scope.bind(name, item) {
            self.report(Diag::input(format!("`{name}` is defined twice")));
        }
    }
    /// Hides that a tensor is constant where a Gradient needs its way to the result.
    fn opaque(&mut self, item: Item, name: &str) -> Result<Item> {
        let depth = self.scope.depth();
        let graph = &mut self.scope.top().graph;
        match item {
            Item::Tensor(level, v)
                if level == depth
                    && self.differentiated.contains(name)
                    && graph.as_const(v).is_some_and(|t| t.dtype().is_float()) =>
            {
                let op = sinter_ir::op::Identity {}.into();
                Ok(Item::Tensor(level, graph.add1(&mut self.symbols, op, &[v], &vec![])?))
            }
            item => Ok(item),
        }
    }
    fn note_hints(&mut self, graph: &GraphProto) {
        for v in graph.output.iter().chain(&graph.value_info) {
            if let Some(dims) = declared_dims(v) {
                self.hints.insert(v.name.clone(), dims);
            }
        }
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
    fn initializer(&mut self, t: &TensorProto) -> Item {
        match self.literal(t, &Origin::new()) {
            Ok(item) => {
                self.name(&item, &t.name);
                item
            }
            Err(d) => {
                self.report(d);
                Item::Poison
            }
        }
    }

    /// Imports nodes in dependency order, those that `wanted` needs.
    pub fn nodes(&mut self, nodes: &[NodeProto], wanted: &[&str]) -> Result<()> {
        self.node_count += nodes.len();
        if self.node_count > MAX_NODES {
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
                    let operands = self.operand_types(n);
                    let d = d.at(label(n));
                    self.report(if d.operands.is_empty() { Diag { operands, ..d } } else { d });
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
            && (*level == self.scope.depth() || self.unread.contains_key(v) && *level == 0)
            && !name.is_empty()
            && self.scope.levels[*level].graph.value(*v).name.is_none()
        {
            self.scope.levels[*level].graph.set_name(*v, Arc::from(name));
        }
    }

    /// Types of a node's operands, as far as they are known.
    fn operand_types(&self, n: &NodeProto) -> Vec<String> {
        let show = |name: &String| match self.scope.find(name) {
            Some(Item::Tensor(level, v)) => self.symbols.show_type(self.scope.levels[level].graph.ty(v)),
            Some(Item::Seq(_) | Item::Stack(..)) => "sequence".to_owned(),
            _ if name.is_empty() => "none".to_owned(),
            _ => "unknown".to_owned(),
        };
        n.input.iter().map(show).collect()
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
            let d = Diag::unsupported(format!("operator {full} (opset {opset})"));
            if op::knows(&domain) {
                return d;
            }
            d.help(format!(
                "operators of `{domain}` can be read when the model defines them as local functions"
            ))
        })?;
        for name in n.input.iter().filter(|i| !i.is_empty()) {
            if let Some(Item::Poison) = self.scope.find(name) {
                return Err(Self::poison());
            }
        }
        let origin = vec![Arc::from(label(n))];
        let mut cx = NodeCx { im: self, node: n, opset, origin, mistyped: RefCell::default() };
        let built = build(&mut cx);
        // What was read in place of the attribute may have led to other errors: they are not the cause.
        match cx.mistyped.into_inner() {
            Some(what) => Err(Diag::input(what)),
            None => built,
        }
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
    /// Ends what [`Self::enter`] began.
    pub fn leave(&mut self) {
        self.depth -= 1;
    }
    /// Imports a region. `types`: its explicit inputs, and those that it takes for [stacks](Item::Stack). Returns the
    /// finished level and its outputs as items.
    pub fn region(
        &mut self,
        graph: &GraphProto,
        types: &[TensorType],
        stacks: &[bool],
    ) -> Result<(Level, Vec<Item>)> {
        self.enter()?;
        self.scope.push_level();
        self.note_hints(graph);
        for (n, (i, ty)) in graph.input.iter().zip(types).enumerate() {
            let v = self.scope.top().graph.add_input(ty.clone(), Some(Arc::from(i.name.as_str())));
            let make = if stacks.get(n) == Some(&true) { Item::Stack } else { Item::Tensor };
            let item = make(self.scope.depth(), v);
            self.bind_new(&i.name, item);
        }
        self.scope.top().explicit_inputs = types.len();
        let done = self.body(graph).and_then(|()| self.region_outputs(graph));
        self.leave();
        let level = self.scope.pop_level()?;
        Ok((level, done?))
    }
    /// The results of a region that is forgotten again. `inputs`: tensors of a type; none: empty sequences.
    pub fn probe(&mut self, graph: &GraphProto, inputs: &[Option<TensorType>]) -> Result<(Level, Vec<Item>)> {
        let mark = self.mark();
        self.enter()?;
        self.scope.push_level();
        for (i, ty) in graph.input.iter().zip(inputs) {
            let item = match ty {
                Some(ty) => {
                    Item::Tensor(self.scope.depth(), self.scope.top().graph.add_input(ty.clone(), None))
                }
                None => Item::Seq(vec![]),
            };
            self.bind_new(&i.name, item);
        }
        let done = self.body(graph);
        let outs = graph.output.iter().map(|o| self.lookup(&o.name)).collect::<Result<Vec<_>>>();
        self.leave();
        let level = self.scope.pop_level();
        let problem = self.diags.get(mark.0).cloned();
        self.rewind(mark);
        done.and(outs).map_err(|d| problem.unwrap_or(d)).and_then(|o| Ok((level?, o)))
    }
    fn region_outputs(&mut self, graph: &GraphProto) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        for out in &graph.output {
            let item = self.lookup(&out.name)?;
            let item = match item {
                Item::Tensor(level, v) | Item::Stack(level, v) => {
                    let v = self.scope.reach(&mut self.symbols, level, v)?;
                    self.scope.top().graph.outputs.push(v);
                    let make = if matches!(item, Item::Stack(..)) { Item::Stack } else { Item::Tensor };
                    make(self.scope.depth(), v)
                }
                other => other,
            };
            items.push(item);
        }
        Ok(items)
    }
    /// Imports a graph inline, in the current level (an If whose condition is known).
    pub fn inline(&mut self, graph: &GraphProto) -> Result<Vec<Item>> {
        self.inline_with(graph, &[])
    }
    /// Imports a graph inline with its inputs given.
    pub fn inline_with(&mut self, graph: &GraphProto, inputs: &[Item]) -> Result<Vec<Item>> {
        self.enter()?;
        self.scope.push_frame(false);
        for (i, item) in graph.input.iter().zip(inputs) {
            self.bind_new(&i.name, item.clone());
        }
        self.note_hints(graph);
        let done = self.body(graph);
        let outs = graph.output.iter().map(|o| self.lookup(&o.name)).collect::<Result<Vec<_>>>();
        self.scope.pop_frame();
        self.leave();
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
pub fn domain(d: &str) -> &str {
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
