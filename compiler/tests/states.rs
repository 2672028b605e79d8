//! States: a module with a cache that grows and a running sum gives the same over several runs evaluated, as a
//! program and as machine code; wrong positions, capacities and writers are refused.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod common;

use common::{open, program};
use sinter_ir::graph::text::NoConsts;
use sinter_ir::op::binary::{Binary, BinaryKind};
use sinter_ir::op::reduce::{Reduce, ReduceKind};
use sinter_ir::op::{ReadSyms, Reshape, Slice, Transpose, WriteSlice};
use sinter_ir::program::interp;
use sinter_ir::{DType, Expr, Graph, Module, Op, State, SymKind, Symbols, Tensor, TensorType, ValueId, eval};

/// Inputs `x[tokens, 4]` and the position; a cache `[2, capacity, 2]` takes the rows of `x` by halves, the sum of what is
/// in it is the first output; the second state sums all `x`, and what it was before is the second output.
fn module() -> Module {
    let mut symbols = Symbols::default();
    let tokens: Expr = symbols.fresh("tokens", 1, 6, SymKind::Input).into();
    let capacity: Expr = symbols.fresh("capacity", 1, 40, SymKind::Input).into();
    let past = symbols.fresh("past", 0, 40, SymKind::Run);
    let mut g = Graph::default();
    let input = |g: &mut Graph, name: &str, dtype, dims: Vec<Expr>| {
        g.add_input(TensorType::new(dtype, dims), Some(name.into()))
    };
    let x = input(&mut g, "x", DType::F32, vec![tokens.clone(), 4.into()]);
    let cache = input(&mut g, "cache", DType::F32, vec![2.into(), capacity, 2.into()]);
    let at = input(&mut g, "position", DType::I64, vec![1.into()]);
    let total = input(&mut g, "total", DType::F32, vec![4.into()]);
    let mut add = |op: Op, inputs: &[ValueId]| g.add(&mut symbols, op, inputs, &vec![]).unwrap();
    add(ReadSyms { syms: vec![past] }.into(), &[at]);
    let rows = add(Reshape { dims: vec![tokens.clone(), 2.into(), 2.into()] }.into(), &[x])[0];
    let rows = add(Transpose { perm: vec![1, 0, 2] }.into(), &[rows])[0];
    let kept = add(WriteSlice { axis: 1, at: past.into() }.into(), &[cache, rows])[0];
    let seen = Slice {
        starts: vec![0.into(); 3],
        sizes: vec![2.into(), tokens + past.into(), 2.into()],
        steps: vec![1.into(); 3],
    };
    let seen = add(seen.into(), &[kept])[0];
    let sum = |axes| Reduce { kind: ReduceKind::Sum, axes, keepdims: false };
    let y = add(sum(vec![1]).into(), &[seen])[0];
    let new = add(sum(vec![0]).into(), &[x])[0];
    let sum = |a, b| (Op::from(Binary { kind: BinaryKind::Add }), [a, b]);
    let (op, args) = sum(total, new);
    let next = add(op, &args)[0];
    let left = add(WriteSlice { axis: 0, at: 0.into() }.into(), &[total, next])[0];
    // Reads what is overwritten, and stands behind the write.
    let (op, args) = sum(total, total);
    let twice = add(op, &args)[0];
    g.outputs = vec![y, kept, left, twice];
    let states = vec![State { input: 1, output: 1 }, State { input: 3, output: 2 }];
    Module { name: "stateful".into(), symbols, graph: g, states, ..Module::default() }
}

fn x(n: usize, seed: usize) -> Tensor {
    let v: Vec<f32> = (0..4 * n).map(|i| ((i * 7 + seed * 13) % 19) as f32 - 9.0).collect();
    Tensor::f32s(vec![n, 4], &v).unwrap()
}

fn zeros(dims: &[usize]) -> Tensor {
    Tensor::zeros(DType::F32, dims.to_vec()).unwrap()
}

#[test]
fn all_levels_agree_over_several_runs() {
    let m = module();
    assert_eq!(m.verify(), []);
    let p = program(m.clone()).unwrap();
    let text = p.dump_text();
    assert_eq!(sinter_ir::program::Program::from_text(&text, &NoConsts).unwrap(), p, "{text}");
    assert_eq!((p.states.len(), p.outputs.len(), p.inputs.len()), (2, 2, 2));
    let (mut session, _) = open(sinter::driver::native().unwrap(), &p).unwrap();
    for capacity in [11, 40] {
        let mut evaluated = [zeros(&[2, capacity, 2]), zeros(&[4])];
        let mut interpreted = evaluated.to_vec();
        let mut native = session.states(capacity as i64).unwrap();
        assert_eq!(native.bytes().len(), (16 * capacity).next_multiple_of(64) + 64);
        let mut at = 0;
        for (i, n) in [5, 1, 1, 3, 1].into_iter().enumerate() {
            let (x, position) = (x(n, i), Tensor::i64s(&[at]));
            let all = [x.clone(), evaluated[0].clone(), position.clone(), evaluated[1].clone()];
            let [y, a, b, twice] = eval::module(&m, &all).unwrap().try_into().unwrap();
            evaluated = [a, b];
            let inputs = [x, position];
            let got = interp::run_on(&p, &inputs, &interpreted, interp::Options::default()).unwrap();
            assert_eq!((got.code, &got.outputs), (0, &vec![y.clone(), twice.clone()]), "run {i}");
            assert_eq!(got.states, evaluated, "run {i}");
            interpreted = got.states;
            assert_eq!(session.run_on(&mut native, &inputs).unwrap(), [y, twice], "run {i}");
            let block = native.bytes();
            assert_eq!(&block[..16 * capacity], evaluated[0].bytes(), "run {i}");
            let second = (16 * capacity).next_multiple_of(64);
            assert_eq!(&block[second..second + 16], evaluated[1].bytes(), "run {i}");
            at += n as i64;
        }
    }
}

#[test]
fn positions_and_capacities_outside_are_refused() {
    let (mut session, _) = open(sinter::driver::native().unwrap(), &program(module()).unwrap()).unwrap();
    assert!(session.states(41).is_err() && session.states(0).is_err() && session.states(-1).is_err());
    assert!(session.run(&[x(1, 0), Tensor::i64s(&[0])]).is_err(), "no states given");
    let mut states = session.states(8).unwrap();
    let mut at = |n, position| session.run_on(&mut states, &[x(n, 0), Tensor::i64s(&[position])]).map(drop);
    assert!(at(3, 5).is_ok());
    for position in [6, 40, 41, -1, i64::MAX, i64::MIN] {
        assert!(at(3, position).is_err(), "position {position}");
    }
    // A block of another size than the bundle's own is not touched.
    let other = Module { states: vec![State { input: 1, output: 1 }], ..module() };
    let other = Module { graph: drop_second_state(other.graph.clone()), ..other };
    let (mut other, _) = open(sinter::driver::native().unwrap(), &program(other).unwrap()).unwrap();
    let mut strange = other.states(8).unwrap();
    assert!(session.run_on(&mut strange, &[x(1, 0), Tensor::i64s(&[0])]).is_err());
}

/// The second state becomes an ordinary input, its result an ordinary output.
fn drop_second_state(mut g: Graph) -> Graph {
    g.outputs.truncate(2);
    g
}

#[test]
fn wrong_writers_are_found() {
    let wrong = |change: &dyn Fn(&mut Module)| {
        let mut m = module();
        change(&mut m);
        m.verify().iter().map(ToString::to_string).collect::<String>()
    };
    assert!(wrong(&|m| m.states[0].output = 0).contains("last write"));
    assert!(wrong(&|m| m.states[0].output = 9).contains("do not exist"));
    assert!(wrong(&|m| m.states[1] = m.states[0]).contains("two names"));
    let twice = wrong(&|m| {
        let (rows, cache) = (m.graph.inputs[3], m.graph.inputs[3]);
        let op = WriteSlice { axis: 0, at: 0.into() };
        let again = m.graph.add(&mut m.symbols, op.into(), &[cache, rows], &vec![]).unwrap();
        m.graph.outputs[2] = again[0];
    });
    assert!(twice.contains("written twice"), "{twice}");
}
