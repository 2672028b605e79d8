//! Each kind of broken module is reported, sound ones are not.

use crate::graph::text::NoConsts;
use crate::graph::{Module, NodeId, SymKind, ValueId};
use crate::op::{Binary, Compare, Unary, binary::BinaryKind, compare::CompareKind, unary::UnaryKind};
use crate::{DType, Expr, Fault, TensorType};

/// A module from the lines of its symbols and its graph, unverified.
fn module(symbols: &str, graph: &str) -> Module {
    let text = format!("sinter-graph 1\nmodule \"m\"\n{symbols}\n{graph}");
    Module::from_text_unverified(&text, &NoConsts).unwrap()
}

/// `abs(x) + x`, sound.
fn sound() -> Module {
    let add = r#"graph(%0 "x": f32[s0, 3]) {
        %1: f32[s0, 3] = Unary {"kind":"abs"} (%0) ; "abs1 (Abs)"
        %2 "y": f32[s0, 3] = Binary {"kind":"add"} (%1, %0) ; "add1 (Add)"
        return %2
    }"#;
    let m = module(r#"sym s0 "batch" input 1..8"#, add);
    assert_eq!(m.verify(), []);
    m
}

/// Exactly one problem, with this text and the name of this node.
#[track_caller]
fn only(m: &Module, node: Option<&str>, message: &str) {
    let found = m.verify();
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].fault, Fault::Bug);
    assert_eq!(found[0].node.as_deref(), node);
    assert!(found[0].message.contains(message), "{:?}", found[0].message);
}

/// At least one problem with this text.
#[track_caller]
fn some(m: &Module, message: &str) {
    let found = m.verify();
    assert!(found.iter().any(|d| d.message.contains(message)), "{message}: {found:#?}");
}

const ADD: Option<&str> = Some("add1 (Add)");
const ABS: Option<&str> = Some("abs1 (Abs)");

#[test]
fn order_of_nodes() {
    let mut m = sound();
    m.graph.order.swap(0, 1);
    only(&m, ADD, "operand 0 is used before its definition");
    let mut m = sound();
    m.graph.order.remove(0);
    only(&m, ADD, "operand 0 is used before its definition");
    let mut m = sound();
    m.graph.order.push(NodeId(1));
    only(&m, ADD, "lists the node twice");
    let mut m = sound();
    m.graph.order.push(NodeId(9));
    only(&m, None, "node 9, which does not exist");
}

#[test]
fn definitions_and_uses() {
    let mut m = sound();
    m.graph.nodes[1].inputs[0] = ValueId(7);
    only(&m, ADD, "operand 0 is no value of the graph");
    let mut m = sound();
    m.graph.nodes[1].inputs[0] = ValueId(2);
    only(&m, ADD, "operand 0 is used before its definition");
    let mut m = sound();
    m.graph.outputs = vec![ValueId(5)];
    only(&m, None, "output 0 has no definition");
    let mut m = sound();
    m.graph.inputs.push(ValueId(8));
    only(&m, None, "input 1 is no value of the graph");
    let mut m = sound();
    m.graph.inputs.push(ValueId(0));
    only(&m, None, "input value 0 is defined twice");
    let mut m = sound();
    m.graph.inputs.push(ValueId(1));
    some(&m, "input 1 is also the result of a node");
    some(&m, "result value 1 is defined twice");
    let mut m = sound();
    m.graph.values[2].def = Some((NodeId(0), 0));
    only(&m, ADD, "result 0 does not know the node as its definition");
    let mut m = sound();
    m.graph.nodes[1].outputs[0] = ValueId(6);
    some(&m, "result 0 is no value of the graph");
    some(&m, "output 0 has no definition");
}

#[test]
fn types_against_the_shape_rule() {
    let mut m = sound();
    m.graph.values[1].ty.dims[1] = 4.into();
    some(&m, "result 0 is stored as f32[batch, 4], the shape rule gives f32[batch, 3]");
    let mut m = sound();
    m.graph.values[2].ty.dtype = DType::F16;
    only(&m, ADD, "result 0 is stored as f16[batch, 3], the shape rule gives f32[batch, 3]");
    let mut m = sound();
    m.graph.values[2].ty.dims.pop();
    only(&m, ADD, "the shape rule gives f32[batch, 3]");
    let mut m = sound();
    m.graph.nodes[0].op = Unary { kind: UnaryKind::Not }.into();
    only(&m, ABS, "the shape rule of Unary refuses it");
    let mut m = sound();
    m.graph.nodes[1].inputs.pop();
    only(&m, ADD, "the shape rule of Binary refuses it");
    let mut m = sound();
    m.graph.nodes[1].op = Compare { kind: CompareKind::Lt }.into();
    only(&m, ADD, "the shape rule gives bool[batch, 3]");
    let mut m = sound();
    let ty = m.graph.values[2].ty.clone();
    m.graph.values.push(crate::graph::Value { ty, name: None, def: Some((NodeId(1), 1)) });
    m.graph.nodes[1].outputs.push(ValueId(3));
    only(&m, ADD, "2 results, the shape rule gives 1");
}

/// Dims may look different after a rewrite as long as they are equal for all values the constraints allow.
#[test]
fn equal_dims_need_not_look_equal() {
    let mut m = sound();
    m.graph.values[1].ty.dims[0] = "max(s0, 0)".parse().unwrap();
    assert_eq!(m.verify(), []);
    // Equal at both ends of the range and nowhere else.
    m.graph.values[1].ty.dims[0] = "s0 + max(0, min(s0 - 1, 8 - s0))".parse().unwrap();
    assert!(!m.verify().is_empty());
}

#[test]
fn equalities_need_a_constraint() {
    let (a, b) = (r#"sym s0 "a" input 1..8"#, r#"sym s1 "b" input 1..8"#);
    let graph = r#"graph(%0: f32[s0], %1: f32[s1]) {
        %2: f32[s0] = Binary {"kind":"add"} (%0, %1) ; "add1 (Add)"
        return %2
    }"#;
    only(&module(&format!("{a}\n{b}"), graph), ADD, "nothing guarantees a == b");
    let held = module(&format!("{a}\n{b}\nrequire s0 == s1 ; \"test\""), graph);
    assert_eq!(held.verify(), []);
    let other = module(&format!("{a}\n{b}\nrequire s0 == 2*s1 ; \"test\""), graph);
    some(&other, "nothing guarantees a == b");
}

#[test]
fn symbols_of_inputs() {
    let mut m = sound();
    m.symbols.table[0].min = 9;
    some(&m, "symbol s0 `batch` has the empty range 9..8");
    let mut m = sound();
    m.symbols.table.clear();
    some(&m, "the type of an input uses the symbol s0 `unknown` before its definition");
    let mut m = sound();
    let c = crate::graph::Constraint { a: crate::Sym(4).into(), b: 1.into(), why: "because".into() };
    m.symbols.constraints.push(c);
    only(&m, None, "a constraint uses an unknown symbol: because");
    // 2*s0 gives no value to s0.
    let twice = TensorType::new(DType::F32, vec![Expr::from(crate::Sym(0)) * 2.into(), 3.into()]);
    let mut m = sound();
    m.graph.values.iter_mut().for_each(|v| v.ty = twice.clone());
    only(&m, None, "no input has the symbol s0 as a dim of its own");
}

#[test]
fn symbols_that_nodes_define() {
    let table = r#"sym s0 "n" run 0..12"#;
    let find = r#"%1: i64[2, s0] = NonZero {"count":0} (%0) ; "nz (NonZero)""#;
    let sum = r#"%2: i64[2, s0] = Unary {"kind":"neg"} (%1) ; "neg (Neg)""#;
    let with = |lines: &str| module(table, &format!("graph(%0: f32[3, 4]) {{ {lines} return %1 }}"));
    assert_eq!(with(&format!("{find}\n{sum}")).verify(), []);
    let again = r#"%3: i64[2, s0] = NonZero {"count":0} (%0) ; "again (NonZero)""#;
    only(
        &with(&format!("{find}\n{again}")),
        Some("again (NonZero)"),
        "s0, which nz (NonZero) defines already",
    );
    let mut m = with(find);
    m.symbols.table[0].kind = SymKind::Input;
    some(&m, "defines s0 `n`, which the inputs give");
    let early = format!(r#"%5: i64[s0] = Iota {{"dtype":"i64","dims":["s0"],"axis":0}} () ; "iota" {find}"#);
    some(&with(&early), "an attribute uses the symbol s0 `n` before its definition");
    some(&with(&early), "the type of a result uses the symbol s0 `n` before its definition");
    let mut m = with(find);
    m.symbols.table.clear();
    some(&m, "defines the unknown symbol s0");
}

/// `if c { nonzero(x) } else { 2 x 5 zeros }`, sound, with the branch symbol s1.
fn branches() -> Module {
    let m = module(
        "sym s0 \"n\" run 0..12\nsym s1 \"taken\" run 0..12",
        r#"graph(%0: bool[], %1: f32[3, 4]) {
            %2: i64[2, s1] = If {"types":[{"dtype":"i64","dims":[2,"s1"]}],
                                 "defs":[{"sym":1,"then_value":"s0","else_value":5}]} (%0, %1) ; "if (If)"
            then(%0: f32[3, 4]) {
                %1: i64[2, s0] = NonZero {"count":0} (%0) ; "nz (NonZero)"
                return %1
            }
            else(%0: f32[3, 4]) {
                %1: i64[2, 5] = Constant [1, 2, 3, 4, 5, 6, 7, 8, 9, 10] ()
                return %1
            }
            return %2
        }"#,
    );
    assert_eq!(m.verify(), []);
    m
}

fn if_of(m: &mut Module) -> &mut crate::op::If {
    match &mut m.graph.nodes[0].op {
        crate::Op::If(o) => o,
        _ => panic!("not an If"),
    }
}

#[test]
fn borders_of_if() {
    let mut m = branches();
    if_of(&mut m).defs[0].else_value = 4.into();
    only(&m, Some("if (If)"), "result 0 of the else branch is i64[2, 5] inside, i64[2, 4] outside");
    let mut m = branches();
    // What one branch defines, the other does not know.
    if_of(&mut m).defs[0].else_value = crate::Sym(0).into();
    some(&m, "the value of a symbol after the branch uses the symbol s0 `n`");
    let mut m = branches();
    if_of(&mut m).then_body.outputs.clear();
    some(&m, "the shape rule of If refuses it");
    let mut m = branches();
    if_of(&mut m).then_body.outputs[0] = ValueId(77);
    some(&m, "output 0 has no definition");
    let mut m = branches();
    if_of(&mut m).then_body.inputs.clear();
    some(&m, "operand 0 is used before its definition");
    let mut m = branches();
    if_of(&mut m).then_body.nodes[0].inputs[0] = ValueId(3);
    let found = m.verify();
    assert_eq!(found[0].node.as_deref(), Some("if (If) / then / nz (NonZero)"), "{found:#?}");
    // Nothing after the If may use what only one branch defines.
    let mut m = branches();
    let leak = TensorType::new(DType::I64, vec![2.into(), crate::Sym(0).into()]);
    m.graph.values[2].ty = leak;
    some(&m, "the type of a result uses the symbol s0 `n` before its definition");
}

/// A loop that doubles its carried tensor and scans a row of three, sound.
fn repeat() -> Module {
    let m = module(
        "sym s0 \"len\" run 1..64\nsym s1 \"count\" run 0..5",
        r#"graph(%0: i64[], %1: bool[], %2: f32[1], %3: f32[3]) {
            %4: f32[s0], %5: f32[s1, 3] = Loop {"carried":1,"scanned":1,"count":1,
                    "shape_syms":[{"sym":0,"init":1,"next":"2*s0"}]} (%0, %1, %2, %3) ; "loop (Loop)"
            body(%0: i64[], %1: f32[s0], %2: f32[3]) {
                %3: bool[] = Constant [1] ()
                %4: f32[2*s0] = Concat {"axis":0} (%1, %1) ; "double (Concat)"
                return %3, %4, %2
            }
            return %4, %5
        }"#,
    );
    assert_eq!(m.verify(), []);
    m
}

fn loop_of(m: &mut Module) -> &mut crate::op::Loop {
    match &mut m.graph.nodes[0].op {
        crate::Op::Loop(o) => o,
        _ => panic!("not a Loop"),
    }
}

#[test]
fn borders_of_loop() {
    let mut m = repeat();
    loop_of(&mut m).shape_syms[0].next = crate::Sym(0).into();
    only(&m, Some("loop (Loop)"), "carried value 0 is f32[2*len] inside, f32[len] outside");
    let mut m = repeat();
    loop_of(&mut m).shape_syms[0].init = 2.into();
    some(&m, "the shape rule of Loop refuses it");
    let mut m = repeat();
    loop_of(&mut m).shape_syms[0].init = crate::Sym(1).into();
    some(&m, "the first value of a carried symbol uses the symbol s1 `count` before its definition");
    let mut m = repeat();
    let body = &mut loop_of(&mut m).body;
    body.outputs[0] = body.inputs[0];
    some(&m, "the body's first output must be one bool");
    let mut m = repeat();
    let body = &mut loop_of(&mut m).body;
    body.values[0].ty.dtype = DType::F32;
    some(&m, "the body's first input must be one i64");
    let mut m = repeat();
    loop_of(&mut m).scanned = 2;
    some(&m, "the shape rule of Loop refuses it");
    let mut m = repeat();
    loop_of(&mut m).body.nodes[1].op = Binary { kind: BinaryKind::Add }.into();
    some(&m, "the shape rule gives f32[len]");
}

#[test]
fn groups_are_looked_into() {
    let group = |inner: &str| {
        let text = format!(
            r#"graph(%0: f32[4]) {{
                %1: f32[4] = Group (%0) ; "a (Exp)", "b (Neg)"
                group(%0: f32[4]) {{
                    %1: f32[4] = Unary {{"kind":"exp"}} (%0) ; "a (Exp)"
                    %2: {inner} = Unary {{"kind":"neg"}} (%1) ; "b (Neg)"
                    return %2
                }}
                return %1
            }}"#
        );
        module("", &text)
    };
    assert_eq!(group("f32[4]").verify(), []);
    let found = group("f32[5]").verify();
    assert_eq!(found[0].node.as_deref(), Some("a (Exp) / group / b (Neg)"), "{found:#?}");
}
