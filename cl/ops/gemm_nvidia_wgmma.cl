/* Matrix products by warp groups, sm_90: c = alpha a b + beta c + bias, a and b f16 or bf16, sums f32. The tensor cores
 * read both operands from local memory themselves, and the copy engine brings them there and takes c away.
 *
 *                                          b: 64 deep x CLF_COLUMNS
 *                                       +------------------------------+   CLF_STAGES steps in local memory. Blocks
 *      warp group 0 asks, one lane      |                              |   of 64 columns as the operand lies in
 *      for a, one for b                 +------------------------------+   memory, rows of 128 bytes with chunks at
 *                   a: 64 deep          +------------------------------+   c ^ (r mod 8): along the depth one block
 *      warp group 1  +------+           | c: 64 x CLF_COLUMNS          |   of all rows of a tile; across it, one of
 *                    | 64   |           +------------------------------+   64 rows for each 64 rows of a or columns
 *      warp group 2  | 64   |           | c: 64 x CLF_COLUMNS          |   of b, which the products read turned.
 *                    +------+           +------------------------------+
 *
 * A step of 64 is four products of 64 x CLF_COLUMNS x 16 a warp group. One step's products run while the next one's are
 * issued; with two groups the tensor cores always have some. Groups stay on their compute unit and go on with other
 * tiles, whose first steps come while the last tile's sums leave. Tiles go down CLF_BAND, then one to the right, so
 * that those which are computed at the same time share rows of a and columns of b in the second-level cache.
 *
 * c of the type of a and b is rounded, passes through local memory and leaves while the next tile is multiplied. Where
 * that cannot be (f32, rows that end between multiples of 16 bytes, places that the engine cannot take) each lane
 * writes its pairs. Offsets are known to runs only: operands that do not start at multiples of 16 bytes are copied
 * by the first warp group, number by number. What does not exist arrives as zeros. Axes of the batch along which an
 * operand repeats are no axes of its map. Sums run over the depth in order: the same bits in every run.
 *
 * Hand-over, without a barrier of all:
 *   - a step is FULL when both who ask have arrived and the engine has written the bytes that they announced before
 *     they arrived (or, where the first group copies, when its 128 work-items have, each behind its own
 *     fence.proxy.async). Computing warps wait for FULL before they issue products.
 *   - a step is FREE when one lane of each computing warp has arrived. It does so behind wgmma.wait_group 1 of the next
 *     step, or 0 behind the last, when its warp's products of the step are complete; products of a warp group read for
 *     all its four warps, so four arrivals a group are needed and enough. Who asks waits for FREE. Engine and tensor
 *     cores are the same proxy.
 *   - phases: the n-th use of a stage has phase n mod 2; nobody is two uses ahead, because FULL needs FREE. Both sides
 *     count steps across the ends of tiles alike.
 *   - maps belong to who asks: a warp writes one to global memory (release), and a lane of the same warp uses it
 *     (acquire). The maps of c are two for that reason, one for each computing group.
 *   - c of a warp group is its own, between two barriers of its 128 work-items: behind the first, the lane that asked
 *     for the last store has seen that it was read (wait_group.read); before the second, each has published what it
 *     wrote. That lane ends behind its last store's reading.
 *
 * Registers: 168 at the beginning, then 56 and 224; nothing spilled. Local memory with 256 columns: 3 stages of 48 KiB
 * and 64 KiB for c.
 *
 * Measured on an H100, f16, TFLOP/s at 2048^3 / 4096^3 / 8192^3 (torch.matmul in the same runs: 645 / 757 / 697):
 *     nvidia_mma                                                              368 / 445 / 474
 *     128 x 256, 4 stages, c by pairs, traded to 16 bytes a lane              521 / 622 / 657
 *     the same: bands of 8 and 32 613 at 4096^3; warp groups one or two steps apart 613, 622; 128 x 128, 6 stages
 *     489 / 575 / -; 3 stages - / 657 / -; without storing c                  637 / 710 / -
 *     c through local memory, 3 stages, its place found under the last products 567 / 668 / 711
 * bf16 701 at 4096^3. Storing by pairs took 6 us a tile, most of it for 70 KiB of instructions.
 * The rest of the time: with neither loads nor stores 692 / 853 / -, the start of a kernel and issue; and power: at
 * 8192^3 the card runs at 1.35 of its 1.98 GHz. Clusters, which would fetch b once for two groups, need a
 * launch that OpenCL does not have.
 *
 * NDRange: a group of 128 * (CLF_CONSUMERS + 1) work-items for each tile, no more than compute units. ops/gemm.cl
 * explains the arguments; maps_at = {where the maps of all groups begin, matrices of the batch}.
 */
#include "ops/gemm.cl"
#include "prelude/nvidia_bulk.cl"

#ifndef CLF_CONSUMERS
#define CLF_CONSUMERS 2 /* warp groups that compute, 64 rows each */
#endif
#ifndef CLF_COLUMNS
#define CLF_COLUMNS 256 /* 128 or 256 */
#endif
#ifndef CLF_STAGES
#define CLF_STAGES 3 /* steps of the depth in local memory */
#endif
#ifndef CLF_BAND
#define CLF_BAND 16 /* tiles */
#endif

#define NUMBER_f32 CLF_F32
#define NUMBER_f16 CLF_F16
#define NUMBER_bf16 CLF_BF16
#define C_STORAGE CAT(NUMBER_, CLF_C)

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

/* c leaves through local memory by the copy engine, if it has the type of a and b. */
#define STAGED (C_STORAGE == CLF_STORAGE)
#define OUT_BYTES (STAGED ? 64 * CLF_COLUMNS * 2 : 0) /* of a computing group */

/* Maps of a group: of a, of b, and of c for each computing group. */
#define MAPS (2 + CLF_CONSUMERS)

/* The barriers of a stage: its tiles are there, its place is free. */
enum { FULL = 0, FREE = CLF_STAGES, BARRIERS = 2 * CLF_STAGES };

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

/* The same number, from this place on: what is computed of it is computed behind here, and it itself before. */
CLF_INLINE int here(int x)
{
    __asm__ volatile("" : "+r"(x));
    return x;
}

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

/* Two neighbours of c, of which `left` exist. */
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

/* What becomes of sums: `row` and `column` are those of the lane's first one. */
typedef struct target {
    __global type_c *c;
    int step, row, column;
    __global const type_bias *bias;
    int bias_step;
    float2 factor;
} target;

/* Two neighbours, with alpha, beta and bias; `plain`, a constant: there is alpha only. */
CLF_INLINE float2 complete(sums_of sums, int j, int low, const target *to, int8 shape, int plain)
{
    /* here: 64 places would not fit the registers beside the sums. */
    const int r = here(to->row) + low * 4, first = here(to->column) + j * 8, left = r < shape.s0 ? shape.s1 - first : 0;
    float2 x = to->factor.x * (float2)(sums[j][low], sums[j][low + 1]);
    if (!plain && to->factor.y != 0.0f && left > 0)
        x += to->factor.y * load_two(to->c + r * to->step + first, left);
    if (!plain && shape.s5 == 1)
        x += (float2)(left > 0 ? load_bias(to->bias, first * to->bias_step) : 0.0f,
                      left > 1 ? load_bias(to->bias, (first + 1) * to->bias_step) : 0.0f);
    if (!plain && shape.s5 == 2)
        x += left > 0 ? load_bias(to->bias, r * to->bias_step) : 0.0f;
    return x;
}

#if STAGED
/* 64 rows of a computing group, rounded, in blocks of 64 columns as the engine has them: 16 rows a warp. */
CLF_INLINE void stage_out(sums_of sums, const target *to, int8 shape, int plain, int lane, int warp, uint staged)
{
    /* The blocks of a store are chunk j of the upper and of the lower eight rows, and chunk j + 1 of them. */
    const uint own = staged + (warp * 16 + (lane & 15)) * 128 + ((((lane >> 4) ^ lane) & 7) << 4);
#pragma unroll
    for (int j = 0; j < CLF_COLUMNS / 8; j += 2) {
        uint words[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const float2 x = complete(sums, j + i / 2, i % 2 * 2, to, shape, plain);
            words[i] = clf_nv_pack(x.x, x.y);
        }
        clf_nv_put_fragments((own ^ (j % 8 * 16)) + j / 8 * BLOCK_BYTES, words);
    }
}
#endif

/* Pairs, where the engine cannot do it. `whole`, a constant: all of them exist, at even places. */
CLF_INLINE void store(sums_of sums, const target *to, int8 shape, int plain, int whole)
{
#pragma unroll
    for (int low = 0; low < 4; low += 2)
#pragma unroll
        for (int j = 0; j < CLF_COLUMNS / 8; j++) {
            const float2 x = complete(sums, j, low, to, shape, plain);
            const int r = here(to->row) + low * 4, first = here(to->column) + j * 8;
            const int left = r < shape.s0 ? shape.s1 - first : 0;
            __global type_c *const c = to->c + r * to->step + first;
#if C_STORAGE == CLF_F32
            if (whole) {
                *(__global float2 *)c = x;
                continue;
            }
#endif
            if (left > 0)
                store_c(x.x, c, 0);
            if (left > 1)
                store_c(x.y, c, 1);
        }
}

__kernel __attribute__((reqd_work_group_size(GROUP_ITEMS, 1, 1)))
void clf_gemm_nvidia_wgmma(__global const type_a *a, long8 a_at, __global const type_b *b, long8 b_at,
                           __global type_c *c, long8 c_at, __global const type_bias *bias, long2 bias_at,
                           int8 shape, float2 factor, __global uchar *maps, long2 maps_at)
{
    __local uint4 tiles[(CLF_STAGES * STAGE_BYTES + CLF_CONSUMERS * OUT_BYTES) / 16] __attribute__((aligned(1024)));
    __local ulong barriers[BARRIERS] __attribute__((aligned(8)));
    __local uint4 draft[MAPS * CLF_NV_MAP_BYTES / 16] __attribute__((aligned(128)));

    const int item = get_local_id(0), lane = item & 31, role = clf_nv_same(item >> 7);
    const uint start = clf_nv_address((__local const void *)tiles), at = clf_nv_address((__local const void *)barriers);
    const int items = (int)maps_at.y, steps = (shape.s2 + DEPTH - 1) / DEPTH;
    const int end = (shape.s1 + CLF_COLUMNS - 1) / CLF_COLUMNS * ((shape.s0 + ROWS - 1) / ROWS) * items;
    int stage = 0, phase = 0;

    maps += maps_at.x + (long)get_group_id(0) * (MAPS * CLF_NV_MAP_BYTES);
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
        const int group = role - 1, warp = item >> 5 & 3, row = group * 64 + warp * 16 + (lane >> 2);
#if STAGED
        const uint staged = start + CLF_STAGES * STAGE_BYTES + group * OUT_BYTES;
        const operand out = { (__global const ushort *)c, c_at, shape.s1, shape.s0,
                              maps + (2 + group) * CLF_NV_MAP_BYTES };
        const int bulk_out = is_taken(out);
        if (bulk_out && clf_nv_same(warp) == 0)
            show_map(out, items, shape, 64, draft + (2 + group) * CLF_NV_MAP_BYTES / 16, lane);
#endif
        for (int n = get_group_id(0); n < end; n += (int)get_num_groups(0)) {
            sums_of sums;
            uint before = 0;
            for (int k = 0; k < steps; k++) {
                const uint from = clf_nv_same(start + stage * STAGE_BYTES);
                clf_nv_barrier_wait(at + 8 * (FULL + stage), phase);
                multiply((float *)sums, clf_nv_tile(from + group * BLOCK_BYTES, 16),
                         clf_nv_tile(from + A_BYTES, CLF_B_DEPTH ? 16 : BLOCK_BYTES), k > 0);
                clf_nv_product_wait(1, ((float *)sums), CLF_COLUMNS); /* that of the step before is done */
                if (k > 0 && lane == 0)
                    clf_nv_barrier_arrive(before);
                before = at + 8 * (FREE + stage);
                stage = stage + 1 == CLF_STAGES ? 0 : stage + 1;
                phase ^= stage == 0;
            }
            /* Where they go is found out while the last products run. */
            int4 tile = tile_of(n, shape);
            tile = (int4)(here(tile.x), here(tile.y), here(tile.z), 0);
#if STAGED
            int4 place = place_of(out, tile.z, shape);
            place = (int4)(here(place.x), here(place.y), here(place.z), 0);
#endif
            clf_nv_product_wait(0, ((float *)sums), CLF_COLUMNS);
            if (lane == 0)
                clf_nv_barrier_arrive(before);
            const target to = { c + matrix_of(tile.z, c_at, shape), (int)c_at.s4, tile.x + row,
                                tile.y + (lane & 3) * 2, bias + bias_at.x, (int)bias_at.y, factor };
            const int plain = factor.y == 0.0f && shape.s5 == 0;
#if STAGED
            /* The engine writes sixteen bytes at a time, also where the row ends between them. */
            if (bulk_out && (shape.s1 % 8 == 0 || tile.y + CLF_COLUMNS <= shape.s1)) {
                if ((item & 127) == 0)
                    clf_nv_bulk_wait_read();
                clf_nv_turn_wait(1 + group, 128); /* the tile before has been read */
                if (plain)
                    stage_out(sums, &to, shape, 1, lane, warp, staged);
                else
                    stage_out(sums, &to, shape, 0, lane, warp, staged);
                clf_nv_publish();
                clf_nv_turn_wait(1 + group, 128); /* all of this one is written */
                if ((item & 127) == 0) {
                    for (int i = 0; i < CLF_COLUMNS / 64; i++)
                        if (tile.y + i * 64 < shape.s1 && tile.x + group * 64 < shape.s0)
                            clf_nv_bulk_store_more(out.map, tile.y + i * 64, tile.x + group * 64, place,
                                                   staged + i * BLOCK_BYTES);
                    clf_nv_bulk_commit();
                }
                continue;
            }
#endif
            if (C_STORAGE == CLF_F32 && plain && tile.x + group * 64 + 64 <= shape.s0 &&
                tile.y + CLF_COLUMNS <= shape.s1 && (((ulong)to.c | 4 * (ulong)to.step) & 7) == 0)
                store(sums, &to, shape, 1, 1);
            else
                store(sums, &to, shape, 0, 0);
        }
#if STAGED
        if ((item & 127) == 0)
            clf_nv_bulk_wait_read(); /* local memory ends with the group */
#endif
    }
}
