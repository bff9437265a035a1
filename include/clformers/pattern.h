/* Which keys a query may see: patterns, their sparse rows, and layouts of blocks.
 *
 * A pattern is a set of (query, key) pairs: 1 = attend. It is kept as a rule with a small table, never as a matrix
 * of queries x keys unless it was given as one, and says for any pair whether it is in the set. From there it can be
 * counted, written out as bytes, turned into compressed sparse rows or into a coarser layout of blocks. Everything
 * here works on the host, is exact (integers; distances are compared in f32) and comes out the same everywhere:
 * random patterns are drawn by Philox4x32-10 (Salmon et al. 2011).
 *
 * Positions of an image or a volume are numbered row-major. Extents are at most 2^30 - 1. `batch` and `heads` of a
 * pattern are 1 when it is the same for all of them; then any batch or head may be asked for.
 *
 * Every constructor gives a new pattern that clf_pattern_free releases, or NULL in *pattern on failure; what the
 * caller passes in is copied. Errors, unless said: CLF_INVALID_VALUE (NULL), CLF_INVALID_SHAPE (extents),
 * CLF_OUT_OF_RANGE (other numbers), CLF_OUT_OF_HOST_MEMORY. Patterns may be read by several threads at once.
 */
#ifndef CLFORMERS_PATTERN_H
#define CLFORMERS_PATTERN_H

#include <clformers/component.h>

CLF_BEGIN

typedef struct clf_pattern clf_pattern;

/* A density above this is better computed densely: Gale et al. 2020, arXiv:2006.10901. */
#define CLF_PATTERN_SPARSE_DENSITY 0.30

/* ---- along one axis --------------------------------------------------------------------------- */

/* Key k <= query + shift. shift 0 aligns at the top left, keys - queries at the bottom right. */
CLF_API clf_status clf_pattern_causal(int64_t queries, int64_t keys, int64_t shift, clf_pattern **pattern);

/* |query - key| <= window / 2; window is odd. Beltagy et al. 2020, arXiv:2004.05150. */
CLF_API clf_status clf_pattern_local(int64_t length, int64_t window, clf_pattern **pattern);

/* query + shift - left <= key <= query + shift + right; a negative left or right means no limit on that side. The
 * first `prefix` keys are always seen: attention sinks (Xiao et al. 2023, arXiv:2309.17453), and with left < 0 and
 * right = 0 the prefix language model. */
CLF_API clf_status clf_pattern_window(int64_t queries, int64_t keys, int64_t shift, int64_t left, int64_t right,
                                      int64_t prefix, clf_pattern **pattern);

/* Same document: label[b][query] = label[b][key], for packed sequences. `labels` is batch x length. */
CLF_API clf_status clf_pattern_documents(int64_t batch, int64_t length, const int32_t *labels, clf_pattern **pattern);

/* Where the linear bias of a head is still small: slope[head] * |query - key| < threshold. xFormers' semantics take
 * the position for the distance: slope[head] * key < threshold in every row. Press et al. 2021, arXiv:2108.12409. */
CLF_API clf_status clf_pattern_alibi(int64_t heads, int64_t length, float threshold, clf_semantics semantics,
                                     clf_pattern **pattern);
/* The slopes of all heads: 2^(-8 i / heads), i = 1 .. heads, when heads is a power of two; otherwise those of the
 * power below, then every second one of the power above. */
CLF_API clf_status clf_alibi_slopes(int64_t heads, float *slopes);

/* Global tokens see all and are seen by all; `is_global` holds a byte each, nonzero = global. Non-global tokens do
 * not see themselves: see clf_pattern_keep_diagonal. */
CLF_API clf_status clf_pattern_global(int64_t length, const uint8_t *is_global, clf_pattern **pattern);

/* ---- on a grid of 1 to 4 axes --------------------------------------------------------------------- */

/* Distance of every pair of points: (sum |w_a (x_a - y_a)|^p)^(1/p), p = 0 counts the axes that differ, p = INFINITY
 * takes the largest. weights may be NULL (all 1). `distances` is points x points; weights {1, 0} of an image compare
 * rows only (horizontal axial distance), {0, 1} columns only (vertical). */
CLF_API clf_status clf_grid_distances(int rank, const int64_t *sizes, const double *weights, double p,
                                      float *distances);
/* exp(-distance^2 / (2 sigma^2)), p = 2, not normalised. */
CLF_API clf_status clf_grid_gaussian(int rank, const int64_t *sizes, double sigma, float *values);

/* distance < limit (strictly), with the distance above. */
CLF_API clf_status clf_pattern_grid_local(int rank, const int64_t *sizes, const double *weights, double p,
                                          double limit, clf_pattern **pattern);
/* At most one coordinate differs. Ho et al. 2019, arXiv:1912.12180. */
CLF_API clf_status clf_pattern_grid_axial(int rank, const int64_t *sizes, clf_pattern **pattern);
/* Every coordinate differs by a multiple of `step`. */
CLF_API clf_status clf_pattern_grid_dilated(int rank, const int64_t *sizes, int64_t step, clf_pattern **pattern);
/* Same window of window x window points; windows are shifted by `shift` (0 <= shift < window) without wrapping round,
 * so those at the border are smaller. Sides are multiples of the window. Liu et al. 2021, arXiv:2103.14030. */
CLF_API clf_status clf_pattern_swin(int64_t height, int64_t width, int64_t window, int64_t shift,
                                    clf_pattern **pattern);

/* ---- random ---------------------------------------------------------------------------------------- */

/* Every pair by itself with probability 1 - sparsity, 0 < sparsity < 1: word key % 4 of Philox with key = seed and
 * counter = (key / 4, query, head, 0x70617474) is at least round(sparsity 2^32). */
CLF_API clf_status clf_pattern_random(int64_t heads, int64_t queries, int64_t keys, double sparsity, uint64_t seed,
                                      clf_pattern **pattern);
/* `count` different keys in every row, all sets alike; `causal`: among the keys up to the query's own, as many as
 * there are when those are fewer (queries = keys). Zaheer et al. 2020, arXiv:2007.14062. */
CLF_API clf_status clf_pattern_random_keys(int64_t heads, int64_t queries, int64_t keys, int64_t count, bool causal,
                                           uint64_t seed, clf_pattern **pattern);
/* `count` different pairs, drawn one after another with chances in proportion to `weights` (queries x keys, at least
 * `count` of them positive, none negative): Efraimidis and Spirakis 2006. */
CLF_API clf_status clf_pattern_random_weighted(int64_t queries, int64_t keys, const float *weights, int64_t count,
                                               uint64_t seed, clf_pattern **pattern);

/* ---- given ------------------------------------------------------------------------------------------ */

/* A mask of heads x queries x keys bytes, nonzero = attend; kept as sparse rows. */
CLF_API clf_status clf_pattern_mask(int64_t heads, int64_t queries, int64_t keys, const uint8_t *mask,
                                    clf_pattern **pattern);
/* A layout of heads x rows x columns blocks of block x block pairs, nonzero = attend. */
CLF_API clf_status clf_pattern_blocks(int64_t heads, int64_t rows, int64_t columns, int64_t block,
                                      const uint8_t *layout, clf_pattern **pattern);

/* ---- two changes that go with every pattern; make them before the pattern is used ---------------------- */

/* Takes away the keys behind query + shift. */
CLF_API clf_status clf_pattern_make_causal(clf_pattern *pattern, int64_t shift);
/* Adds the pairs (query, query + shift), before causal order takes any away. */
CLF_API clf_status clf_pattern_keep_diagonal(clf_pattern *pattern, int64_t shift);

/* ---- what a pattern answers -------------------------------------------------------------------------- */

typedef struct clf_pattern_info {
    size_t      size;          /* sizeof(clf_pattern_info), set by the library */
    const char *kind;          /* "range", "labels", "grid", "global", "random", "blocks" or "rows" */
    int64_t     batch, heads;  /* 1 = the same for all */
    int64_t     queries, keys;
} clf_pattern_info;
CLF_API clf_pattern_info clf_pattern_get_info(const clf_pattern *pattern);
CLF_API void             clf_pattern_free(clf_pattern *pattern); /* NULL is allowed */

/* Does query see key? Indices outside the pattern see nothing. */
CLF_API bool clf_pattern_sees(const clf_pattern *pattern, int64_t batch, int64_t head, int64_t query, int64_t key);
/* Pairs of one head; divide by queries x keys for the density. */
CLF_API clf_status clf_pattern_count(const clf_pattern *pattern, int64_t batch, int64_t head, int64_t *pairs);
/* One head as queries x keys bytes, 1 = attend. */
CLF_API clf_status clf_pattern_write(const clf_pattern *pattern, int64_t batch, int64_t head, uint8_t *mask);
/* One head as rows x columns blocks of `block` (which divides queries and keys), 1 where a block holds any pair. */
CLF_API clf_status clf_pattern_layout(const clf_pattern *pattern, int64_t batch, int64_t head, int64_t block,
                                      uint8_t *layout);

/* ---- compressed sparse rows ---------------------------------------------------------------------------- */

/* The keys of row i are columns[offsets[i]] .. columns[offsets[i + 1] - 1], ascending. */
typedef struct clf_csr {
    size_t   size;        /* sizeof(clf_csr), set by the library */
    int64_t  rows, width; /* width: extent of the columns */
    int64_t  entries;
    int32_t *offsets;     /* rows + 1 */
    int32_t *columns;     /* entries */
    int32_t *order;       /* the rows, longest first, the lower one first among equals: for sharing out work */
    int32_t *origin;      /* of a transpose: the place of each entry in the rows it was made from; else NULL */
} clf_csr;

/* One head of a pattern. Under xFormers' semantics the last entries are dropped until their number is a multiple of
 * 4. Errors: CLF_OUT_OF_RANGE beyond 2^31 - 1 entries. clf_csr_free releases the arrays. */
CLF_API clf_status clf_pattern_csr(const clf_pattern *pattern, int64_t batch, int64_t head, clf_semantics semantics,
                                   clf_csr *csr);
/* Rows become columns: for gradients of keys and values. */
CLF_API clf_status clf_csr_transpose(const clf_csr *csr, clf_csr *transposed);
CLF_API void       clf_csr_free(clf_csr *csr); /* zeroed ones are allowed */

/* ---- layouts of blocks ----------------------------------------------------------------------------------- */

typedef enum clf_layout_kind {
    CLF_LAYOUT_DENSE      = 0,
    CLF_LAYOUT_FIXED      = 1, /* Child et al. 2019, arXiv:1904.10509: windows, and the last blocks of each for all */
    CLF_LAYOUT_VARIABLE   = 2, /* windows of given sizes, given global blocks, random blocks */
    CLF_LAYOUT_BIGBIRD    = 3, /* Zaheer et al. 2020, arXiv:2007.14062: sliding window, first blocks global, random */
    CLF_LAYOUT_LONGFORMER = 4  /* Beltagy et al. 2020, arXiv:2004.05150: sliding window, given global blocks */
} clf_layout_kind;

/* Start from clf_layout_defaults. All sizes count blocks, except seq_len and block_size. */
typedef struct clf_layout_options {
    size_t          size;                   /* sizeof(clf_layout_options) */
    clf_layout_kind kind;
    int64_t         heads, seq_len, block_size; /* seq_len is a multiple of block_size */
    bool            different_per_head;     /* otherwise all heads get the layout of the first */
    bool            unidirectional;         /* no block sees a later one */
    bool            horizontal_global;      /* fixed, variable: global blocks see all too; not when unidirectional */
    int64_t         local_blocks;           /* fixed: of a window */
    int64_t         global_blocks;          /* fixed: of a window, a divisor of local_blocks; bigbird: first ones */
    int64_t         global_patterns;        /* fixed: head h takes the (h mod this)-th last global_blocks */
    int64_t         sliding_blocks;         /* bigbird, longformer: half of them on each side; even ones count as odd */
    int64_t         random_blocks;          /* variable, bigbird: of a row */
    const int64_t  *windows;                /* variable: sizes in order, the last one repeats */
    size_t          window_count;
    const int64_t  *global_first;           /* variable, longformer: global blocks; beyond the end: ignored */
    const int64_t  *global_end;             /* as ranges [first, end); NULL = one block each */
    size_t          global_count;
    /* xFormers' semantics, which matter to unidirectional layouts only: fixed ones show the later blocks of a pair of
     * global ones, variable ones draw random blocks from all, bigbird ones refuse more random blocks than there are. By
     * default no block sees a later one, and rows with fewer blocks than random_blocks get all of them. */
    clf_semantics   semantics;
    uint64_t        seed;
    /* Draws `count` different numbers below `range` for a row; NULL = by Philox from the seed. */
    void          (*draw)(void *user, int64_t head, int64_t row, int64_t range, int64_t count, int64_t *drawn);
    void           *user;
} clf_layout_options;

/* xFormers' defaults: 4 local and 1 global block, sliding window of 3, 1 random block for bigbird (0 for variable),
 * windows {4}, global block {0}, bidirectional, seed 0. */
CLF_API clf_layout_options clf_layout_defaults(clf_layout_kind kind, int64_t heads, int64_t block_size,
                                               int64_t seq_len);
/* Fills heads x rows x rows bytes, rows = seq_len / block_size.
 * Errors: CLF_OUT_OF_RANGE, CLF_INVALID_SHAPE, CLF_UNSUPPORTED for a combination that the kind excludes. */
CLF_API clf_status clf_layout_make(const clf_layout_options *options, uint8_t *layout);

/* The present blocks of a batch x heads x length x length array of `element` bytes each, in the order of head, row,
 * column: batch x present x block x block. NULL in `blocks` only counts. */
CLF_API clf_status clf_layout_gather(int64_t batch, int64_t heads, int64_t length, int64_t block, const uint8_t *layout,
                                     size_t element, const void *array, void *blocks, int64_t *present);

CLF_END
#endif
