//! TileIR: one kernel as a structured loop nest over scalar and vector registers.
//!
//! Registers are mutable and typed; a register must be assigned on every path before it is read. Memory is
//! reached through numbered buffers with affine addresses counted in elements of the access type. Vector
//! width is chosen at lowering; nothing here names a target. All emitters consume only this.
//!
//! Semantics that emitters must keep:
//! - integer arithmetic wraps; shifts take the amount modulo the width; division by zero gives 0 and
//!   `MIN / -1` gives `MIN`; remainders by zero give 0;
//! - float Min/Max propagate NaN and order -0 below +0; `MulAdd` may be fused or not; other float ops are IEEE,
//!   never reordered;
//! - float to int saturates, NaN gives 0;
//! - `tail: Some(r)` means that only the first `r` lanes take part: others are neither read nor written and
//!   load as zero;
//! - a kernel's iterations of its outermost `Parallel` loop are independent.

pub mod build;
pub mod interp;
pub mod text;
pub mod verify;
mod visit;

use crate::{Expr, Sym};

/// Element type of registers and memory accesses. Floats below f32 are held as I16 bits and converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Elem {
    /// Truth value; never in memory.
    B1,
    I8,
    I16,
    I32,
    I64,
    F32,
    F64,
}

impl Elem {
    /// Bits in memory (1 for B1).
    pub fn bits(self) -> u32 {
        match self {
            Elem::B1 => 1,
            Elem::I8 => 8,
            Elem::I16 => 16,
            Elem::I32 | Elem::F32 => 32,
            Elem::I64 | Elem::F64 => 64,
        }
    }
    /// Bytes in memory.
    pub fn bytes(self) -> u32 {
        self.bits().div_ceil(8)
    }
    /// F32 or F64.
    pub fn is_float(self) -> bool {
        matches!(self, Elem::F32 | Elem::F64)
    }
}

/// Register type: element and number of lanes (1: scalar).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ty {
    /// Element.
    pub elem: Elem,
    /// Lanes.
    pub lanes: u16,
}

impl std::fmt::Display for Ty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let e = text::name_of(text::ELEMS, self.elem);
        if self.lanes == 1 { f.write_str(e) } else { write!(f, "{e}x{}", self.lanes) }
    }
}

impl std::fmt::Display for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(text::name_of(text::ACCESSES, *self))
    }
}

/// A register: index into [`Kernel::regs`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reg(pub u32);

/// A buffer: index into [`Kernel::bufs`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Buf(pub u32);

/// How a kernel uses a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Access {
    Read,
    Write,
    ReadWrite,
}

/// A kernel parameter.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Buffer {
    /// For readers only.
    pub name: String,
    /// Use.
    pub access: Access,
    /// Size in bytes, in terms of the module's symbols; the interpreter checks accesses against it.
    pub bytes: Expr,
}

/// Affine address in elements of the access type: `offset + Σ reg * scale`; registers are I64 scalars.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Addr {
    /// Variable part; at most a handful of terms.
    pub terms: Vec<(Reg, i64)>,
    /// Constant part.
    pub offset: i64,
}

/// Operations of one operand. Result type: that of the operand unless said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum UnOp {
    Neg,
    Abs,
    /// Bitwise; logical on B1.
    Not,
    Ceil,
    Floor,
    Trunc,
    /// Half to even.
    Nearest,
    Sqrt,
    // Functions that `expand` turns into the operations above where an emitter has no better way.
    Exp,
    Log,
    Sin,
    Cos,
    Tan,
    Asin,
    Acos,
    Atan,
    Sinh,
    Cosh,
    Tanh,
    Asinh,
    Acosh,
    Atanh,
    Erf,
    Sigmoid,
    /// I16 bits of an f16 to F32.
    F16ToF32,
    /// F32 to I16 bits of an f16, nearest even.
    F32ToF16,
    /// I16 bits of a bf16 to F32.
    Bf16ToF32,
    /// F32 to I16 bits of a bf16, nearest even.
    F32ToBf16,
    /// The same, but subnormal numbers become zeros of their sign: what processors have an instruction for.
    F32ToBf16Flush,
}

/// Operations of two operands of one type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum BinOp {
    Add,
    Sub,
    Mul,
    /// Float division.
    Div,
    DivS,
    DivU,
    /// Sign of the dividend.
    RemS,
    RemU,
    /// Floats.
    Min,
    Max,
    MinS,
    MaxS,
    MinU,
    MaxU,
    And,
    Or,
    Xor,
    Shl,
    ShrS,
    ShrU,
    /// Floats, C `pow`; expandable.
    Pow,
    /// Floats, C `fmod`; expandable.
    Fmod,
    /// Floats: `a * 2^floor(b)`, rounded once; `b` is not infinite where `a` is NaN. Only some targets have it; math
    /// expansion is what makes it.
    Scale,
}

/// Comparisons; result B1 with the operands' lanes. With NaN only Ne is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum CmpOp {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    LtU,
    LeU,
    GtU,
    GeU,
}

/// Conversions between element types; lanes stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum CvtOp {
    /// Wider integer, sign-extended; B1 gives 0 / -1.
    SExt,
    /// Wider integer, zero-extended; B1 gives 0 / 1.
    ZExt,
    /// Narrower integer, low bits.
    Narrow,
    /// Signed integer to float, nearest even.
    SToF,
    /// Unsigned integer to float, nearest even.
    UToF,
    /// Float to signed integer (I32 or I64), truncating and saturating.
    FToS,
    /// Float to unsigned integer (I32 or I64), truncating and saturating.
    FToU,
    /// F32 to F64 and back.
    FToF,
    /// Same bits, other element type of the same width.
    Bits,
}

/// A compile-time scalar. Floats compare by their bits: -0 is not 0 and a NaN equals itself.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub enum Scalar {
    B1(bool),
    /// I8..I64 by the register's type.
    Int(i64),
    F32(f32),
    F64(f64),
}

impl Scalar {
    /// All bits zero.
    pub fn is_zero(self) -> bool {
        self.key().1 == 0
    }
    /// Kind and bits: what makes two scalars the same.
    fn key(self) -> (u8, u64) {
        match self {
            Scalar::B1(v) => (0, v.into()),
            Scalar::Int(v) => (1, v as u64),
            Scalar::F32(v) => (2, v.to_bits().into()),
            Scalar::F64(v) => (3, v.to_bits()),
        }
    }
}

impl PartialEq for Scalar {
    fn eq(&self, o: &Self) -> bool {
        self.key() == o.key()
    }
}

impl Eq for Scalar {}

impl PartialOrd for Scalar {
    fn partial_cmp(&self, o: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(o))
    }
}

impl Ord for Scalar {
    fn cmp(&self, o: &Self) -> std::cmp::Ordering {
        self.key().cmp(&o.key())
    }
}

/// Right-hand sides.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Inst {
    /// The scalar in every lane.
    Const(Scalar),
    Copy(Reg),
    /// Value of a symbolic integer, I64 scalar. `Div`/`Mod` by zero give 0.
    Dim(Expr),
    Un(UnOp, Reg),
    Bin(BinOp, Reg, Reg),
    Cmp(CmpOp, Reg, Reg),
    /// `cond ? a : b`, cond B1 with the same lanes (or one lane).
    Select(Reg, Reg, Reg),
    /// `a * b + c` on floats or integers.
    MulAdd(Reg, Reg, Reg),
    /// Integer dot product of groups of four bytes, acc I32. Operands have four I8 lanes for every lane of acc, or one
    /// I32 lane whose bytes they are, lowest first. The flags say whether a and b are signed. `within` is a promise: the
    /// products of the first two bytes never add up to more than that in magnitude, nor do those of the last two. With a
    /// broken one the result is left open.
    Dot4 {
        acc: Reg,
        a: Reg,
        b: Reg,
        a_signed: bool,
        b_signed: bool,
        within: Option<u16>,
    },
    /// `acc + a1 * b1 + a0 * b0`, where a and b are I32 lanes of two parts, those with 0 in the low half. For an acc of
    /// F32 they are bf16: the products come in that order, each added with one rounding; subnormal operands and results
    /// count as zeros of their sign. For one of I32 they are integers of 16 bits with a sign. Only some targets have
    /// either; lowering asks.
    Dot2 {
        acc: Reg,
        a: Reg,
        b: Reg,
    },
    /// Products of small matrices of bytes. Every four I32 lanes of acc are a 2x2 matrix, row by row; those of a are two
    /// rows of eight bytes, those of b two columns of signed ones: `acc += a * b`. Only some targets have it; lowering
    /// asks.
    Mat8 {
        acc: Reg,
        a: Reg,
        b: Reg,
        a_signed: bool,
    },
    /// Products of small matrices of bf16. Every four F32 lanes of acc are a 2x2 matrix, row by row; the four I32 lanes of
    /// a are two rows of four bf16, those of b two columns, two to a lane with the first in the low half: `acc += a * b`,
    /// one lane of a row after the other. The two products of a lane are added first, then the sum: both additions round
    /// to odd; subnormal operands and results count as zeros of their sign, and all NaNs are one. Only some targets have
    /// it; lowering asks.
    Mat4 {
        acc: Reg,
        a: Reg,
        b: Reg,
    },
    /// Of every four I32 or F32 lanes two of `a`, then two of `b`: the last where `high`, else the first. Rows of what
    /// `Mat8` and `Mat4` make are put together by it; targets have it with either.
    Halves {
        a: Reg,
        b: Reg,
        high: bool,
    },
    Cvt(CvtOp, Reg),
    /// Contiguous lanes from memory.
    Load {
        buf: Buf,
        at: Addr,
        tail: Option<Reg>,
    },
    /// One element per lane at `at + index[lane]`, index I64 or I32 with the result's lanes.
    LoadGather {
        buf: Buf,
        at: Addr,
        index: Reg,
        tail: Option<Reg>,
    },
    /// Address of a buffer's first byte, I64 scalar: what views of texts are made of.
    Address(Buf),
    /// A scalar at an absolute address (I64 scalar): bytes of a text, which lie in no buffer of the kernel.
    LoadAt(Reg),
    /// A scalar in every lane.
    Splat(Reg),
    /// One lane as a scalar.
    Lane(Reg, u16),
    /// 0, 1, 2, .. per lane; integer types.
    LaneIndex,
    /// Horizontal reduction to a scalar: Add, Mul, Min, Max, MinS, MaxS, MinU, MaxU, And, Or. Pairwise halves:
    /// lane i with lane i + n/2, repeated.
    Fold(BinOp, Reg),
}

/// How a loop may be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum LoopKind {
    Serial,
    /// Iterations are independent; only as the outermost statement of a kernel, at most once, with lo 0 and
    /// step 1: the caller runs any sub-range on any thread.
    Parallel,
    /// Emitters should unroll fully; lo and hi are constants.
    Unrolled,
}

/// Loop bounds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Bound {
    Const(i64),
    Reg(Reg),
}

/// Statements.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Stmt {
    Let {
        dst: Reg,
        inst: Inst,
    },
    Store {
        buf: Buf,
        at: Addr,
        value: Reg,
        tail: Option<Reg>,
    },
    /// `for var in (lo..hi).step_by(step)`, step > 0. Bounds are read once, at entry; `var` belongs to the loop: not
    /// assigned in the body, undefined afterwards.
    For {
        var: Reg,
        lo: Bound,
        hi: Bound,
        step: i64,
        kind: LoopKind,
        body: Vec<Stmt>,
    },
    /// Runs `test`, stops when `cond` (B1 scalar) is false, else runs `body` and repeats.
    While {
        test: Vec<Stmt>,
        cond: Reg,
        body: Vec<Stmt>,
    },
    If {
        cond: Reg,
        then: Vec<Stmt>,
        els: Vec<Stmt>,
    },
    /// Defines a run-time symbol (I64 scalar). Not inside a Parallel loop.
    SetSym {
        sym: Sym,
        value: Reg,
    },
    /// Leaves the kernel with this error code (see the ABI) when `cond` holds.
    FailIf {
        cond: Reg,
        code: i32,
    },
}

/// One kernel.
#[derive(Debug, Clone, PartialEq)]
pub struct Kernel {
    /// Unique name: family and shapes, e.g. `matmul_f32_128x64x32_relu`.
    pub name: String,
    /// Parameters.
    pub bufs: Vec<Buffer>,
    /// Register types.
    pub regs: Vec<Ty>,
    /// Code. Statements before a Parallel loop are repeated by every thread and must be cheap and pure.
    pub body: Vec<Stmt>,
    /// Upper bound of the Parallel loop where there is one, for splitting.
    pub parallel: Option<Expr>,
}

impl Kernel {
    /// Type of a register.
    pub fn ty(&self, r: Reg) -> Ty {
        self.regs[r.0 as usize]
    }
    /// Symbols that the kernel defines, each once, sorted.
    pub fn defines(&self) -> Vec<Sym> {
        fn walk(body: &[Stmt], out: &mut Vec<Sym>) {
            for s in body {
                if let Stmt::SetSym { sym, .. } = s {
                    out.push(*sym);
                }
                s.blocks().into_iter().for_each(|b| walk(b, out));
            }
        }
        let mut out = vec![];
        walk(&self.body, &mut out);
        out.sort_unstable();
        out.dedup();
        out
    }
}
