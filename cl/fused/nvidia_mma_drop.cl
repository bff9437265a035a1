/* Which weights dropout keeps, for tiles of tensor cores: the words of prelude/philox.cl, each block of four drawn
 * once by a quad of lanes and handed round. */
#include "fused/nvidia_mma_tile.cl"

/* x, or 0 where the weight of the warp's rows of queries from `row` on and keys from `first` on is dropped; `factor`
 * for the rest. Lane t holds keys 2t and 2t + 1 of each eight, of two rows: the even
 * lane of a pair draws the four words of the first row, the odd one those of the second, and they swap halves. */
CLF_INLINE void drop(float s[CLF_TALL][CLF_COLUMNS / 8][4], int lane, int row, int first, int bh, uint8 random,
                 float factor)
{
    const int odd = lane & 1;
#pragma unroll
    for (int a = 0; a < CLF_TALL; a++)
#pragma unroll
        for (int j = 0; j < CLF_COLUMNS / 8; j++) {
            const uint4 words = clf_dropout_words((first + j * 8 + (lane & 3) * 2) >> 2, row + a * 16 + odd * 8, bh, random);
            const uint x = clf_nv_swap(odd ? words.x : words.z, 1), y = clf_nv_swap(odd ? words.y : words.w, 1);
            s[a][j][0] = (odd ? x : words.x) >= random.s4 ? s[a][j][0] * factor : 0.0f;
            s[a][j][1] = (odd ? y : words.y) >= random.s4 ? s[a][j][1] * factor : 0.0f;
            s[a][j][2] = (odd ? words.z : x) >= random.s4 ? s[a][j][2] * factor : 0.0f;
            s[a][j][3] = (odd ? words.w : y) >= random.s4 ? s[a][j][3] * factor : 0.0f;
        }
}

/* The same where rows are keys and columns queries: word k mod 4 belongs to key k, so the lanes of rows 4m .. 4m + 3
 * need the same four blocks, a word of each. Every one of them draws a block, and they turn the square of words
 * over, lanes against blocks: pairs of lanes first, then pairs of pairs. */
CLF_INLINE void drop_turned(float s[CLF_TALL][CLF_COLUMNS / 8][4], int lane, int key, int first, int bh, uint8 random,
                        float factor)
{
    const int mine = lane >> 2 & 3, odd = mine & 1, upper = mine >> 1;
#pragma unroll
    for (int a = 0; a < CLF_TALL; a++)
#pragma unroll
        for (int j = 0; j < CLF_COLUMNS / 8; j++) {
            const uint4 w = clf_dropout_words((key + a * 16 + upper * 8) >> 2, first + j * 8 + (lane & 3) * 2 + odd, bh,
                                              random);
            const uint x = clf_nv_swap(odd ? w.x : w.y, 4), y = clf_nv_swap(odd ? w.z : w.w, 4);
            const uint4 v = (uint4)(odd ? x : w.x, odd ? w.y : x, odd ? y : w.z, odd ? w.w : y);
            const uint z = clf_nv_swap(upper ? v.x : v.z, 8), t = clf_nv_swap(upper ? v.y : v.w, 8);
            s[a][j][0] = (upper ? z : v.x) >= random.s4 ? s[a][j][0] * factor : 0.0f;
            s[a][j][1] = (upper ? t : v.y) >= random.s4 ? s[a][j][1] * factor : 0.0f;
            s[a][j][2] = (upper ? v.z : z) >= random.s4 ? s[a][j][2] * factor : 0.0f;
            s[a][j][3] = (upper ? v.w : t) >= random.s4 ? s[a][j][3] * factor : 0.0f;
        }
}
