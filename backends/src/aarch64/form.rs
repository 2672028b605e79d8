//! Instruction forms: fixed bits and where operands go.

/// Where an operand is in the instruction word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// A register whose number begins at this bit.
    Reg(u8),
    /// An unsigned number: lowest bit, width.
    Num(u8, u8),
    /// Left shift of lanes of so many bits.
    Left(u8),
    /// Right shift of lanes of so many bits, by at least 1.
    Right(u8),
    /// Number of a lane of so many bits, as the second factor of a product.
    Factor(u8),
    /// Number of a lane of `1 << n` bytes in bits 16 to 20.
    Lane(u8),
    /// The same as the source of an insertion.
    Source(u8),
    /// Number of a lane of `1 << n` bytes of loads and stores of one lane.
    Place(u8),
    /// Memory: base and scaled or unscaled displacement, or base and index; `1 << n` bytes.
    Mem(u8),
    /// Memory: base and displacement in a pair of `1 << n` bytes each.
    Pair(u8),
    /// Memory at a base.
    Base,
}

use Field::*;

const D: Field = Reg(0);
const N: Field = Reg(5);
const M: Field = Reg(16);
const A: Field = Reg(10);

/// An instruction form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// Fixed bits.
    pub bits: u32,
    /// Operands in the order of the assembler.
    pub fields: &'static [Field],
}

impl Form {
    /// The form for lanes of `1 << size` bytes, where a field of two bits says so.
    pub const fn lanes(self, size: u32) -> Self {
        Self { bits: self.bits | size << 22, fields: self.fields }
    }
    /// The form for floats of `bytes`, where one bit says so: scalars and vectors.
    pub const fn float(self, bytes: u32) -> Self {
        Self { bits: self.bits | (bytes / 8) << 22, fields: self.fields }
    }
    /// The 64-bit form of one on integers of 32 bits.
    pub const fn wide(self, yes: bool) -> Self {
        Self { bits: self.bits | (yes as u32) << 31, fields: self.fields }
    }
    /// The form that takes the upper half of its narrower vectors.
    pub const fn upper(self, yes: bool) -> Self {
        Self { bits: self.bits | (yes as u32) << 30, fields: self.fields }
    }
}

macro_rules! forms {
    ($($(#[$doc:meta])* $name:ident = $bits:literal $fields:expr;)*) => {
        $($(#[$doc])* #[allow(missing_docs)]
        pub const $name: Form = Form { bits: $bits, fields: &$fields };)*
        /// All forms by name.
        #[cfg(test)]
        pub const ALL: &[(&str, Form)] = &[$((stringify!($name), $name)),*];
    };
}

forms! {
    // Integers, 32 bits unless `wide`.
    MOVZ = 0x5280_0000 [D, Num(5, 16), Num(21, 2)];
    MOVN = 0x1280_0000 [D, Num(5, 16), Num(21, 2)];
    MOVK = 0x7280_0000 [D, Num(5, 16), Num(21, 2)];
    ADD = 0x0b00_0000 [D, N, M];
    /// With the last operand shifted to the left.
    ADD_LSL = 0x0b00_0000 [D, N, M, Num(10, 6)];
    SUB = 0x4b00_0000 [D, N, M];
    ADD_I = 0x1100_0000 [D, N, Num(10, 12), Num(22, 1)];
    SUB_I = 0x5100_0000 [D, N, Num(10, 12), Num(22, 1)];
    CMP = 0x6b00_001f [N, M];
    CMP_I = 0x7100_001f [N, Num(10, 12)];
    CMN_I = 0x3100_001f [N, Num(10, 12)];
    AND = 0x0a00_0000 [D, N, M];
    ORR = 0x2a00_0000 [D, N, M];
    EOR = 0x4a00_0000 [D, N, M];
    ORN = 0x2a20_0000 [D, N, M];
    MVN = 0x2a20_03e0 [D, M];
    NEG = 0x4b00_03e0 [D, M];
    MADD = 0x1b00_0000 [D, N, M, A];
    MSUB = 0x1b00_8000 [D, N, M, A];
    MUL = 0x1b00_7c00 [D, N, M];
    SDIV = 0x1ac0_0c00 [D, N, M];
    UDIV = 0x1ac0_0800 [D, N, M];
    LSLV = 0x1ac0_2000 [D, N, M];
    LSRV = 0x1ac0_2400 [D, N, M];
    ASRV = 0x1ac0_2800 [D, N, M];
    /// Bits from the first number to the second, extended by the sign.
    SBFM = 0x1300_0000 [D, N, Num(16, 6), Num(10, 6)];
    /// Bits from the first number to the second, extended by zeros.
    UBFM = 0x5300_0000 [D, N, Num(16, 6), Num(10, 6)];
    /// The same with 64 bits.
    SBFM_X = 0x9340_0000 [D, N, Num(16, 6), Num(10, 6)];
    UBFM_X = 0xd340_0000 [D, N, Num(16, 6), Num(10, 6)];
    CSEL = 0x1a80_0000 [D, N, M, Num(12, 4)];
    /// 1 where the opposite of the condition holds, else 0.
    CSET = 0x1a9f_07e0 [D, Num(12, 4)];
    CSNEG = 0x5a80_0400 [D, N, M, Num(12, 4)];
    // Memory.
    LDRB = 0x3940_0000 [D, Mem(0)];
    LDRH = 0x7940_0000 [D, Mem(1)];
    LDR_W = 0xb940_0000 [D, Mem(2)];
    LDR_X = 0xf940_0000 [D, Mem(3)];
    STRB = 0x3900_0000 [D, Mem(0)];
    STRH = 0x7900_0000 [D, Mem(1)];
    STR_W = 0xb900_0000 [D, Mem(2)];
    STR_X = 0xf900_0000 [D, Mem(3)];
    LDR_B = 0x3d40_0000 [D, Mem(0)];
    LDR_H = 0x7d40_0000 [D, Mem(1)];
    LDR_S = 0xbd40_0000 [D, Mem(2)];
    LDR_D = 0xfd40_0000 [D, Mem(3)];
    LDR_Q = 0x3dc0_0000 [D, Mem(4)];
    STR_B = 0x3d00_0000 [D, Mem(0)];
    STR_H = 0x7d00_0000 [D, Mem(1)];
    STR_S = 0xbd00_0000 [D, Mem(2)];
    STR_D = 0xfd00_0000 [D, Mem(3)];
    STR_Q = 0x3d80_0000 [D, Mem(4)];
    LDP_Q = 0xad40_0000 [D, Reg(10), Pair(4)];
    STP_Q = 0xad00_0000 [D, Reg(10), Pair(4)];
    STP_D = 0x6d00_0000 [D, Reg(10), Pair(3)];
    LDP_D = 0x6d40_0000 [D, Reg(10), Pair(3)];
    STP_X = 0xa900_0000 [D, Reg(10), Pair(3)];
    LDP_X = 0xa940_0000 [D, Reg(10), Pair(3)];
    LD1_B = 0x0d40_0000 [D, Place(0), Base];
    LD1_H = 0x0d40_4000 [D, Place(1), Base];
    LD1_S = 0x0d40_8000 [D, Place(2), Base];
    LD1_D = 0x0d40_8400 [D, Place(3), Base];
    ST1_B = 0x0d00_0000 [D, Place(0), Base];
    ST1_H = 0x0d00_4000 [D, Place(1), Base];
    ST1_S = 0x0d00_8000 [D, Place(2), Base];
    ST1_D = 0x0d00_8400 [D, Place(3), Base];
    LD1R_B = 0x4d40_c000 [D, Base];
    LD1R_H = 0x4d40_c400 [D, Base];
    LD1R_S = 0x4d40_c800 [D, Base];
    LD1R_D = 0x4d40_cc00 [D, Base];
    // Float scalars, 4 bytes unless `float(8)`; `wide`: integers of 64 bits.
    FADD_S = 0x1e20_2800 [D, N, M];
    FSUB_S = 0x1e20_3800 [D, N, M];
    FMUL_S = 0x1e20_0800 [D, N, M];
    FDIV_S = 0x1e20_1800 [D, N, M];
    FMAX_S = 0x1e20_4800 [D, N, M];
    FMIN_S = 0x1e20_5800 [D, N, M];
    FMADD_S = 0x1f00_0000 [D, N, M, A];
    FNEG_S = 0x1e21_4000 [D, N];
    FABS_S = 0x1e20_c000 [D, N];
    FSQRT_S = 0x1e21_c000 [D, N];
    FRINTN_S = 0x1e24_4000 [D, N];
    FRINTP_S = 0x1e24_c000 [D, N];
    FRINTM_S = 0x1e25_4000 [D, N];
    FRINTZ_S = 0x1e25_c000 [D, N];
    FCMP = 0x1e20_2000 [N, M];
    FCSEL = 0x1e20_0c00 [D, N, M, Num(12, 4)];
    FCVT_SD = 0x1e22_c000 [D, N];
    FCVT_DS = 0x1e62_4000 [D, N];
    FCVT_SH = 0x1e23_c000 [D, N];
    FCVT_HS = 0x1ee2_4000 [D, N];
    SCVTF = 0x1e22_0000 [D, N];
    UCVTF = 0x1e23_0000 [D, N];
    FCVTZS = 0x1e38_0000 [D, N];
    FCVTZU = 0x1e39_0000 [D, N];
    /// Bits from an integer register.
    FMOV_SW = 0x1e27_0000 [D, N];
    FMOV_WS = 0x1e26_0000 [D, N];
    FMOV_DX = 0x9e67_0000 [D, N];
    FMOV_XD = 0x9e66_0000 [D, N];
    // Vectors of floats, 4 bytes unless `float(8)`.
    FADD = 0x4e20_d400 [D, N, M];
    FSUB = 0x4ea0_d400 [D, N, M];
    FMUL = 0x6e20_dc00 [D, N, M];
    FDIV = 0x6e20_fc00 [D, N, M];
    FMAX = 0x4e20_f400 [D, N, M];
    FMIN = 0x4ea0_f400 [D, N, M];
    FMLA = 0x4e20_cc00 [D, N, M];
    FCMEQ = 0x4e20_e400 [D, N, M];
    FCMGE = 0x6e20_e400 [D, N, M];
    FCMGT = 0x6ea0_e400 [D, N, M];
    FMLA_LANE = 0x4f80_1000 [D, N, M, Factor(32)];
    FMUL_LANE = 0x4f80_9000 [D, N, M, Factor(32)];
    FNEG = 0x6ea0_f800 [D, N];
    FABS = 0x4ea0_f800 [D, N];
    FSQRT = 0x6ea1_f800 [D, N];
    FRINTN = 0x4e21_8800 [D, N];
    FRINTP = 0x4ea1_8800 [D, N];
    FRINTM = 0x4e21_9800 [D, N];
    FRINTZ = 0x4ea1_9800 [D, N];
    SCVTF_V = 0x4e21_d800 [D, N];
    UCVTF_V = 0x6e21_d800 [D, N];
    FCVTZS_V = 0x4ea1_b800 [D, N];
    FCVTZU_V = 0x6ea1_b800 [D, N];
    /// f16 to f32; f32 to f64.
    FCVTL_H = 0x0e21_7800 [D, N];
    FCVTL_S = 0x0e61_7800 [D, N];
    FCVTN_H = 0x0e21_6800 [D, N];
    FCVTN_S = 0x0e61_6800 [D, N];
    // Vectors of integers, of bytes unless `lanes` says otherwise.
    ADD_V = 0x4e20_8400 [D, N, M];
    SUB_V = 0x6e20_8400 [D, N, M];
    MUL_V = 0x4e20_9c00 [D, N, M];
    MLA_V = 0x4e20_9400 [D, N, M];
    SMAX = 0x4e20_6400 [D, N, M];
    SMIN = 0x4e20_6c00 [D, N, M];
    UMAX = 0x6e20_6400 [D, N, M];
    UMIN = 0x6e20_6c00 [D, N, M];
    CMEQ = 0x6e20_8c00 [D, N, M];
    CMGT = 0x4e20_3400 [D, N, M];
    CMGE = 0x4e20_3c00 [D, N, M];
    CMHI = 0x6e20_3400 [D, N, M];
    CMHS = 0x6e20_3c00 [D, N, M];
    SSHL = 0x4e20_4400 [D, N, M];
    USHL = 0x6e20_4400 [D, N, M];
    ADDP = 0x4e20_bc00 [D, N, M];
    NEG_V = 0x6e20_b800 [D, N];
    ABS_V = 0x4e20_b800 [D, N];
    AND_V = 0x4e20_1c00 [D, N, M];
    ORR_V = 0x4ea0_1c00 [D, N, M];
    EOR_V = 0x6e20_1c00 [D, N, M];
    BSL = 0x6e60_1c00 [D, N, M];
    NOT = 0x6e20_5800 [D, N];
    SHL_B = 0x4f00_5400 [D, N, Left(8)];
    SHL_H = 0x4f00_5400 [D, N, Left(16)];
    SHL_S = 0x4f00_5400 [D, N, Left(32)];
    SHL_D = 0x4f00_5400 [D, N, Left(64)];
    SSHR_B = 0x4f00_0400 [D, N, Right(8)];
    SSHR_H = 0x4f00_0400 [D, N, Right(16)];
    SSHR_S = 0x4f00_0400 [D, N, Right(32)];
    SSHR_D = 0x4f00_0400 [D, N, Right(64)];
    USHR_B = 0x6f00_0400 [D, N, Right(8)];
    USHR_H = 0x6f00_0400 [D, N, Right(16)];
    USHR_S = 0x6f00_0400 [D, N, Right(32)];
    USHR_D = 0x6f00_0400 [D, N, Right(64)];
    /// Half as many lanes twice as wide.
    SXTL_B = 0x0f08_a400 [D, N];
    SXTL_H = 0x0f10_a400 [D, N];
    SXTL_S = 0x0f20_a400 [D, N];
    UXTL_B = 0x2f08_a400 [D, N];
    UXTL_H = 0x2f10_a400 [D, N];
    UXTL_S = 0x2f20_a400 [D, N];
    /// Lanes of half the width: the result's lanes are those of the form.
    XTN = 0x0e21_2800 [D, N];
    SQXTN = 0x0e21_4800 [D, N];
    SQXTUN = 0x2e21_2800 [D, N];
    SMULL = 0x0e20_c000 [D, N, M];
    UMULL = 0x2e20_c000 [D, N, M];
    MOVI_0 = 0x6f00_e400 [D];
    DUP_B = 0x4e00_0400 [D, N, Lane(0)];
    DUP_H = 0x4e00_0400 [D, N, Lane(1)];
    DUP_S = 0x4e00_0400 [D, N, Lane(2)];
    DUP_D = 0x4e00_0400 [D, N, Lane(3)];
    DUP_GB = 0x4e01_0c00 [D, N];
    DUP_GH = 0x4e02_0c00 [D, N];
    DUP_GS = 0x4e04_0c00 [D, N];
    DUP_GD = 0x4e08_0c00 [D, N];
    UMOV_B = 0x0e00_3c00 [D, N, Lane(0)];
    UMOV_H = 0x0e00_3c00 [D, N, Lane(1)];
    UMOV_S = 0x0e00_3c00 [D, N, Lane(2)];
    UMOV_D = 0x4e00_3c00 [D, N, Lane(3)];
    SMOV_S = 0x4e00_2c00 [D, N, Lane(2)];
    INS_GB = 0x4e00_1c00 [D, Lane(0), N];
    INS_GH = 0x4e00_1c00 [D, Lane(1), N];
    INS_GS = 0x4e00_1c00 [D, Lane(2), N];
    INS_GD = 0x4e00_1c00 [D, Lane(3), N];
    INS_S = 0x6e00_0400 [D, Lane(2), N, Source(2)];
    INS_D = 0x6e00_0400 [D, Lane(3), N, Source(3)];
    EXT = 0x6e00_0000 [D, N, M, Num(11, 4)];
    TBL = 0x4e00_0000 [D, N, M];
    ZIP1 = 0x4e00_3800 [D, N, M];
    ZIP2 = 0x4e00_7800 [D, N, M];
    UZP1 = 0x4e00_1800 [D, N, M];
    UZP2 = 0x4e00_5800 [D, N, M];
    // Dot products and products of small matrices.
    SDOT = 0x4e80_9400 [D, N, M];
    UDOT = 0x6e80_9400 [D, N, M];
    /// The first factor is unsigned, the second signed.
    USDOT = 0x4e80_9c00 [D, N, M];
    SDOT_LANE = 0x4f80_e000 [D, N, M, Factor(32)];
    UDOT_LANE = 0x6f80_e000 [D, N, M, Factor(32)];
    USDOT_LANE = 0x4f80_f000 [D, N, M, Factor(32)];
    SUDOT_LANE = 0x4f00_f000 [D, N, M, Factor(32)];
    SMMLA = 0x4e80_a400 [D, N, M];
    UMMLA = 0x6e80_a400 [D, N, M];
    USMMLA = 0x4e80_ac00 [D, N, M];
    BFDOT = 0x6e40_fc00 [D, N, M];
    BFDOT_LANE = 0x4f40_f000 [D, N, M, Factor(32)];
    BFMMLA = 0x6e40_ec00 [D, N, M];
}
