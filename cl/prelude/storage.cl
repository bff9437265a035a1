/* Elements in memory: f32, f16 or bf16, always float once loaded.
 *
 * Offsets are `long` element counts. No cl_khr_fp16 is needed: a half is only ever pointed at. bf16 is
 * the upper half of a float, rounded to nearest even.
 */
#define CLF_F32 0
#define CLF_F16 1
#define CLF_BF16 2

#ifndef CLF_STORAGE
#define CLF_STORAGE CLF_F32
#endif

typedef half clf_f16;
typedef ushort clf_bf16;

static float clf_load_f32(__global const float *p, long i) { return p[i]; }
static float clf_load_f16(__global const clf_f16 *p, long i) { return vload_half(0, p + i); }
static float clf_load_bf16(__global const clf_bf16 *p, long i) { return as_float((uint)p[i] << 16); }

static float16 clf_load16_f32(__global const float *p, long i) { return vload16(0, p + i); }
/* By way of ushort: PoCL 3.1 takes a half16 in memory for aligned to its size, and may read it so. Its clang makes two
 * halves of a conversion of sixteen, unless told of the instruction. */
static float16 clf_load16_f16(__global const clf_f16 *p, long i)
{
    const ushort16 bits = vload16(0, (__global const ushort *)p + i);
#ifdef __AVX512F__
    return __builtin_ia32_vcvtph2ps512_mask(as_short16(bits), (float16)(0.0f), (ushort)0xffff, 4);
#else
    return vload_half16(0, (const half *)&bits);
#endif
}
static float16 clf_load16_bf16(__global const clf_bf16 *p, long i)
{
    return as_float16(convert_uint16(vload16(0, p + i)) << 16);
}

static void clf_store_f32(float x, __global float *p, long i) { p[i] = x; }
static void clf_store_f16(float x, __global clf_f16 *p, long i) { vstore_half_rte(x, 0, p + i); }
static void clf_store_bf16(float x, __global clf_bf16 *p, long i)
{
    const uint u = as_uint(x);
    /* Rounding a NaN could carry into its exponent and end at infinity: truncate it, kept quiet. */
    p[i] = (ushort)(isnan(x) ? (u >> 16) | 0x40 : (u + 0x7fff + ((u >> 16) & 1)) >> 16);
}

static void clf_store16_f32(float16 x, __global float *p, long i) { vstore16(x, 0, p + i); }
static void clf_store16_f16(float16 x, __global clf_f16 *p, long i)
{
    ushort16 bits;
    vstore_half16_rte(x, 0, (half *)&bits);
    vstore16(bits, 0, (__global ushort *)p + i);
}
static void clf_store16_bf16(float16 x, __global clf_bf16 *p, long i)
{
    const uint16 u = as_uint16(x);
    const uint16 number = (u + 0x7fff + ((u >> 16) & 1)) >> 16;
    vstore16(convert_ushort16(x == x ? number : (u >> 16) | 0x40), 0, p + i);
}

/* clf_storage, clf_load, clf_store ...: the type that this program was specialised for. */
#if CLF_STORAGE == CLF_F32
typedef float clf_storage;
#define clf_load clf_load_f32
#define clf_load16 clf_load16_f32
#define clf_store clf_store_f32
#define clf_store16 clf_store16_f32
#elif CLF_STORAGE == CLF_F16
typedef clf_f16 clf_storage;
#define clf_load clf_load_f16
#define clf_load16 clf_load16_f16
#define clf_store clf_store_f16
#define clf_store16 clf_store16_f16
#elif CLF_STORAGE == CLF_BF16
typedef clf_bf16 clf_storage;
#define clf_load clf_load_bf16
#define clf_load16 clf_load16_bf16
#define clf_store clf_store_bf16
#define clf_store16 clf_store16_bf16
#else
#error CLF_STORAGE must be CLF_F32, CLF_F16 or CLF_BF16
#endif

/* `count` consecutive elements to or from floats in private memory. Loads fill up to `padded` with zeros,
 * so that whole vectors can be computed with; nothing outside the `count` elements is touched. */
static void clf_load_row(__global const clf_storage *p, long i, int count, float *to, int padded)
{
    int n = 0;
    for (; n + 16 <= count; n += 16)
        vstore16(clf_load16(p, i + n), 0, to + n);
    for (; n < count; n++)
        to[n] = clf_load(p, i + n);
    for (; n < padded; n++)
        to[n] = 0.0f;
}

static void clf_store_row(const float *from, int count, __global clf_storage *p, long i)
{
    int n = 0;
    for (; n + 16 <= count; n += 16)
        clf_store16(vload16(0, from + n), p, i + n);
    for (; n < count; n++)
        clf_store(from[n], p, i + n);
}
