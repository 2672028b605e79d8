//! sin, cos, tan in f64.

use super::{Math, div, int, num, poly};
use sinter_ir::tile::{BinOp, CmpOp, CvtOp, Elem, Reg, UnOp};

/// pi/2 in three parts of 33 bits (fdlibm): products with quotients below 2^20 are exact.
const PIO2: [f64; 3] = [1.570_796_326_734_125_6, 6.077_100_506_303_966e-11, 2.022_266_248_795_950_6e-21];

struct Reduced {
    sin: Reg,
    cos: Reg,
    quadrant: Reg,
}

/// Sine and cosine of `x - q pi/2`, and q.
fn reduce(b: &mut Math, x: Reg) -> Reduced {
    let c = num(b, x, std::f64::consts::FRAC_2_PI);
    let q = b.mul(x, c);
    let q = b.un(UnOp::Nearest, q);
    let mut r = x;
    for part in PIO2 {
        let p = num(b, x, part);
        let p = b.mul(q, p);
        r = b.sub(r, p);
    }
    let z = b.mul(r, r);
    let series = |first: i32| {
        let mut c = vec![1.0];
        let mut k = first;
        while c.len() < 9 {
            let last = c[c.len() - 1];
            c.push(-last / f64::from(k * (k + 1)));
            k += 2;
        }
        c.reverse();
        c
    };
    let s = poly(b, z, &series(2));
    let sin = b.mul(s, r);
    let cos = poly(b, z, &series(1));
    Reduced { sin, cos, quadrant: b.cvt(CvtOp::FToS, Elem::I64, q) }
}

fn turned(b: &mut Math, r: &Reduced, by: i64) -> Reg {
    let (by, one, two, zero) = (
        int(b, r.sin, Elem::I64, by),
        int(b, r.sin, Elem::I64, 1),
        int(b, r.sin, Elem::I64, 2),
        int(b, r.sin, Elem::I64, 0),
    );
    let q = b.add(r.quadrant, by);
    let odd = b.bin(BinOp::And, q, one);
    let odd = b.cmp(CmpOp::Ne, odd, zero);
    let v = b.select(odd, r.cos, r.sin);
    let back = b.bin(BinOp::And, q, two);
    let back = b.cmp(CmpOp::Ne, back, zero);
    let n = b.un(UnOp::Neg, v);
    b.select(back, n, v)
}

/// `y`, or `x` itself where that is 0: the reduction loses the sign of -0.
fn keep_zero(b: &mut Math, x: Reg, y: Reg) -> Reg {
    let zero = num(b, x, 0.0);
    let is_zero = b.cmp(CmpOp::Eq, x, zero);
    b.select(is_zero, x, y)
}

/// Sine.
pub fn sin(b: &mut Math, x: Reg) -> Reg {
    let r = reduce(b, x);
    let y = turned(b, &r, 0);
    keep_zero(b, x, y)
}

/// Cosine.
pub fn cos(b: &mut Math, x: Reg) -> Reg {
    let r = reduce(b, x);
    turned(b, &r, 1)
}

/// Tangent.
pub fn tan(b: &mut Math, x: Reg) -> Reg {
    let r = reduce(b, x);
    let (s, c) = (turned(b, &r, 0), turned(b, &r, 1));
    let y = div(b, s, c);
    keep_zero(b, x, y)
}
