/* The reference's own gradient against central differences of its own forward pass, all in double. */
#include "kit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double step = 1e-4;

/* sum of outputs times upstream gradients */
static clf_status loss_of(const clf__kit_problem *p, clf__kit_result *scratch, double *loss)
{
    const clf_status status = clf__kit_reference(p, CLF_FORWARD, -1, scratch);
    *loss = 0;
    for (int i = 0; i < CLF_MAX_IO && !status; i++)
        for (int64_t e = 0; p->upstream[i] && e < clf_tensor_elements(&p->io[i].tensor); e++)
            *loss += scratch->io[i][e] * p->upstream[i][e];
    return status;
}

/* Compares the gradient of `count` values at `value`. */
static clf__kit_verdict check_values(clf__kit_check *check, const clf__kit_problem *p, clf__kit_result *scratch,
                                     const char *name, double *value, const double *gradient, int64_t count)
{
    for (int64_t e = 0; e < count; e++) {
        const double original = value[e];
        double       loss[2], expected;
        clf_status   status = CLF_SUCCESS;
        if (!isfinite(original))
            continue;
        for (int side = 0; side < 2 && !status; side++) {
            value[e] = original + (side ? step : -step);
            status = loss_of(p, scratch, &loss[side]);
        }
        value[e] = original;
        if (status)
            return clf__kit_finding(check, "the reference failed: %s", clf_status_name(status));
        expected = (loss[1] - loss[0]) / (2 * step);
        if (!(fabs(gradient[e] - expected) <= 1e-6 * fmax(1, fabs(expected))))
            return clf__kit_finding(check, "gradient of %s: element %lld is %.9g in the reference, %.9g by differences",
                                    name, (long long)e, gradient[e], expected);
    }
    return KIT_PASSED;
}

/* Everything that the part claims, on a handful of numbers. */
static clf__kit_case tiny_case(const clf_component *component, const clf__kit_case *from)
{
    const uint64_t traits = component->descriptor->traits;
    clf__kit_case  c = *from;
    for (int i = 0; i < 26; i++)
        c.extent[i] = 2;
    KIT_EXTENT(&c, 'Q') = KIT_EXTENT(&c, 'K') = KIT_EXTENT(&c, 'N') = KIT_EXTENT(&c, 'S') = 4;
    KIT_EXTENT(&c, 'W') = 4; /* tables of expressions */
    if ((traits & CLF_TRAIT_CROSS) && !c.own[0]) /* some configs want as many queries as keys */
        KIT_EXTENT(&c, 'Q') = 3;
    KIT_EXTENT(&c, 'D') = KIT_EXTENT(&c, 'E') = 3;
    if (traits & CLF_TRAIT_VALUE_WIDTH)
        KIT_EXTENT(&c, 'E') = 2;
    c.causal = traits & CLF_TRAIT_CAUSAL;
    c.training = traits & CLF_TRAIT_DROPOUT;
    c.dropout = c.training ? 0.2f : 0;
    c.mask_dtype = CLF_F32;
    for (int i = 0; i < clf__kit_io_count(component); i++) {
        const clf_io *io = &component->descriptor->io[i];
        if ((clf__kit_is_query_mask(io) && (traits & CLF_TRAIT_ATTENTION_MASK)) ||
            (clf__kit_is_key_padding(io) && (traits & CLF_TRAIT_KEY_PADDING_MASK)))
            c.present |= 1u << i;
    }
    return c;
}

clf__kit_verdict clf__kit_check_differences(clf__kit_check *check)
{
    const clf_descriptor *descriptor = check->component->descriptor;
    const clf__kit_case   c = tiny_case(check->component, check->c);
    clf__kit_problem      p;
    clf__kit_result       gradient = { .io = { NULL } }, scratch = { .io = { NULL } };
    clf__kit_verdict      verdict = KIT_PASSED;
    double               *frozen = NULL;
    clf_status            status = clf__kit_problem_make(check->device, check->component, &c, &p);
    if (status) {
        verdict = clf__kit_stopped(check, "creating", status);
        goto end;
    }
    if (!p.backward || !clf__kit_has_reference(check->component))
        goto end;
    p.frozen = &frozen;
    status = clf__kit_result_make(&p, &gradient);
    if (!status)
        status = clf__kit_result_make(&p, &scratch);
    if (!status)
        status = clf__kit_reference(&p, CLF_FORWARD | CLF_BACKWARD, -1, &gradient);
    if (status)
        verdict = clf__kit_finding(check, "the reference failed: %s", clf_status_name(status));
    for (int i = 0; i < CLF_MAX_IO && verdict == KIT_PASSED; i++)
        if (gradient.grad[i])
            verdict = check_values(check, &p, &scratch, descriptor->io[i].name, p.value[i], gradient.grad[i],
                                   clf_tensor_elements(&p.io[i].tensor));
    for (int i = 0; i < p.parameters && verdict == KIT_PASSED; i++)
        if (gradient.parameter_grad[i])
            verdict = check_values(check, &p, &scratch, descriptor->parameters[i].name, p.parameter_value[i],
                                   gradient.parameter_grad[i], clf_tensor_elements(&p.parameter[i]));
end:
    free(frozen);
    clf__kit_result_free(&gradient);
    clf__kit_result_free(&scratch);
    clf__kit_problem_free(&p);
    return verdict;
}
