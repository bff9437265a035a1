/* What the nvidia_mma kernels do with pieces of f16 or bf16 (nvidia_mma_tile.cl): products of 16 x 16 and 16 x 8, sums
 * in float. Weights are rounded to the storage type and multiplied as they stand in the registers (prelude/nvidia.cl).
 */
#include "fused/nvidia_mma_tile.cl"

/* c[a][j] = products of the warp's rows with those of a tile, both `padded` wide; `rows` and `columns` are the lane's
 * places in them. */
CLF_INLINE void multiply_tiles(uint rows, uint columns, int padded, float c[CLF_TALL][CLF_COLUMNS / 8][4])
{
#pragma unroll
    for (int a = 0; a < CLF_TALL; a++)
#pragma unroll
        for (int j = 0; j < CLF_COLUMNS / 8; j++)
            c[a][j][0] = c[a][j][1] = c[a][j][2] = c[a][j][3] = 0.0f;
#pragma unroll
    for (int i = 0; i < padded / PIECE_WIDTH; i++) {
        uint x[CLF_TALL][4];
#pragma unroll
        for (int a = 0; a < CLF_TALL; a++)
            clf_nv_fragments(PIECE(rows, padded, a * 16, i), x[a]);
#pragma unroll
        for (int j = 0; j < CLF_COLUMNS / 16; j++) {
            uint y[4];
            clf_nv_fragments(PIECE(columns, padded, j * 16, i), y);
#pragma unroll
            for (int a = 0; a < CLF_TALL; a++) {
                clf_nv_product(c[a][2 * j], x[a], y[0], y[1]);
                clf_nv_product(c[a][2 * j + 1], x[a], y[2], y[3]);
            }
        }
    }
}

/* The weights of a tile, rounded to the storage type, as left operands. */
CLF_INLINE void pack_weights(float s[CLF_TALL][CLF_COLUMNS / 8][4], uint p[CLF_TALL][CLF_COLUMNS / PIECE_WIDTH][4])
{
#pragma unroll
    for (int a = 0; a < CLF_TALL; a++)
#pragma unroll
        for (int i = 0; i < CLF_COLUMNS / 16; i++) {
            p[a][i][0] = clf_nv_pack(s[a][2 * i][0], s[a][2 * i][1]);
            p[a][i][1] = clf_nv_pack(s[a][2 * i][2], s[a][2 * i][3]);
            p[a][i][2] = clf_nv_pack(s[a][2 * i + 1][0], s[a][2 * i + 1][1]);
            p[a][i][3] = clf_nv_pack(s[a][2 * i + 1][2], s[a][2 * i + 1][3]);
        }
}

/* A lane's place in a tile whose rows a product sums over. */
static uint turned_at(int padded, int lane) { return row_at(padded, lane); }

/* sum += weights x the tile where the lane's place is `columns`. */
#define ADD_WEIGHTED(p, columns, padded, sum) do { \
        _Pragma("unroll") \
        for (int i = 0; i < CLF_COLUMNS / 16; i++) { \
            _Pragma("unroll") \
            for (int j = 0; j < (padded) / 16; j++) { \
                uint y[4]; \
                clf_nv_fragments_turned(PIECE(columns, padded, i * 16, j), y); \
                _Pragma("unroll") \
                for (int a = 0; a < CLF_TALL; a++) { \
                    clf_nv_product(sum[a][2 * j], p[a][i], y[0], y[1]); \
                    clf_nv_product(sum[a][2 * j + 1], p[a][i], y[2], y[3]); \
                } \
            } \
        } \
    } while (0)

/* The same where the tile may hold infinities or NaN and a weight of exactly 0 (a hidden key) must not touch them:
 * they are taken out of the tile and counted by products of their own, with weights of 1 and 0; a row that really
 * meets one becomes NaN. */
#define TOP_BITS 0x80008000u
#if CLF_STORAGE == CLF_BF16
#define ONE 0x3f80u
#define EXPONENT 0x7f807f80u
#define BEYOND 0x00800080u
#else
#define ONE 0x3c00u
#define EXPONENT 0x7c007c00u
#define BEYOND 0x04000400u
#endif

static uint wild_of(uint x) { return (((x & EXPONENT) + BEYOND) & TOP_BITS) >> 15; }
static uint count_of(uint x) { return ((((x & ~TOP_BITS) + ~TOP_BITS) & TOP_BITS) >> 15) * ONE; }

CLF_INLINE void add_wild(float *sum, const uint *p, uint wild0, uint wild1)
{
    const uint met[4] = { count_of(p[0]), count_of(p[1]), count_of(p[2]), count_of(p[3]) };
    float c[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
    clf_nv_product(c, met, wild0 * ONE, wild1 * ONE);
#pragma unroll
    for (int i = 0; i < 4; i++)
        sum[i] = c[i] > 0.0f ? NAN : sum[i];
}

#define ADD_WEIGHTED_CAREFULLY(p, columns, padded, sum) do { \
        _Pragma("unroll") \
        for (int i = 0; i < CLF_COLUMNS / 16; i++) { \
            _Pragma("unroll") \
            for (int j = 0; j < (padded) / 16; j++) { \
                uint y[4], wild[4]; \
                clf_nv_fragments_turned(PIECE(columns, padded, i * 16, j), y); \
                _Pragma("unroll") \
                for (int n = 0; n < 4; n++) { \
                    wild[n] = wild_of(y[n]); \
                    y[n] &= ~(wild[n] * 0xffffu); \
                } \
                _Pragma("unroll") \
                for (int a = 0; a < CLF_TALL; a++) { \
                    clf_nv_product(sum[a][2 * j], p[a][i], y[0], y[1]); \
                    clf_nv_product(sum[a][2 * j + 1], p[a][i], y[2], y[3]); \
                } \
                if (clf_nv_any(wild[0] | wild[1] | wild[2] | wild[3])) { \
                    _Pragma("unroll") \
                    for (int a = 0; a < CLF_TALL; a++) { \
                        add_wild(sum[a][2 * j], p[a][i], wild[0], wild[1]); \
                        add_wild(sum[a][2 * j + 1], p[a][i], wild[2], wild[3]); \
                    } \
                } \
            } \
        } \
    } while (0)

/* Two neighbouring columns of a row, as far as there are so many. */
CLF_INLINE void store_pair(float x, float y, __global clf_result *p, int row, int column, int width)
{
    __global clf_result *to = p + row + column;
    if (column + 1 < width && ((ulong)to & (2 * sizeof *to - 1)) == 0) {
#if CLF_RESULT == CLF_F32
        *(__global float2 *)to = (float2)(x, y);
#else
        *(__global uint *)to = clf_nv_pack(x, y);
#endif
    } else {
        if (column < width)
            clf_store_result(x, to, 0);
        if (column + 1 < width)
            clf_store_result(y, to, 1);
    }
}

/* The two numbers of a fragment's register. */
static float2 unpack(uint both)
{
    float2 x;
#if CLF_STORAGE == CLF_BF16
    x = (float2)(as_float(both << 16), as_float(both & 0xffff0000u));
#else
    __asm__("{ .reg .b16 low, high; mov.b32 {low, high}, %2; cvt.f32.f16 %0, low; cvt.f32.f16 %1, high; }"
            : "=f"(x.x), "=f"(x.y) : "r"(both));
#endif
    return x;
}

/* What rounding takes from x when it is stored. */
static float lost(float x) { return x - unpack(clf_nv_pack(x, 0.0f)).x; }

/* Row `pair` of a lane's two: its sums, and what rounding takes from them. */
#define STORE_ROW(sum, pair, factor, p, at, padded, width, lane) do { \
        _Pragma("unroll") \
        for (int j = 0; j < (padded) / 8; j++) \
            store_pair((sum)[j][2 * (pair)] * (factor), (sum)[j][2 * (pair) + 1] * (factor), p, at, \
                       j * 8 + ((lane) & 3) * 2, width); \
    } while (0)

#define STORE_LOST(sum, pair, factor, p, at, padded, width, lane) do { \
        _Pragma("unroll") \
        for (int j = 0; j < (padded) / 8; j++) \
            store_pair(lost((sum)[j][2 * (pair)] * (factor)), lost((sum)[j][2 * (pair) + 1] * (factor)), p, at, \
                       j * 8 + ((lane) & 3) * 2, width); \
    } while (0)
