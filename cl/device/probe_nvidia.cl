/* Do the instructions of prelude/nvidia.cl do what it says? One warp; `io` holds 2048 + i, and io[0] becomes 1 when
 * all is well. */
#include "prelude/nvidia.cl"

#if CLF_STORAGE == CLF_F32
#define WIDTH 8 /* of a piece of 16 rows */
#else
#define WIDTH 16
#endif

/* Small numbers that products and sums of sixteen keep exact in f16, bf16 and tf32. */
static int left(int row, int column) { return (row * 3 + column) % 7 - 3; }
static int right(int row, int column) { return (row + column * 2) % 5 - 2; }

/* The chunk of numbers that lane `lane` puts into a tile of 16 rows: rows 0 .. 15, first halves first. */
static uint4 chunk(int lane, int which)
{
    const int row = lane & 15, first = (lane >> 4) * (WIDTH / 2);
    uint word[4];
    for (int i = 0; i < 4; i++) {
#if CLF_STORAGE == CLF_F32
        word[i] = as_uint((float)(which ? right(row, first + i) : left(row, first + i)));
#else
        const int c = first + 2 * i;
        word[i] = which ? clf_nv_pack((float)right(row, c), (float)right(row, c + 1))
                        : clf_nv_pack((float)left(row, c), (float)left(row, c + 1));
#endif
    }
    return (uint4)(word[0], word[1], word[2], word[3]);
}

__kernel __attribute__((reqd_work_group_size(32, 1, 1)))
void clf_probe_nvidia_matrix(__global int *io)
{
    __local uint4 tile[80] __attribute__((aligned(128)));
    const int lane = get_local_id(0);
    const uint start = clf_nv_address(tile), place = start + (lane & 15) * 32 + (lane >> 4) * 16;
    int wrong = 0;

    clf_nv_put16(place, chunk(lane, 0));
    clf_nv_put16(place + 512, chunk(lane, 1));
    if (lane < 16)
        clf_nv_copy16_part(start + 1024 + lane * 16, io + lane * 4, lane == 15 ? 4 : 16);
    clf_nv_commit();
    clf_nv_wait(0);
    barrier(CLK_LOCAL_MEM_FENCE);

    uint a[4], b[4], turned[4];
    float c[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
    clf_nv_fragments(place, a);
    clf_nv_fragments(place + 512, b);
    clf_nv_product(c, a, b[0], b[2]); /* left x (rows 0-7 of right)^T */
    for (int i = 0; i < 4; i++) {
        const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
        int sum = 0;
        for (int n = 0; n < WIDTH; n++)
            sum += left(row, n) * right(column, n);
        wrong |= c[i] != (float)sum;
    }
#if CLF_STORAGE == CLF_F32
    clf_nv_get16(place, turned);
    for (int i = 0; i < 4; i++)
        wrong |= as_float(turned[i]) != (float)left(lane & 15, (lane >> 4) * 4 + i);
    wrong |= as_float(clf_nv_tf32(as_uint(1.0f + 0x1.8p-11f * io[0] / 2048))) != 1.0f + 0x1p-10f;
#else
    float d[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
    clf_nv_fragments_turned(place + 512, turned);
    clf_nv_product(d, a, turned[0], turned[1]); /* left x columns 0-7 of right */
    for (int i = 0; i < 4; i++) {
        const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
        int sum = 0;
        for (int n = 0; n < 16; n++)
            sum += left(row, n) * right(n, column);
        wrong |= d[i] != (float)sum;
    }
#endif
    for (int i = lane; i < 64; i += 32)
        wrong |= ((__local int *)tile)[256 + i] != (i < 61 ? 2048 + i : 0);
    wrong |= clf_nv_exp2(3.0f) != 8.0f || clf_nv_exp2(-INFINITY) != 0.0f;
    wrong |= clf_nv_swap((uint)lane, 2) != (uint)(lane ^ 2);
    wrong = clf_nv_any(wrong);
    if (lane == 0)
        io[0] = !wrong;
}
