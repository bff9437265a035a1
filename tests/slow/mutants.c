/* Can the sweeps see mistakes? Copies of the kernels with one planted mistake each run the sweep's own
 * cases, and one of them has to fail. A mutant whose place has gone from the sources fails, too: move it. */
#define _XOPEN_SOURCE 700

#include "core/os.h"
#include "device/source.h"
#include "kit.h"

#include <criterion/criterion.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct mutant {
    const char *mistake, *path, *from, *to;
    bool      (*shows)(const clf__kit_case *c); /* cases that are worth trying: compiling takes seconds */
    const char *part;                           /* NULL = scaled_dot_product */
} mutant;

static bool plain(const clf__kit_case *c)
{
    return c->values == KIT_NORMAL && !c->causal && !c->training && c->dtype == CLF_F32;
}

static bool causal(const clf__kit_case *c)
{
    return c->causal && !c->training && c->dtype == CLF_F32;
}

static bool masked(const clf__kit_case *c)
{
    return c->present & 1u << CLF_QKV_ATT_MASK;
}

static bool padded(const clf__kit_case *c)
{
    return c->present & 1u << CLF_QKV_KEY_PADDING_MASK;
}

static bool dropout(const clf__kit_case *c)
{
    return c->training && c->dropout < 1;
}

static bool peaky(const clf__kit_case *c)
{
    return c->values == KIT_PEAKY && c->dtype == CLF_F32;
}

static bool few(const clf__kit_case *c)
{
    return KIT_EXTENT(c, 'Q') < 9 && KIT_EXTENT(c, 'K') > 2 && plain(c);
}

static bool varied(const clf__kit_case *c)
{
    return c->own[0] && plain(c);
}

/* ---- the mistakes ------------------------------------------------------------------------------------ */

static const mutant prelude[] = {
    { "causal order off by one", "prelude/mask.cl", "clamp(q + shift + 1, 0, keys)", "clamp(q + shift + 2, 0, keys)",
      causal, NULL },
    { "mask ignored", "prelude/mask.cl", "    score += bias;", "", masked, NULL },
    { "masked keys not hidden", "prelude/mask.cl", "    seen = seen & (bias != (clf_real)(-INFINITY));",
      "    (void)bias;",
      masked, NULL },
    { "padding ignored", "prelude/mask.cl", "    seen = seen & clf_unpadded(padding, padding_at, b, k);", "",
      padded, NULL },
    { "masks of another head", "prelude/mask.cl", "b * mask_at.s1 + h * mask_at.s2", "b * mask_at.s1", masked, NULL },
    { NULL }
};

static const mutant vector[] = {
    { "a key dropped", "fused/vector_forward.cl", "depth = min(count - first, width) - ahead;",
      "depth = min(count - first, width) - ahead - 1;", plain, NULL },
    { "no rescale when the maximum moves", "fused/vector_softmax.cl", "vload16(0, acc + r * ACC_STEP + n) * shrink",
      "vload16(0, acc + r * ACC_STEP + n)", peaky, NULL },
    { "the sum not rescaled", "fused/vector_softmax.cl", "vload16(0, sum + r * 16) * shrink",
      "vload16(0, sum + r * 16)", peaky, NULL },
    { "scale missing", "fused/vector_forward.cl", "clf_query_scale(factor.x)", "clf_query_scale(1.0f)", plain, NULL },
    { "dropout's scale missing", "fused/vector_forward.cl", "CLF_DROPOUT ? factor.y : 1.0f", "1.0f", dropout, NULL },
    { "dropout of another offset", "prelude/philox.cl", "w = (uint8)(random.s2)", "w = (uint8)(0)", dropout, NULL },
    { "NaN of hidden values multiplied by 0", "fused/vector_forward.cl", "if (finite)", "if (finite || 1)",
      padded, NULL },
    { "log-sum-exp without the maximum", "fused/vector_forward.cl", "base[r] * CLF_LN2 + log(total)", "log(total)",
      peaky, NULL },
    { "gradients of scores without their mean", "fused/vector_backward.cl", "probability * (gradient - mean)",
      "probability * gradient", plain, NULL },
    { NULL }
};

static const mutant portable[] = {
    { "no rescale when the maximum moves", "fused/portable_forward.cl", "acc[c] *= shrink;", ";", peaky, NULL },
    { "the sum not rescaled", "fused/portable_forward.cl", "sum *= shrink;", ";", peaky, NULL },
    { "scale missing", "fused/portable_forward.cl", "clf_query_scale(factor.x)", "clf_query_scale(1.0f)", plain, NULL },
    { "dropout's scale missing", "fused/portable_forward.cl", "factor.y / sum", "1.0f / sum", dropout, NULL },
    { "a key dropped", "fused/portable_forward.cl", "min(CLF_COLUMNS, seen - first)",
      "min(CLF_COLUMNS, seen - first) - 1", plain, NULL },
    { NULL }
};

static const mutant decode[] = {
    { "a key dropped", "fused/vector_decode.cl", "add_seen_values(s, &values, first, count, acc)",
      "add_seen_values(s, &values, first, count - 1, acc)", few, NULL },
    { "rows of another head", "fused/vector_decode.cl", "clf_load_row(q, clf_queries_at(q_at, b, h, start)",
      "clf_load_row(q, clf_queries_at(q_at, b, 0, start)", few, NULL },
    { "slices merged without their sums", "fused/decode_merge.cl", "0.0f : weight * sum_of_weights;",
      "0.0f : weight;", few, NULL },
    { NULL }
};

static const mutant gather[] = {
    { "a key of each row dropped", "fused/gather_vector_forward.cl", "end[r] - first)", "end[r] - first - 1)", plain,
      "random" },
    { "no gradient through the softmax", "fused/gather_vector_backward.cl", "- mean", "", plain, "random" },
    { NULL }
};

/* Parts with kernels of their own, by the family that planning chooses. */
static const mutant parts[] = {
    { "sums of keys ignored", "attention/favor.cl", "total = clf_fma(x, get(sum + j), total);", "total += x;", plain,
      "favor" },
    { "the whole square of a key", "attention/favor.cl", "return 0.5f * clf_sum_lanes(sum);", "return clf_sum_lanes(sum);",
      plain, "favor" },
    { "a query does not see its own key", "attention/favor_causal.cl", "s < count && key <= t", "s < count && key < t",
      causal, "favor" },
    { "segments of one length", "attention/nystrom.cl", "max(l - (count - longer), 0)", "0 * longer", varied,
      "nystrom" },
    { "a step of the pseudo-inverse without its scale", "ops/pseudo_inverse.cl", "1.0f / sums[best]", "1.0f", plain,
      "nystrom" },
    { "weights that do not add up to 1", "attention/lambda.cl", "put(get(weight + (long)m * shape.y, count) / sum,",
      "put(get(weight + (long)m * shape.y, count),", plain, "lambda" },
    { "corners of the block left", "attention/lambda.cl", "for (int c = begin + shape.w; c < shape.y; c++)",
      "for (int c = shape.y; c < shape.y; c++)", plain, "lambda" },
    { "rows of any length as landmarks", "attention/orthoformer.cl", "shape.s4 ? root_reciprocal(sum) : 1.0f", "1.0f",
      varied, "orthoformer" },
    { "an even part with the wrong sign", "attention/fourier_mix.cl", "vstore16(b - q, r, even_im);",
      "vstore16(b + q, r, even_im);", plain, "fourier_mix" },
    { "the cell itself left in", "attention/pooling.cl",
      "sum - clf_load_lanes(x + n * CLF_LANES, cell * x_at.w, count)", "sum", plain, "pooling" },
    { "keys mixed without their scale", "attention/linformer.cl", "shape.z - e) * scale;", "shape.z - e);", dropout,
      "linformer" },
    { "rules softened without their mean", "attention/compositional.cl", "g[r] = w[r] * (g[r] - mean);",
      "g[r] = w[r] * g[r];", plain, "compositional" },
    { NULL }
};

/* ---- planting and looking --------------------------------------------------------------------------- */

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
    (void)status, (void)type, (void)ftw;
    return remove(path);
}

/* Writes all kernel sources below `directory`, one of them changed; false when the place is not there. */
static bool plant(const mutant *m, const char *directory)
{
    bool found = false;
    for (const clf_source *source = clf__embedded_sources; source->path; source++) {
        const char *place = strcmp(source->path, m->path) == 0 ? strstr(source->text, m->from) : NULL;
        char        path[512];
        snprintf(path, sizeof path, "%s/%s", directory, source->path);
        *strrchr(path, '/') = '\0';
        cr_assert(clf__make_directory(path));
        snprintf(path, sizeof path, "%s/%s", directory, source->path);
        if (place) {
            const clf__piece pieces[] = { { source->text, (size_t)(place - source->text) },
                                          { m->to, strlen(m->to) },
                                          { place + strlen(m->from), strlen(place + strlen(m->from)) } };
            found = true;
            cr_assert_eq(clf__file_write(path, pieces, 3), CLF_SUCCESS, "%s", clf_error_message());
        } else {
            const clf__piece whole = { source->text, strlen(source->text) };
            cr_assert_eq(clf__file_write(path, &whole, 1), CLF_SUCCESS, "%s", clf_error_message());
        }
    }
    return found;
}

/* Does one of the sweep's cases fail? */
static bool is_caught(const mutant *m, const char *selector, const char *family)
{
    const clf_component *component = NULL;
    clf_device          *device = NULL;
    clf__kit_cases       cases = { .list = NULL };
    bool                 caught = false;
    cr_assert_eq(clf_component_find(CLF_ATTENTION, m->part ? m->part : "scaled_dot_product", &component), CLF_SUCCESS);
    cr_assert_eq(clf_device_open(selector, &device), CLF_SUCCESS, "%s", clf_error_message());
    clf__kit_generate(component, clf_device_get_info(device), &cases);
    for (size_t i = 0; i < cases.count && !caught; i++) {
        clf__kit_check check = { .device = device, .component = component, .c = &cases.list[i], .family = family };
        if (check.c->what == KIT_PROBLEM && (!check.c->slow || m->part) && m->shows(check.c))
            caught = clf__kit_check_problem(&check) == KIT_FAILED;
        if (caught && strstr(check.why, "CLF_BUILD_FAILED"))
            cr_assert_fail("%s: the mutant does not compile: %s", m->mistake, check.why);
    }
    free(cases.list);
    clf_device_release(device);
    return caught;
}

static void check_mutants(const mutant *mutants, const char *selector, const char *family)
{
    clf_device_info *infos = NULL;
    size_t           count = 0;
#if defined(__SANITIZE_ADDRESS__)
    cr_skip_test("the release build looks for mutants");
#endif
    if (clf_devices(selector, &infos, &count))
        cr_skip_test("no such device");
    clf_free(infos);
    setenv("CLF_CACHE_DIR", "", 1);
    for (const mutant *m = mutants; m->mistake; m++) {
        char directory[] = "/tmp/clf_mutant_XXXXXX";
        bool planted, caught;
        cr_assert(mkdtemp(directory));
        planted = plant(m, directory);
        setenv("CLF_KERNEL_DIR", directory, 1);
        caught = planted && is_caught(m, selector, family);
        nftw(directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
        cr_expect(planted, "%s: its place in %s is gone", m->mistake, m->path);
        cr_expect(!planted || caught, "%s (%s): nobody noticed", m->mistake, m->path);
    }
}

Test(mutants, prelude)
{
    check_mutants(prelude, "pocl", "vector");
}

Test(mutants, vector)
{
    check_mutants(vector, "pocl", "vector");
}

Test(mutants, portable)
{
    check_mutants(portable, "rusticl", "portable");
}

Test(mutants, decode)
{
    check_mutants(decode, "pocl", "vector_decode");
}

Test(mutants, gather)
{
    check_mutants(gather, "pocl", "gather_vector");
}

Test(mutants, parts)
{
    check_mutants(parts, "pocl", NULL);
}
