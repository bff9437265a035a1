/* Names of kinds and semantics. */
#include <clformers/component.h>
#include <string.h>

static const char *const names[] = {
    [CLF_ATTENTION] = "attention", [CLF_FEEDFORWARD] = "feedforward", [CLF_POSITION_EMBEDDING] = "position_embedding",
    [CLF_NORM] = "norm",           [CLF_MULTI_HEAD] = "multi_head",   [CLF_BLOCK] = "block",
};
enum { KINDS = sizeof names / sizeof names[0] };

const char *const clf_semantics_names[] = { "paper", "xformers", NULL };

const char *clf_kind_name(clf_kind kind)
{
    return (int)kind > 0 && (int)kind < KINDS ? names[kind] : NULL;
}

clf_kind clf_kind_from_name(const char *name)
{
    for (int i = 1; name && i < KINDS; i++)
        if (strcmp(names[i], name) == 0)
            return (clf_kind)i;
    return (clf_kind)0;
}
