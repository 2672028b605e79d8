//! Channels first and channels last: the two layouts of data with spatial axes.

use super::{OpSpec, Transpose};
use crate::{Diag, Result, Symbols, Tensor, TensorType};

/// The permutation that turns `[n, c, spatial..]` into `[n, spatial.., c]`.
pub fn to_last(rank: usize) -> Vec<usize> {
    (0..rank.min(1)).chain(2..rank).chain((rank > 1).then_some(1)).collect()
}

/// The permutation that turns `[n, spatial.., c]` into `[n, c, spatial..]`.
pub fn to_first(rank: usize) -> Vec<usize> {
    (0..rank.min(1)).chain((rank > 1).then(|| rank - 1)).chain(1..rank.max(1) - 1).collect()
}

fn permuted(ty: &TensorType, perm: &[usize]) -> TensorType {
    TensorType::new(ty.dtype, perm.iter().map(|&p| ty.dims[p].clone()).collect())
}

/// Result types of an op on channels-last data, by its rule for channels-first data.
pub(super) fn infer(
    s: &mut Symbols,
    x: &TensorType,
    first: &mut dyn FnMut(&mut Symbols, &TensorType) -> Result<Vec<TensorType>>,
) -> Result<Vec<TensorType>> {
    if x.rank() < 3 {
        return Err(Diag::input(format!("channels last needs a spatial axis, not {}", s.show_type(x))));
    }
    let ys = first(s, &permuted(x, &to_first(x.rank())))?;
    Ok(ys.iter().map(|y| permuted(y, &to_last(y.rank()))).collect())
}

/// Results of an op on channels-last data, by its meaning on channels-first data.
pub(super) fn eval(x: &Tensor, first: &mut dyn FnMut(Tensor) -> Result<Vec<Tensor>>) -> Result<Vec<Tensor>> {
    let ys = first(transpose(x, to_first(x.rank()))?)?;
    ys.iter().map(|y| transpose(y, to_last(y.rank()))).collect()
}

fn transpose(x: &Tensor, perm: Vec<usize>) -> Result<Tensor> {
    let y = Transpose { perm }.eval(&mut Default::default(), std::slice::from_ref(x))?;
    y.into_iter().next().ok_or_else(|| Diag::bug("a transpose without a result"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::pool::PoolKind;
    use crate::op::{Conv, ConvTranspose, Op, Pool};
    use crate::{DType, Expr, Graph};

    fn ramp(shape: &[usize]) -> Tensor {
        let v: Vec<f32> = (0..shape.iter().product::<usize>()).map(|i| (i % 11) as f32 - 4.0).collect();
        Tensor::f32s(shape.to_vec(), &v).unwrap()
    }

    /// Type and value of an op on one data operand and perhaps weights.
    fn run(op: &Op, x: &[Tensor]) -> (TensorType, Tensor) {
        let types: Vec<TensorType> = x.iter().map(TensorType::of).collect();
        let ty = op.infer(&mut Symbols::default(), &types.iter().collect::<Vec<_>>()).unwrap();
        (ty[0].clone(), op.eval(&mut Default::default(), x).unwrap().remove(0))
    }

    #[test]
    fn permutations_are_inverse() {
        for rank in 0..6 {
            let (l, f) = (to_last(rank), to_first(rank));
            assert!((0..rank).all(|i| l[f[i]] == i), "{rank}: {l:?} {f:?}");
        }
        assert_eq!(to_last(4), [0, 2, 3, 1]);
    }

    #[test]
    fn channels_last_is_the_transposed_op() {
        let pads = || (vec![Expr::from(1), 0.into()], vec![Expr::from(0), 2.into()]);
        let (strides, dilations, ((pads_before, pads_after), group)) = (vec![2, 1], vec![1, 2], (pads(), 2));
        let conv = Conv {
            strides,
            dilations,
            pads_before,
            pads_after,
            group,
            channels_last: false,
            zero: None,
            largest: None,
            wide: false,
        };
        let transposed = ConvTranspose {
            strides: conv.strides.clone(),
            dilations: conv.dilations.clone(),
            pads_before: conv.pads_before.clone(),
            pads_after: conv.pads_after.clone(),
            group: 2,
            channels_last: false,
        };
        let pool = Pool {
            kind: PoolKind::Average,
            kernel: vec![2.into(), 2.into()],
            strides: vec![2, 1],
            dilations: vec![1, 2],
            pads_before: pads().0,
            pads_after: pads().1,
            ceil_mode: false,
            count_include_pad: false,
            indices: false,
            column_major: false,
            channels_last: false,
        };
        let x = ramp(&[2, 4, 5, 6]);
        let cases: [(Op, Op, Vec<Tensor>); 3] = [
            (conv.clone().into(), Conv { channels_last: true, ..conv }.into(), vec![ramp(&[6, 2, 3, 2])]),
            (
                transposed.clone().into(),
                ConvTranspose { channels_last: true, ..transposed }.into(),
                vec![ramp(&[4, 3, 3, 2])],
            ),
            (pool.clone().into(), Pool { channels_last: true, ..pool }.into(), vec![]),
        ];
        for (first, last, weights) in cases {
            let (_, want) = run(&first, &[std::slice::from_ref(&x), weights.as_slice()].concat());
            let moved = transpose(&x, to_last(4)).unwrap();
            let (ty, got) = run(&last, &[std::slice::from_ref(&moved), weights.as_slice()].concat());
            assert_eq!(ty, TensorType::of(&got), "{}", last.name());
            assert_eq!(transpose(&want, to_last(4)).unwrap(), got, "{}", last.name());
        }
    }

    #[test]
    fn text_forms_leave_channels_first_out() {
        let op = |channels_last| Conv {
            strides: vec![1],
            dilations: vec![1],
            pads_before: vec![0.into()],
            pads_after: vec![0.into()],
            group: 1,
            channels_last,
            zero: None,
            largest: None,
            wide: false,
        };
        let json = |c| Op::from(op(c)).attributes();
        assert!(json(false).get("channels_last").is_none());
        assert_eq!(json(true).get("channels_last"), Some(&true.into()));
        for c in [false, true] {
            assert_eq!(Op::from_attributes("Conv", json(c)).unwrap(), op(c).into());
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut pool = Pool {
            kind: PoolKind::Max,
            kernel: vec![2.into()],
            strides: vec![1],
            dilations: vec![1],
            pads_before: vec![0.into()],
            pads_after: vec![0.into()],
            ceil_mode: false,
            count_include_pad: false,
            indices: true,
            column_major: false,
            channels_last: true,
        };
        let mut s = Symbols::default();
        let mut add = |op: &Pool, dims: &[i64]| {
            let mut g = Graph::default();
            let ty = TensorType::new(DType::F32, dims.iter().map(|&d| d.into()).collect());
            let x = g.add_input(ty, None);
            g.add(&mut s, op.clone().into(), &[x], &vec![]).map(|y| g.ty(y[0]).to_string())
        };
        assert!(add(&pool, &[1, 5, 3]).unwrap_err().message.contains("indices"));
        pool.indices = false;
        assert_eq!(add(&pool, &[1, 5, 3]).unwrap(), "f32[1, 4, 3]");
        assert!(add(&pool, &[5, 3]).unwrap_err().message.contains("spatial axis"));
    }
}
