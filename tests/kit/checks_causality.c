/* Causality, exactly: what lies in the future of a row cannot change a bit of it. */
#include "kit.h"

#include <stdlib.h>
#include <string.h>

/* First index along the sequence that is changed in an input; -1 when the tensor has no such axis. */
static int64_t place_in_sequence(const clf__kit_problem *p, int slot, int64_t i, int64_t shift, int64_t *position)
{
    static const char letters[] = { 'K', 'Q', 'N', 'S' };
    for (int l = 0; l < 4; l++) {
        const int64_t index = clf__kit_index(p, slot, i, letters[l]);
        if (index < 0)
            continue;
        *position = letters[l] == 'K' ? index - shift : index; /* the query that sees this key first */
        return index;
    }
    return -1;
}

/* Replaces everything from row `from` on by other numbers; returns how many elements changed. */
static int64_t change_future(clf__kit_problem *p, int64_t from, int64_t shift)
{
    int64_t changed = 0, position = 0;
    for (int slot = 0; slot < clf__kit_io_count(p->component); slot++) {
        const clf_io *io = &p->component->descriptor->io[slot];
        for (int64_t i = 0; io->role == CLF_INPUT && io->io_class == CLF_IO_FLOATING && p->io[slot].tensor.rank &&
                            i < clf_tensor_elements(&p->io[slot].tensor);
             i++)
            if (place_in_sequence(p, slot, i, shift, &position) >= 0 && position >= from) {
                clf__kit_image_set(&p->io[slot], i, 100 * clf__kit_normal(77, (uint64_t)i));
                changed++;
            }
    }
    return changed;
}

/* The output whose earlier rows differ from the kept run, or NULL. */
static const char *past_differs(const clf__kit_problem *p, int64_t from)
{
    int64_t position = 0;
    for (int slot = 0; slot < clf__kit_io_count(p->component); slot++) {
        const clf_io         *io = &p->component->descriptor->io[slot];
        const clf__kit_image *image = &p->io[slot];
        const size_t          element = clf_dtype_size(image->tensor.dtype);
        for (int64_t i = 0; io->role == CLF_OUTPUT && image->tensor.rank && i < clf_tensor_elements(&image->tensor); i++) {
            const size_t at = clf__kit_image_place(image, i);
            if (place_in_sequence(p, slot, i, 0, &position) >= 0 && position < from &&
                memcmp(image->after + at, image->kept + at, element) != 0)
                return io->name;
        }
    }
    return NULL;
}

clf__kit_verdict clf__kit_check_causality(clf__kit_check *check, clf__kit_problem *p, clf_plan *plan,
                                          clf__kit_result *scratch)
{
    const clf__kit_case *c = p->c;
    const int64_t        queries = KIT_EXTENT(c, 'Q'), keys = KIT_EXTENT(c, 'K');
    const int64_t        shift = c->xformers ? 0 : keys - queries; /* top-left or bottom-right */
    const int64_t        from = (queries + 1) / 2;
    unsigned char       *original[CLF_MAX_IO] = { NULL };
    clf_status           status = CLF_SUCCESS;
    clf__kit_verdict     verdict = KIT_PASSED;
    const char          *name;
    char                 why[256] = "";

    for (int i = 0; i < CLF_MAX_IO && !status; i++) {
        if (!p->io[i].bytes)
            continue;
        original[i] = malloc(p->io[i].bytes);
        if (!original[i])
            status = CLF_OUT_OF_HOST_MEMORY;
        else
            memcpy(original[i], p->io[i].before, p->io[i].bytes);
    }
    if (!status && change_future(p, from, shift)) {
        status = clf__kit_execute(p, plan, CLF_FORWARD, scratch, why, sizeof why);
        name = status ? NULL : past_differs(p, from);
        if (name)
            verdict = clf__kit_finding(check, "family %s: %s before row %lld changes with inputs behind it",
                                       clf_plan_get_info(plan).family, name, (long long)from);
    }
    if (status)
        verdict = clf__kit_finding(check, "causality: %s: %s", clf_status_name(status), clf_error_message());
    for (int i = 0; i < CLF_MAX_IO; i++) {
        if (original[i])
            memcpy(p->io[i].before, original[i], p->io[i].bytes);
        free(original[i]);
    }
    return verdict;
}
