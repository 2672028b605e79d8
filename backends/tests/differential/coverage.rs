//! The random kernels have every construct of TileIR in them: a test that leaves something out would pass silently.

use crate::r#gen;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{
    BinOp, Bound, CmpOp, CvtOp, Elem, Inst, Kernel, LoopKind, Reg, Scalar, Stmt, Ty, UnOp, verify,
};
use std::collections::BTreeSet;

const ELEMS: [Elem; 7] = [Elem::B1, Elem::I8, Elem::I16, Elem::I32, Elem::I64, Elem::F32, Elem::F64];

/// Operation, element types, and whether it is a vector, a vector of whole 16 bytes or a scalar.
fn inst(k: &Kernel, dst: Reg, i: &Inst) -> String {
    let ty = k.ty(dst);
    let size = match ty.lanes {
        1 => "scalar",
        n if n % 4 == 0 => "vector",
        _ => "odd",
    };
    let of = |r: &Reg| k.ty(*r).elem;
    let tailed = |t: &Option<Reg>| if t.is_some() { " tail" } else { "" };
    let what = match i {
        Inst::Const(_) => "Const".to_owned(),
        Inst::Copy(_) => "Copy".to_owned(),
        Inst::Dim(_) => return "Dim".to_owned(),
        Inst::Un(op, _) => format!("{op:?}"),
        Inst::Bin(op, ..) => format!("{op:?}"),
        Inst::Cmp(op, a, _) => format!("{op:?} {:?}", of(a)),
        Inst::Select(c, ..) => format!("Select by {}", k.ty(*c).lanes.min(2)),
        Inst::MulAdd(..) => "MulAdd".to_owned(),
        Inst::Dot2 { .. } => "Dot2".to_owned(),
        Inst::Dot4 { a, b, a_signed, b_signed, .. } => {
            format!("Dot4 {a_signed} {b_signed} {:?} {:?}", of(a), of(b))
        }
        Inst::Mat8 { a_signed, .. } => format!("Mat8 {a_signed}"),
        Inst::Mat4 { .. } => "Mat4".to_owned(),
        Inst::Halves { high, .. } => format!("Halves {high}"),
        Inst::Cvt(op, a) => format!("{op:?} {:?}", of(a)),
        Inst::Load { tail, .. } => format!("Load{}", tailed(tail)),
        Inst::LoadGather { index, tail, .. } => format!("Gather {:?}{}", of(index), tailed(tail)),
        Inst::Address(_) => return "Address".to_owned(),
        Inst::LoadAt(_) => "LoadAt".to_owned(),
        Inst::Splat(_) => "Splat".to_owned(),
        Inst::Lane(a, _) => return format!("Lane {:?}", of(a)),
        Inst::LaneIndex => "LaneIndex".to_owned(),
        Inst::Fold(op, a) => return format!("Fold {op:?} {:?}", of(a)),
    };
    format!("{what} {:?} {size}", ty.elem)
}

fn visit(k: &Kernel, body: &[Stmt], out: &mut BTreeSet<String>) {
    for s in body {
        match s {
            Stmt::Let { dst, inst: i } => {
                out.insert(inst(k, *dst, i));
            }
            Stmt::Store { value, tail, .. } => {
                let Ty { elem, lanes } = k.ty(*value);
                out.insert(format!("Store {elem:?} {} {}", lanes.min(2), tail.is_some()));
            }
            Stmt::For { hi, kind, body, .. } => {
                out.insert(format!("For {kind:?} {}", matches!(hi, Bound::Reg(_))));
                visit(k, body, out);
            }
            Stmt::While { test, body, .. } => {
                out.insert("While".into());
                visit(k, test, out);
                visit(k, body, out);
            }
            Stmt::If { then, els, .. } => {
                out.insert(format!("If {}", els.is_empty()));
                visit(k, then, out);
                visit(k, els, out);
            }
            Stmt::SetSym { .. } => {
                out.insert("SetSym".into());
            }
            Stmt::FailIf { .. } => {
                out.insert("FailIf".into());
            }
        }
    }
}

/// Whether the verifier takes an instruction alone. Operands are register 0 of type `from`; the result is of type `to`.
fn sound(from: Ty, to: Ty, i: Inst) -> Option<String> {
    let mut b = KernelBuilder::new("one");
    let x = b.reg(from.elem, from.lanes);
    let zero = match from.elem {
        Elem::B1 => Scalar::B1(false),
        Elem::F32 => Scalar::F32(0.0),
        Elem::F64 => Scalar::F64(0.0),
        _ => Scalar::Int(0),
    };
    b.set(x, Inst::Const(zero));
    let dst = b.reg(to.elem, to.lanes);
    b.set(dst, i.clone());
    let k = b.finish();
    verify::verify(&k).is_empty().then(|| inst(&k, dst, &i))
}

/// Every operation on every element type and kind of width that the verifier takes.
fn wanted() -> BTreeSet<String> {
    use UnOp::*;
    let un = [Neg, Abs, Not, Ceil, Floor, Trunc, Nearest, Sqrt];
    let bin = {
        use BinOp::*;
        [
            Add, Sub, Mul, Div, DivS, DivU, RemS, RemU, Min, Max, MinS, MaxS, MinU, MaxU, And, Or, Xor, Shl,
            ShrS, ShrU,
        ]
    };
    let cmp = {
        use CmpOp::*;
        [Eq, Ne, Lt, Le, Gt, Ge, LtU, LeU, GtU, GeU]
    };
    let cvt = {
        use CvtOp::*;
        [SExt, ZExt, Narrow, SToF, UToF, FToS, FToU, FToF, Bits]
    };
    let mut out = BTreeSet::new();
    let x = Reg(0);
    for from in ELEMS {
        for lanes in [1, 3, 8] {
            let a = Ty { elem: from, lanes };
            out.extend(un.iter().filter_map(|&op| sound(a, a, Inst::Un(op, x))));
            out.extend(bin.iter().filter_map(|&op| sound(a, a, Inst::Bin(op, x, x))));
            let truth = Ty { elem: Elem::B1, lanes };
            // Equality of truth values is `Xor`; lowering has no need of it.
            let cmp = cmp.iter().filter(|_| from != Elem::B1);
            out.extend(cmp.filter_map(|&op| sound(a, truth, Inst::Cmp(op, x, x))));
            for to in ELEMS {
                let to = Ty { elem: to, lanes };
                out.extend(cvt.iter().filter_map(|&op| sound(a, to, Inst::Cvt(op, x))));
            }
            out.extend(sound(a, a, Inst::MulAdd(x, x, x)));
            out.extend(sound(a, a, Inst::Copy(x)));
            out.extend(sound(a, a, Inst::LaneIndex));
            out.extend(sound(Ty { elem: from, lanes: 1 }, a, Inst::Splat(x)));
        }
        let (a, one) = (Ty { elem: from, lanes: 4 }, Ty { elem: from, lanes: 1 });
        out.extend(bin.iter().filter_map(|&op| sound(a, one, Inst::Fold(op, x))));
        out.extend(sound(a, one, Inst::Lane(x, 1)));
        for size in ["scalar", "odd", "vector"] {
            out.insert(format!("Const {from:?} {size}"));
            out.insert(format!("Select by 1 {from:?} {size}"));
            if size != "scalar" {
                out.insert(format!("Select by 2 {from:?} {size}"));
            }
            if from != Elem::B1 {
                for t in ["", " tail"] {
                    out.insert(format!("Load{t} {from:?} {size}"));
                    out.insert(format!("Gather I32{t} {from:?} {size}"));
                    out.insert(format!("Gather I64{t} {from:?} {size}"));
                }
            }
        }
        if from != Elem::B1 {
            for lanes in 1..3 {
                out.extend([true, false].map(|t| format!("Store {from:?} {lanes} {t}")));
            }
        }
    }
    for a in [true, false] {
        for b in [true, false] {
            for form in ["I8 I8", "I8 I32", "I32 I8", "I32 I32"] {
                out.extend(["scalar", "odd", "vector"].map(|s| format!("Dot4 {a} {b} {form} I32 {s}")));
            }
        }
        out.insert(format!("For {:?} {a}", LoopKind::Serial));
        out.insert(format!("If {a}"));
    }
    out.extend(["For Unrolled false", "While", "SetSym", "FailIf", "Dim"].map(String::from));
    out
}

#[test]
fn every_construct_is_generated() {
    let mut found = BTreeSet::new();
    for seed in 0..2016 {
        let k = r#gen::kernel(seed, 4 + seed as usize % 40);
        visit(&k, &k.body, &mut found);
    }
    let missing: Vec<String> = wanted().difference(&found).cloned().collect();
    assert!(missing.is_empty(), "never generated: {missing:?}");
}

/// Our own emitters take the random kernels that they are meant to take: else the tests would test another one.
#[test]
fn own_emitter_takes_kernels() {
    for t in crate::targets().iter().filter(|t| t.has("avx2") || t.has("neon")) {
        for seed in 0..400 {
            let k = r#gen::kernel(seed, 4 + seed as usize % 40);
            assert_eq!(sinter_backends::refuses(&k, t), None, "{} on {}", k.name, t.name);
        }
    }
}
