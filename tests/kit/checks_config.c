/* The config schema of a part: round trip, and every way to get a field wrong. */
#include "kit.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Parses `json`; the config is freed at once. */
static clf_status try_config(const clf_component *component, const char *json)
{
    void            *config = NULL;
    const clf_status status = clf_component_config(component, json, NULL, NULL, &config);
    clf_config_free(&component->descriptor->config, config);
    return status;
}

/* The case's config with one more member at the front, where a later one of the same name is left out. */
static void config_with(const clf__kit_check *check, const char *name, const char *value, char *json, size_t size)
{
    const clf_component *component = check->component;
    char                 plain[512], pattern[80];
    char                *found;
    clf__kit_config_json(component, check->c, plain, sizeof plain);
    snprintf(pattern, sizeof pattern, ", \"%s\": ", name);
    found = strstr(plain, pattern);
    if (found) { /* cut it out: members end at a comma or at the closing brace */
        const char *rest = found + strlen(pattern);
        rest += strcspn(rest, ",}");
        memmove(found, rest, strlen(rest) + 1);
    }
    snprintf(json, size, "{\"%s\": %s, %s", name, value, plain + 1);
}

static clf__kit_verdict expect_error(clf__kit_check *check, const char *name, const char *value, clf_status wanted,
                                     clf_status or_else)
{
    char       json[700];
    clf_status status;
    config_with(check, name, value, json, sizeof json);
    status = try_config(check->component, json);
    if (status != wanted && status != or_else)
        return clf__kit_finding(check, "\"%s\": %s gives %s, expected %s", name, value, clf_status_name(status),
                                clf_status_name(wanted));
    if (!strstr(clf_error_message(), name))
        return clf__kit_finding(check, "\"%s\": %s: the message does not name the field: %s", name, value,
                                clf_error_message());
    return KIT_PASSED;
}

static clf__kit_verdict check_types(clf__kit_check *check, const clf_field *f)
{
    static const char *const values[] = { "true", "\"text\"", "1.5", "7", "[1, \"x\"]", "{\"x\": 1}" };
    static const unsigned    right[] = { /* values that are of the type */
                                      [CLF_FIELD_INT] = 1 << 3,
                                      [CLF_FIELD_FLOAT] = 1 << 2 | 1 << 3,
                                      [CLF_FIELD_BOOL] = 1 << 0,
                                      [CLF_FIELD_ENUM] = 1 << 1,
                                      [CLF_FIELD_STRING] = 1 << 1,
                                      [CLF_FIELD_TENSOR] = 1 << 2 | 1 << 3,
                                      [CLF_FIELD_COMPONENT] = 0 };
    clf__kit_verdict         verdict = KIT_PASSED;
    for (unsigned i = 0; i < sizeof values / sizeof values[0] && verdict == KIT_PASSED; i++)
        if (!(right[f->type] & (1u << i)))
            verdict = expect_error(check, f->name, values[i], CLF_INVALID_CONFIG,
                                   f->type == CLF_FIELD_COMPONENT ? CLF_MISSING_KEY : CLF_INVALID_CONFIG);
    return verdict;
}

static clf__kit_verdict check_range(clf__kit_check *check, const clf_field *f)
{
    char             value[64];
    clf__kit_verdict verdict = KIT_PASSED;
    if (f->type == CLF_FIELD_ENUM)
        return expect_error(check, f->name, "\"no such choice\"", CLF_OUT_OF_RANGE, CLF_OUT_OF_RANGE);
    if (f->type != CLF_FIELD_INT && f->type != CLF_FIELD_FLOAT)
        return KIT_PASSED;
    snprintf(value, sizeof value, "%.17g", f->min - 1);
    verdict = expect_error(check, f->name, value, CLF_OUT_OF_RANGE, CLF_OUT_OF_RANGE);
    if (verdict == KIT_PASSED && f->max != 0) {
        snprintf(value, sizeof value, "%.17g", f->max + 1);
        verdict = expect_error(check, f->name, value, CLF_OUT_OF_RANGE, CLF_OUT_OF_RANGE);
    }
    return verdict;
}

/* null is as good as absent, except for what is required. */
static clf__kit_verdict check_null(clf__kit_check *check, const clf_field *f)
{
    char       json[700];
    clf_status status;
    if (f->required)
        return expect_error(check, f->name, "null", CLF_MISSING_KEY, CLF_MISSING_KEY);
    config_with(check, f->name, "null", json, sizeof json);
    status = try_config(check->component, json);
    return status ? clf__kit_finding(check, "\"%s\": null: %s: %s", f->name, clf_status_name(status), clf_error_message())
                  : KIT_PASSED;
}

static clf__kit_verdict check_round_trip(clf__kit_check *check)
{
    const clf_schema *schema = &check->component->descriptor->config;
    char              json[512];
    char             *first = NULL, *second = NULL;
    void             *config = NULL, *again = NULL;
    clf__kit_verdict  verdict = KIT_PASSED;
    clf_status        status;
    clf__kit_config_json(check->component, check->c, json, sizeof json);
    status = clf_component_config(check->component, json, NULL, NULL, &config);
    first = status ? NULL : clf_config_print(schema, config);
    if (first)
        status = clf_component_config(check->component, first, NULL, NULL, &again);
    second = again ? clf_config_print(schema, again) : NULL;
    if (status || !first || !second)
        verdict = clf__kit_finding(check, "config: %s: %s", clf_status_name(status), clf_error_message());
    else if (strcmp(first, second) != 0)
        verdict = clf__kit_finding(check, "a config printed and parsed again differs: %s and %s", first, second);
    clf_free(first);
    clf_free(second);
    clf_config_free(schema, config);
    clf_config_free(schema, again);
    return verdict;
}

/* The known answer that the library compares with is what the reference gives. */
static clf__kit_verdict check_answer(clf__kit_check *check)
{
    const clf_descriptor *descriptor = check->component->descriptor;
    const clf_answer     *told = &descriptor->answer;
    clf_answer            right;
    clf_status            status;
    if (descriptor->reference || !clf__kit_has_reference(check->component))
        return KIT_PASSED;
    status = clf_component_answer(check->component, clf__kit_find_reference(check->component), &right);
    if (status)
        return clf__kit_finding(check, "the known-answer problem needs members in the descriptor's .answer.config: %s: %s",
                                clf_status_name(status), clf_error_message());
    if (fabs(told->forward - right.forward) <= 1e-5 * fabs(right.forward) &&
        fabs(told->backward - right.backward) <= 1e-5 * fabs(right.backward))
        return KIT_PASSED;
    return clf__kit_finding(check, "the descriptor needs .answer = { .forward = %.7g, .backward = %.7g }", right.forward,
                            right.backward);
}

/* What brings the part nearer to exact attention is a whole number. */
static clf__kit_verdict check_knob(clf__kit_check *check)
{
    const clf_descriptor *descriptor = check->component->descriptor;
    const clf_field      *field = descriptor->knob ? clf_schema_find(&descriptor->config, descriptor->knob) : NULL;
    if (!descriptor->knob || (field && field->type == CLF_FIELD_INT))
        return KIT_PASSED;
    return clf__kit_finding(check, "the descriptor's knob '%s' is no int field", descriptor->knob);
}

clf__kit_verdict clf__kit_check_config(clf__kit_check *check)
{
    const clf_descriptor *descriptor = check->component->descriptor;
    clf__kit_verdict      verdict = check_round_trip(check);
    if (verdict == KIT_PASSED)
        verdict = expect_error(check, "zqxj_unknown", "1", CLF_UNKNOWN_KEY, CLF_UNKNOWN_KEY);
    if (verdict == KIT_PASSED && try_config(check->component, "{\"name\": ") != CLF_INVALID_CONFIG)
        verdict = clf__kit_finding(check, "half a JSON object is not CLF_INVALID_CONFIG");
    for (const clf_field *f = descriptor->config.fields; f->name && verdict == KIT_PASSED; f++) {
        verdict = check_types(check, f);
        if (verdict == KIT_PASSED)
            verdict = check_range(check, f);
        if (verdict == KIT_PASSED)
            verdict = check_null(check, f);
        if (verdict == KIT_PASSED && (!f->doc || !f->doc[0]))
            verdict = clf__kit_finding(check, "field '%s' has no doc line", f->name);
    }
    if (verdict == KIT_PASSED && (!descriptor->summary || !descriptor->summary[0]))
        verdict = clf__kit_finding(check, "the descriptor has no summary");
    if (verdict == KIT_PASSED)
        verdict = check_knob(check);
    if (verdict == KIT_PASSED)
        verdict = check_answer(check);
    return verdict;
}
