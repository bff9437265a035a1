/* Fused attention: exact softmax attention in O(N) memory, for every part that needs it.
 *
 *     scores = scale * q k^T + mask     out = dropout(softmax(scores)) v     lse = log(sum(exp(scores)))
 *
 * A part describes its problem, calls clf__fused_plan from its `plan` and keeps the clf__fused that it gets;
 * from `forward` and `backward` it passes the same problem again, now with memory. A row that sees no key gives
 * 0, lse -inf and no gradient.
 */
#ifndef CLF_FUSED_FUSED_H
#define CLF_FUSED_FUSED_H

#include <clformers/author.h>
#include <clformers/pattern.h>

#define CLF__FUSED_EXTRA 4 /* tensors that snippets read */

/* Tensors are [batch, heads, sequence, width] with last stride 1; rank 0 = absent, as are numbers that are 0. k and v
 * have as many heads as q, or fewer that divide them: head h then reads head h / (heads of q / heads of k).
 * Gradients that are not wanted are absent; `lse` may be absent. */
typedef struct clf__fused_problem {
    clf_tensor q, k, v, out, lse;
    clf_tensor grad_out, grad_q, grad_k, grad_v;
    float      scale;

    /* who sees whom */
    clf_tensor mask;      /* [B, H, Nq, Nk], stride 0 where it repeats; or [M, Nq, Nk]: item b*H + h takes (b*H + h) mod M */
    clf_tensor padding;   /* [B, Nk], nonzero = keep */
    bool       causal;    /* query i sees the keys up to i + shift */
    int64_t    shift;     /* 0 = aligned at the top left, Nk - Nq = at the bottom right */
    int64_t    window;    /* with causal: query i sees the last `window` of those only; 0 = all */
    int64_t    ahead;     /* so much of `shift` is what query i sees behind its own place, i + shift - ahead */
    const char *mask_mod; /* an expression over (b, h, q, k) that must hold too, without spaces; NULL = none */
    bool       loses;     /* of the pairs that all this leaves, the last in row-major order go until their number is a
                             multiple of 4; for clf__fused_plan, runs know */

    /* what becomes of a score */
    clf_tensor grad_mask; /* of an additive mask: [B, H, Nq, Nk], extent 1 where the mask repeats, its type */
    float      softcap;   /* score = softcap * tanh(score / softcap) */
    clf_tensor alibi;     /* [H] f32 slopes: score += slope * (k - q - shift + ahead) */
    clf_tensor sinks, grad_sinks;  /* [H] f32: one more score in the sum of exponentials, for a key without a value */
    const char *score_mod, *score_slope; /* expressions over (score, b, h, q, k), and its derivative by score */
    clf_tensor  extra[CLF__FUSED_EXTRA]; /* rank 1, what the expressions read; names without spaces */
    const char *extra_name[CLF__FUSED_EXTRA];
    float      dropout;   /* 0 when not training */
    uint64_t   seed, offset;

    /* Sequences of different lengths: with q_starts q and out have batch 1 and all sequences in a row, lse is
     * [1, H, rows]; with k_starts k and v. Everything else counts within a sequence, dropout as in a batch of them.
     * Rows of no sequence, and slots that hold no key, need not hold numbers: out and gradients are 0 there, lse -inf.
     * A sequence of more rows than promised has NaN in those beyond. */
    clf_tensor q_starts, k_starts;   /* [S + 1] i32, ascending: sequence s has the rows starts[s] .. starts[s + 1] - 1 */
    clf_tensor k_lengths;            /* [S] i32: only so many of them are keys; also without k_starts */
    int64_t    max_queries, max_keys; /* of a sequence, where there are starts; 0 = all rows */
    bool       bottom_right;         /* `shift` counts from each sequence's own Nk - Nq */

    /* keys and values in pages: k and v are [pages, heads, page, width], sequence s reads block_table[s][key / page] */
    clf_tensor block_table;          /* [S, most pages] i32 */

    /* quantised keys and values: u8 elements of `bits` = 8, or two of 4 in each (value = number * scale + shift); 0 =
     * plain */
    int        bits;
    clf_tensor k_scales, v_scales;   /* f16, the axes of k and v but the last, 2 * groups: scale and shift of a group */

    /* only these pairs, in time in proportion to them */
    const struct clf__fused_blocks *blocks;

    bool forward_only; /* it has no part in the plan's backward pass: values may be wider then */
} clf__fused_problem;

/* A pattern that is known when planning; runs need none. Everything else that hides pairs
 * hides them too. Where the pattern has more keys than k, those behind it are keys and values of zeros. */
typedef struct clf__fused_blocks {
    const clf_pattern *pattern;
} clf__fused_blocks;

struct clf__fused_family;

/* rows queries x columns keys; what is seen of it is told for every `part` rows. `by_keys`: a list of tiles for each
 * tile of keys, not of queries. */
typedef struct clf__fused_tile {
    int  rows, columns, part;
    bool by_keys;
} clf__fused_tile;

/* Lists that a kernel walks over; see fused/sparse.h. */
typedef struct clf__fused_lists {
    cl_mem          mem; /* of the plan; NULL = none, or made ahead of each pass */
    cl_int8         at;
    cl_kernel       make, compact; /* lists of a mask snippet */
    clf__fused_tile tile;
    uint64_t        offset;        /* bytes into workspace */
} clf__fused_lists;

/* What a plan decided; a plain value without a destructor: the kernels belong to the plan. */
typedef struct clf__fused {
    const struct clf__fused_family *family;
    cl_kernel forward, delta, backward[2];
    cl_kernel sinks, grad_mask;       /* their gradients */
    int       mask_tile;              /* elements of grad_mask on each side of a group's tile */
    cl_kernel split;                  /* floats to parts of bf16 */
    cl_kernel unpack;                 /* pages and quantised numbers to plain rows; NULL = the family reads them */
    cl_kernel gaps[3];                /* rows of no sequence: of out, of lse, of gradients */
    cl_kernel count_left, find_lost;  /* where the pairs are lost */
    uint64_t  left, first_lost;       /* bytes into workspace: pairs of each row; row and key of the first that is lost */
    int       rows[3], items[3];      /* of a group, in forward and in backward; [2] for keys if not as for queries */
    int       most_groups;            /* of forward, which then go on with more rows; 0 = one for each tile of rows */
    int       splits;                 /* slices of a gradient that are added in the end */
    bool      saves_lse;              /* the caller takes no lse, but backward needs it */
    uint64_t  lse;                    /* bytes into saved */
    uint64_t  rest;                   /* bytes into saved: what rounding took from out */
    int       maps;                   /* the passes whose kernels find maps for a copy engine in scratch */
    uint64_t  delta_sums, scratch;    /* bytes into workspace: sum(out * grad_out) of each row; the family's own */
    /* of families for few queries */
    cl_kernel merge;
    int       slices, slice;          /* how many, and the keys of one */
    uint64_t  bases;                  /* bytes into workspace: what the sums in scratch count from */
    uint64_t  unpacked[2];            /* bytes into workspace: plain rows of k and v */
    uint64_t  parts[4];               /* bytes into workspace: of q, k, v and grad_out */
    uint64_t  unwanted_k, unwanted_v; /* bytes into workspace: for gradients that nobody wants */
    clf__fused_lists lists[3];        /* for forward, for backward by queries and by keys */
    clf__fused_lists lost_rows;
} clf__fused;

/* The first family that can do it, by the order of the device's style; `reference` only when the plan's options
 * allow or name it. Reserves workspace and saved bytes, creates the kernels.
 * Errors: CLF_UNSUPPORTED with every family's reason, those of clf__plan_kernel. */
clf_status clf__fused_plan(clf_plan *plan, const clf__fused_problem *problem, clf__fused *fused);

/* Up to how many columns of values the family that would do the problem takes in one launch, if it is fast with more
 * than a head usually has; 0 = it is not. */
clf_status clf__fused_widest_values(clf_plan *plan, const clf__fused_problem *problem, int64_t *widest);

clf_status clf__fused_forward(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem);
clf_status clf__fused_backward(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem);

/* ---- for parts over the table clf_attention_io_qkv ------------------------------------------------- */

/* Their problem before they add an order of their own. `scale` 0 = 1 / sqrt(width). */
clf__fused_problem clf__fused_problem_qkv(const clf_args *args, float scale, float dropout);

/* plan, forward and backward of a part whose plan keeps nothing but a clf__fused. */
clf_status clf__fused_plan_part(clf_plan *plan, const clf__fused_problem *problem);
clf_status clf__fused_forward_part(clf_run *run, const clf__fused_problem *problem);
clf_status clf__fused_backward_part(clf_run *run, const clf__fused_problem *problem);

/* Planning of parts whose order is a pattern, which is freed whatever happens. Under xFormers' semantics the pattern
 * becomes what that makes of it (`force`: its sparse path at any density), and masks are refused where it could not
 * take them. */
clf_status clf__fused_plan_pattern(clf_plan *plan, clf_pattern *pattern, clf_semantics semantics, bool force,
                                   float dropout);

/* Planning of parts whose order is a window: a narrow one goes as a pattern, pair by pair, where the device takes less
 * time for that. */
clf_status clf__fused_plan_window(clf_plan *plan, const clf__fused_problem *problem);

/* Under xFormers' semantics, on the sparse path: a mask changes which pairs are lost. Refuses masks that the path could
 * not take, else sets problem->loses where there is one. */
clf_status clf__fused_lose_under_mask(clf_plan *plan, clf__fused_problem *problem);

/* What the papers of such parts mean and xFormers leaves to its callers: everyone sees itself, and, when causal, nobody
 * sees later ones. Nothing under xFormers' semantics. */
clf_status clf__fused_complete_pattern(const clf_attention_config *config, clf_pattern *pattern);

/* Their forward and backward; the config begins with a clf_attention_config. */
clf_status clf__fused_forward_pattern(clf_run *run);
clf_status clf__fused_backward_pattern(clf_run *run);

/* Their work, by the pairs of a pattern, an average head's if it has several. */
void clf__fused_work_pattern(const clf_args *args, const clf_pattern *pattern, int pass, clf_work *work);

/* Work of a pass in which each head has `pairs` of a query and a key: 2 pairs (D + E) operations forward, 2.5 times
 * as many backward. */
void clf__fused_work(const clf_args *args, double pairs, int pass, clf_work *work);

/* For descriptors: the names of all families, NULL-terminated, what each can do, and the kernel sources. */
extern const char *const clf__fused_families[];
const char *clf__fused_feature(const clf_device *device, const char *family, int i, int *passes);
#define CLF__FUSED_PROGRAMS                                                                                         \
    { "fused/vector_forward.cl", "fused/vector_backward.cl", "fused/portable_forward.cl",                           \
      "fused/portable_backward.cl", "fused/vector_decode.cl", "fused/portable_decode.cl", "fused/decode_merge.cl",  \
      "fused/nvidia_wgmma_forward.cl", "fused/nvidia_wgmma_backward_q.cl", "fused/nvidia_wgmma_backward_kv.cl",     \
      "fused/nvidia_parts.cl", "fused/nvidia_wgmma_f32_forward.cl", "fused/nvidia_wgmma_f32_backward_q.cl",         \
      "fused/nvidia_wgmma_f32_backward_kv.cl",                                                                      \
      "fused/nvidia_mma_forward.cl", "fused/nvidia_mma_backward_q.cl", "fused/nvidia_mma_backward_kv.cl",           \
      "fused/nvidia_delta.cl", "fused/reference_forward.cl", "fused/reference_backward.cl", "fused/sinks.cl",       \
      "fused/gaps.cl", "fused/grad_mask.cl", "fused/gather_vector_forward.cl", "fused/gather_vector_backward.cl",   \
      "fused/gather_portable_forward.cl", "fused/gather_portable_backward.cl", "fused/nvidia_decode.cl",            \
      "fused/unpack.cl", "fused/list_tiles.cl", "fused/lost.cl" }

#endif
