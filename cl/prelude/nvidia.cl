/* Instructions of NVIDIA GPUs from sm_80 on, by inline PTX: copies from global to local memory that nobody waits for,
 * matrix fragments and products. A warp is 32 work-items with consecutive ids; all of them must arrive.
 *
 * Fragments of the product c (16 x 8, float) += a (16 x 16) b (16 x 8), both f16 or bf16, as lane 4g + t sees them:
 *
 *               columns 2t 2t+1   8+2t 9+2t                        column g                        columns 2t  2t+1
 *     row g       a[0]            a[2]          rows 2t  2t+1       b0             row g            c[0]  c[1]
 *     row g + 8   a[1]            a[3]          rows 8+2t 9+2t      b1             row g + 8        c[2]  c[3]
 *
 * So c of one product, rounded in pairs, is a of the next: the weights of attention never leave the registers.
 * ldmatrix fills four registers with 8 x 8 blocks whose rows are 16 bytes in local memory, given by lanes 0-7 for
 * the first block, 8-15 for the second and so on.
 */
#include "prelude/types.cl"
#include "prelude/storage.cl"

/* A place in local memory as the instructions below count it. */
static uint clf_nv_address(__local const void *p)
{
    uint address;
    __asm__("{ .reg .u64 t; cvta.to.shared.u64 t, %1; cvt.u32.u64 %0, t; }" : "=r"(address) : "l"(p));
    return address;
}

/* 16 bytes from global to local memory, both aligned to 16, beside the registers and the first-level cache. */
static void clf_nv_copy16(uint to, __global const void *from)
{
    __asm__ volatile("cp.async.cg.shared.global [%0], [%1], 16;" : : "r"(to), "l"(from) : "memory");
}

/* The same, asking memory for all 128 bytes around. */
static void clf_nv_copy16_line(uint to, __global const void *from)
{
    __asm__ volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;" : : "r"(to), "l"(from) : "memory");
}

/* As clf_nv_copy16 with only the first `bytes` read (0 to 16), the rest zero. */
static void clf_nv_copy16_part(uint to, __global const void *from, int bytes)
{
    __asm__ volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" : : "r"(to), "l"(from), "r"(bytes) : "memory");
}

/* A word, or none of it, aligned to 4. */
static void clf_nv_copy4_part(uint to, __global const void *from, int bytes)
{
    __asm__ volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" : : "r"(to), "l"(from), "r"(bytes) : "memory");
}

/* Ends a group of copies; all but the last `n` groups of this work-item have arrived. Others see them behind a
 * barrier. */
static void clf_nv_commit(void)
{
    __asm__ volatile("cp.async.commit_group;" : : : "memory");
}
#define clf_nv_wait(n) __asm__ volatile("cp.async.wait_group " #n ";" : : : "memory")

/* The oldest tile of a ring has arrived: of its `stages` (2 to 6, a constant) one is multiplied, and each of the others
 * was a group of copies. */
static void clf_nv_wait_tile(int stages)
{
    if (stages == 2)
        clf_nv_wait(0);
    else if (stages == 3)
        clf_nv_wait(1);
    else if (stages == 4)
        clf_nv_wait(2);
    else if (stages == 5)
        clf_nv_wait(3);
    else
        clf_nv_wait(4);
}

static void clf_nv_put16(uint to, uint4 x)
{
    __asm__ volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};"
                     : : "r"(to), "r"(x.x), "r"(x.y), "r"(x.z), "r"(x.w) : "memory");
}

static void clf_nv_get16(uint from, uint *to)
{
    __asm__ volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
                     : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(from) : "memory");
}

static void clf_nv_put4(uint to, uint x)
{
    __asm__ volatile("st.shared.b32 [%0], %1;" : : "r"(to), "r"(x) : "memory");
}

static uint2 clf_nv_get8(uint from)
{
    uint2 x;
    __asm__ volatile("ld.shared.v2.b32 {%0, %1}, [%2];" : "=r"(x.x), "=r"(x.y) : "r"(from) : "memory");
    return x;
}

static void clf_nv_fragments(uint from, uint *to)
{
    __asm__ volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(from) : "memory");
}

/* Each block transposed. */
static void clf_nv_fragments_turned(uint from, uint *to)
{
    __asm__ volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(from) : "memory");
}

/* c += a b; the storage type says what a and b hold. For f32 that is 16 x 8 and 8 x 8 numbers of tf32, of which the
 * lanes hold a[0 .. 3] at row g, column t; g + 8, t; g, t + 4; g + 8, t + 4, b0 and b1 at rows t and t + 4. */
static void clf_nv_product(float *c, const uint *a, uint b0, uint b1)
{
#if CLF_STORAGE == CLF_F32
    __asm__("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
            "{%0, %1, %2, %3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#elif CLF_STORAGE == CLF_BF16
    __asm__("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
            "{%0, %1, %2, %3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
    __asm__("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
            "{%0, %1, %2, %3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}

/* The tf32 number next to x, a register of a fragment: it has 11 of a float's 24 bits. (cvt.rna.tf32 takes twice as
 * many instructions, to keep infinities and NaN what they are.) Products read no more than 11 bits of any number. */
static uint clf_nv_tf32(uint x) { return (x + 0x1000) & 0xffffe000; }

/* Two floats rounded to nearest even as one register of a fragment. */
static uint clf_nv_pack(float low, float high)
{
    uint both;
#if CLF_STORAGE == CLF_BF16
    __asm__("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
#else
    __asm__("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
#endif
    return both;
}

/* 2^x in one instruction, relative error 2^-22; 0 for -INFINITY and below 2^-126. */
static float clf_nv_exp2(float x)
{
    float y;
    __asm__("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* The value of the lane whose number differs in the bits of `mask`. */
static uint clf_nv_swap(uint x, int mask)
{
    uint y;
    __asm__ volatile("shfl.sync.bfly.b32 %0, %1, %2, 0x1f, 0xffffffff;" : "=r"(y) : "r"(x), "r"(mask));
    return y;
}

static float clf_nv_swap_float(float x, int mask) { return as_float(clf_nv_swap(as_uint(x), mask)); }

/* Does the condition hold in any lane of the warp? */
static int clf_nv_any(int condition)
{
    int any;
    __asm__ volatile("{ .reg .pred p, q; setp.ne.s32 p, %1, 0; vote.sync.any.pred q, p, 0xffffffff; "
                     "selp.s32 %0, 1, 0, q; }" : "=r"(any) : "r"(condition));
    return any;
}

/* The value of lane `lane`. */
static uint clf_nv_from(uint x, int lane)
{
    uint y;
    __asm__ volatile("shfl.sync.idx.b32 %0, %1, %2, 0x1f, 0xffffffff;" : "=r"(y) : "r"(x), "r"(lane));
    return y;
}

/* What the lanes of a warp wrote to local memory before is seen by all of them behind it. */
static void clf_nv_warp_barrier(void)
{
    __asm__ volatile("bar.warp.sync 0xffffffff;" : : : "memory");
}

/* Four bytes of x (0 to 3) and y (4 to 7), the lowest first: a digit of `which` for each. */
static uint clf_nv_bytes(uint x, uint y, uint which)
{
    uint z;
    __asm__("prmt.b32 %0, %1, %2, %3;" : "=r"(z) : "r"(x), "r"(y), "r"(which));
    return z;
}

/* Pairs of numbers of the storage type: x y + z. */
static uint clf_nv_multiply_add(uint x, uint y, uint z)
{
    uint sum;
#if CLF_STORAGE == CLF_BF16
    __asm__("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(sum) : "r"(x), "r"(y), "r"(z));
#else
    __asm__("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(sum) : "r"(x), "r"(y), "r"(z));
#endif
    return sum;
}

/* The upper halves of two floats, which are bf16, cut and not rounded; what that leaves of one. */
static uint clf_nv_upper(float x, float y) { return as_uint(x) >> 16 | (as_uint(y) & 0xffff0000u); }
static float clf_nv_without_upper(float x) { return x - as_float(as_uint(x) & 0xffff0000u); }

/* Two f16 numbers. */
static float2 clf_nv_halves(uint both)
{
    float2 x;
    __asm__("{ .reg .b16 low, high; mov.b32 {low, high}, %2; cvt.f32.f16 %0, low; cvt.f32.f16 %1, high; }"
            : "=f"(x.x), "=f"(x.y) : "r"(both));
    return x;
}
