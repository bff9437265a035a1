/* The known-answer problem: made, and answered by a reference. */
#include "registry/answer.h"
#include "component/check.h"
#include "component/instance.h"
#include "core/status.h"
#include "core/text.h"
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { HEADS = 2, LENGTH = 9, WIDTH = 8 }; /* the length is a square, for images */
enum { PARAMETERS = 16 }; /* slot of the first parameter among the weights of the sum */

static int64_t extent_of(char axis)
{
    switch (toupper((unsigned char)axis)) {
    case 'B':
    case 'H':
        return HEADS;
    case 'Q':
    case 'K':
    case 'N':
    case 'S':
        return LENGTH;
    case 'M':
        return (int64_t)HEADS * WIDTH;
    default:
        return WIDTH;
    }
}

/* ---- numbers: rounded to float, so that a device gets what the reference sees --------------------------- */

static double input_value(const clf_io *io, int slot, int64_t i)
{
    if (io->io_class == CLF_IO_INDEX)
        return (double)(i % 4);
    if (io->io_class == CLF_IO_BOOLEAN || io->io_class == CLF_IO_MASK)
        return i % 3 != 1;
    return (double)(float)sin(1 + 17.0 * slot + 0.61 * (double)i);
}

static double upstream_value(int slot, int64_t i)
{
    return (double)(float)cos(2 + 11.0 * slot + 0.37 * (double)i);
}

static double weight(int slot, int64_t i)
{
    return sin(3.0 + 5 * slot + 0.7 * (double)i * (double)i);
}

/* ---- making it ------------------------------------------------------------------------------------------ */

/* A value for a required field: the part's own limits are all that is known. */
static void add_required(clf__text *json, const clf_field *f)
{
    const double low = f->min, high = f->max;

    if (f->type == CLF_FIELD_INT)
        clf__text_add(json, ", \"%s\": %.0f", f->name, low > WIDTH ? low : high > 0 && high < WIDTH ? high : WIDTH);
    else if (f->type == CLF_FIELD_FLOAT)
        clf__text_add(json, ", \"%s\": %g", f->name, high > low ? (low + high) / 2 : low + 1);
    else if (f->type == CLF_FIELD_BOOL)
        clf__text_add(json, ", \"%s\": true", f->name);
    else if (f->type == CLF_FIELD_ENUM)
        clf__text_add(json, ", \"%s\": \"%s\"", f->name, f->choices[0]);
}

static clf_status make_config(clf__problem *p)
{
    static const struct { const char *name; int value; } hints[] = {
        { "num_heads", HEADS }, { "dim_head", WIDTH }, { "dim_model", HEADS * WIDTH }, { "seq_len", LENGTH },
        { "to_seq_len", LENGTH },
    };
    const clf_descriptor *descriptor = p->component->descriptor;
    const char *own = descriptor->answer.config ? descriptor->answer.config : "";
    clf__text json = { 0 };
    clf_status status;

    clf__text_add(&json, "{\"name\": \"%s\"%s%s", p->component->name, own[0] ? ", " : "", own);
    for (size_t i = 0; i < sizeof hints / sizeof hints[0]; i++)
        if (clf_schema_find(&descriptor->config, hints[i].name) && !strstr(own, hints[i].name))
            clf__text_add(&json, ", \"%s\": %d", hints[i].name, hints[i].value);
    for (const clf_field *f = descriptor->config.fields; f && f->name; f++)
        if (f->required && json.data && !strstr(json.data, f->name))
            add_required(&json, f);
    clf__text_add(&json, "}");
    status = json.failed ? clf__no_memory(json.length)
                         : clf_component_config(p->component, json.data, NULL, NULL, &p->config);
    clf__text_free(&json);
    if (status || (status = clf_config_copy(&descriptor->config, p->config, &p->resolved)))
        return status;
    return clf__resolve(p->component, p->resolved, NULL);
}

static clf_status make_array(int64_t count, double **array)
{
    *array = calloc((size_t)count + 1, sizeof **array);
    return *array ? CLF_SUCCESS : clf__no_memory((size_t)count * sizeof **array);
}

static clf_status make_tensor(clf__problem *p, const clf_io *io, int slot)
{
    const bool output = io->role == CLF_OUTPUT, gradient = (io->flags & CLF_IO_DIFFERENTIABLE) && p->passes != CLF_FORWARD;
    const clf_dtype dtype = io->io_class == CLF_IO_INDEX ? CLF_I32
                          : io->io_class == CLF_IO_BOOLEAN || io->io_class == CLF_IO_MASK ? CLF_BOOL8 : CLF_F32;
    int64_t shape[CLF_MAX_RANK] = { 0 }, count = 1;
    int rank = 0;
    clf_status status;

    if (io->flags & CLF_IO_OPTIONAL)
        return CLF_SUCCESS;
    for (; rank < CLF_MAX_RANK && io->axes[rank]; rank++)
        count *= shape[rank] = extent_of(io->axes[rank]);
    p->args.io[slot] = clf_tensor_view(NULL, dtype, rank, shape);
    if (gradient)
        p->args.grad[slot] = p->args.io[slot];
    if ((status = make_array(count, &p->io[slot])) || (gradient && (status = make_array(count, &p->grad[slot]))))
        return status;
    for (int64_t i = 0; i < count; i++) {
        p->io[slot][i] = output ? (double)NAN : input_value(io, slot, i);
        if (gradient)
            p->grad[slot][i] = output ? upstream_value(slot, i) : (double)NAN;
    }
    return CLF_SUCCESS;
}

clf_status clf__problem_make(const clf_component *component, clf__problem *p)
{
    int count;
    const clf_io *io = clf__io(component, &count);
    clf_status status;

    *p = (clf__problem){ .component = component, .args = { .size = sizeof p->args } };
    p->passes = component->descriptor->backward ? CLF_FORWARD | CLF_BACKWARD : CLF_FORWARD;
    status = make_config(p);
    for (int i = 0; i < count && !status; i++)
        status = make_tensor(p, &io[i], i);
    for (int i = 0; i < CLF_MAX_PARAMETERS && !status; i++) {
        const clf_parameter *parameter = &clf__parameters(component)[i];
        int64_t shape[CLF_MAX_RANK] = { 0 };
        int rank = 0;
        if (!parameter->name)
            break;
        parameter->shape(p->resolved, &rank, shape);
        if (rank == 0)
            continue;
        p->shape[i] = clf_tensor_view(NULL, parameter->dtype ? parameter->dtype : CLF_F32, rank, shape);
        if (p->passes != CLF_FORWARD)
            status = make_array(clf_tensor_elements(&p->shape[i]), &p->parameter_grad[i]);
    }
    if (status)
        clf__problem_free(p);
    return status;
}

void clf__problem_free(clf__problem *p)
{
    for (int i = 0; i < CLF_MAX_IO; i++) {
        free(p->io[i]);
        free(p->grad[i]);
    }
    for (int i = 0; i < CLF_MAX_PARAMETERS; i++)
        free(p->parameter_grad[i]);
    if (p->component) {
        clf_config_free(&p->component->descriptor->config, p->config);
        clf_config_free(&p->component->descriptor->config, p->resolved);
    }
    memset(p, 0, sizeof *p);
}

/* ---- summing up ------------------------------------------------------------------------------------------- */

typedef struct sums {
    double weighted, squares, count;
} sums;

static void add(sums *s, int slot, const double *values, int64_t count)
{
    for (int64_t i = 0; values && i < count; i++) {
        s->weighted += weight(slot, i) * values[i];
        s->squares += values[i] * values[i];
        s->count++;
    }
}

double clf__problem_sum(const clf__problem *p, int pass, double *rms)
{
    int count;
    const clf_io *io = clf__io(p->component, &count);
    const bool forward = pass == CLF_FORWARD;
    sums s = { 0 };

    for (int i = 0; i < count; i++)
        if ((io[i].role == CLF_OUTPUT) == forward)
            add(&s, i, forward ? p->io[i] : p->grad[i], clf_tensor_elements(&p->args.io[i]));
    for (int i = 0; i < CLF_MAX_PARAMETERS && !forward; i++)
        add(&s, PARAMETERS + i, p->parameter_grad[i], clf_tensor_elements(&p->shape[i]));
    *rms = s.count > 0 ? sqrt(s.squares / s.count) : 0;
    return s.count > 0 ? s.weighted / sqrt(s.count) : 0;
}

/* ---- by the reference ------------------------------------------------------------------------------------- */

/* Initial values of a parameter or buffer as the instance has them, in double. */
static clf_status make_values(const clf__problem *p, const clf_parameter *what, bool buffer, double **values)
{
    int64_t shape[CLF_MAX_RANK] = { 0 };
    int rank = 0;
    void *made = NULL;
    clf_status status;

    what->shape(p->resolved, &rank, shape);
    const clf_tensor view = clf_tensor_view(NULL, CLF_F64, rank, shape);
    const int64_t count = rank ? clf_tensor_elements(&view) : 0;
    if (count == 0)
        return CLF_SUCCESS;
    status = clf__initial_values(p->component, p->resolved, what, buffer, CLF_F64, rank, shape, count, CLF__PROBLEM_SEED,
                                 &made);
    *values = made;
    for (int64_t i = 0; i < count && !status; i++)
        (*values)[i] = (double)(float)(*values)[i];
    return status;
}

clf_status clf__problem_refer(clf__problem *p, clf_status (*reference)(const clf_reference *reference))
{
    const clf_descriptor *descriptor = p->component->descriptor;
    void *config = NULL;
    clf_reference r = { .size = sizeof r, .args = &p->args, .pass = p->passes, .storage = CLF_F64 };
    clf_status status = clf_config_copy(&descriptor->config, p->config, &config);

    if (!status)
        status = clf__resolve(p->component, config, &p->args);
    r.config = config;
    memcpy(r.io, p->io, sizeof r.io);
    memcpy(r.grad, p->grad, sizeof r.grad);
    memcpy(r.parameter_grad, p->parameter_grad, sizeof r.parameter_grad);
    for (int i = 0; i < CLF_MAX_PARAMETERS && clf__parameters(p->component)[i].name && !status; i++)
        status = make_values(p, &clf__parameters(p->component)[i], false, &r.parameter[i]);
    for (int i = 0; i < CLF_MAX_PARAMETERS && clf__buffers(p->component)[i].name && !status; i++)
        status = make_values(p, &clf__buffers(p->component)[i], true, &r.buffer[i]);
    if (!status)
        status = reference(&r);
    for (int i = 0; i < CLF_MAX_PARAMETERS; i++) {
        free(r.parameter[i]);
        free(r.buffer[i]);
    }
    clf_config_free(&descriptor->config, config);
    return status;
}

clf_status clf_component_answer(const clf_component *component, clf_status (*reference)(const clf_reference *reference),
                                clf_answer *answer)
{
    clf__problem problem;
    double rms;
    clf_status status;

    if (!component || !reference || !answer)
        return clf__fail(CLF_INVALID_VALUE, "argument '%s' is NULL",
                         !component ? "component" : !reference ? "reference" : "answer");
    *answer = (clf_answer){ 0 };
    if ((status = clf__problem_make(component, &problem)))
        return status;
    status = clf__problem_refer(&problem, reference);
    if (!status)
        answer->forward = clf__problem_sum(&problem, CLF_FORWARD, &rms);
    if (!status && problem.passes != CLF_FORWARD)
        answer->backward = clf__problem_sum(&problem, CLF_BACKWARD, &rms);
    clf__problem_free(&problem);
    return status;
}
