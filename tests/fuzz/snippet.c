/* Any text as an expression: it is refused with a reason, or what comes out can be nothing but one expression: only
 * letters, digits, operators and brackets that match, no comment, no directive, no statement; and it is accepted again
 * as it stands. The first byte chooses the sort. */
#include "fused/snippet.h"
#include "fuzz.h"

#include <string.h>

static void expect_expression(const char *text)
{
    char again[CLF__SNIPPET], why[256] = "", open[CLF__SNIPPET];
    size_t depth = 0;

    EXPECT(text[0] && strlen(text) < CLF__SNIPPET);
    EXPECT(strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-*/%<>=!&|^~?:()[],.") ==
           strlen(text));
    for (const char *const *wrong = (const char *const[]){ "//", "/*", "%:", "<%", "%>", "<:", ":>", "??", "++", "--",
                                                           "return", "goto", "asm(", "__", NULL };
         *wrong; wrong++) {
        const char *found = strstr(text, *wrong);
        const bool part = found && ((*wrong)[0] == 'r' || (*wrong)[0] == 'g' || (*wrong)[0] == 'a' || (*wrong)[0] == '_');
        EXPECT(!found || (part && (found > text || (*wrong)[0] != '_'))); /* words may hold these, "returns" */
    }
    for (const char *c = text; *c; c++) {
        if (*c == '(' || *c == '[')
            open[depth++] = *c;
        EXPECT(*c != ',' || depth > 0);
        if (*c == ')' || *c == ']')
            EXPECT(depth > 0 && open[--depth] == (*c == ')' ? '(' : '['));
    }
    EXPECT(depth == 0);
    EXPECT(clf__snippet_expression(text, again, why, sizeof why) && strcmp(text, again) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const int sort = size ? data[0] % 4 : 0;
    char *text = fuzz_text(data + (size > 0), size - (size > 0)), to[CLF__SNIPPET], why[256] = "";

    if (sort == 3) {
        if (clf__snippet_name(text, to, why, sizeof why))
            EXPECT(strcmp(text, to) == 0 && strlen(to) < CLF__SNIPPET_NAME);
        else
            EXPECT(why[0]);
    } else if (clf__snippet((clf__snippet_sort)sort, text, to, why, sizeof why)) {
        expect_expression(to);
    } else {
        EXPECT(why[0]);
    }
    free(text);
    return 0;
}
