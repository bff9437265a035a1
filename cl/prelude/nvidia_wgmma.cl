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

#define CLF_NV_32 \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define CLF_NV_64 CLF_NV_32 ", " \
    "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
    "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define CLF_NV_4F(x, i) "+f"(x[i]), "+f"(x[i + 1]), "+f"(x[i + 2]), "+f"(x[i + 3])
#define CLF_NV_16F(x, i) CLF_NV_4F(x, i), CLF_NV_4F(x, i + 4), CLF_NV_4F(x, i + 8), CLF_NV_4F(x, i + 12)
#define CLF_NV_32F(x) CLF_NV_16F(x, 0), CLF_NV_16F(x, 16)
#define CLF_NV_64F(x) CLF_NV_16F(x, 0), CLF_NV_16F(x, 16), CLF_NV_16F(x, 32), CLF_NV_16F(x, 48)
#define CLF_NV_4U(x, i) "r"(x[i]), "r"(x[i + 1]), "r"(x[i + 2]), "r"(x[i + 3])
#define CLF_NV_16U(x) CLF_NV_4U(x, 0), CLF_NV_4U(x, 4), CLF_NV_4U(x, 8), CLF_NV_4U(x, 12)
#define CLF_NV_32U(x) \
    CLF_NV_16U(x), CLF_NV_4U(x, 16), CLF_NV_4U(x, 20), CLF_NV_4U(x, 24), CLF_NV_4U(x, 28)

/* What describes a tile to the tensor cores: its place, the distance of its column blocks (for operands that are read
 * turned) and of its groups of eight rows, and the order of chunks, all in units of 16 bytes. */
static ulong clf_nv_tile(uint address, uint block_bytes)
{
    return (ulong)((address & 0x3ffff) >> 4) | (ulong)(block_bytes >> 4) << 16 | 64ul << 32 | 1ul << 62;
}

/* One instruction: c of N columns, the right operand described by %y + yo. The left one is described by %x + xo; or it
 * is in the registers p0 .. p3, and the rows of the right one are summed over. `add` is 0 where c begins. */
#define CLF_NV_STEP(N, c, x, xo, y, yo, add) \
    "add.s64 a, %" #x ", " #xo "; add.s64 b, %" #y ", " #yo ";\n\t" \
    "//@wgmma.mma_async.sync.aligned.m64n" #N "k16." CLF_NV_TYPES " {" c "}, a, b, " #add ", 1, 1, 0, 0;\n\t"
#define CLF_NV_WEIGHTED_STEP(N, c, p0, p1, p2, p3, y, yo) \
    "add.s64 b, %" #y ", " #yo ";\n\t" \
    "//@wgmma.mma_async.sync.aligned.m64n" #N "k16." CLF_NV_TYPES " {" c "}, {%" #p0 ", %" #p1 ", %" #p2 ", %" #p3 \
    "}, b, 1, 1, 1, 1;\n\t"
#define CLF_NV_BEGIN "{ .reg .u64 a, b;\n\t//@wgmma.fence.sync.aligned;\n\t"
#define CLF_NV_END "//@wgmma.commit_group.sync.aligned;\n\t}"

/* s = x y^T: 64 rows by the rows of y, for all 64 columns of a block; the second block of x is 64 rows further on.
 * Runs on; clf_nv_product_wait tells when s is there. Names count the rows of y and the width. */
#define CLF_NV_BLOCK(N, c, x, y, xo, yo, add) \
    CLF_NV_STEP(N, c, x, xo, y, yo, add) CLF_NV_STEP(N, c, x, xo + 2, y, yo + 2, 1) \
    CLF_NV_STEP(N, c, x, xo + 4, y, yo + 4, 1) CLF_NV_STEP(N, c, x, xo + 6, y, yo + 6, 1)

CLF_INLINE void clf_nv_scores64x64(float *s, ulong x, ulong y)
{
    __asm__ volatile(CLF_NV_BEGIN CLF_NV_BLOCK(64, CLF_NV_32, 32, 33, 0, 0, 0) CLF_NV_END
                     : CLF_NV_32F(s) : "l"(x), "l"(y) : "memory");
}

CLF_INLINE void clf_nv_scores64x128(float *s, ulong x, ulong y)
{
    __asm__ volatile(CLF_NV_BEGIN CLF_NV_BLOCK(64, CLF_NV_32, 32, 33, 0, 0, 0)
                     CLF_NV_BLOCK(64, CLF_NV_32, 32, 33, 512, 512, 1) CLF_NV_END
                     : CLF_NV_32F(s) : "l"(x), "l"(y) : "memory");
}

CLF_INLINE void clf_nv_scores128x64(float *s, ulong x, ulong y)
{
    __asm__ volatile(CLF_NV_BEGIN CLF_NV_BLOCK(128, CLF_NV_64, 64, 65, 0, 0, 0) CLF_NV_END
                     : CLF_NV_64F(s) : "l"(x), "l"(y) : "memory");
}

CLF_INLINE void clf_nv_scores128x128(float *s, ulong x, ulong y)
{
    __asm__ volatile(CLF_NV_BEGIN CLF_NV_BLOCK(128, CLF_NV_64, 64, 65, 0, 0, 0)
                     CLF_NV_BLOCK(128, CLF_NV_64, 64, 65, 512, 1024, 1) CLF_NV_END
                     : CLF_NV_64F(s) : "l"(x), "l"(y) : "memory");
}

/* sum += p y: 64 rows by the rows of y, weights from registers, and y of 64 or 128 columns. Names count the rows and
 * the columns of y. */

CLF_INLINE void clf_nv_weighted64x64(float *sum, const uint *p, ulong y)
{
    __asm__ volatile(CLF_NV_BEGIN
                     CLF_NV_WEIGHTED_STEP(64, CLF_NV_32, 32, 33, 34, 35, 48, 0)
                     CLF_NV_WEIGHTED_STEP(64, CLF_NV_32, 36, 37, 38, 39, 48, 128)
                     CLF_NV_WEIGHTED_STEP(64, CLF_NV_32, 40, 41, 42, 43, 48, 256)
                     CLF_NV_WEIGHTED_STEP(64, CLF_NV_32, 44, 45, 46, 47, 48, 384)
                     CLF_NV_END
                     : CLF_NV_32F(sum) : CLF_NV_16U(p), "l"(y) : "memory");
}

CLF_INLINE void clf_nv_weighted64x128(float *sum, const uint *p, ulong y)
{
    __asm__ volatile(CLF_NV_BEGIN
                     CLF_NV_WEIGHTED_STEP(128, CLF_NV_64, 64, 65, 66, 67, 80, 0)
                     CLF_NV_WEIGHTED_STEP(128, CLF_NV_64, 68, 69, 70, 71, 80, 128)
                     CLF_NV_WEIGHTED_STEP(128, CLF_NV_64, 72, 73, 74, 75, 80, 256)
                     CLF_NV_WEIGHTED_STEP(128, CLF_NV_64, 76, 77, 78, 79, 80, 384)
                     CLF_NV_END
                     : CLF_NV_64F(sum) : CLF_NV_16U(p), "l"(y) : "memory");
}

CLF_INLINE void clf_nv_weighted128x64(float *sum, const uint *p, ulong y)
{
    __asm__ volatile(CLF_NV_BEGIN
                     CLF_NV_WEIGHTED_STEP(64, CLF_NV_32, 32, 33, 34, 35, 64, 0)
                     CLF_NV_WEIGHTED_STEP(64, CLF_NV_32, 36, 37, 38, 39, 64, 128)
                     CLF_NV_WEIGHTED_STEP(64, CLF_NV_32, 40, 41, 42, 43, 64, 256)
                     CLF_NV_WEIGHTED_STEP(64, CLF_NV_32, 44, 45, 46, 47, 64, 384)
                     CLF_NV_WEIGHTED_STEP(64, CLF_NV_32, 48, 49, 50, 51, 64, 512)
                     CLF_NV_WEIGHTED_STEP(64, CLF_NV_32, 52, 53, 54, 55, 64, 640)
                     CLF_NV_WEIGHTED_STEP(64, CLF_NV_32, 56, 57, 58, 59, 64, 768)
                     CLF_NV_WEIGHTED_STEP(64, CLF_NV_32, 60, 61, 62, 63, 64, 896)
                     CLF_NV_END
                     : CLF_NV_32F(sum) : CLF_NV_32U(p), "l"(y) : "memory");
}

CLF_INLINE void clf_nv_weighted128x128(float *sum, const uint *p, ulong y)
{
    __asm__ volatile(CLF_NV_BEGIN
                     CLF_NV_WEIGHTED_STEP(128, CLF_NV_64, 64, 65, 66, 67, 96, 0)
                     CLF_NV_WEIGHTED_STEP(128, CLF_NV_64, 68, 69, 70, 71, 96, 128)
                     CLF_NV_WEIGHTED_STEP(128, CLF_NV_64, 72, 73, 74, 75, 96, 256)
                     CLF_NV_WEIGHTED_STEP(128, CLF_NV_64, 76, 77, 78, 79, 96, 384)
                     CLF_NV_WEIGHTED_STEP(128, CLF_NV_64, 80, 81, 82, 83, 96, 512)
                     CLF_NV_WEIGHTED_STEP(128, CLF_NV_64, 84, 85, 86, 87, 96, 640)
                     CLF_NV_WEIGHTED_STEP(128, CLF_NV_64, 88, 89, 90, 91, 96, 768)
                     CLF_NV_WEIGHTED_STEP(128, CLF_NV_64, 92, 93, 94, 95, 96, 896)
                     CLF_NV_END
                     : CLF_NV_64F(sum) : CLF_NV_32U(p), "l"(y) : "memory");
}

/* All but the last `n` products are done: n is 0 to 3. The registers named here are not touched before. */
#define clf_nv_product_wait64(n, x) \
    __asm__ volatile("//@wgmma.wait_group.sync.aligned " #n ";\n\t" : CLF_NV_64F(x) : : "memory")
#define clf_nv_product_wait32(n, x) \
    __asm__ volatile("//@wgmma.wait_group.sync.aligned " #n ";\n\t" : CLF_NV_32F(x) : : "memory")

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

static void clf_nv_barrier_wait(uint barrier_at, uint phase)
{
    int done;
    do {
        __asm__ volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.s32 %0, 1, 0, p; }"
                         : "=r"(done) : "r"(barrier_at), "r"(phase) : "memory");
    } while (!done);
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
