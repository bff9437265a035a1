/* The selector grammar, on a list of devices: no OpenCL call in here.
 *
 *   selectors = selector { ";" selector }        each must match
 *   selector  = "all" | part | part ":" part     <platform>[:<device>]
 *   part      = number | cpu | gpu | accelerator | any | substring
 */
#include "device/list.h"

#include "core/status.h"
#include "core/text.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST_PART = 127 };

static const struct {
    const char    *word;
    cl_device_type type;
} type_words[] = {
    { "cpu", CL_DEVICE_TYPE_CPU },
    { "gpu", CL_DEVICE_TYPE_GPU },
    { "accelerator", CL_DEVICE_TYPE_ACCELERATOR },
    { "custom", CL_DEVICE_TYPE_CUSTOM },
};
enum { TYPE_WORDS = sizeof type_words / sizeof type_words[0], SELECTABLE_TYPES = 3 };

void clf__type_text(cl_device_type type, char *text)
{
    text[0] = '\0';
    for (int i = 0; i < TYPE_WORDS; i++)
        if (type & type_words[i].type) {
            if (text[0])
                strcat(text, "|");
            strcat(text, type_words[i].word);
        }
    if (!text[0])
        strcpy(text, "other");
}

typedef enum part_kind {
    PART_ANY,
    PART_NUMBER,
    PART_TYPE,
    PART_TEXT
} part_kind;

typedef struct part {
    part_kind      kind;
    long           number;
    cl_device_type type;
    char           text[LONGEST_PART + 1];
} part;

static clf_status parse_part(const char *begin, const char *end, const char *selector, part *result)
{
    size_t length;

    while (begin < end && isspace((unsigned char)*begin))
        begin++;
    while (end > begin && isspace((unsigned char)end[-1]))
        end--;
    length = (size_t)(end - begin);
    if (length == 0)
        return clf__fail(CLF_INVALID_SELECTOR, "device selector '%s': a part is empty ('any' matches everything)",
                         selector);
    if (length > LONGEST_PART)
        return clf__fail(CLF_INVALID_SELECTOR, "device selector '%s': a part has %zu characters, more than %d",
                         selector, length, LONGEST_PART);
    memcpy(result->text, begin, length);
    result->text[length] = '\0';

    if (strspn(result->text, "0123456789") == length) {
        result->kind = PART_NUMBER;
        result->number = length < 10 ? strtol(result->text, NULL, 10) : -2; /* too long: matches nothing */
        return CLF_SUCCESS;
    }
    if (clf__equal_ignore_case(result->text, "any") || clf__equal_ignore_case(result->text, "all")) {
        result->kind = PART_ANY;
        return CLF_SUCCESS;
    }
    for (int i = 0; i < SELECTABLE_TYPES; i++)
        if (clf__equal_ignore_case(result->text, type_words[i].word)) {
            result->kind = PART_TYPE;
            result->type = type_words[i].type;
            return CLF_SUCCESS;
        }
    result->kind = PART_TEXT;
    return CLF_SUCCESS;
}

static bool matches(const part *what, int number, const char *name, const char *vendor, const clf_device_info *info)
{
    switch (what->kind) {
    case PART_NUMBER:
        return number == what->number;
    case PART_TYPE:
        return (info->type & what->type) != 0;
    case PART_TEXT:
        return clf__contains_ignore_case(name, what->text) || clf__contains_ignore_case(vendor, what->text);
    default:
        return true;
    }
}

typedef struct selector_parts {
    part platform, device;
    bool has_device;
} selector_parts;

static bool platform_matches(const part *what, const clf_device_info *info)
{
    return matches(what, info->platform_index, info->platform, info->platform_vendor, info);
}

static bool device_matches(const part *what, const clf_device_info *info)
{
    return matches(what, info->device_index, info->name, info->vendor, info);
}

static bool selector_matches(const selector_parts *parts, const clf_device_info *info)
{
    bool platform = platform_matches(&parts->platform, info);

    if (parts->has_device)
        return platform && device_matches(&parts->device, info);
    /* a lone number is a platform, a lone text may be either */
    return platform || (parts->platform.kind == PART_TEXT && device_matches(&parts->platform, info));
}

static clf_status parse_selector(const char *begin, const char *end, const char *selector, selector_parts *parts)
{
    const char *colon = memchr(begin, ':', (size_t)(end - begin));
    clf_status status = parse_part(begin, colon ? colon : end, selector, &parts->platform);

    parts->has_device = colon != NULL;
    if (status || !colon)
        return status;
    if (memchr(colon + 1, ':', (size_t)(end - colon - 1)))
        return clf__fail(CLF_INVALID_SELECTOR, "device selector '%s': more than one ':' (it is <platform>[:<device>])",
                         selector);
    return parse_part(colon + 1, end, selector, &parts->device);
}

/* CLF_DEVICE_NOT_FOUND with "<what>; there are: ...". */
static clf_status miss(const clf_device_info *infos, size_t count, const char *what)
{
    clf__text list = { 0 };
    clf_status status;

    for (size_t i = 0; i < count; i++) {
        char type[64];

        clf__type_text(infos[i].type, type);
        clf__text_add(&list, "%s\n  %d:%d  %s (%s, %s)", i ? "" : "; there are:", infos[i].platform_index,
                      infos[i].device_index, infos[i].name, infos[i].platform, type);
    }
    status = clf__fail(CLF_DEVICE_NOT_FOUND, "%s%s", what, list.data ? list.data : "; there is none at all");
    clf__text_free(&list);
    return status;
}

static clf_status miss_selector(const clf_device_info *infos, size_t count, const char *begin, const char *end)
{
    char what[LONGEST_PART * 2 + 64];

    (void)snprintf(what, sizeof what, "no device matches '%.*s'", (int)(end - begin), begin);
    return miss(infos, count, what);
}

/* Ranked ones first by rank, then simulators last, else as they come. */
static bool is_better(const clf_device_info *a, const clf_device_info *b)
{
    if (a->rank >= 0 && b->rank >= 0)
        return a->rank < b->rank;
    if (a->rank >= 0 || b->rank >= 0)
        return a->rank >= 0;
    return !a->simulator && b->simulator;
}

/* Appends the matches of one selector that are not chosen yet, best first. */
static size_t add_matches(const clf_device_info *infos, size_t count, const selector_parts *parts, size_t *chosen,
                          size_t *chosen_count)
{
    size_t first = *chosen_count, found = 0;

    for (size_t i = 0; i < count; i++) {
        bool already = false;
        size_t at;

        if (!selector_matches(parts, &infos[i]))
            continue;
        found++;
        for (size_t j = 0; j < *chosen_count; j++)
            already = already || chosen[j] == i;
        if (already)
            continue;
        for (at = (*chosen_count)++; at > first && is_better(&infos[i], &infos[chosen[at - 1]]); at--)
            chosen[at] = chosen[at - 1];
        chosen[at] = i;
    }
    return found;
}

/* Follows the selectors of a text; `infos` NULL only checks the grammar. */
static clf_status walk(const char *text, const clf_device_info *infos, size_t count, size_t *chosen,
                       size_t *chosen_count)
{
    for (const char *begin = text;;) {
        const char *end = begin + strcspn(begin, ";");
        selector_parts parts = { 0 };
        clf_status status = parse_selector(begin, end, text, &parts);

        if (status)
            return status;
        if (infos && !add_matches(infos, count, &parts, chosen, chosen_count))
            return miss_selector(infos, count, begin, end);
        if (!*end)
            return CLF_SUCCESS;
        begin = end + 1;
    }
}

clf_status clf__select(const clf_device_info *infos, size_t count, const char *selector, size_t *chosen,
                       size_t *chosen_count)
{
    const char *text = selector && selector[strspn(selector, " \t\n")] ? selector : "all";
    clf_status status = walk(text, NULL, 0, NULL, NULL);

    *chosen_count = 0;
    return status ? status : walk(text, infos, count, chosen, chosen_count);
}

clf_status clf__select_best(const clf_device_info *infos, size_t count, size_t *chosen)
{
    for (size_t i = 0; i < count; i++)
        if (infos[i].rank == 0) {
            *chosen = i;
            return CLF_SUCCESS;
        }
    return miss(infos, count, "no device is of the kind that is chosen without a name");
}
