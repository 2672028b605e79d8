//! Transposed convolutions against the convolutions that they become.
#![allow(clippy::unwrap_used)]

mod support;

use sinter_ir::graph::{Origin, SymKind};
use sinter_ir::op::binary::{Binary, BinaryKind};
use sinter_ir::op::{Constant, ConvTranspose};
use sinter_ir::{DType, Expr, Graph, Module, Op, Symbols, Tensor, TensorType, ValueId, eval};
use sinter_passes::canon::{dce, subpixel};
use sinter_passes::report::PassReport;
use support::Rng;

/// Along one axis: points, kernel, step, pads.
type Axis = (usize, usize, usize, (i64, i64));

/// A transposed convolution.
struct Case<'a> {
    axes: &'a [Axis],
    group: usize,
    /// Of a group: in, out.
    channels: (usize, usize),
    dtype: DType,
    /// Whether the points are symbols.
    open: bool,
}

impl Case<'_> {
    /// `(y + bias) * y` for the transposed convolution y, and inputs for it.
    fn module(&self, rng: &mut Rng) -> (Module, Vec<Tensor>) {
        let (mut symbols, mut g) = (Symbols::default(), Graph::default());
        let (inputs, outputs) = (self.channels.0 * self.group, self.channels.1);
        let of = |f: &dyn Fn(&Axis) -> usize| -> Vec<usize> { self.axes.iter().map(f).collect() };
        let shape = [vec![2, inputs], of(&|a| a.0)].concat();
        let mut dims: Vec<Expr> = shape.iter().map(|&d| d.into()).collect();
        for d in dims.iter_mut().skip(2).filter(|_| self.open) {
            *d = symbols.fresh("points", 2, 64, SymKind::Input).into();
        }
        let x = g.add_input(TensorType::new(self.dtype, dims), None);
        let mut add = |op: Op, x: &[ValueId]| g.add1(&mut symbols, op, x, &Origin::new()).unwrap();
        let kernel = [vec![inputs, outputs], of(&|a| a.1)].concat();
        let w = add(Constant { tensor: rng.tensor(self.dtype, kernel) }.into(), &[x][..0]);
        let bias = [vec![outputs * self.group], vec![1; self.axes.len()]].concat();
        let bias = add(Constant { tensor: rng.tensor(self.dtype, bias) }.into(), &[]);
        let pads = |f: &dyn Fn(&(i64, i64)) -> i64| self.axes.iter().map(|a| f(&a.3).into()).collect();
        let op = ConvTranspose {
            strides: of(&|a| a.2),
            dilations: vec![1; self.axes.len()],
            pads_before: pads(&|p| p.0),
            pads_after: pads(&|p| p.1),
            group: self.group,
            channels_last: false,
        };
        let y = add(op.into(), &[x, w]);
        let sum = add(Binary { kind: BinaryKind::Add }.into(), &[y, bias]);
        let z = add(Binary { kind: BinaryKind::Mul }.into(), &[sum, y]);
        g.outputs = vec![z];
        (Module { graph: g, symbols, ..Module::default() }, vec![rng.tensor(self.dtype, shape)])
    }
    fn rewritten(&self) -> (Module, Module, Vec<Tensor>, PassReport) {
        let (old, inputs) =
            self.module(&mut Rng::new(self.axes.iter().map(|a| a.0 * 31 + a.1).sum::<usize>() as u64));
        let (mut new, mut report) = (old.clone(), PassReport::default());
        subpixel::run(&mut new, &mut report).unwrap();
        dce::run_final(&mut new, &mut report).unwrap();
        assert!(new.verify().is_empty(), "{:?}", new.verify());
        (old, new, inputs, report)
    }
    fn check(&self) {
        let (old, new, inputs, report) = self.rewritten();
        assert_eq!(report.rules.get("subpixel/convolution"), Some(&1));
        let count = |f: fn(&Op) -> bool| new.graph.iter().filter(|(_, n)| f(&n.op)).count();
        assert_eq!(count(|op| matches!(op, Op::ConvTranspose(_))), 0);
        // Only the last value is moved.
        assert_eq!(count(|op| matches!(op, Op::Transpose(_))), 1);
        let (a, b) = (eval::module(&old, &inputs).unwrap(), eval::module(&new, &inputs).unwrap());
        assert_eq!(a[0].shape(), b[0].shape());
        // Sums of multiples of 1/16 are exact.
        assert_eq!(a[0].to_f64().unwrap(), b[0].to_f64().unwrap());
    }
}

const PLAIN: Case = Case {
    axes: &[(5, 4, 2, (1, 1)), (6, 4, 2, (1, 1))],
    group: 1,
    channels: (3, 2),
    dtype: DType::F32,
    open: false,
};

#[test]
fn windows_in_all_positions() {
    PLAIN.check();
    Case { open: true, ..PLAIN }.check();
    // Windows as large as steps, and larger; pads that cut blocks, that cut none, and that grow the result.
    Case { axes: &[(4, 2, 2, (0, 0)), (5, 3, 3, (0, 0))], ..PLAIN }.check();
    Case { axes: &[(4, 3, 2, (1, 0)), (5, 3, 2, (1, 0))], ..PLAIN }.check();
    Case { axes: &[(4, 5, 2, (2, 1)), (3, 7, 3, (0, 4))], open: true, ..PLAIN }.check();
    Case { axes: &[(4, 3, 1, (1, 1)), (5, 1, 1, (0, 0))], ..PLAIN }.check();
    Case { axes: &[(7, 16, 8, (4, 4))], ..PLAIN }.check();
    Case { axes: &[(3, 4, 2, (-1, -2))], channels: (2, 5), ..PLAIN }.check();
    Case { axes: &[(3, 3, 2, (1, 0)), (2, 2, 1, (0, 0)), (3, 2, 2, (0, 0))], ..PLAIN }.check();
}

#[test]
fn groups_and_single_points() {
    Case { group: 3, ..PLAIN }.check();
    Case { group: 4, channels: (1, 1), open: true, ..PLAIN }.check();
    Case { group: 2, channels: (2, 3), axes: &[(6, 3, 2, (1, 0))], ..PLAIN }.check();
    Case { axes: &[(1, 4, 1, (0, 0)), (1, 4, 1, (0, 0))], ..PLAIN }.check();
    Case { axes: &[(1, 4, 2, (1, 1)), (3, 4, 2, (1, 1))], dtype: DType::F16, ..PLAIN }.check();
}

#[test]
fn others_stay() {
    let left = |case: Case| {
        let report = case.rewritten().3;
        assert!(!report.rules.contains_key("subpixel/convolution"));
    };
    // Steps that leave most places empty, and pads that cut whole windows away.
    left(Case { axes: &[(5, 1, 2, (0, 0)), (5, 1, 2, (0, 0))], ..PLAIN });
    left(Case { axes: &[(9, 2, 2, (4, 0))], ..PLAIN });
}
