/* Fused attention for programs that bring their own buffers and a queue: a struct says what is wanted.
 *
 *     scores = scale * q k^T -> softcap -> score_mod -> + ALiBi -> + mask      out = dropout(softmax(scores)) v
 *
 * in O(N) memory, forward and backward (Dao et al. 2022, arXiv:2205.14135; Rabe and Staats 2021, arXiv:2112.05682). It
 * is the part `fused_attention` under a typed face: what the part can do, this can, and `clf describe fused_attention`
 * shows which kernel family can do what. A plan checks, chooses a family and compiles; running it only enqueues:
 *
 *     clf_fused_attention problem = { .size = sizeof problem, .q = q, .k = k, .v = v, .out = out, .causal = true };
 *     clf_plan *plan = NULL;
 *     status = clf_fused_attention_plan(device, &problem, NULL, &plan);
 *     status = clf_fused_attention_forward(plan, &problem, workspace, saved, queue, 0, NULL, NULL);
 *
 * A row that sees no key gives 0, lse -inf and no gradient.
 */
#ifndef CLFORMERS_FUSED_H
#define CLFORMERS_FUSED_H

#include <clformers/plan.h>

CLF_BEGIN

#define CLF_FUSED_EXTRAS 4

/* Where the diagonal ends from which causal order, windows and ALiBi count, when a sequence has more or fewer keys than
 * queries. */
typedef enum clf_causal_alignment {
    CLF_BOTTOM_RIGHT = 0, /* the last query belongs to the last key: decoding with a cache */
    CLF_TOP_LEFT     = 1  /* the first query belongs to the first key */
} clf_causal_alignment;

/* Zero-initialise and set size; tensors of rank 0 are absent, strings may be NULL. Nothing is owned: strings are copied
 * by the plan, memory belongs to the caller. Shapes by axis: B batch, H heads, Q queries, K keys, D width of q and k, E
 * width of v, 1 to 256 each; the last stride of q, k, v, out and their gradients is 1, other strides are free. */
typedef struct clf_fused_attention {
    size_t size;                  /* sizeof(clf_fused_attention) */

    clf_tensor q;                 /* [B, H, Q, D], f32, f16 or bf16 like k and v */
    clf_tensor k, v;              /* [B, Hk, K, D] and [B, Hk, K, E]; Hk divides H: query head h reads h / (H / Hk)
                                     (Ainslie et al. 2023, arXiv:2305.13245) */
    clf_tensor out;               /* [B, H, Q, E], f32, f16 or bf16, whatever q is */
    clf_tensor lse;               /* [B, H, Q] f32, natural logarithm of the sum of exponentials; may be absent */
    clf_tensor grad_out;          /* for backward: like out, of its type */
    clf_tensor grad_q, grad_k, grad_v; /* for backward: like q, k, v; absent = not wanted */

    /* the score of a query and a key */
    float scale;                  /* 0 = 1 / sqrt(D) */
    float softcap;                /* > 0: a score s becomes softcap * tanh(s / softcap) (Gemma Team 2024,
                                     arXiv:2408.00118) */
    bool  alibi;                  /* slope * (k - q) is added, along the diagonal, with the slopes of clf_alibi_slopes
                                     (Press et al. 2022, arXiv:2108.12409) */
    clf_tensor alibi_slopes;      /* [H] f32: other slopes */
    clf_tensor sinks, grad_sinks; /* [H] f32: one more score in the sum of a row, for a key without a value (Xiao et al.
                                     2023, arXiv:2309.17453) */
    float    dropout;             /* probability that a weight is dropped, 0 when not training */
    uint64_t seed, offset;        /* of its random numbers; may differ from run to run */

    /* who sees whom: all of these together */
    bool causal;                  /* no query sees a key behind its own place */
    clf_causal_alignment alignment;
    bool window;                  /* a query sees only so many keys ... (Beltagy et al. 2020, arXiv:2004.05150) */
    int  window_left;             /* ... before its own place, -1 = all */
    int  window_right;            /* ... behind it, -1 = all; causal is 0 */
    clf_tensor mask, grad_mask;   /* [B, H, Q, K], leading axes may be missing and any may be 1: bool or u8, nonzero =
                                     attend; or f32, f16, bf16, added, -inf = masked. The gradient, of an additive one,
                                     has its shape and type */
    clf_tensor key_padding_mask;  /* [B, K] bool or u8, nonzero = keep */

    /* Snippets: OpenCL C expressions, compiled into the kernels, over the names
     *     b, h, q     batch entry, query head, query: int
     *     k           key: clf_int, one number or sixteen, as the kernel family likes
     *     score       clf_real: the score so far; q and k are whole numbers, clf_to_real(k - q) is a clf_real
     *     the tables  name[q] with an index that is one number, CLF_GATHER(name, k) with one that may be sixteen
     * Comparisons are joined by & and |. Anything but one expression is refused. Or an at sign and a name:
     * mask_mod   causal, sliding_window(left, right), prefix_lm(prefix), document(labels), dilated(step),
     *            neighbourhood_2d(width, rows, columns)
     * score_mod  alibi(slopes), softcap(cap), which bring their derivatives */
    const char *mask_mod;         /* holds where query q sees key k: "(k<=q)|(k<16)"; asked ahead of each pass, so that
                                     tiles of which nothing is seen are skipped */
    const char *score_mod;        /* becomes the score: "score*table[h]" */
    const char *score_mod_slope;  /* its derivative by score, for backward: "table[h]" */
    const char *extra_name[CLF_FUSED_EXTRAS]; /* what the expressions call the tables, from the first on; NULL = no more */
    clf_tensor  extra[CLF_FUSED_EXTRAS];      /* [any] f32 or i32, stride 1; an index beyond its end is undefined */

    /* Sequences of different lengths (S of them), all in a row in a batch of 1, lse [1, H, rows]: sequence s has the
     * rows starts[s] .. starts[s + 1] - 1. Starts ascend from 0 to the number of rows; who reads beyond is undefined. */
    clf_tensor q_starts, k_starts; /* [S + 1] i32; without k_starts k and v have batch S */
    clf_tensor k_lengths;          /* [S] i32: only so many rows of a sequence are keys; without q_starts S is B */
    int        max_queries, max_keys; /* of a sequence; 0 = as many as there are rows */

    /* Keys and values in pages (Kwon et al. 2023, arXiv:2309.06180): k and v are [pages, Hk, page, width], key j of
     * sequence s is row j mod page of page block_table[s][j / page]; k_lengths tells how many there are. */
    clf_tensor block_table;       /* [S, most pages of a sequence] i32 */

    /* Quantised keys and values, plain or in pages, as clf_quantise makes them: k and v are u8 of 8 bits an element or
     * of two with 4, value = number * scale + shift. Kernels for few queries read them as they are, the others as rows
     * of q's type, which pages become as well, in the workspace. Forward only, as pages are. */
    clf_tensor k_scales, v_scales; /* f16, the axes of k and v but the last, two numbers for each group of columns */
} clf_fused_attention;

/* Can `device` do it? Compiles and allocates nothing. `passes` is CLF_FORWARD or CLF_FORWARD | CLF_BACKWARD. *why (may
 * be NULL) gets a line for each kernel family, "vector: yes" or "vector: cannot do pages"; release with clf_free.
 * Errors: CLF_UNSUPPORTED when no family but `reference` can, with the reasons in *why, too; those of
 * clf_plan_create. */
CLF_API clf_status clf_fused_attention_supported(clf_device *device, const clf_fused_attention *problem, int passes,
                                                 char **why);

/* A plan for tensors of these descriptions (memory objects are not looked at) and these numbers and snippets.
 * clf_plan_get_info tells its family and how many bytes of workspace and saved state it needs. `options` may be NULL:
 * forward only. The naive family `reference` runs only when the options allow or name it. Release with
 * clf_plan_release.
 * Errors: those of clf_plan_create; CLF_BUILD_FAILED when a snippet is no right expression, with the compiler's words,
 * which call it prelude/mask_mod.cl, prelude/score_mod.cl or prelude/score_mod_slope.cl. */
CLF_API clf_status clf_fused_attention_plan(clf_device *device, const clf_fused_attention *problem,
                                            const clf_plan_options *options, clf_plan **plan);

/* Enqueue a pass, as clf_forward and clf_backward do, whose rules for `workspace`, `saved`, queue and events hold. Of
 * `problem` the tensors, `seed` and `offset` count; the rest is the plan's.
 * Errors: CLF_INVALID_VALUE when the plan is another part's; those of clf_forward and clf_backward. */
CLF_API clf_status clf_fused_attention_forward(clf_plan *plan, const clf_fused_attention *problem, clf_buffer workspace,
                                               clf_buffer saved, cl_command_queue queue, cl_uint n_wait,
                                               const cl_event *wait, cl_event *event);
CLF_API clf_status clf_fused_attention_backward(clf_plan *plan, const clf_fused_attention *problem, clf_buffer workspace,
                                                clf_buffer saved, cl_command_queue queue, cl_uint n_wait,
                                                const cl_event *wait, cl_event *event);

CLF_END
#endif
