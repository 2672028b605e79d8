//! Model-local functions, expanded where they are called.

use super::importer::{Importer, domain};
use super::proto::{AttributeProto, FunctionProto, NodeProto};
use super::scope::Item;
use sinter_ir::{Diag, Result};
use std::collections::BTreeMap;

impl<'m> Importer<'m> {
    /// Expands a model-local function.
    pub fn function(&mut self, n: &NodeProto, f: &'m FunctionProto) -> Result<Vec<Item>> {
        if self.active.iter().any(|&a| std::ptr::eq(a, f)) {
            return Err(Diag::input(format!("function `{}` calls itself", f.name)));
        }
        let args = n.input.iter().map(|i| if i.is_empty() { Ok(Item::None) } else { self.lookup(i) });
        let args = args.collect::<Result<Vec<_>>>()?;
        self.enter()?;
        self.active.push(f);
        let outer = self.opsets.clone();
        self.opsets.extend(f.opset_import.iter().map(|o| (domain(&o.domain).to_owned(), o.version)));
        self.scope.push_frame(true);
        let outs = self.function_body(n, f, &args);
        self.scope.pop_frame();
        self.opsets = outer;
        self.active.pop();
        self.leave();
        outs
    }
    fn function_body(&mut self, n: &NodeProto, f: &FunctionProto, args: &[Item]) -> Result<Vec<Item>> {
        let mut known: BTreeMap<String, AttributeProto> =
            f.attribute_proto.iter().map(|a| (a.name.clone(), a.clone())).collect();
        known.extend(n.attribute.iter().map(|a| (a.name.clone(), a.clone())));
        let mut nodes = f.node.clone();
        bind_attributes(&mut nodes, &known);
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
        self.nodes(&nodes, &wanted)?;
        f.output.iter().map(|o| self.lookup(o)).collect()
    }
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
