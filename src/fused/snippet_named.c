/* Expressions by name: "@sliding_window(128)" instead of the text. */
#include "fused/snippet.h"
#include <stdio.h>
#include <string.h>

const clf__snippet_named clf__snippets[] = {
    { "causal", "", "k<=q", NULL, NULL, "a query sees the keys up to its own place" },
    { "sliding_window", "left, right", "clf_sees_range(q,k,-($1),$2,0)", NULL, NULL,
      "a query sees so many keys before and behind its own place" },
    { "prefix_lm", "prefix", "clf_sees_range(q,k,-(1<<30),0,$1)", NULL, NULL,
      "causal order, but everybody sees the first `prefix` keys" },
    { "document", "labels", "clf_sees_label($1,q,k)", NULL, NULL,
      "a query sees the keys with its own label: packed documents; labels is an I32 table" },
    { "dilated", "step", "clf_sees_dilated(q,k,$1)", NULL, NULL, "a query sees every step-th key, counted from its own" },
    { "neighbourhood_2d", "width, rows, columns", "clf_sees_neighbours(q,k,$1,$2,$3)", NULL, NULL,
      "an image of that width: so many rows up and down, and columns to both sides" },
    { "alibi", "slopes", NULL, "score+$1[h]*clf_to_real(k-q)", "1.0f",
      "a slope of each head times the distance; slopes is an F32 table" },
    { "softcap", "cap", NULL, "($1)*clf_tanh(score/($1))", "1.0f-clf_tanh(score/($1))*clf_tanh(score/($1))",
      "no score is beyond the cap" },
    { NULL, NULL, NULL, NULL, NULL, NULL },
};

enum { ARGUMENTS = 3 };

static int count_arguments(const char *list)
{
    int count = list[0] != '\0';

    for (; *list; list++)
        count += *list == ',';
    return count;
}

/* Cuts "a,b,c)" into its pieces; false when it does not end right behind the bracket or has too many. */
static bool cut(const char *text, char pieces[ARGUMENTS][CLF__SNIPPET_NAME], int *count)
{
    *count = 0;
    while (*text != ')') {
        const size_t length = strcspn(text, ",)");
        if (*count == ARGUMENTS || length == 0 || length >= CLF__SNIPPET_NAME || text[length] == '\0')
            return false;
        memcpy(pieces[*count], text, length);
        pieces[(*count)++][length] = '\0';
        text += length + (text[length] == ',');
        if (text[-1] == ',' && *text == ')')
            return false;
    }
    return text[1] == '\0';
}

/* The template with its arguments; false when it grows too long. */
static bool fill(const char *template, char pieces[ARGUMENTS][CLF__SNIPPET_NAME], char *to)
{
    size_t length = 0;

    for (; *template; template++) {
        const char *piece = template;
        size_t more = 1;
        if (*template == '$') {
            piece = pieces[*++template - '1'];
            more = strlen(piece);
        }
        if (length + more >= CLF__SNIPPET)
            return false;
        memcpy(to + length, piece, more);
        length += more;
    }
    to[length] = '\0';
    return true;
}

static const clf__snippet_named *find(const char *name, size_t length)
{
    for (const clf__snippet_named *one = clf__snippets; one->name; one++)
        if (strlen(one->name) == length && memcmp(one->name, name, length) == 0)
            return one;
    return NULL;
}

static bool by_name(clf__snippet_sort sort, const char *text, char *to, char *why, size_t size)
{
    static const char *const sorts[] = { "a mask_mod", "a score_mod", "a score_mod_slope" };
    char filled[CLF__SNIPPET], plain[CLF__SNIPPET], pieces[ARGUMENTS][CLF__SNIPPET_NAME] = { "" };
    const size_t length = strcspn(text, "(");
    int count = 0;

    if (!find(text, length)) {
        (void)snprintf(why, size, "there is no '@%.*s'", (int)(length < 40 ? length : 40), text);
        return false;
    }
    const clf__snippet_named *one = find(text, length);
    const char *template = sort == CLF__SNIPPET_MASK    ? one->mask_mod
                           : sort == CLF__SNIPPET_SCORE ? one->score_mod
                                                        : one->slope;
    if (!template) {
        (void)snprintf(why, size, "'@%s' is not %s", one->name, sorts[sort]);
        return false;
    }
    if ((text[length] && (!clf__snippet_expression(text + length, plain, why, size) || !cut(plain + 1, pieces, &count))) ||
        count != count_arguments(one->arguments)) {
        (void)snprintf(why, size, "it must be '@%s%s%s%s'", one->name, one->arguments[0] ? "(" : "", one->arguments,
                       one->arguments[0] ? ")" : "");
        return false;
    }
    if (!fill(template, pieces, filled)) {
        (void)snprintf(why, size, "it is longer than %d characters", CLF__SNIPPET - 1);
        return false;
    }
    return clf__snippet_expression(filled, to, why, size);
}

bool clf__snippet(clf__snippet_sort sort, const char *text, char *to, char *why, size_t size)
{
    return text[0] == '@' ? by_name(sort, text + 1, to, why, size) : clf__snippet_expression(text, to, why, size);
}
