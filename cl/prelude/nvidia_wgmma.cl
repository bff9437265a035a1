/* Matrix products of a warp group, from sm_90 on: 128 work-items whose first has a number divisible by 128 multiply 64
 * rows at a time, both operands or the right one read from local memory by the tensor cores themselves, while the
 * work-items go on with something else.
 *
 * These instructions exist only for the architecture-specific target sm_90a, which the driver's compiler does not
 * choose for sources. So they are written as PTX comments that begin with @, and the program is built with
 * -DCLF_NVIDIA_EXACT_TARGET=1: see src/device/retarget.c.
 *
 * Tiles are blocks of 64 columns; a block has rows of 128 bytes, whose eight chunks of 16 bytes lie at c ^ (r mod 8).
 * The fragments of c (64 x N, float) are those of prelude/nvidia.cl: warp w of the group has rows 16w .. 16w + 15, and
 * c[4j .. 4j + 3] are its eight columns from 8j on. The left operand from registers is made of pairs likewise.
 */
#include "prelude/nvidia.cl"

#if CLF_STORAGE == CLF_BF16
#define CLF_NV_TYPES "f32.bf16.bf16"
#else
#define CLF_NV_TYPES "f32.f16.f16"
#endif

/* The registers of c, by its columns, and those of weights, by how many a row has; tiles are %[x] and %[y]. */
#define CLF_NV_C32 \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define CLF_NV_C64 CLF_NV_C32 ", " \
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define CLF_NV_C128 CLF_NV_C64 ", " \
    "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
    "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define CLF_NV_C176 CLF_NV_C128 ", " \
    "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
    "%80, %81, %82, %83, %84, %85, %86, %87"
#define CLF_NV_C256 CLF_NV_C176 ", " \
    "%88, %89, %90, %91, %92, %93, %94, %95, %96, %97, %98, %99, %100, %101, %102, %103, " \
    "%104, %105, %106, %107, %108, %109, %110, %111, %112, %113, %114, %115, %116, %117, %118, %119, " \
    "%120, %121, %122, %123, %124, %125, %126, %127"
#define CLF_NV_4F(c, i) "+f"(c[i]), "+f"(c[i + 1]), "+f"(c[i + 2]), "+f"(c[i + 3])
#define CLF_NV_8F(c, i) CLF_NV_4F(c, i), CLF_NV_4F(c, i + 4)
#define CLF_NV_F32(c) CLF_NV_8F(c, 0), CLF_NV_8F(c, 8)
#define CLF_NV_F64(c) CLF_NV_F32(c), CLF_NV_8F(c, 16), CLF_NV_8F(c, 24)
#define CLF_NV_F128(c) CLF_NV_F64(c), CLF_NV_8F(c, 32), CLF_NV_8F(c, 40), CLF_NV_8F(c, 48), CLF_NV_8F(c, 56)
#define CLF_NV_F176(c) CLF_NV_F128(c), CLF_NV_8F(c, 64), CLF_NV_8F(c, 72), CLF_NV_8F(c, 80)
#define CLF_NV_F256(c) CLF_NV_F176(c), CLF_NV_8F(c, 88), CLF_NV_8F(c, 96), CLF_NV_8F(c, 104), CLF_NV_8F(c, 112), \
    CLF_NV_8F(c, 120)
#define CLF_NV_4W(p, a, b, c, d) [w##a] "r"(p[a]), [w##b] "r"(p[b]), [w##c] "r"(p[c]), [w##d] "r"(p[d])
#define CLF_NV_W32(p) CLF_NV_4W(p, 0, 1, 2, 3), CLF_NV_4W(p, 4, 5, 6, 7)
#define CLF_NV_W64(p) CLF_NV_W32(p), CLF_NV_4W(p, 8, 9, 10, 11), CLF_NV_4W(p, 12, 13, 14, 15)
#define CLF_NV_W128(p) \
    CLF_NV_W64(p), CLF_NV_4W(p, 16, 17, 18, 19), CLF_NV_4W(p, 20, 21, 22, 23), \
    CLF_NV_4W(p, 24, 25, 26, 27), CLF_NV_4W(p, 28, 29, 30, 31)
#define CLF_NV_W176(p) \
    CLF_NV_W128(p), CLF_NV_4W(p, 32, 33, 34, 35), CLF_NV_4W(p, 36, 37, 38, 39), \
    CLF_NV_4W(p, 40, 41, 42, 43)

/* What describes a tile to the tensor cores: its place, the distance of its column blocks (for operands that are read
 * turned) and of its groups of eight rows, and the order of chunks, all in units of 16 bytes. */
static ulong clf_nv_tile(uint address, uint block_bytes)
{
    return (ulong)((address & 0x3ffff) >> 4) | (ulong)(block_bytes >> 4) << 16 | 64ul << 32 | 1ul << 62;
}

/* One instruction: c of N columns, the right operand described by %[y] + yo. The left one is described by %[x] + xo;
 * or it is in registers, and the rows of the right one are summed over. `add` is 0 where c begins. */
#define CLF_NV_STEP(N, c, xo, yo, add) \
    "add.s64 a, %[x], " #xo "; add.s64 b, %[y], " #yo ";\n\t" \
    "//@wgmma.mma_async.sync.aligned.m64n" #N "k16." CLF_NV_TYPES " {" c "}, a, b, " #add ", 1, 1, 0, 0;\n\t"
#define CLF_NV_WEIGHTED_STEP(N, c, w0, w1, w2, w3, yo, add) \
    "add.s64 b, %[y], " #yo ";\n\t" \
    "//@wgmma.mma_async.sync.aligned.m64n" #N "k16." CLF_NV_TYPES " {" c "}, " \
    "{%[w" #w0 "], %[w" #w1 "], %[w" #w2 "], %[w" #w3 "]}, b, " #add ", 1, 1, 1;\n\t"
#define CLF_NV_BEGIN "{ .reg .u64 a, b;\n\t//@wgmma.fence.sync.aligned;\n\t"
#define CLF_NV_END "//@wgmma.commit_group.sync.aligned;\n\t}"

/* s = x y^T, or s += x y^T: 64 rows by the rows of y, over the columns of both. Blocks of 64 columns: those of x are
 * 512 apart, those of y as its rows are many. Runs on; clf_nv_product_wait tells when s is there. */
#define CLF_NV_BLOCK(N, c, xo, yo, add) \
    CLF_NV_STEP(N, c, xo, yo, add) CLF_NV_STEP(N, c, xo + 2, yo + 2, 1) \
    CLF_NV_STEP(N, c, xo + 4, yo + 4, 1) CLF_NV_STEP(N, c, xo + 6, yo + 6, 1)
#define CLF_NV_BLOCKS64(N, c, add) CLF_NV_BLOCK(N, c, 0, 0, add)
#define CLF_NV_BLOCKS128(N, c, add) CLF_NV_BLOCKS64(N, c, add) CLF_NV_BLOCK(N, c, 512, N * 8, 1)
#define CLF_NV_BLOCKS256(N, c, add) CLF_NV_BLOCKS128(N, c, add) \
    CLF_NV_BLOCK(N, c, 1024, N * 16, 1) CLF_NV_BLOCK(N, c, 1536, N * 24, 1)
#define CLF_NV_SCORES(name, rows, width, add) \
    CLF_INLINE void clf_nv_##name##rows##x##width(float *s, ulong x, ulong y) \
    { \
        __asm__ volatile(CLF_NV_BEGIN CLF_NV_BLOCKS##width(rows, CLF_NV_C##rows, add) CLF_NV_END \
                         : CLF_NV_F##rows(s) : [x] "l"(x), [y] "l"(y) : "memory"); \
    }

/* sum += p y, or sum = p y: 64 rows by the columns of y, over its rows; weights from registers. */
#define CLF_NV_STEPS32(N, c, add) \
    CLF_NV_WEIGHTED_STEP(N, c, 0, 1, 2, 3, 0, add) \
    CLF_NV_WEIGHTED_STEP(N, c, 4, 5, 6, 7, 128, 1)
#define CLF_NV_STEPS64(N, c, add) CLF_NV_STEPS32(N, c, add) \
    CLF_NV_WEIGHTED_STEP(N, c, 8, 9, 10, 11, 256, 1) \
    CLF_NV_WEIGHTED_STEP(N, c, 12, 13, 14, 15, 384, 1)
#define CLF_NV_STEPS128(N, c, add) CLF_NV_STEPS64(N, c, add) \
    CLF_NV_WEIGHTED_STEP(N, c, 16, 17, 18, 19, 512, 1) \
    CLF_NV_WEIGHTED_STEP(N, c, 20, 21, 22, 23, 640, 1) \
    CLF_NV_WEIGHTED_STEP(N, c, 24, 25, 26, 27, 768, 1) \
    CLF_NV_WEIGHTED_STEP(N, c, 28, 29, 30, 31, 896, 1)
#define CLF_NV_STEPS176(N, c, add) CLF_NV_STEPS128(N, c, add) \
    CLF_NV_WEIGHTED_STEP(N, c, 32, 33, 34, 35, 1024, 1) \
    CLF_NV_WEIGHTED_STEP(N, c, 36, 37, 38, 39, 1152, 1) \
    CLF_NV_WEIGHTED_STEP(N, c, 40, 41, 42, 43, 1280, 1)
#define CLF_NV_WEIGHTED(name, rows, width, add) \
    CLF_INLINE void clf_nv_##name##rows##x##width(float *sum, const uint *p, ulong y) \
    { \
        __asm__ volatile(CLF_NV_BEGIN CLF_NV_STEPS##rows(width, CLF_NV_C##width, add) CLF_NV_END \
                         : CLF_NV_F##width(sum) : CLF_NV_W##rows(p), [y] "l"(y) : "memory"); \
    }

/* sum += x y over a depth of 64, 64 rows by N columns, both from local memory; without the sum where `add` is 0. Each
 * operand lies along the depth (XT = 0, 16 numbers of which are XS = 2 units) or is turned, its rows at the numbers of
 * the depth (XT = 1, XS = 128). What they are called: NAME. */
#define CLF_NV_DEEP_STEP(N, c, xo, yo, add, xt, yt) \
    "add.s64 a, %[x], " #xo "; add.s64 b, %[y], " #yo ";\n\t" \
    "//@wgmma.mma_async.sync.aligned.m64n" #N "k16." CLF_NV_TYPES " {" c "}, a, b, " #add ", 1, 1, " #xt ", " \
    #yt ";\n\t"
#define CLF_NV_DEEP(name, N, xs, xt, ys, yt) \
    CLF_INLINE void name(float *sum, ulong x, ulong y, int add) \
    { \
        __asm__ volatile(CLF_NV_BEGIN ".reg .pred p; setp.ne.s32 p, %[add], 0;\n\t" \
                         CLF_NV_DEEP_STEP(N, CLF_NV_C##N, 0, 0, p, xt, yt) \
                         CLF_NV_DEEP_STEP(N, CLF_NV_C##N, xs, ys, 1, xt, yt) \
                         CLF_NV_DEEP_STEP(N, CLF_NV_C##N, 2 * xs, 2 * ys, 1, xt, yt) \
                         CLF_NV_DEEP_STEP(N, CLF_NV_C##N, 3 * xs, 3 * ys, 1, xt, yt) CLF_NV_END \
                         : CLF_NV_F##N(sum) : [x] "l"(x), [y] "l"(y), [add] "r"(add) : "memory"); \
    }

/* Their names count the rows and the columns of y. */
CLF_NV_SCORES(scores, 32, 128, 0)
CLF_NV_SCORES(scores, 64, 64, 0)
CLF_NV_SCORES(scores, 64, 128, 0)
CLF_NV_SCORES(scores, 64, 256, 0)
CLF_NV_SCORES(scores, 128, 64, 0)
CLF_NV_SCORES(scores, 128, 128, 0)
CLF_NV_SCORES(scores, 176, 128, 0)
CLF_NV_SCORES(more_scores, 32, 128, 1)
CLF_NV_SCORES(more_scores, 64, 64, 1)
CLF_NV_SCORES(more_scores, 64, 128, 1)
CLF_NV_SCORES(more_scores, 128, 64, 1)
CLF_NV_WEIGHTED(weighted, 32, 64, 1)
CLF_NV_WEIGHTED(weighted, 64, 64, 1)
CLF_NV_WEIGHTED(weighted, 64, 128, 1)
CLF_NV_WEIGHTED(weighted, 64, 256, 1)
CLF_NV_WEIGHTED(weighted, 128, 64, 1)
CLF_NV_WEIGHTED(weighted, 128, 128, 1)
CLF_NV_WEIGHTED(weighted, 176, 128, 1)
CLF_NV_WEIGHTED(first_weighted, 32, 64, 0)
CLF_NV_WEIGHTED(first_weighted, 64, 64, 0)
CLF_NV_WEIGHTED(first_weighted, 64, 128, 0)
CLF_NV_WEIGHTED(first_weighted, 128, 64, 0)

/* All but the last `n` products are done: n is 0 to 3. The registers named here are not touched before. */
#define CLF_NV_JOINED(x, y) x##y
#define CLF_NV_FLOATS(columns) CLF_NV_JOINED(CLF_NV_F, columns)
#define clf_nv_product_wait(n, c, columns) \
    __asm__ volatile("//@wgmma.wait_group.sync.aligned " #n ";\n\t" : CLF_NV_FLOATS(columns)(c) : : "memory")

/* Four 8 x 8 blocks of pairs from a warp's registers to local memory; lane 8i + r has the place of row r of block i. */
static void clf_nv_put_fragments(uint to, const uint *x)
{
    __asm__ volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};"
                     : : "r"(to), "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]) : "memory");
}

/* The share of registers of a warp group, once it knows its part. */
#define CLF_NV_TEXT(x) #x
#define CLF_NV_SET_REGISTERS(way, n) \
    __asm__ volatile("//@setmaxnreg." way ".sync.aligned.u32 " CLF_NV_TEXT(n) ";\n\t" : : : "memory")
#define clf_nv_registers_fewer(n) CLF_NV_SET_REGISTERS("dec", n)
#define clf_nv_registers_more(n) CLF_NV_SET_REGISTERS("inc", n)

/* Lets the tensor cores see what this work-item wrote to local memory. */
static void clf_nv_publish(void)
{
    __asm__ volatile("fence.proxy.async.shared::cta;" : : : "memory");
}

/* A barrier in local memory that `count` arrivals complete, again and again: phase 0, 1, 0 ... Waiting for a phase
 * returns when it is complete; the phase before the first counts as complete. */
static void clf_nv_barrier_make(uint barrier_at, uint count)
{
    __asm__ volatile("mbarrier.init.shared::cta.b64 [%0], %1;" : : "r"(barrier_at), "r"(count) : "memory");
}

static void clf_nv_barrier_arrive(uint barrier_at)
{
    __asm__ volatile("{ .reg .b64 t; mbarrier.arrive.shared::cta.b64 t, [%0]; }" : : "r"(barrier_at) : "memory");
}

static int clf_nv_barrier_try(uint barrier_at, uint phase)
{
    int done;
    __asm__ volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.s32 %0, 1, 0, p; }"
                     : "=r"(done) : "r"(barrier_at), "r"(phase) : "memory");
    return done;
}

static void clf_nv_barrier_wait(uint barrier_at, uint phase)
{
    while (!clf_nv_barrier_try(barrier_at, phase))
        ;
}

/* A number that is the same in all lanes, and now the compiler knows: it comes back in a register of the warp, where
 * products want to find what describes their tiles. */
static int clf_nv_same(int x)
{
    int y;
    __asm__ volatile("redux.sync.max.s32 %0, %1, 0xffffffff;" : "=r"(y) : "r"(x));
    return y;
}

/* Named barriers of `count` work-items: waiting, and arriving without. */
static void clf_nv_turn_wait(int id, int count)
{
    __asm__ volatile("bar.sync %0, %1;" : : "r"(id), "r"(count) : "memory");
}

static void clf_nv_turn_give(int id, int count)
{
    __asm__ volatile("bar.arrive %0, %1;" : : "r"(id), "r"(count) : "memory");
}
