/* Choosing landmarks: rows of q that point in as different directions as possible, or centres of clusters of them.
 *
 * Choices are made in arithmetic that every device and the host do alike: sums and products of f32 in one order, never
 * contracted, with roots and reciprocals made of those. So the same seed chooses the same rows everywhere.
 *
 *     list      rows that are no padding                          draw     candidates by their places in it, at random
 *     columns   the candidates, sixteen of them side by side:     | d = 0: 16 rows | d = 1: 16 rows | ...
 *     step      the newest landmark is the candidate whose largest |cos| with those before is least; all candidates
 *               meet it. A launch a landmark; a group owns CHUNK candidates and leaves its least one to the next launch
 *     assign, sums, centres                                       an iteration of k-means; sums are by chunks, in order
 *     gather    rows to landmarks, f32
 *
 * CLF_LANES 16: a work-item has sixteen candidates in the lanes of a vector; 1: one. `items` of the batch are batch *
 * heads + head. Tensors of the call are {first element, strides of batch, head, row}, others are contiguous, `at` being
 * their first elements.
 */
#include "prelude/lanes.cl"
#include "prelude/philox.cl"

#pragma OPENCL FP_CONTRACT OFF

#define CHUNK 256
#if CLF_LANES == 16
#define ITEMS 1
#else
#define ITEMS 64
#endif

/* 1 / sqrt(x), but never more than 1e12. */
static float root_reciprocal(float x)
{
    if (!(x > 1e-24f))
        return 1e12f;
    const float half_x = 0.5f * x;
    float y = as_float(0x5f3759df - (as_int(x) >> 1));
    for (int n = 0; n < 4; n++) {
        const float square = y * y, error = half_x * square;
        y = y * (1.5f - error);
    }
    return y;
}

/* 1 / x of a positive number. */
static float reciprocal(float x)
{
    float y = as_float(0x7ef311c7 - as_int(x));
    for (int n = 0; n < 4; n++) {
        const float error = x * y;
        y = y * (2.0f - error);
    }
    return y;
}

/* Place of channel d of a candidate. */
static long column_at(int candidate, int d, int width)
{
    return ((long)(candidate / 16) * width + d) * 16 + candidate % 16;
}

/* Random number `j` of a stream as one of 0 .. count - 1. */
static int draw_below(int count, int j, int item, int stream, uint8 random)
{
    const uint4 words = clf_philox((uint4)((uint)j, (uint)item, (uint)stream, random.s2),
                                   (uint2)(random.s0, random.s1 ^ random.s3 ^ 0x4f525448u));
    return (int)mul_hi(words.x, (uint)count);
}

/* list[b] = the rows of batch entry b that are no padding, counts[b] how many. A work-item for CHUNK rows.
 * keep_at: first byte, strides of batch and row. */
__kernel void clf_orthoformer_list(__global const uchar *keep, long4 keep_at, __global int *list, long list_at,
                                   __global int *counts, long counts_at, int rows, ulong items)
{
    const ulong item = get_global_id(0);
    if (item >= items)
        return;
    const int chunks = (rows + CHUNK - 1) / CHUNK, b = (int)(item / chunks), first = (int)(item % chunks) * CHUNK;
    int place = 0;
    keep += keep_at.x + b * keep_at.y;
    list += list_at + (long)b * rows;
    for (int row = 0; row < first; row++)
        place += keep[row * keep_at.z] != 0;
    for (int row = first; row < min(first + CHUNK, rows); row++)
        if (keep[row * keep_at.z])
            list[place++] = row;
    if (first + CHUNK >= rows)
        counts[counts_at + b] = place;
}

/* picks[item][j], j < capacity: rows, `sizes[item]` of them. shape: heads, rows, capacity, at least so many of them
 * (fraction in 2^-24, 0 = all of capacity), mode, stream. Modes: 0 every row, 1 one row of each of equal stretches, 2
 * any rows, for all items the same; `given` replaces random numbers. list and counts may be absent. */
__kernel void clf_orthoformer_draw(__global const int *list, long list_at, __global const int *counts, long counts_at,
                                   __global const int *given, __global int *picks, long picks_at, __global int *sizes,
                                   long sizes_at, int8 shape, uint fraction, uint8 random, ulong items)
{
    const ulong id = get_global_id(0);
    if (id >= items)
        return;
    const int capacity = shape.s2, item = (int)(id / capacity), j = (int)(id % capacity), b = item / shape.s0;
    const int count = list ? counts[counts_at + b] : shape.s1;
    int size = capacity, row = 0;
    if (fraction)
        size = max((int)(((ulong)count * fraction) >> 24), shape.s3);
    if (shape.s4 != 2)
        size = min(size, count);
    if (shape.s4 == 0)
        row = j;
    else if (given)
        row = given[j];
    else if (shape.s4 == 2)
        row = draw_below(count, j, 0, shape.s5, random);
    else if (j < size) {
        const int first = (int)((long)j * count / size), end = (int)((long)(j + 1) * count / size);
        row = first + draw_below(end - first, j, item, shape.s5, random);
    }
    picks[picks_at + id] = j >= size ? 0 : list ? list[list_at + (long)b * shape.s1 + row] : row;
    if (j == 0)
        sizes[sizes_at + item] = size;
}

/* The candidates as columns, of unit length where `unit`; best = 0, or 20 where there is none. shape: heads, width,
 * capacity, columns (a multiple of 16), unit. */
__kernel void clf_orthoformer_columns(__global const clf_storage *x, long4 x_at, __global const int *picks,
                                      long picks_at, __global const int *sizes, long sizes_at, __global float *columns,
                                      long columns_at, __global float *best, long best_at, int8 shape, ulong items)
{
    const ulong id = get_global_id(0);
    if (id >= items)
        return;
    const int width = shape.s1, item = (int)(id / shape.s3), candidate = (int)(id % shape.s3);
    const int there = candidate < shape.s2 && candidate < sizes[sizes_at + item];
    const int row = there ? picks[picks_at + (long)item * shape.s2 + candidate] : 0;
    float sum = 0.0f;
    x += x_at.x + item / shape.s0 * x_at.y + item % shape.s0 * x_at.z + row * x_at.w;
    columns += columns_at + (long)item * shape.s3 * width;
    for (int d = 0; d < width; d++) {
        const float value = clf_load(x, d), square = value * value;
        sum = sum + square;
    }
    const float scale = !there ? 0.0f : shape.s4 ? root_reciprocal(sum) : 1.0f;
    for (int d = 0; d < width; d++)
        columns[column_at(candidate, d, width)] = there ? clf_load(x, d) * scale : 0.0f;
    best[best_at + id] = there ? 0.0f : 20.0f;
}

/* The least of all work-items' values, ties to the lower row, in the first places. */
CLF_INLINE void find_least(__local float *value, __local int *row)
{
    const int own = (int)get_local_id(0);
    for (int n = ITEMS / 2; n > 0; n /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (own < n && (value[own + n] < value[own] || (value[own + n] == value[own] && row[own + n] < row[own]))) {
            value[own] = value[own + n];
            row[own] = row[own + n];
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
}

/* Step s: chosen[item][s] is found, all candidates meet it, least[s + 1 is odd][item][chunk] = {|cos|, candidate}.
 * shape: width, columns, step, steps, chunks, items. `given`: the first landmarks. NDRange: a group for each chunk. */
__kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1)))
void clf_orthoformer_step(__global const float *columns, long columns_at, __global float *best, long best_at,
                          __global const int *sizes, long sizes_at, __global const int *given, __global float2 *least,
                          long least_at, __global int *chosen, long chosen_at, int8 shape, uint8 random)
{
    __local float value[ITEMS];
    __local int row[ITEMS];
    const int own = (int)get_local_id(0), chunks = shape.s4, width = shape.s0, step = shape.s2;
    const int item = (int)(get_group_id(0) / chunks), chunk = (int)(get_group_id(0) % chunks);
    __global const float2 *from = least + least_at + ((long)(step & 1) * shape.s5 + item) * chunks;
    __global float2 *to = least + least_at + ((long)(~step & 1) * shape.s5 + item) * chunks;

    value[own] = INFINITY;
    row[own] = 0;
    for (int c = own; step > 0 && c < chunks; c += ITEMS)
        if (from[c].x < value[own]) {
            value[own] = from[c].x;
            row[own] = as_int(from[c].y);
        }
    find_least(value, row);
    const int newest = step > 0 ? row[0] : given ? given[item] : draw_below(sizes[sizes_at + item], 0, item, 2, random);
    barrier(CLK_LOCAL_MEM_FENCE);
    if (chunk == 0 && own == 0)
        chosen[chosen_at + (long)item * shape.s3 + step] = newest;

    columns += columns_at + (long)item * shape.s1 * width;
    best += best_at + (long)item * shape.s1;
    clf_real smallest = (clf_real)(INFINITY);
    clf_int place = (clf_int)(0);
    for (int first = chunk * CHUNK + own * CLF_LANES; first < min(chunk * CHUNK + CHUNK, shape.s1);
         first += ITEMS * CLF_LANES) {
        clf_real sum = (clf_real)(0.0f);
        const clf_int candidate = first + CLF_LANE;
        for (int d = 0; d < width; d++) {
#if CLF_LANES == 16
            const clf_real product = vload16(0, columns + column_at(first, d, width)) *
                                     columns[column_at(newest, d, width)];
#else
            const clf_real product = columns[column_at(first, d, width)] * columns[column_at(newest, d, width)];
#endif
            sum = sum + product;
        }
        sum = fabs(sum);
#if CLF_LANES == 16
        clf_real worst = vload16(0, best + first);
        worst = sum > worst ? sum : worst;
        worst = candidate == newest ? (clf_real)(10.0f) : worst;
        vstore16(worst, 0, best + first);
#else
        clf_real worst = sum > best[first] ? sum : best[first];
        worst = candidate == newest ? 10.0f : worst;
        best[first] = worst;
#endif
        place = worst < smallest ? candidate : place;
        smallest = worst < smallest ? worst : smallest;
    }
#if CLF_LANES == 16
    float lane[16];
    int lane_place[16];
    vstore16(smallest, 0, lane);
    vstore16(place, 0, lane_place);
    for (int n = 1; n < 16; n++)
        if (lane[n] < lane[0] || (lane[n] == lane[0] && lane_place[n] < lane_place[0])) {
            lane[0] = lane[n];
            lane_place[0] = lane_place[n];
        }
    value[own] = lane[0];
    row[own] = lane_place[0];
#else
    value[own] = smallest;
    row[own] = place;
#endif
    find_least(value, row);
    if (own == 0)
        to[chunk] = (float2)(value[0], as_float(row[0]));
}

/* The centre that is nearest to a candidate, or points in the most similar direction where `unit`; -1 for none.
 * shape: width, columns, centres, unit. A work-item for CLF_LANES candidates. */
__kernel void clf_orthoformer_assign(__global const float *columns, long columns_at, __global const int *sizes,
                                     long sizes_at, __global const float *centres, long centres_at,
                                     __global int *nearest, long nearest_at, int4 shape, ulong items)
{
    const ulong id = get_global_id(0);
    if (id >= items)
        return;
    const int width = shape.x, blocks = shape.y / CLF_LANES, item = (int)(id / blocks);
    const int first = (int)(id % blocks) * CLF_LANES;
    clf_real least = (clf_real)(INFINITY);
    clf_int place = (clf_int)(0);
    columns += columns_at + (long)item * shape.y * width;
    centres += centres_at + (long)item * shape.z * width;
    for (int k = 0; k < shape.z; k++) {
        clf_real sum = (clf_real)(0.0f);
        for (int d = 0; d < width; d++) {
#if CLF_LANES == 16
            const clf_real x = vload16(0, columns + column_at(first, d, width));
#else
            const clf_real x = columns[column_at(first, d, width)];
#endif
            const float centre = centres[(long)k * width + d];
            const clf_real off = x - centre, term = shape.w ? x * -centre : off * off;
            sum = sum + term;
        }
        place = sum < least ? (clf_int)(k) : place;
        least = sum < least ? sum : least;
    }
    nearest += nearest_at + (long)item * shape.y;
    const clf_int none = (clf_int)(-1), candidate = first + CLF_LANE;
    place = candidate < sizes[sizes_at + item] ? place : none;
#if CLF_LANES == 16
    vstore16(place, 0, nearest + first);
#else
    nearest[first] = place;
#endif
}

/* sums[item][chunk][centre][d], and how many they are as one more channel. shape: width, columns, centres, chunks.
 * A work-item for each channel of a chunk. */
__kernel void clf_orthoformer_sums(__global const float *columns, long columns_at, __global const int *nearest,
                                   long nearest_at, __global float *sums, long sums_at, int4 shape, ulong items)
{
    const ulong id = get_global_id(0);
    if (id >= items)
        return;
    const int width = shape.x, d = (int)(id % (width + 1)), chunk = (int)(id / (width + 1) % shape.w);
    const int item = (int)(id / (width + 1) / shape.w);
    columns += columns_at + (long)item * shape.y * width;
    nearest += nearest_at + (long)item * shape.y;
    sums += sums_at + ((long)item * shape.w + chunk) * shape.z * (width + 1) + d;
    for (int k = 0; k < shape.z; k++)
        sums[(long)k * (width + 1)] = 0.0f;
    for (int c = chunk * CHUNK; c < min(chunk * CHUNK + CHUNK, shape.y); c++)
        if (nearest[c] >= 0)
            sums[(long)nearest[c] * (width + 1)] += d < width ? columns[column_at(c, d, width)] : 1.0f;
}

/* The new centres: an empty cluster's is 0. shape: width, centres, chunks. A work-item for each channel. */
__kernel void clf_orthoformer_centres(__global const float *sums, long sums_at, __global float *centres,
                                      long centres_at, int4 shape, ulong items)
{
    const ulong id = get_global_id(0);
    if (id >= items)
        return;
    const int width = shape.x, d = (int)(id % width), k = (int)(id / width % shape.y),
              item = (int)(id / width / shape.y);
    float sum = 0.0f, count = 1e-6f;
    sums += sums_at + (long)item * shape.z * shape.y * (width + 1) + (long)k * (width + 1);
    for (int chunk = 0; chunk < shape.z; chunk++) {
        sum = sum + sums[(long)chunk * shape.y * (width + 1) + d];
        count = count + sums[(long)chunk * shape.y * (width + 1) + width];
    }
    centres[centres_at + id] = sum * reciprocal(count);
}

/* Rows of unit length. A work-item for each. */
__kernel void clf_orthoformer_unit(__global float *rows, long rows_at, int width, ulong items)
{
    const ulong id = get_global_id(0);
    if (id >= items)
        return;
    float sum = 0.0f;
    rows += rows_at + (long)id * width;
    for (int d = 0; d < width; d++) {
        const float square = rows[d] * rows[d];
        sum = sum + square;
    }
    const float scale = root_reciprocal(sum);
    for (int d = 0; d < width; d++)
        rows[d] = rows[d] * scale;
}

/* marks[item][first + slot] = the row of a pick, or of the pick that was chosen; 0 where there is none, and `some` says
 * so. shape: heads, width, landmarks in all, first, landmarks from here, capacity of picks. A work-item for each
 * channel of a landmark. */
__kernel void clf_orthoformer_gather(__global const clf_storage *x, long4 x_at, __global const int *picks,
                                     long picks_at, __global const int *sizes, long sizes_at,
                                     __global const int *chosen, long chosen_at, __global float *marks, long marks_at,
                                     __global uchar *some, long some_at, int8 shape, ulong items)
{
    const ulong id = get_global_id(0);
    if (id >= items)
        return;
    const int width = shape.s1, d = (int)(id % width), slot = (int)(id / width % shape.s4);
    const int item = (int)(id / width / shape.s4), b = item / shape.s0, there = slot < sizes[sizes_at + item];
    const int pick = !there ? 0 : chosen ? chosen[chosen_at + (long)item * shape.s4 + slot] : slot;
    const int row = there ? picks[picks_at + (long)item * shape.s5 + pick] : 0;
    x += x_at.x + b * x_at.y + item % shape.s0 * x_at.z + row * x_at.w;
    marks[marks_at + ((long)item * shape.s2 + shape.s3 + slot) * width + d] = there ? clf_load(x, d) : 0.0f;
    if (d == 0 && item % shape.s0 == 0)
        some[some_at + (long)b * shape.s2 + shape.s3 + slot] = there;
}
