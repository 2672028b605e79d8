/* What C leaves open and the kernels do not: integers without alignment, integers that wrap, divisions that cannot
 * trap, floats compared, rounded and converted without a library. Floats are aligned, which their loads need on Arm. */
#if defined(__GNUC__)
#define ALIGNED(p) __builtin_assume_aligned(p, 4)
#else
#define ALIGNED(p) (p)
#endif
#define LOAD(name, type, at) \
    static inline type load_##name(const uint8_t *p) { type v; memcpy(&v, at, sizeof v); return v; }
#define STORE(name, type, at) \
    static inline void store_##name(uint8_t *p, type v) { memcpy(at, &v, sizeof v); }
LOAD(i8, uint8_t, p) LOAD(i16, uint16_t, p) LOAD(i32, uint32_t, p) LOAD(i64, uint64_t, p)
LOAD(f32, float, ALIGNED(p)) LOAD(f64, double, ALIGNED(p))
STORE(i8, uint8_t, p) STORE(i16, uint16_t, p) STORE(i32, uint32_t, p) STORE(i64, uint64_t, p)
STORE(f32, float, ALIGNED(p)) STORE(f64, double, ALIGNED(p))

/* Sums of four products of bytes. The instructions of Armv7E-M multiply pairs of 16 bits: bytes 0 and 2, 1 and 3. */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FEATURE_SIMD32) && defined(__GNUC__)
#include <arm_acle.h>
#define BYTES_s(v) __sxtb16((int8x4_t)(v))
#define BYTES_u(v) (int16x2_t)__uxtb16((uint8x4_t)(v))
#define DOT4(s, t) \
    static inline uint32_t dot4_##s##t(uint32_t acc, uint32_t a, uint32_t b) { \
        int32_t even = __smlad(BYTES_##s(a), BYTES_##t(b), (int32_t)acc); \
        return (uint32_t)__smlad(BYTES_##s(a >> 8), BYTES_##t(b >> 8), even); }
#else
#define BYTE_s(v, i) (int32_t)(int8_t)((v) >> 8 * i)
#define BYTE_u(v, i) (int32_t)(uint8_t)((v) >> 8 * i)
#define DOT4(s, t) \
    static inline uint32_t dot4_##s##t(uint32_t acc, uint32_t a, uint32_t b) { \
        return acc + (uint32_t)(BYTE_##s(a, 0) * BYTE_##t(b, 0)) + (uint32_t)(BYTE_##s(a, 1) * BYTE_##t(b, 1)) \
            + (uint32_t)(BYTE_##s(a, 2) * BYTE_##t(b, 2)) + (uint32_t)(BYTE_##s(a, 3) * BYTE_##t(b, 3)); }
#endif
DOT4(s, s) DOT4(s, u) DOT4(u, s) DOT4(u, u)

static inline uint32_t bits_f32(float v) { uint32_t u; memcpy(&u, &v, 4); return u; }
static inline float f32_bits(uint32_t u) { float v; memcpy(&v, &u, 4); return v; }
static inline uint64_t bits_f64(double v) { uint64_t u; memcpy(&u, &v, 8); return u; }
static inline double f64_bits(uint64_t u) { double v; memcpy(&v, &u, 8); return v; }

#define DIVISIONS(name, u, s, least) \
    static inline u divu_##name(u x, u y) { return y ? (u)(x / y) : 0; } \
    static inline u remu_##name(u x, u y) { return y ? (u)(x % y) : 0; } \
    static inline u divs_##name(u x, u y) { \
        s a = (s)x, b = (s)y; \
        return b == 0 ? 0 : b == -1 ? (u)(0 - x) : (u)(a / b); } \
    static inline u rems_##name(u x, u y) { \
        s a = (s)x, b = (s)y; \
        return b == 0 || b == -1 ? 0 : (u)(a % b); } \
    static inline u shrs_##name(u x, u y) { \
        unsigned n = (unsigned)(y & (8 * sizeof(u) - 1)); \
        u v = (u)(x >> n); \
        return (s)x < 0 && n ? (u)(v | (u)((u)~(u)0 << (8 * sizeof(u) - n))) : v; }
DIVISIONS(i8, uint8_t, int8_t, INT8_MIN)
DIVISIONS(i16, uint16_t, int16_t, INT16_MIN)
DIVISIONS(i32, uint32_t, int32_t, INT32_MIN)
DIVISIONS(i64, uint64_t, int64_t, INT64_MIN)

/* Sizes: divisions round down, by zero they give 0. */
static inline int64_t floor_div(int64_t x, int64_t y) {
    int64_t q, r;
    if (y == 0) return 0;
    if (y == -1) return (int64_t)(0 - (uint64_t)x);
    q = x / y;
    r = x % y;
    return r != 0 && (r < 0) != (y < 0) ? q - 1 : q;
}
static inline int64_t floor_mod(int64_t x, int64_t y) {
    return y == 0 ? 0 : (int64_t)((uint64_t)x - (uint64_t)y * (uint64_t)floor_div(x, y));
}
static inline int64_t least(int64_t x, int64_t y) { return x < y ? x : y; }
static inline int64_t most(int64_t x, int64_t y) { return x > y ? x : y; }

#define FLOATS(name, type, u, i, bits, big) \
    static inline type min_##name(type x, type y) { \
        if (x != x || y != y) return x + y; \
        return x < y || (x == y && bits(x) >> (8 * sizeof(type) - 1)) ? x : y; } \
    static inline type max_##name(type x, type y) { \
        if (x != x || y != y) return x + y; \
        return x > y || (x == y && !(bits(x) >> (8 * sizeof(type) - 1))) ? x : y; } \
    /* Numbers this large are whole. */ \
    static inline int whole_##name(type x) { return !(x < big && x > -big); } \
    static inline type sign_##name(type v, type x) { \
        return type##_of((bits(v) & ~((u)1 << (8 * sizeof(type) - 1))) | (bits(x) & ((u)1 << (8 * sizeof(type) - 1)))); } \
    static inline type trunc_##name(type x) { return whole_##name(x) ? x : sign_##name((type)(i)x, x); } \
    static inline type floor_##name(type x) { \
        type t = trunc_##name(x); \
        return t > x ? sign_##name(t - 1, x) : t; } \
    static inline type ceil_##name(type x) { \
        type t = trunc_##name(x); \
        return t < x ? sign_##name(t + 1, x) : t; } \
    static inline type nearest_##name(type x) { \
        type t, d; \
        if (whole_##name(x)) return x; \
        t = trunc_##name(x); \
        d = x < t ? t - x : x - t; \
        if (d > (type)0.5 || (d == (type)0.5 && ((i)t & 1))) t = x < 0 ? t - 1 : t + 1; \
        return sign_##name(t, x); } \
    static inline uint32_t s32_##name(type x) { \
        return x != x ? 0 : x >= (type)2147483648.0 ? 0x7fffffffu : x <= (type)-2147483648.0 ? 0x80000000u : (uint32_t)(int32_t)x; } \
    static inline uint64_t s64_##name(type x) { \
        return x != x ? 0 : x >= (type)9223372036854775808.0 ? 0x7fffffffffffffffu \
            : x <= (type)-9223372036854775808.0 ? 0x8000000000000000u : (uint64_t)(int64_t)x; } \
    static inline uint32_t u32_##name(type x) { \
        return !(x > 0) ? 0 : x >= (type)4294967296.0 ? 0xffffffffu : (uint32_t)x; } \
    static inline uint64_t u64_##name(type x) { \
        return !(x > 0) ? 0 : x >= (type)18446744073709551616.0 ? 0xffffffffffffffffu : (uint64_t)x; }
#define float_of f32_bits
#define double_of f64_bits
FLOATS(f32, float, uint32_t, int32_t, bits_f32, 8388608.0f)
FLOATS(f64, double, uint64_t, int64_t, bits_f64, 4503599627370496.0)

/* Square roots, correctly rounded: an instruction where the compiler has one, else digit by digit. */
#if defined(__ARM_FP) && (__ARM_FP & 4)
static inline float sqrt_f32(float x) { float y; __asm__("vsqrt.f32 %0, %1" : "=t"(y) : "t"(x)); return y; }
#else
static float sqrt_f32(float x) {
    uint32_t u = bits_f32(x), m, r = 0, bit;
    uint64_t left;
    int e;
    if (x != x || x == 0 || u == 0x7f800000u) return x;
    if (x < 0) return f32_bits(0x7fc00000u);
    e = (int)(u >> 23);
    m = u & 0x7fffffu;
    if (e == 0) {
        for (e = 1; !(m & 0x800000u); e--) m <<= 1;
    } else m |= 0x800000u;
    e -= 127;
    if (e & 1) { m <<= 1; e -= 1; }
    left = (uint64_t)m << 25;
    for (bit = 1u << 24; bit; bit >>= 1) {
        uint64_t t = (uint64_t)(r | bit) * (r | bit);
        if (t <= left) r |= bit;
    }
    /* 25 bits: the last one rounds. Half-way cases do not exist. */
    r = (r >> 1) + (r & 1);
    return f32_bits((uint32_t)((e / 2 + 126) << 23) + r);
}
#endif
#if defined(__ARM_FP) && (__ARM_FP & 8)
static inline double sqrt_f64(double x) { double y; __asm__("vsqrt.f64 %P0, %P1" : "=w"(y) : "w"(x)); return y; }
#else
static double sqrt_f64(double x) {
    uint64_t u = bits_f64(x), m, r = 0, bit, high, low;
    int e;
    if (x != x || x == 0 || u == 0x7ff0000000000000u) return x;
    if (x < 0) return f64_bits(0x7ff8000000000000u);
    e = (int)(u >> 52);
    m = u & 0xfffffffffffffu;
    if (e == 0) {
        for (e = 1; !(m & 0x10000000000000u); e--) m <<= 1;
    } else m |= 0x10000000000000u;
    e -= 1023;
    if (e & 1) { m <<= 1; e -= 1; }
    /* m * 2^54 in two words against (r | bit)^2 in two words. */
    high = m >> 10;
    low = m << 54;
    for (bit = (uint64_t)1 << 53; bit; bit >>= 1) {
        uint64_t t = r | bit, a = t >> 32, b = t & 0xffffffffu, mid = a * b;
        uint64_t l = b * b, h = a * a;
        uint64_t l2 = l + (mid << 33);
        h += (mid >> 31) + (l2 < l);
        if (h < high || (h == high && l2 <= low)) r = t;
    }
    r = (r >> 1) + (r & 1);
    return f64_bits(((uint64_t)(e / 2 + 1022) << 52) + r);
}
#endif
