/* Expressions from callers that kernels are compiled with. */
#ifndef CLF_FUSED_SNIPPET_H
#define CLF_FUSED_SNIPPET_H

#include <stdbool.h>
#include <stddef.h>

enum { CLF__SNIPPET = 400, CLF__SNIPPET_NAME = 32 }; /* longest texts, with their end */

/* Writes `text` without its spaces to `to` (CLF__SNIPPET bytes) when it can be nothing but one expression, whatever
 * surrounds it: letters, digits and operators, brackets that match, no statement, no directive, no assignment, no name
 * that only the compiler or the kernels' own machinery may use. Otherwise `why` gets the reason. A pure function. */
bool clf__snippet_expression(const char *text, char *to, char *why, size_t size);

/* The same for a name that expressions may use for a table. */
bool clf__snippet_name(const char *text, char *to, char *why, size_t size);

/* What an expression by name stands for; NULL where there is none of that sort. */
typedef struct clf__snippet_named {
    const char *name, *arguments; /* "width, rows, columns" */
    const char *mask_mod, *score_mod, *slope; /* $1 is the first argument */
    const char *doc;
} clf__snippet_named;
extern const clf__snippet_named clf__snippets[]; /* ended by a NULL name */

typedef enum clf__snippet_sort { CLF__SNIPPET_MASK, CLF__SNIPPET_SCORE, CLF__SNIPPET_SLOPE } clf__snippet_sort;

/* An expression, or "@name(arguments)" of that sort. */
bool clf__snippet(clf__snippet_sort sort, const char *text, char *to, char *why, size_t size);

#endif
