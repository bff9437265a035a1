/* The programs that a default run compiles.
 *
 * Each combination of the features below is another program to compile, which takes a driver seconds, while a case
 * on a program that is there takes none. So a default run has these rows, in which every pair of features meets,
 * and of the other cases those that run on the rows' programs; the rest is for slow runs.
 */
#include "kit.h"

enum { NO_MASK = -1 };
enum { HAS_PADDING = 1, IS_CAUSAL = 2, HAS_DROPOUT = 4, DERIVED_TOO = 8, RASTERISER_TOO = 16, EVERY_FAMILY = 32,
       LONG = 64 };

/* Widths of q and k, and of v: on devices, on software rasterisers, on simulators. */
enum { PLAIN, ONE, FEW, ODD, MORE, WIDE_ODD, WIDE, WIDEST, LESS_VALUES, MORE_VALUES };

static const int64_t widths[][3][2] = {
    [PLAIN] = { { 64, 64 }, { 16, 16 }, { 8, 8 } },
    [ONE] = { { 1, 1 }, { 1, 1 }, { 1, 1 } },
    [FEW] = { { 8, 8 }, { 8, 8 }, { 4, 4 } },
    [ODD] = { { 59, 59 }, { 37, 37 }, { 5, 5 } },
    [MORE] = { { 80, 80 }, { 40, 40 }, { 20, 20 } },
    [WIDE_ODD] = { { 111, 111 }, { 59, 59 }, { 9, 9 } },
    [WIDE] = { { 128, 128 }, { 40, 40 }, { 16, 16 } },
    [WIDEST] = { { 256, 256 }, { 40, 40 }, { 40, 40 } },
    [LESS_VALUES] = { { 64, 40 }, { 40, 16 }, { 8, 5 } },
    [MORE_VALUES] = { { 40, 128 }, { 16, 40 }, { 5, 8 } },
};

/* Queries and keys of long problems, which reach into a second tile of keys. */
static const int64_t long_lengths[3][2] = { { 65, 97 }, { 65, 97 }, { 9, 37 } };

/* `mask`: type of the attention mask. Without the masks f16 for bf16 and bf16 for f16 all pairs of dtype, mask,
 * padding, causal order and dropout are here; tests/unit/rows.c counts. */
static const struct row {
    clf_dtype       dtype;
    int             mask;
    unsigned        flags;
    int             width;
    clf__kit_layout layout;
} rows[] = {
    { CLF_F32, NO_MASK, IS_CAUSAL | DERIVED_TOO | RASTERISER_TOO, PLAIN, KIT_CONTIGUOUS },
    { CLF_F32, CLF_BOOL8, RASTERISER_TOO, PLAIN, KIT_CONTIGUOUS },
    { CLF_F32, CLF_F32, IS_CAUSAL | DERIVED_TOO | RASTERISER_TOO, PLAIN, KIT_CONTIGUOUS },
    { CLF_F32, NO_MASK, HAS_DROPOUT, PLAIN, KIT_CONTIGUOUS },
    { CLF_F16, NO_MASK, IS_CAUSAL, PLAIN, KIT_CONTIGUOUS },
    { CLF_BF16, NO_MASK, HAS_PADDING | RASTERISER_TOO, PLAIN, KIT_CONTIGUOUS },
    { CLF_BF16, CLF_BOOL8, HAS_PADDING | HAS_DROPOUT | DERIVED_TOO | EVERY_FAMILY | LONG, ODD, KIT_TRANSPOSED },
    { CLF_F16, CLF_F16, HAS_PADDING | IS_CAUSAL | HAS_DROPOUT | DERIVED_TOO | RASTERISER_TOO | EVERY_FAMILY | LONG,
      WIDE_ODD, KIT_PADDED },
    { CLF_F32, CLF_BOOL8, HAS_PADDING | IS_CAUSAL | LONG, WIDE, KIT_EXPANDED },
    { CLF_F16, CLF_F32, HAS_PADDING, WIDEST, KIT_TRANSPOSED },
    { CLF_BF16, CLF_BF16, HAS_DROPOUT, MORE_VALUES, KIT_PADDED },
    { CLF_F32, CLF_F16, 0, ONE, KIT_CONTIGUOUS },
    { CLF_F16, CLF_BOOL8, HAS_DROPOUT, MORE, KIT_PADDED },
    { CLF_BF16, CLF_F32, IS_CAUSAL | HAS_DROPOUT, FEW, KIT_TRANSPOSED },
    { CLF_F32, CLF_BF16, HAS_PADDING | IS_CAUSAL | HAS_DROPOUT | RASTERISER_TOO | LONG, LESS_VALUES, KIT_PADDED },
};

/* The entries of the io table for which `test` holds, a bit each. */
static uint32_t entries(const clf_component *component, bool (*test)(const clf_io *io))
{
    uint32_t bits = 0;
    for (int i = 0; i < clf__kit_io_count(component); i++)
        if (!(component->descriptor->io[i].flags & CLF_IO_PRIVATE) && test(&component->descriptor->io[i]))
            bits |= 1u << i;
    return bits;
}

/* What the part does not claim is left out of the row. */
static clf__kit_case make(const clf_component *component, const struct row *row, clf__kit_device device,
                          const clf__kit_case *plain)
{
    const uint64_t traits = component->descriptor->traits;
    const int64_t *width = widths[row->width][device];
    clf__kit_case  c = *plain;
    if ((traits & CLF_TRAIT_LOW_PRECISION))
        c.dtype = row->dtype;
    if (row->mask != NO_MASK && (traits & CLF_TRAIT_ATTENTION_MASK)) {
        c.present |= entries(component, clf__kit_is_query_mask);
        c.mask_dtype = (clf_dtype)row->mask;
    }
    if ((row->flags & HAS_PADDING) && (traits & CLF_TRAIT_KEY_PADDING_MASK))
        c.present |= entries(component, clf__kit_is_key_padding);
    c.causal = (row->flags & IS_CAUSAL) && (traits & CLF_TRAIT_CAUSAL);
    c.training = (row->flags & HAS_DROPOUT) && (traits & CLF_TRAIT_DROPOUT);
    c.dropout = c.training ? 0.25f : 0;
    c.layout = row->layout;
    c.every_family = device == KIT_SIMULATOR || (device == KIT_DEVICE && (row->flags & EVERY_FAMILY) &&
                                                 !(traits & CLF_TRAIT_DERIVED));
    if ((row->flags & LONG) && (traits & CLF_TRAIT_CROSS)) {
        KIT_EXTENT(&c, 'B') = 1;
        KIT_EXTENT(&c, 'Q') = long_lengths[device][0];
        KIT_EXTENT(&c, 'K') = long_lengths[device][1];
    }
    KIT_EXTENT(&c, 'D') = width[0];
    KIT_EXTENT(&c, 'E') = traits & CLF_TRAIT_VALUE_WIDTH ? width[1] : width[0];
    return c;
}

bool clf__kit_row(const clf_component *component, clf__kit_device device, const clf__kit_case *plain, int number,
                  clf__kit_case *c)
{
    const int      count = sizeof rows / sizeof rows[0];
    const unsigned wanted = (component->descriptor->traits & CLF_TRAIT_DERIVED ? DERIVED_TOO : 0u) |
                            (device == KIT_RASTERISER ? RASTERISER_TOO : 0u);
    int            at = 0;
    for (; at < count; at++)
        if ((rows[at].flags & wanted) == wanted && number-- == 0)
            break;
    if (at < count)
        *c = make(component, &rows[at], device, plain);
    return at < count;
}

static int mask_class(const clf_component *component, const clf__kit_case *c)
{
    if (!(c->present & entries(component, clf__kit_is_query_mask)))
        return NO_MASK;
    return c->mask_dtype == CLF_U8 ? CLF_BOOL8 : (int)c->mask_dtype;
}

/* Kernels may be made for a few queries alone. */
static bool is_short(const clf__kit_case *c)
{
    return KIT_EXTENT(c, 'Q') < 9;
}

bool clf__kit_same_program(const clf_component *component, const clf__kit_case *a, const clf__kit_case *b)
{
    const uint32_t padding = entries(component, clf__kit_is_key_padding);
    return a->dtype == b->dtype && mask_class(component, a) == mask_class(component, b) &&
           (a->present & padding) == (b->present & padding) && a->causal == b->causal &&
           (a->training && a->dropout > 0) == (b->training && b->dropout > 0) &&
           KIT_EXTENT(a, 'D') == KIT_EXTENT(b, 'D') && KIT_EXTENT(a, 'E') == KIT_EXTENT(b, 'E') &&
           is_short(a) == is_short(b);
}
