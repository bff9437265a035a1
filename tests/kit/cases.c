/* Cases from the descriptor alone: io table, traits and schema.
 *
 * One plain case and the rows of rows.c, then each feature varied alone, then random combinations of everything. What
 * needs other programs than the rows is slow, and so are other families than the one that planning chooses, but for
 * a few cases. Simulators get tiny extents: they interpret some ten million operations a second. Software
 * rasterisers compile for half a minute where heads are 64 wide, so theirs are narrow.
 */
#include "kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RANDOM_COMBINATIONS = 150 };

typedef struct generator {
    const clf_component *component;
    clf__kit_cases      *cases;
    clf__kit_device      device;
    bool                 small;  /* for a simulator */
    bool                 narrow; /* for a software rasteriser */
    clf__kit_case        plain;
} generator;

static clf__kit_case *add(generator *g, const clf__kit_case *from)
{
    clf__kit_cases *cases = g->cases;
    if (cases->count == cases->capacity) {
        const size_t   capacity = cases->capacity ? 2 * cases->capacity : 64;
        clf__kit_case *list = realloc(cases->list, capacity * sizeof *list);
        if (!list) {
            static clf__kit_case nowhere; /* the run ends with an error */
            cases->failed = true;
            return &nowhere;
        }
        cases->list = list;
        cases->capacity = capacity;
    }
    cases->list[cases->count] = *from;
    return &cases->list[cases->count++];
}

static clf__kit_case *vary(generator *g)
{
    return add(g, &g->plain);
}

static bool claims(const generator *g, uint64_t trait)
{
    return g->component->descriptor->traits & trait;
}

static bool has_field(const generator *g, const char *name)
{
    return clf_schema_find(&g->component->descriptor->config, name);
}

static bool has_letter(const generator *g, char letter)
{
    for (const clf_io *io = g->component->descriptor->io; io->name; io++)
        if (clf__kit_has_axis(io, letter))
            return true;
    return false;
}

/* The io entries for which `test` holds, a bit each. */
static uint32_t entries(const generator *g, bool (*test)(const clf_io *io))
{
    uint32_t bits = 0;
    for (int i = 0; i < clf__kit_io_count(g->component); i++)
        if (!(g->component->descriptor->io[i].flags & CLF_IO_PRIVATE) && test(&g->component->descriptor->io[i]))
            bits |= 1u << i;
    return bits;
}

static bool is_optional_output(const clf_io *io)
{
    return (io->flags & CLF_IO_OPTIONAL) && io->role == CLF_OUTPUT;
}

static bool is_other_optional(const clf_io *io)
{
    return (io->flags & CLF_IO_OPTIONAL) && io->role == CLF_INPUT && !clf__kit_is_query_mask(io) &&
           !clf__kit_is_key_padding(io);
}

static bool is_differentiable_input(const clf_io *io)
{
    return (io->flags & CLF_IO_DIFFERENTIABLE) && !(io->flags & CLF_IO_OPTIONAL) && io->role == CLF_INPUT;
}

static int64_t square(int64_t n)
{
    int64_t root = 1;
    while ((root + 1) * (root + 1) <= n)
        root++;
    return root * root;
}

/* Length of queries and keys; `k` counts only where the table tells them apart. */
static void set_length(const generator *g, clf__kit_case *c, int64_t q, int64_t k)
{
    if (claims(g, CLF_TRAIT_SQUARE_SEQUENCE))
        q = square(q), k = square(k);
    KIT_EXTENT(c, 'Q') = KIT_EXTENT(c, 'N') = KIT_EXTENT(c, 'S') = q;
    KIT_EXTENT(c, 'K') = k;
}

static void set_width(clf__kit_case *c, int64_t d, int64_t e)
{
    KIT_EXTENT(c, 'D') = d;
    KIT_EXTENT(c, 'E') = e;
}

static void set_batch(clf__kit_case *c, int64_t b, int64_t h)
{
    KIT_EXTENT(c, 'B') = b;
    KIT_EXTENT(c, 'H') = h;
}

static void make_plain(generator *g)
{
    clf__kit_case *c = &g->plain;
    for (int i = 0; i < 26; i++)
        c->extent[i] = g->small ? 3 : 5;
    set_batch(c, g->small ? 1 : 2, 2);
    set_length(g, c, g->small ? 9 : 33, g->small ? 9 : 33);
    const int64_t width = g->small ? 8 : g->narrow ? 16 : 64;
    set_width(c, width, width);
    c->dtype = CLF_F32;
    c->mask_dtype = CLF_BOOL8;
    if (claims(g, CLF_TRAIT_LSE))
        c->present = entries(g, is_optional_output);
}

static void add_shapes(generator *g)
{
    static const int64_t large[] = { 1, 7, 97, 113, 257 }, small[] = { 1, 7, 17 };
    const int64_t       *lengths = g->small ? small : large;
    for (int i = 0; i < (g->small ? 3 : 5); i++) {
        clf__kit_case *c = vary(g);
        set_length(g, c, lengths[i], lengths[i]);
        set_batch(c, lengths[i] < 97 ? 2 : 1, lengths[i] < 10 ? 3 : 1);
    }
}

static void add_widths(generator *g)
{
    static const int64_t large[] = { 1, 8, 40, 59, 80, 111, 128, 256 }, small[] = { 1, 5, 40 },
                         narrow[] = { 1, 40, 59 };
    const int64_t       *widths = g->small ? small : g->narrow ? narrow : large;
    for (int i = 0; has_letter(g, 'D') && i < (widths == large ? 8 : 3); i++)
        set_width(vary(g), widths[i], widths[i]);
    if (has_letter(g, 'E')) {
        set_width(vary(g), KIT_EXTENT(&g->plain, 'D'), g->small ? 5 : 40);
        set_width(vary(g), g->small ? 5 : 40, g->small ? 8 : g->narrow ? 24 : 128);
    }
}

static void add_lengths(generator *g, bool causal, bool xformers)
{
    static const int64_t large[][2] = { { 33, 97 }, { 97, 33 }, { 1, 113 }, { 113, 1 } };
    static const int64_t small[][2] = { { 5, 13 }, { 13, 5 }, { 1, 9 }, { 9, 1 } };
    for (int i = 0; has_letter(g, 'Q') && has_letter(g, 'K') && i < 4; i++) {
        clf__kit_case *c = vary(g);
        set_length(g, c, (g->small ? small : large)[i][0], (g->small ? small : large)[i][1]);
        set_batch(c, KIT_EXTENT(c, 'Q') < 97 ? KIT_EXTENT(c, 'B') : 1, 2);
        c->causal = causal;
        c->xformers = xformers;
    }
}

static void add_causal(generator *g, bool xformers)
{
    static const int64_t large[] = { 33, 1, 97, 257 }, small[] = { 9, 1, 17 };
    if (!has_field(g, "causal"))
        return;
    for (int i = 0; i < (xformers ? 1 : g->small ? 3 : 4); i++) {
        const int64_t  n = g->small ? small[i] : large[i];
        clf__kit_case *c = vary(g);
        c->causal = true;
        c->xformers = xformers;
        set_length(g, c, n, n);
        set_batch(c, n < 97 ? KIT_EXTENT(c, 'B') : 1, n < 257 ? 2 : 1);
    }
    if (claims(g, CLF_TRAIT_CAUSAL))
        add_lengths(g, true, xformers);
}

/* A case with the attention masks present. */
static clf__kit_case *vary_mask(generator *g, clf_dtype dtype, int drop, unsigned ones)
{
    clf__kit_case *c = vary(g);
    c->present |= entries(g, clf__kit_is_query_mask);
    c->mask_dtype = dtype;
    c->mask_drop = drop;
    c->mask_ones = ones;
    return c;
}

/* One that is added, and causal order with it: a program that the rows have. */
static void vary_added_mask(generator *g, int drop, unsigned ones)
{
    vary_mask(g, CLF_F32, drop, ones)->causal = claims(g, CLF_TRAIT_CAUSAL);
}

static void add_masks(generator *g)
{
    if (!entries(g, clf__kit_is_query_mask))
        return;
    vary_mask(g, CLF_BOOL8, 0, 0);
    if (!claims(g, CLF_TRAIT_ATTENTION_MASK))
        return;
    vary_mask(g, CLF_U8, 2, 0);
    vary_mask(g, CLF_F32, 0, 0);
    vary_added_mask(g, 2, 0);
    for (unsigned axis = 0; axis < 4; axis++) {
        vary_mask(g, CLF_BOOL8, 0, 1u << axis);
        vary_added_mask(g, 0, 1u << axis);
    }
    vary_mask(g, CLF_BOOL8, 0, 7);
    vary_added_mask(g, 2, 4); /* [1, K] */
    vary_added_mask(g, 1, 0); /* [B, Q, K] */
    for (int form = 0; has_field(g, "semantics") && form < 3; form++) { /* M = 1, B, B * H masks that are tiled */
        clf__kit_case *c = vary_mask(g, CLF_BOOL8, 1, form == 0);
        c->xformers = true;
        c->mask_items = form == 2;
    }
    if (has_field(g, "semantics"))
        vary_mask(g, CLF_BOOL8, 2, 0)->xformers = true;
    clf__kit_case *c = vary_mask(g, CLF_BOOL8, 0, 0);
    c->causal = claims(g, CLF_TRAIT_CAUSAL);
}

static void add_padding(generator *g)
{
    const uint32_t padding = entries(g, clf__kit_is_key_padding);
    if (!padding)
        return;
    vary(g)->present |= padding;
    if (!claims(g, CLF_TRAIT_KEY_PADDING_MASK))
        return;
    clf__kit_case *c = vary(g);
    c->present |= padding;
    c->causal = claims(g, CLF_TRAIT_CAUSAL);
    c->layout = KIT_PADDED;
    if (claims(g, CLF_TRAIT_ATTENTION_MASK)) {
        c = vary_mask(g, CLF_F32, 0, 0);
        c->present |= padding;
        c->causal = claims(g, CLF_TRAIT_CAUSAL);
        c->layout = KIT_TRANSPOSED;
        set_length(g, c, g->small ? 9 : 97, g->small ? 9 : 97);
    }
}

static void add_dropout(generator *g)
{
    if (!has_field(g, "dropout"))
        return;
    clf__kit_case *c = vary(g);
    c->dropout = 0.1f;
    c->training = true;
    if (!claims(g, CLF_TRAIT_DROPOUT))
        return;
    vary(g)->dropout = 0.5f; /* not training: nothing is dropped */
    c = vary(g);
    c->dropout = 1;
    c->training = true;
    c = vary(g);
    c->dropout = 0.5f;
    c->training = true;
    c->causal = claims(g, CLF_TRAIT_CAUSAL);
    set_length(g, c, g->small ? 17 : 97, g->small ? 17 : 97);
    set_batch(c, 1, 2);
    if (claims(g, CLF_TRAIT_ATTENTION_MASK | CLF_TRAIT_KEY_PADDING_MASK)) {
        c = vary_mask(g, CLF_BOOL8, 0, 0);
        c->present |= entries(g, clf__kit_is_key_padding);
        c->dropout = 0.25f;
        c->training = true;
    }
}

static void add_layouts_and_values(generator *g)
{
    for (clf__kit_layout layout = KIT_TRANSPOSED; layout <= KIT_EXPANDED; layout++)
        vary(g)->layout = layout;
    clf__kit_case *c = vary(g);
    c->values = KIT_PEAKY;
    vary(g)->values = KIT_HUGE;
    /* Long enough for the largest logit to move from tile to tile. */
    c = vary(g);
    c->values = KIT_PEAKY;
    set_length(g, c, g->small ? 17 : 257, g->small ? 17 : 257);
    set_batch(c, 1, 1);
    c = vary(g);
    c->values = KIT_HUGE;
    c->causal = claims(g, CLF_TRAIT_CAUSAL);
    set_length(g, c, g->small ? 17 : 113, g->small ? 17 : 113);
    set_batch(c, 1, 2);
}

/* Optional outputs and other optional inputs, one at a time; gradients, one at a time. */
static void add_presence(generator *g)
{
    const uint32_t optional = entries(g, is_optional_output), others = entries(g, is_other_optional);
    const uint32_t gradients = entries(g, is_differentiable_input);
    if (optional)
        vary(g)->present ^= optional;
    for (uint32_t bit = 1; bit && bit <= others; bit <<= 1)
        if (others & bit)
            vary(g)->present |= bit;
    for (uint32_t bit = 1; g->component->descriptor->backward && bit && bit <= gradients; bit <<= 1)
        if (gradients & bit)
            vary(g)->no_gradient = gradients & ~bit;
}

/* A case of this type, with what the rows have beside it: causal order for f16, padding for bf16. */
static clf__kit_case *vary_type(generator *g, clf_dtype dtype)
{
    clf__kit_case *c = vary(g);
    c->dtype = dtype;
    c->causal = dtype == CLF_F16 && claims(g, CLF_TRAIT_CAUSAL);
    if (dtype == CLF_BF16 && claims(g, CLF_TRAIT_KEY_PADDING_MASK))
        c->present |= entries(g, clf__kit_is_key_padding);
    return c;
}

static void add_low_precision(generator *g)
{
    for (clf_dtype dtype = CLF_F16; dtype <= CLF_BF16; dtype++) {
        clf__kit_case *c = vary(g);
        c->dtype = dtype;
        if (!claims(g, CLF_TRAIT_LOW_PRECISION))
            continue;
        for (clf__kit_layout layout = KIT_TRANSPOSED; layout <= KIT_PADDED; layout++)
            vary_type(g, dtype)->layout = layout;
        for (clf__kit_values values = KIT_PEAKY; values <= KIT_HUGE; values++)
            vary_type(g, dtype)->values = values;
        c = vary(g);
        c->dtype = dtype;
        c->causal = claims(g, CLF_TRAIT_CAUSAL);
        set_length(g, c, g->small ? 17 : 97, g->small ? 17 : 97);
        set_batch(c, 1, 2);
        c = vary(g);
        c->dtype = dtype;
        set_width(c, g->small ? 5 : g->narrow ? 37 : 111, g->small ? 5 : g->narrow ? 37 : 111);
        if (claims(g, CLF_TRAIT_ATTENTION_MASK)) {
            vary_mask(g, dtype, 0, 0)->dtype = dtype;
            vary_mask(g, dtype, 2, 0); /* with f32 queries */
            c = vary_mask(g, CLF_BOOL8, 2, 0);
            c->dtype = dtype;
            c->present |= entries(g, clf__kit_is_key_padding);
            c->layout = KIT_PADDED;
        }
    }
}

static void add_xformers(generator *g)
{
    if (!has_field(g, "semantics"))
        return;
    vary(g)->xformers = true;
    add_causal(g, true);
}

/* The part's own switches: every other value of booleans and enums, half of every number. */
static void add_own_fields(generator *g)
{
    const clf_field *fields = g->component->descriptor->config.fields;
    for (const clf_field *f = fields; f->name; f++) {
        if (f->field_class != CLF_OWN)
            continue;
        if (f->type == CLF_FIELD_BOOL) {
            clf__kit_case *c = vary(g);
            snprintf(c->own, sizeof c->own, ", \"%s\": %s", f->name, f->default_int ? "false" : "true");
        }
        for (int i = 0; f->type == CLF_FIELD_ENUM && f->choices[i]; i++) {
            clf__kit_case *c;
            if (i == f->default_int)
                continue;
            c = vary(g);
            snprintf(c->own, sizeof c->own, ", \"%s\": \"%s\"", f->name, f->choices[i]);
        }
        if (f->type == CLF_FIELD_INT && f->default_int >= 2 && (double)(f->default_int / 2) >= f->min) {
            clf__kit_case *c = vary(g);
            snprintf(c->own, sizeof c->own, ", \"%s\": %lld", f->name, (long long)(f->default_int / 2));
        }
    }
}

static clf__kit_case *vary_variant(generator *g, const char *members)
{
    clf__kit_case *c = vary(g);
    snprintf(c->own, sizeof c->own, ", %s", members);
    return c;
}

/* The configs that the part names: everything it claims, in a few cases, or in one on a simulator. */
static void add_variant(generator *g, const char *members)
{
    const bool drops = claims(g, CLF_TRAIT_DROPOUT);
    vary_variant(g, members)->what = KIT_DIFFERENCES;
    if (g->small) { /* all at once */
        clf__kit_case *all = vary_variant(g, members);
        all->present |= claims(g, CLF_TRAIT_KEY_PADDING_MASK) ? entries(g, clf__kit_is_key_padding) : 0;
        all->layout = KIT_TRANSPOSED;
        all->training = drops;
        all->dropout = drops ? 0.25f : 0;
        return;
    }
    vary_variant(g, members);
    clf__kit_case *c = vary_variant(g, members);
    set_length(g, c, g->small ? 17 : 97, g->small ? 17 : 97);
    c->layout = KIT_TRANSPOSED;
    c->training = drops;
    c->dropout = drops ? 0.25f : 0;
    for (clf_dtype dtype = CLF_F16; claims(g, CLF_TRAIT_LOW_PRECISION) && dtype <= CLF_BF16; dtype++) {
        c = vary_variant(g, members);
        c->dtype = dtype;
        c->layout = KIT_PADDED;
        c->training = drops && dtype == CLF_F16;
        c->dropout = c->training ? 0.5f : 0;
    }
    if (has_field(g, "semantics"))
        vary_variant(g, members)->xformers = true;
    if (claims(g, CLF_TRAIT_KEY_PADDING_MASK))
        for (int xformers = 0; xformers < (has_field(g, "semantics") ? 2 : 1); xformers++) {
            c = vary_variant(g, members);
            c->present |= entries(g, clf__kit_is_key_padding);
            c->layout = xformers ? KIT_CONTIGUOUS : KIT_EXPANDED;
            c->xformers = xformers;
        }
    if (claims(g, CLF_TRAIT_CROSS))
        set_length(g, vary_variant(g, members), g->small ? 13 : 97, g->small ? 9 : 33);
    if (claims(g, CLF_TRAIT_VALUE_WIDTH))
        set_width(vary_variant(g, members), KIT_EXTENT(&g->plain, 'D'), g->small ? 5 : 40);
    vary_variant(g, members)->values = KIT_PEAKY;
    for (uint32_t bit = 1, bits = entries(g, is_differentiable_input);
         g->component->descriptor->backward && bit && bit <= bits; bit <<= 1)
        if (bits & bit)
            vary_variant(g, members)->no_gradient = bits & ~bit;
}

static uint64_t pick(uint64_t *counter, uint64_t choices)
{
    return clf__kit_bits(2026, (*counter)++) % choices;
}

static void set_random_shape(generator *g, clf__kit_case *c, uint64_t *counter)
{
    static const int64_t lengths[] = { 1, 2, 15, 16, 17, 31, 32, 48, 63, 64, 65, 100, 128, 129, 200 };
    static const int64_t widths[] = { 1, 3, 16, 24, 32, 33, 48, 64, 72, 96, 100, 128, 160, 192, 255, 256 };
    const int64_t        q = lengths[pick(counter, 15)], k = lengths[pick(counter, 15)];
    const int64_t        d = widths[pick(counter, 16)], e = widths[pick(counter, 16)];
    set_length(g, c, q, claims(g, CLF_TRAIT_CROSS) && pick(counter, 2) ? k : q);
    set_width(c, d, claims(g, CLF_TRAIT_VALUE_WIDTH) && pick(counter, 3) == 0 ? e : d);
    set_batch(c, 1 + (int64_t)pick(counter, 3), 1 + (int64_t)pick(counter, 3));
}

static void add_random(generator *g)
{
    static const clf_dtype dtypes[] = { CLF_F32, CLF_F16, CLF_BF16 };
    static const clf_dtype masks[] = { CLF_BOOL8, CLF_U8, CLF_F32, CLF_F16, CLF_BF16 };
    const char *const     *variants = g->component->descriptor->variants;
    uint64_t               counter = 0;
    size_t                 count = 0;
    while (variants && variants[count])
        count++;
    for (int i = 0; i < RANDOM_COMBINATIONS; i++) {
        clf__kit_case *c = vary(g);
        c->slow = true;
        set_random_shape(g, c, &counter);
        c->dtype = dtypes[claims(g, CLF_TRAIT_LOW_PRECISION) ? pick(&counter, 3) : 0];
        c->causal = claims(g, CLF_TRAIT_CAUSAL) && pick(&counter, 2);
        c->xformers = has_field(g, "semantics") && pick(&counter, 4) == 0;
        if (claims(g, CLF_TRAIT_ATTENTION_MASK) && pick(&counter, 2)) {
            c->present |= entries(g, clf__kit_is_query_mask);
            c->mask_dtype = masks[pick(&counter, 5)];
            c->mask_drop = (int)pick(&counter, 3);
            c->mask_ones = (unsigned)pick(&counter, 2) << pick(&counter, 4);
        }
        if (claims(g, CLF_TRAIT_KEY_PADDING_MASK) && pick(&counter, 3) == 0)
            c->present |= entries(g, clf__kit_is_key_padding);
        c->training = claims(g, CLF_TRAIT_DROPOUT) && pick(&counter, 3) == 0;
        c->dropout = c->training ? 0.3f : 0;
        c->layout = (clf__kit_layout)pick(&counter, 4);
        c->values = pick(&counter, 5) ? KIT_NORMAL : KIT_PEAKY;
        const char *members = variants ? variants[(size_t)i % (count + 1)] : NULL;
        if (members) /* every config in turn, the default one too */
            snprintf(c->own, sizeof c->own, ", %s", members);
    }
}

static void add_rows(generator *g)
{
    clf__kit_case c;
    for (int i = 0; clf__kit_row(g->component, g->device, &g->plain, i, &c); i++) {
        set_length(g, &c, KIT_EXTENT(&c, 'Q'), KIT_EXTENT(&c, 'K'));
        add(g, &c);
    }
}

/* Of a part on the kernels of another one, only the first case of a group of features is not slow. */
static void add_group(generator *g, void (*add_cases)(generator *g))
{
    const size_t first = g->cases->count;

    add_cases(g);
    for (size_t i = first + 1; claims(g, CLF_TRAIT_DERIVED) && i < g->cases->count; i++)
        g->cases->list[i].slow = true;
}

/* From case `first` on, what runs on none of the programs of the cases before it is slow. Not so: short problems in
 * their plainest form, the part's own switches, and what the part refuses. */
static void judge(const generator *g, size_t first)
{
    clf__kit_case plain_and_short = g->plain;
    if (!claims(g, CLF_TRAIT_DERIVED))
        KIT_EXTENT(&plain_and_short, 'Q') = 1;
    for (size_t i = first; i < g->cases->count; i++) {
        clf__kit_case *c = &g->cases->list[i];
        bool known = c->own[0] || (clf__kit_needs(g->component, c) & ~g->component->descriptor->traits) ||
                     clf__kit_same_program(g->component, c, &plain_and_short);
        for (size_t row = 0; row < first && !known; row++)
            known = clf__kit_same_program(g->component, c, &g->cases->list[row]);
        c->slow = c->slow || !known;
    }
}

/* Of parts on the kernels of others a default run takes the first cases alone: a dozen such parts have to fit. */
static void spare(const generator *g)
{
    const int most = g->device == KIT_SIMULATOR ? 5 : g->device == KIT_RASTERISER ? 2 : 8;

    for (size_t i = 0, kept = 0; claims(g, CLF_TRAIT_DERIVED) && i < g->cases->count; i++) {
        kept += !g->cases->list[i].slow;
        g->cases->list[i].slow |= kept > (size_t)most;
    }
}

void clf__kit_generate(const clf_component *component, const clf_device_info *device, clf__kit_cases *cases)
{
    generator g = { .component = component, .cases = cases, .small = device->simulator, .narrow = device->software,
                    .device = device->simulator ? KIT_SIMULATOR : device->software ? KIT_RASTERISER : KIT_DEVICE };
    make_plain(&g);
    vary(&g)->every_family = !g.narrow;
    vary(&g)->what = KIT_CONFIG;
    vary(&g)->what = KIT_ARGUMENTS;
    vary(&g)->what = KIT_CONVENIENCE;
    vary(&g)->what = KIT_DIFFERENCES;
    add_rows(&g);
    const size_t first = cases->count;
    add_shapes(&g);
    add_group(&g, add_widths);
    add_lengths(&g, false, false);
    add_causal(&g, false);
    add_group(&g, add_masks);
    add_group(&g, add_padding);
    add_group(&g, add_dropout);
    add_group(&g, add_layouts_and_values);
    add_group(&g, add_presence);
    add_group(&g, add_low_precision);
    add_xformers(&g);
    add_own_fields(&g);
    for (const char *const *v = component->descriptor->variants; v && *v; v++)
        add_variant(&g, *v);
    judge(&g, first);
    if (!device->simulator)
        add_random(&g);
    spare(&g);
}
