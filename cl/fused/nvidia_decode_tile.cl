/* What a warp of nvidia_decode does with a tile of keys and values in local memory: scores, weights, sums.
 *
 * Quantised numbers stay whole numbers: ldmatrix gives a lane the bytes of four columns, or the nibbles of eight, and
 * the columns of queries and sums are numbered to match (query_column, sum_column).
 */
#include "fused/nvidia_decode_load.cl"

/* Column of q that the tensor cores count as 2t (side 0) or 8 + 2t (side 1), plus i, of step `step`. */
static int query_column(int step, int side, int i, int t)
{
#if CLF_BITS == 8
    return step * 16 + t * 4 + side * 2 + i;
#elif CLF_BITS == 4
    return step / 2 * 32 + t * 8 + step % 2 * 2 + side + i * 4;
#else
    return step * 16 + side * 8 + t * 2 + i;
#endif
}

/* Column of out that is column 2t + i of tile `tile`. */
static int sum_column(int tile, int i, int t)
{
#if CLF_BITS == 8
    return tile / 2 * 16 + (t * 2 + i) * 2 + tile % 2;
#elif CLF_BITS == 4
    return tile / 4 * 32 + (t * 2 + i) * 4 + tile % 4;
#else
    return tile * 8 + t * 2 + i;
#endif
}

#if CLF_BITS == 8
/* Bytes number `first` and `second` of x as a pair of whole numbers. */
CLF_INLINE uint widen(uint x, int first, int second)
{
#if CLF_STORAGE == CLF_BF16
    const float one = as_float(clf_nv_bytes(x, 0x4b000000u, 0x7650u + first)) - 8388608.0f; /* 2^23 + number */
    const float two = as_float(clf_nv_bytes(x, 0x4b000000u, 0x7650u + second)) - 8388608.0f;
    return clf_nv_bytes(as_uint(one), as_uint(two), 0x7632u);
#else
    /* 1024 + number, less 1024 */
    return clf_nv_multiply_add(clf_nv_bytes(x, 0x64646464u, 0x4040u + first + second * 256), 0x3c003c00u, 0xe400e400u);
#endif
}
#elif CLF_BITS == 4
/* Nibbles number n of both halves of x as a pair of whole numbers. */
CLF_INLINE uint widen4(uint x, int n)
{
#if CLF_STORAGE == CLF_BF16
    const uint number = ((x >> (4 * n)) & 0x000f000fu) | 0x43004300u; /* 128 + number */
    return clf_nv_multiply_add(number, 0x3f803f80u, 0xc300c300u);
#else
    const uint y = n < 2 ? x : x >> 8; /* 1024 + number, or 1024 + 16 number */
    return n % 2 == 0 ? clf_nv_multiply_add((y & 0x000f000fu) | 0x64006400u, 0x3c003c00u, 0xe400e400u)
                      : clf_nv_multiply_add((y & 0x00f000f0u) | 0x64006400u, 0x2c002c00u, 0xd400d400u);
#endif
}
#endif

/* Two weights as pairs of numbers of the storage type whose sum they are. */
CLF_INLINE void split(float x, float y, uint *high, uint *low)
{
    *high = clf_nv_pack(x, y);
    const float2 kept = unpack(*high);
    *low = clf_nv_pack(x - kept.x, y - kept.y);
}

/* ---- scores, weights, sums --------------------------------------------------------------------------------------- */

typedef struct seen {
    float sum[E_TILES][4];              /* of weighted values */
    float shift[E_SPANS + !E_SPANS][PAIRS]; /* of weighted shifts, of this lane's keys */
    float base[PAIRS], total[PAIRS];    /* as in decode_rows.cl; the total of this lane's keys */
} seen;

/* s = queries x keys; `tile` is the lane's place in the tile of keys, `scales` that of its first key's. */
CLF_INLINE void score_keys(uint tile, uint scales, uint q[D_STEPS][4], float q_sum[D_SPANS + !D_SPANS][PAIRS],
                           float s[CLF_KEYS / 8][4])
{
#pragma unroll
    for (int j = 0; j < CLF_KEYS / 8; j++)
        s[j][0] = s[j][1] = s[j][2] = s[j][3] = 0.0f;
#if CLF_BITS == 0
#pragma unroll
    for (int i = 0; i < D_STEPS; i++)
#pragma unroll
        for (int j = 0; j < CLF_KEYS / 16; j++) {
            uint y[4];
            clf_nv_fragments(tile + j * 16 * PITCH(D_CHUNKS) + i * 32, y);
            clf_nv_product(s[2 * j], q[i], y[0], y[1]);
            clf_nv_product(s[2 * j + 1], q[i], y[2], y[3]);
        }
#else
    float part[CLF_KEYS / 8][4];
    uint y[CLF_KEYS / 16][4];
#pragma unroll
    for (int c = 0; c < D_CHUNKS; c++) {
#pragma unroll
        for (int j = 0; j < CLF_KEYS / 16; j++)
            if (c % 2 == 0)
                clf_nv_fragments(tile + j * 16 * PITCH(D_CHUNKS) + c * 16, y[j]);
#pragma unroll
        for (int j = 0; j < CLF_KEYS / 8; j++) {
            const uint x = y[j / 2][j % 2 * 2 + c % 2];
            if (c * PER_CHUNK % CLF_SPAN == 0)
                part[j][0] = part[j][1] = part[j][2] = part[j][3] = 0.0f;
#if CLF_BITS == 8
            clf_nv_product(part[j], q[c], widen(x, 0, 1), widen(x, 2, 3));
#else
            clf_nv_product(part[j], q[2 * c], widen4(x, 0), widen4(x, 1));
            clf_nv_product(part[j], q[2 * c + 1], widen4(x, 2), widen4(x, 3));
#endif
            if ((c + 1) * PER_CHUNK % CLF_SPAN == 0) {
                const int span = c * PER_CHUNK / CLF_SPAN;
                const uint2 both = clf_nv_get8(scales + (span * CLF_KEYS + j * 8) * 4);
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    const float2 scale = clf_nv_halves(i ? both.y : both.x);
#pragma unroll
                    for (int pair = 0; pair < PAIRS; pair++)
                        s[j][2 * pair + i] = fma(part[j][2 * pair + i], scale.x,
                                                 fma(q_sum[span][pair], scale.y, s[j][2 * pair + i]));
                }
            }
        }
    }
#endif
}

/* Scores become weights. */
CLF_INLINE void soften(float s[CLF_KEYS / 8][4], seen *own)
{
    float shrink[PAIRS];
    int moved = 0;
#pragma unroll
    for (int pair = 0; pair < PAIRS; pair++) {
        float top = own->base[pair], more = 0.0f;
#pragma unroll
        for (int j = 0; j < CLF_KEYS / 8; j++)
            top = fmax(top, fmax(s[j][2 * pair], s[j][2 * pair + 1]));
        top = fmax(top, clf_nv_swap_float(top, 1));
        top = fmax(top, clf_nv_swap_float(top, 2));
        const float anchor = top == -INFINITY ? 0.0f : top;
        moved |= top != own->base[pair];
        shrink[pair] = clf_nv_exp2(own->base[pair] - anchor);
        own->base[pair] = top;
#pragma unroll
        for (int j = 0; j < CLF_KEYS / 8; j++)
#pragma unroll
            for (int i = 2 * pair; i < 2 * pair + 2; i++) {
                s[j][i] = clf_nv_exp2(s[j][i] - anchor);
                more += s[j][i];
            }
        own->total[pair] = fma(own->total[pair], shrink[pair], more);
    }
    if (clf_nv_any(moved)) {
#pragma unroll
        for (int j = 0; j < E_TILES; j++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                own->sum[j][i] *= shrink[i / 2 * (PAIRS - 1)];
#pragma unroll
        for (int span = 0; span < E_SPANS; span++)
#pragma unroll
            for (int pair = 0; pair < PAIRS; pair++)
                own->shift[span][pair] *= shrink[pair];
    }
}

/* The left operands for 16 keys, from the weights of two tiles of 8. */
CLF_INLINE void left_operands(const float *one, const float *two, uint a[PAIRS][4])
{
#if CLF_ROWS > 8
    split(one[0], one[1], &a[0][0], &a[1][0]);
    split(one[2], one[3], &a[0][1], &a[1][1]);
    split(two[0], two[1], &a[0][2], &a[1][2]);
    split(two[2], two[3], &a[0][3], &a[1][3]);
#else
    split(one[0], one[1], &a[0][0], &a[0][1]);
    split(two[0], two[1], &a[0][2], &a[0][3]);
#endif
}

CLF_INLINE void add_product(float *sum, uint a[PAIRS][4], uint b0, uint b1)
{
#pragma unroll
    for (int pair = 0; pair < PAIRS; pair++)
        clf_nv_product(sum, a[pair], b0, b1);
}

#if CLF_BITS == 0
/* sum += weights x values; `careful`: a weight of 0 meets no NaN or infinity. */
CLF_INLINE void add_values(float s[CLF_KEYS / 8][4], uint tile, int careful, seen *own)
{
#pragma unroll
    for (int j = 0; j < CLF_KEYS / 16; j++) {
        uint a[PAIRS][4];
        left_operands(s[2 * j], s[2 * j + 1], a);
#pragma unroll
        for (int c = 0; c < E_TILES / 2; c++) {
            uint y[4], wild[4];
            clf_nv_fragments_turned(tile + j * 16 * PITCH(E_CHUNKS) + c * 32, y);
            if (careful) {
#pragma unroll
                for (int n = 0; n < 4; n++) {
                    wild[n] = wild_of(y[n]);
                    y[n] &= ~(wild[n] * 0xffffu);
                }
            }
            add_product(own->sum[2 * c], a, y[0], y[1]);
            add_product(own->sum[2 * c + 1], a, y[2], y[3]);
            if (careful && clf_nv_any(wild[0] | wild[1] | wild[2] | wild[3])) {
                add_wild(own->sum[2 * c], a[0], wild[0], wild[1]);
                add_wild(own->sum[2 * c + 1], a[0], wild[2], wild[3]);
            }
        }
    }
}
#else
/* The same with numbers, whose scales and shifts are at `scales`. */
CLF_INLINE void add_quantised(float s[CLF_KEYS / 8][4], uint tile, uint scales, seen *own)
{
#pragma unroll
    for (int j = 0; j < CLF_KEYS / 16; j++) {
        uint a[PAIRS][4], y[4];
#pragma unroll
        for (int c = 0; c < E_CHUNKS; c++) {
            if (c * PER_CHUNK % CLF_SPAN == 0) {
                const int span = c * PER_CHUNK / CLF_SPAN;
                const uint2 near = clf_nv_get8(scales + (span * CLF_KEYS + j * 16) * 4);
                const uint2 far = clf_nv_get8(scales + (span * CLF_KEYS + j * 16 + 8) * 4);
                float weight[2][4];
#pragma unroll
                for (int n = 0; n < 4; n++) {
                    const int side = n / 2, i = n % 2;
                    const float2 scale = clf_nv_halves(n == 0 ? near.x : n == 1 ? near.y : n == 2 ? far.x : far.y);
#pragma unroll
                    for (int pair = 0; pair < PAIRS; pair++) {
                        const float p = s[2 * j + side][2 * pair + i] * FINE;
                        weight[side][2 * pair + i] = CAREFUL && p == 0.0f ? 0.0f : p * scale.x;
                        own->shift[span][pair] += CAREFUL && p == 0.0f ? 0.0f : p * scale.y;
                    }
                }
                left_operands(weight[0], weight[1], a);
            }
            if (c % 2 == 0)
                clf_nv_fragments_turned(tile + j * 16 * PITCH(E_CHUNKS) + c * 16, y);
            const uint first = y[c % 2 * 2], second = y[c % 2 * 2 + 1];
#if CLF_BITS == 8
            add_product(own->sum[2 * c], a, widen(first, 0, 2), widen(second, 0, 2));
            add_product(own->sum[2 * c + 1], a, widen(first, 1, 3), widen(second, 1, 3));
#else
#pragma unroll
            for (int n = 0; n < 4; n++)
                add_product(own->sum[4 * c + n], a, widen4(first, n), widen4(second, n));
#endif
        }
    }
}
#endif
