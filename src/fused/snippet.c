/* Which texts of callers may become part of a kernel: those that are one expression, and names of ours. */
#include "fused/snippet.h"
#include <stdio.h>
#include <string.h>

/* Independent of the locale, unlike <ctype.h>. */
static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Spaces go: options of OpenCL compilers end there. Between two words, or two operators, they meant something. */
static bool squeeze(const char *text, char *to, char *why, size_t size)
{
    size_t length = 0;
    bool gap = false;

    for (const char *c = text; *c; c++) {
        if (*c == ' ') {
            gap = length > 0;
            continue;
        }
        if (!is_word(*c) && !strchr("+-*/%<>=!&|^~?:()[],.", *c)) {
            (void)snprintf(why, size, "character %d, code %d, cannot be part of an expression", (int)(c - text) + 1,
                           (unsigned char)*c);
            return false;
        }
        const bool words = length > 0 && is_word(to[length - 1]) && is_word(*c);
        const bool operators = length > 0 && to[length - 1] == *c && strchr("+-&|<>=/", *c);
        if (gap && (words || operators)) {
            (void)snprintf(why, size, "the space before character %d stands between two %s", (int)(c - text) + 1,
                           words ? "words: an operator is missing" : "operators: brackets are missing");
            return false;
        }
        if (length + 1 >= CLF__SNIPPET) {
            (void)snprintf(why, size, "it is longer than %d characters", CLF__SNIPPET - 1);
            return false;
        }
        to[length++] = *c;
        gap = false;
    }
    to[length] = '\0';
    if (length == 0)
        (void)snprintf(why, size, "it is empty");
    return length > 0;
}

/* Every bracket closes what was opened last, and no comma stands outside of them. */
static bool check_brackets(const char *text, char *why, size_t size)
{
    char open[64];
    size_t depth = 0;

    for (const char *c = text; *c; c++) {
        if (*c == '(' || *c == '[') {
            if (depth == sizeof open) {
                (void)snprintf(why, size, "brackets are nested deeper than %zu", sizeof open);
                return false;
            }
            open[depth++] = *c;
        } else if (*c == ')' || *c == ']') {
            if (depth == 0 || open[--depth] != (*c == ')' ? '(' : '[')) {
                (void)snprintf(why, size, "the '%c' at %d closes nothing", *c, (int)(c - text) + 1);
                return false;
            }
        } else if (*c == ',' && depth == 0) {
            (void)snprintf(why, size, "a comma stands outside of brackets");
            return false;
        }
    }
    if (depth > 0)
        (void)snprintf(why, size, "a '%c' is never closed", open[depth - 1]);
    return depth == 0;
}

/* Comments, digraphs and trigraphs, changes of variables. */
static bool check_operators(const char *text, char *why, size_t size)
{
    static const char *const wrong[] = { "//", "/*", "*/", "%:", "<%", "%>", "<:", ":>", "??", "++", "--", "->" };

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        if (strstr(text, wrong[i])) {
            (void)snprintf(why, size, "'%s' cannot be part of an expression", wrong[i]);
            return false;
        }
    for (const char *c = strchr(text, '='); c; c = strchr(c, '=')) {
        const char before = c > text ? c[-1] : ' ', further = c > text + 1 ? c[-2] : ' ';
        const bool compares = c[1] == '=' || before == '!' ||
                              ((before == '<' || before == '>') && further != before);
        if (!compares || c[1 + (c[1] == '=')] == '=') {
            (void)snprintf(why, size, "the '=' at %d would change a variable: == compares", (int)(c - text) + 1);
            return false;
        }
        c += c[1] == '=' ? 2 : 1;
    }
    return true;
}

/* Statements, names of the compiler, and what acts on more than its own value. */
static bool is_allowed(const char *word, size_t length)
{
    static const char *const words[] = { "asm", "break", "case", "continue", "default", "do", "else", "for", "goto", "if",
                                         "return", "switch", "typedef", "while", "mem_fence", "read_mem_fence",
                                         "write_mem_fence", "barrier", "printf", "defined", "_Pragma" };
    static const char *const beginnings[] = { "__", "atomic_", "atom_", "async_", "work_group_", "sub_group_", "vstore",
                                              "wait_group_", "write_image", "CLF_" };

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strlen(words[i]) == length && memcmp(words[i], word, length) == 0)
            return false;
    for (size_t i = 0; i < sizeof beginnings / sizeof beginnings[0]; i++)
        if (strncmp(word, beginnings[i], strlen(beginnings[i])) == 0)
            return length == strlen("CLF_GATHER") && memcmp(word, "CLF_GATHER", length) == 0;
    return true;
}

static bool check_words(const char *text, char *why, size_t size)
{
    for (const char *c = text; *c;) {
        size_t length = 0;
        while (is_word(c[length]))
            length++;
        if (length > 0 && !is_digit(*c) && !is_allowed(c, length)) {
            (void)snprintf(why, size, "'%.*s' cannot be part of an expression", (int)(length < 40 ? length : 40), c);
            return false;
        }
        c += length ? length : 1;
    }
    return true;
}

bool clf__snippet_expression(const char *text, char *to, char *why, size_t size)
{
    return squeeze(text, to, why, size) && check_operators(to, why, size) && check_brackets(to, why, size) &&
           check_words(to, why, size);
}

bool clf__snippet_name(const char *text, char *to, char *why, size_t size)
{
    static const char *const taken[] = { "score", "b", "h", "q", "k" };
    const size_t length = strlen(text);
    bool right = length > 0 && length < CLF__SNIPPET_NAME && !is_digit(text[0]);

    for (size_t i = 0; i < length && right; i++)
        right = is_word(text[i]);
    if (!right) {
        (void)snprintf(why, size, "a name has 1 to %d letters, digits and _", CLF__SNIPPET_NAME - 1);
        return false;
    }
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++)
        right = right && strcmp(text, taken[i]) != 0;
    if (!right || strncmp(text, "clf_", 4) == 0 || strncmp(text, "CLF_", 4) == 0 || !is_allowed(text, length)) {
        (void)snprintf(why, size, "the name '%s' is taken", text);
        return false;
    }
    memcpy(to, text, length + 1);
    return true;
}
