/* HEAD */
#include "ops/gemm.cl"
#include "prelude/nvidia_bulk.cl"

#ifndef CLF_CONSUMERS
#define CLF_CONSUMERS 2 /* warp groups that compute, 64 rows each */
#endif
#ifndef CLF_COLUMNS
#define CLF_COLUMNS 256 /* 128 or 256 */
#endif
#ifndef CLF_STAGES
#define CLF_STAGES 4 /* steps of the depth in local memory */
#endif
#ifndef CLF_BAND
#define CLF_BAND 16 /* tiles */
#endif
#ifndef CLF_SKEW
#define CLF_SKEW 0
#endif

#define DEPTH 64
#define ROWS (64 * CLF_CONSUMERS)
#define GROUP_ITEMS (128 * CLF_CONSUMERS + 128)
#define A_BYTES (ROWS * DEPTH * 2)
#define B_BYTES (CLF_COLUMNS * DEPTH * 2)
#define STAGE_BYTES (A_BYTES + B_BYTES)
#define BLOCK_BYTES (64 * DEPTH * 2)

/* A work-item that asks and one that computes: 64 Ki registers for all of them, 168 each at the beginning. */
#define REGISTERS_ASK 56
#define REGISTERS_COMPUTE 224

/* The barriers of a stage: its tiles are there, its place is free. */
enum { FULL = 0, FREE = CLF_STAGES, BARRIERS = 2 * CLF_STAGES };

#define NUMBER_f32 CLF_F32
#define NUMBER_f16 CLF_F16
#define NUMBER_bf16 CLF_BF16
#define C_STORAGE CAT(NUMBER_, CLF_C)

#if CLF_A_DEPTH && CLF_B_DEPTH
#define MULTIPLY(columns) CLF_NV_DEEP(multiply, columns, 2, 0, 2, 0)
#elif CLF_A_DEPTH
#define MULTIPLY(columns) CLF_NV_DEEP(multiply, columns, 2, 0, 128, 1)
#elif CLF_B_DEPTH
#define MULTIPLY(columns) CLF_NV_DEEP(multiply, columns, 128, 1, 2, 0)
#else
#define MULTIPLY(columns) CLF_NV_DEEP(multiply, columns, 128, 1, 128, 1)
#endif
MULTIPLY(CLF_COLUMNS)

/* {first row, first column, item of the batch} of tile n. */
static int4 tile_of(int n, int8 shape)
{
    const int across = (shape.s1 + CLF_COLUMNS - 1) / CLF_COLUMNS, down = (shape.s0 + ROWS - 1) / ROWS;
    const int item = n / (across * down), one = n % (across * down);
    const int first = one / (CLF_BAND * across) * CLF_BAND, height = min(CLF_BAND, down - first);
    const int in_band = one % (CLF_BAND * across);
    return (int4)((first + in_band % height) * ROWS, in_band / height * CLF_COLUMNS, item, 0);
}

/* ---- loading ------------------------------------------------------------------------------------------- */

/* a or b as it lies in memory: `lines` of `width` numbers, `step` apart, and what the copy engine knows of them. */
typedef struct operand {
    __global const ushort *p;
    long8 at;
    int width, lines;
    __global const uchar *map;
} operand;

/* Can the engine take it? Axes along which it repeats are left out of the map. */
static int is_taken(operand x)
{
    const ulong places = (ulong)x.p | 2 * (ulong)(x.at.s0 | x.at.s1 | x.at.s2 | x.at.s3 | x.at.s4);
    return (places & 15) == 0 && x.at.s4 > 0 && ((x.at.s1 | x.at.s2 | x.at.s3 | x.at.s4) >> 39) == 0;
}

/* The map of it, in `draft`, and from there to global memory: a warp does. */
CLF_INLINE void show_map(operand x, int items, int8 shape, int rows, __local uint4 *draft, int lane)
{
    const uint map = clf_nv_address((__local const void *)draft);

    if (lane < CLF_NV_MAP_BYTES / 16)
        draft[lane] = (uint4)(0);
    clf_nv_warp_barrier();
    if (lane == 0) {
        const int4 extents = (int4)(x.at.s2 ? shape.s3 : 1, x.at.s3 ? shape.s4 : 1, x.lines, x.width);
        const long4 at = (long4)(x.at.s0, x.at.s2 ? x.at.s2 : 8, x.at.s3 ? x.at.s3 : 8, x.at.s4);
        clf_nv_map_describe_more(map, x.p, at, extents, rows, x.at.s1 ? items / (shape.s3 * shape.s4) : 1,
                                 x.at.s1 ? x.at.s1 : 8);
    }
    clf_nv_warp_barrier();
    clf_nv_map_show((__global void *)x.map, map);
    clf_nv_map_see(x.map);
}

/* Where an item of the batch is in the map. */
static int4 place_of(operand x, int item, int8 shape)
{
    return (int4)(x.at.s1 ? item / shape.s4 / shape.s3 : 0, x.at.s2 ? item / shape.s4 % shape.s3 : 0,
                  x.at.s3 ? item % shape.s4 : 0, 0);
}

/* 64 columns of `rows` lines number by number, by 128 work-items. */
CLF_INLINE void load_slowly(operand x, long start, int column, int line, int rows, int item, uint to)
{
#pragma unroll 1
    for (int n = item; n < rows * 8; n += 128) {
        const int r = n >> 3, c = n & 7, left = line + r < x.lines ? clamp(x.width - column - c * 8, 0, 8) : 0;
        __global const ushort *from = x.p + (left > 0 ? start + (line + r) * x.at.s4 + column + c * 8 : 0);
        uint word[4] = { 0, 0, 0, 0 };
#pragma unroll
        for (int i = 0; i < 8; i++)
            if (i < left)
                word[i / 2] |= (uint)from[i] << (i % 2 * 16);
        clf_nv_put16(to + r * 128 + (((c ^ r) & 7) << 4), (uint4)(word[0], word[1], word[2], word[3]));
    }
}

/* The tile of step `k`: blocks of 64 columns, and all its rows if they lie along the depth. */
CLF_INLINE void ask_for(operand x, int along, int extent, int4 place, int first, int k, uint to, uint full)
{
    if (along)
        clf_nv_bulk_copy_more(to, x.map, k, first, place, full);
    else
#pragma unroll
        for (int i = 0; i < extent / 64; i++)
            clf_nv_bulk_copy_more(to + i * BLOCK_BYTES, x.map, first + i * 64, k, place, full);
}

CLF_INLINE void load_tile(operand x, int along, int extent, long start, int first, int k, int item, uint to)
{
    if (along)
        load_slowly(x, start, k, first, extent, item, to);
    else
        for (int i = 0; i < extent / 64; i++)
            load_slowly(x, start, first + i * 64, k, DEPTH, item, to + i * BLOCK_BYTES);
}

/* ---- storing ------------------------------------------------------------------------------------------- */

typedef float sums_of[CLF_COLUMNS / 8][4];

/* Where a lane's sums go: two neighbours of a row, from `at` on, of which `left` exist. */
typedef struct target {
    __global type_c *c;
    __global const type_bias *bias;
    int bias_along, bias_step;
    float2 factor;
} target;

/* Two neighbours of c, if they exist. */
CLF_INLINE float2 load_two(__global const type_c *c, int left)
{
#if C_STORAGE == CLF_F32
    if (left > 1 && ((ulong)c & 7) == 0)
        return *(__global const float2 *)c;
#else
    if (left > 1 && ((ulong)c & 3) == 0) {
        const uint both = *(__global const uint *)c;
#if C_STORAGE == CLF_F16
        return clf_nv_halves(both);
#else
        return (float2)(as_float(both << 16), as_float(both & 0xffff0000));
#endif
    }
#endif
    return (float2)(left > 0 ? load_c(c, 0) : 0.0f, left > 1 ? load_c(c, 1) : 0.0f);
}

/* alpha, beta and bias for two neighbours in row `row` and column `column`. */
CLF_INLINE float2 complete(float2 x, target to, int at, int row, int column, int8 shape)
{
    const int left = row < shape.s0 ? shape.s1 - column : 0;
    x *= to.factor.x;
    if (to.factor.y != 0.0f)
        x += to.factor.y * load_two(to.c + (left > 0 ? at : 0), left);
    if (shape.s5 == 1)
        x += (float2)(left > 0 ? load_bias(to.bias, column * to.bias_step) : 0.0f,
                      left > 1 ? load_bias(to.bias, (column + 1) * to.bias_step) : 0.0f);
    if (shape.s5 == 2)
        x += left > 0 ? load_bias(to.bias, row * to.bias_step) : 0.0f;
    return x;
}

#if C_STORAGE == CLF_STORAGE
/* A lane without the bit gives y for the other one's x. */
CLF_INLINE void trade(uint *x, uint *y, int lane, int bit)
{
    const uint low = *x, high = *y;
    const uint got = clf_nv_swap(lane & bit ? low : high, bit);
    *x = lane & bit ? got : low;
    *y = lane & bit ? high : got;
}

/* Lanes 4g .. 4g + 3 have words[i] of chunk i each, and afterwards lane 4g + i has all words of chunk i. */
CLF_INLINE void turn_words(uint *words, int lane)
{
    trade(&words[0], &words[1], lane, 1);
    trade(&words[2], &words[3], lane, 1);
    trade(&words[0], &words[2], lane, 2);
    trade(&words[1], &words[3], lane, 2);
}

/* Eight neighbours, of which `left` exist. */
CLF_INLINE void store_eight(__global ushort *to, const uint *words, int left)
{
    if (left >= 8 && ((ulong)to & 15) == 0) {
        *(__global uint4 *)to = (uint4)(words[0], words[1], words[2], words[3]);
        return;
    }
#pragma unroll
    for (int i = 0; i < 8; i++)
        if (i < left)
            to[i] = (ushort)(words[i / 2] >> (i % 2 * 16));
}
#endif

/* Two neighbours, of which `left` exist. */
CLF_INLINE void store_two(__global type_c *c, float2 x, int left)
{
#if C_STORAGE == CLF_F32
    if (left > 1 && ((ulong)c & 7) == 0) {
        *(__global float2 *)c = x;
        return;
    }
#endif
    if (left > 0)
        store_c(x.x, c, 0);
    if (left > 1)
        store_c(x.y, c, 1);
}

/* Four chunks of eight columns at a time, so that what is rounded to 16 bits leaves sixteen bytes at a time. */
CLF_INLINE void store(sums_of sums, int row, int first, int lane, int8 shape, target to, int step)
{
#pragma unroll
    for (int low = 0; low < 4; low += 2) {
        const int r = row + low * 4, base = r * step + first;
#pragma unroll
        for (int j = 0; j < CLF_COLUMNS / 8; j += 4) {
            float2 x[4];
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int along = (j + i) * 8 + (lane & 3) * 2;
                x[i] = complete((float2)(sums[j + i][low], sums[j + i][low + 1]), to, base + along, r, first + along,
                                shape);
            }
#if C_STORAGE == CLF_STORAGE
            const int along = (j + (lane & 3)) * 8;
            uint words[4];
#pragma unroll
            for (int i = 0; i < 4; i++)
                words[i] = clf_nv_pack(x[i].x, x[i].y);
            turn_words(words, lane);
            if (r < shape.s0)
                store_eight((__global ushort *)to.c + base + along, words, shape.s1 - first - along);
#else
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int along = (j + i) * 8 + (lane & 3) * 2;
                if (r < shape.s0)
                    store_two(to.c + base + along, x[i], shape.s1 - first - along);
            }
#endif
        }
    }
}

__kernel __attribute__((reqd_work_group_size(GROUP_ITEMS, 1, 1)))
void clf_gemm_nvidia_wgmma(__global const type_a *a, long8 a_at, __global const type_b *b, long8 b_at,
                           __global type_c *c, long8 c_at, __global const type_bias *bias, long2 bias_at,
                           int8 shape, float2 factor, __global uchar *maps, long2 maps_at)
{
    __local uint4 tiles[CLF_STAGES * STAGE_BYTES / 16] __attribute__((aligned(1024)));
    __local ulong barriers[BARRIERS] __attribute__((aligned(8)));
    __local uint4 draft[2 * CLF_NV_MAP_BYTES / 16] __attribute__((aligned(128)));

    const int item = get_local_id(0), lane = item & 31, role = clf_nv_same(item >> 7);
    const uint start = clf_nv_address((__local const void *)tiles), at = clf_nv_address((__local const void *)barriers);
    const int items = (int)maps_at.y, steps = (shape.s2 + DEPTH - 1) / DEPTH;
    const int end = (shape.s1 + CLF_COLUMNS - 1) / CLF_COLUMNS * ((shape.s0 + ROWS - 1) / ROWS) * items;
    int stage = 0, phase = 0;

    maps += maps_at.x + (long)get_group_id(0) * (2 * CLF_NV_MAP_BYTES);
    const operand left = { (__global const ushort *)a, a_at, CLF_A_DEPTH ? shape.s2 : shape.s0,
                           CLF_A_DEPTH ? shape.s0 : shape.s2, maps };
    const operand right = { (__global const ushort *)b, b_at, CLF_B_DEPTH ? shape.s2 : shape.s1,
                            CLF_B_DEPTH ? shape.s1 : shape.s2, maps + CLF_NV_MAP_BYTES };
    const int bulk = is_taken(left) && is_taken(right);

    if (item < BARRIERS) {
        clf_nv_barrier_make(at + 8 * item, item >= FREE ? CLF_CONSUMERS * 4 : bulk ? 2 : 128);
        clf_nv_publish();
    }
    barrier(CLK_LOCAL_MEM_FENCE); /* the others see the barriers made */

    if (role == 0) {
        clf_nv_registers_fewer(REGISTERS_ASK);
        const int warp = clf_nv_same(item >> 5);
        if (bulk && warp == 0)
            show_map(left, items, shape, CLF_A_DEPTH ? ROWS : DEPTH, draft, lane);
        if (bulk && warp == 1)
            show_map(right, items, shape, CLF_B_DEPTH ? CLF_COLUMNS : DEPTH, draft + CLF_NV_MAP_BYTES / 16, lane);
        if (bulk && (warp > 1 || lane > 0))
            return;
        for (int n = get_group_id(0); n < end; n += (int)get_num_groups(0)) {
            const int4 tile = tile_of(n, shape);
            const int4 a_place = place_of(left, tile.z, shape), b_place = place_of(right, tile.z, shape);
            for (int k = 0; k < steps * DEPTH; k += DEPTH) {
                const uint full = at + 8 * (FULL + stage), to = start + stage * STAGE_BYTES;
                clf_nv_barrier_wait(at + 8 * (FREE + stage), phase ^ 1);
                if (!bulk) {
                    load_tile(left, CLF_A_DEPTH, ROWS, matrix_of(tile.z, a_at, shape), tile.x, k, item, to);
                    load_tile(right, CLF_B_DEPTH, CLF_COLUMNS, matrix_of(tile.z, b_at, shape), tile.y, k, item,
                              to + A_BYTES);
                    clf_nv_publish();
                } else if (warp == 0) {
                    clf_nv_barrier_expect(full, A_BYTES);
                    ask_for(left, CLF_A_DEPTH, ROWS, a_place, tile.x, k, to, full);
                } else {
                    clf_nv_barrier_expect(full, B_BYTES);
                    ask_for(right, CLF_B_DEPTH, CLF_COLUMNS, b_place, tile.y, k, to + A_BYTES, full);
                }
                clf_nv_barrier_arrive(full);
                stage = stage + 1 == CLF_STAGES ? 0 : stage + 1;
                phase ^= stage == 0;
            }
        }
    } else {
        clf_nv_registers_more(REGISTERS_COMPUTE);
        const int group = role - 1, row = group * 64 + (item >> 5 & 3) * 16 + (lane >> 2);
        for (int n = get_group_id(0); n < end; n += (int)get_num_groups(0)) {
            sums_of sums;
            uint before = 0;
            for (int k = 0; k < steps; k++) {
                const uint here = clf_nv_same(start + stage * STAGE_BYTES);
                clf_nv_barrier_wait(at + 8 * (FULL + stage), phase);
                multiply((float *)sums, clf_nv_tile(here + group * BLOCK_BYTES, 16),
                         clf_nv_tile(here + A_BYTES, CLF_B_DEPTH ? 16 : BLOCK_BYTES), k > 0);
                clf_nv_product_wait(1, ((float *)sums), CLF_COLUMNS); /* that of the step before is done */
                if (k > 0 && lane == 0)
                    clf_nv_barrier_arrive(before);
                before = at + 8 * (FREE + stage);
                stage = stage + 1 == CLF_STAGES ? 0 : stage + 1;
                phase ^= stage == 0;
            }
            clf_nv_product_wait(0, ((float *)sums), CLF_COLUMNS);
            if (lane == 0)
                clf_nv_barrier_arrive(before);
            const int4 tile = tile_of(n, shape);
            const target to = { c + matrix_of(tile.z, c_at, shape), bias + bias_at.x, shape.s5, (int)bias_at.y, factor };
            store(sums, tile.x + row, tile.y, lane, shape, to, (int)c_at.s4);
        }
    }
}
