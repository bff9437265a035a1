/* What the forward kernels of warp groups share: which queries a group does next, and what becomes of their scores. */
#include "fused/nvidia_wgmma_tile.cl"
#include "fused/nvidia_mma_drop.cl"
#include "fused/nvidia_mma_softmax.cl"

/* A piece of work: a tile of queries of a head. */
typedef struct work {
    int b, h, bh, q_first;
    int k_first, steps; /* keys from there on, so many tiles */
    int2 start;         /* its sequence's rows, and their shape */
    int8 shape;
} work;

/* Groups stay and go on with other tiles, whose first keys are then on their way already. With causal order tiles cost
 * more or less; so a group does two of a head in turn, the n-th from the end and the n-th from the beginning, which
 * together always cost the same. Pieces are numbered: 2 * pair for the first of a pair, 2 * pair + 1 for the second. */
#if CLF_CAUSAL
#define PAIRS(count) (((count) + 1) / 2)
static int first_piece(void) { return 2 * get_group_id(0); }
static int next_piece(int n, int count)
{
    const int p = n / 2 % PAIRS(count), alone = p == count - 1 - p;
    return n % 2 == 0 && !alone ? n + 1 : 2 * (n / 2 + (int)get_num_groups(0));
}
static int end_of_pieces(int count, int8 shape) { return 2 * PAIRS(count) * shape.s0 * shape.s1; }
static int head_of(int n, int count) { return n / 2 / PAIRS(count); }
static int tile_of(int n, int count) { return n % 2 ? n / 2 % PAIRS(count) : count - 1 - n / 2 % PAIRS(count); }
#else
static int first_piece(void) { return get_group_id(0); }
static int next_piece(int n, int count) { return n + (int)get_num_groups(0); }
static int end_of_pieces(int count, int8 shape) { return count * shape.s0 * shape.s1; }
static int head_of(int n, int count) { return n / count; }
static int tile_of(int n, int count) { return n % count; }
#endif

CLF_INLINE work work_of(int n, int count, int8 shape CLF_SEQUENCE_PARAMETERS)
{
    work w;
    w.bh = head_of(n, count);
    w.b = w.bh / shape.s1;
    w.h = w.bh % shape.s1;
    w.start = clf_starts(w.b CLF_SEQUENCE_ARGUMENTS);
    w.shape = shape = clf_own_shape(shape, w.b, w.start CLF_SEQUENCE_ARGUMENTS);
    w.q_first = tile_of(n, count) * GROUP_ROWS;
    const int exists = !CLF_SEQUENCES || w.q_first < shape.s2;
    const int seen = exists ? clf_keys_seen(min(w.q_first + GROUP_ROWS, shape.s2) - 1, shape.s3, shape.s4) : 0;
    w.k_first = CLF_WINDOW ? clf_nv_same(clf_first_key(w.q_first, shape) / CLF_COLUMNS * CLF_COLUMNS) : 0;
    w.steps = clf_nv_same(((CLF_WINDOW ? max(seen - w.k_first, 0) : seen) + CLF_COLUMNS - 1) / CLF_COLUMNS);
    return w;
}

/* The scores of the tile of keys from `first` on one by one. */
#define LOOK_AT(first) \
    EACH_SCORE(a, j, i) \
        s[a][j][i] = clf_score(SCALED ? s[a][j][i] * dot_scale : s[a][j][i], w.b, w.h, LAST(q_mine + i / 2 * 8), \
                               (first) + j * 8 + (lane & 3) * 2 + i % 2, w.shape, mask, mask_at, padding, \
                               padding_at CLF_EXTRA_ARGUMENTS);
#if CLF_EVERY_SCORE
#define LAST(row) min(row, w.shape.s2 - 1) /* what is read by its number exists */
#else
#define LAST(row) (row)
#endif

#if CLF_DROPOUT
#define DROP(first) drop(s, lane, q_mine, first, w.bh, random, 1.0f);
#else
#define DROP(first)
#endif
