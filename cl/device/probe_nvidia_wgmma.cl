/* Do the products of prelude/nvidia_wgmma.cl do what it says? One warp group; io[0] becomes 1 when all is well. */
#include "prelude/nvidia_wgmma.cl"

/* Small numbers: their sums over 128 are exact. */
static int left(int row, int column) { return (row * 3 + column) % 7 - 3; }
static int right(int row, int column) { return (row + column * 2) % 5 - 2; }

/* Writes a tile of 64 columns, eight numbers at a time. */
static void fill(uint to, int rows, int which, int item)
{
    for (int n = item; n < rows * 8; n += 128) {
        const int r = n >> 3, c = n & 7;
        uint word[4];
        for (int i = 0; i < 4; i++) {
            const int column = c * 8 + 2 * i;
            word[i] = which ? clf_nv_pack((float)right(r, column), (float)right(r, column + 1))
                            : clf_nv_pack((float)left(r, column), (float)left(r, column + 1));
        }
        clf_nv_put16(to + r * 128 + ((c ^ r) & 7) * 16, (uint4)(word[0], word[1], word[2], word[3]));
    }
}

/* The 64 x 128 scores, then the 64 x 64 weighted sums. */
static void expect(__local short *to, int item)
{
#pragma unroll 1
    for (int n = item; n < 64 * 192; n += 128) {
        const int sums = n >= 64 * 128, m = sums ? n - 64 * 128 : n, width = sums ? 64 : 128;
        int all = 0;
#pragma unroll 1
        for (int i = 0; i < (sums ? 128 : 64); i++)
            all += left(m / width, i) * (sums ? right(i, m % width) : right(m % width, i));
        to[n] = (short)all;
    }
}

__kernel __attribute__((reqd_work_group_size(128, 1, 1)))
void clf_probe_nvidia_wgmma(__global int *io)
{
    __local uint4 tiles[(64 + 128) * 8] __attribute__((aligned(1024)));
    __local ulong barrier_at[1] __attribute__((aligned(8)));
    const int item = get_local_id(0), lane = item & 31, row = (item >> 5) * 16 + (lane >> 2);
    const uint x = clf_nv_address((__local const void *)tiles), y = x + 64 * 128;
    const uint at = clf_nv_address((__local const void *)barrier_at);
    __local short *expected = (__local short *)tiles;
    float s[64], sum[32];
    uint p[32];
    int wrong = 0;

    if (item == 0)
        clf_nv_barrier_make(at, 128);
    fill(x, 64, 0, item);
    fill(y, 128, 1, item);
    clf_nv_publish();
    barrier(CLK_LOCAL_MEM_FENCE);
    clf_nv_barrier_arrive(at);
    clf_nv_barrier_wait(at, 0);

#pragma unroll
    for (int i = 0; i < 32; i++)
        sum[i] = 0.0f;
    /* weights of the second product: row r and column c of 128, as the fragments hold them */
#pragma unroll
    for (int i = 0; i < 32; i++) {
        const int r = row + i % 2 * 8, c = i / 4 * 16 + i % 4 / 2 * 8 + (lane & 3) * 2;
        p[i] = clf_nv_pack((float)left(r, c), (float)left(r, c + 1));
    }
    clf_nv_scores128x64(s, clf_nv_tile(x, 16), clf_nv_tile(y, 16));
    clf_nv_weighted128x64(sum, p, clf_nv_tile(y, 128 * 128));
    clf_nv_product_wait(1, s, 128);
    clf_nv_product_wait(0, sum, 64);

    barrier(CLK_LOCAL_MEM_FENCE); /* the tiles are read, and what is expected takes their place */
    expect(expected, item);
    barrier(CLK_LOCAL_MEM_FENCE);
#pragma unroll
    for (int i = 0; i < 64; i++) {
        const int r = row + i % 4 / 2 * 8, c = i / 4 * 8 + (lane & 3) * 2 + i % 2;
        wrong |= s[i] != (float)expected[r * 128 + c];
        if (i < 32)
            wrong |= sum[i < 32 ? i : 0] != (float)expected[64 * 128 + r * 64 + c];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    if (item == 0)
        io[0] = 1;
    barrier(CLK_GLOBAL_MEM_FENCE);
    if (wrong)
        io[0] = 0;
}
