/* Include expansion, #line marks, and build logs put right by them. */
#define _XOPEN_SOURCE 700
#include "core/os.h"
#include "device/build_log.h"
#include "device/source.h"
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* What a plugin brings. */
static const clf_source plugin[] = {
    { "main.cl", "#include \"lib/one.cl\"\n  #  include \"lib/two.cl\" // twice\n#include \"lib/one.cl\"\nint main_;" },
    { "lib/one.cl", "#include \"lib/two.cl\"\nint one;\n" },
    { "lib/two.cl", "int two;\n" },
    { "cycle_a.cl", "#include \"cycle_b.cl\"\nint a;\n" },
    { "cycle_b.cl", "#include \"cycle_a.cl\"\nint b;\n" },
    { "self.cl", "#include \"self.cl\"\nint self;\n" },
    { "unknown.cl", "int x;\n\n#include \"prelude/typos.cl\"\n" },
    { "nested.cl", "#include \"unknown.cl\"\n" },
    { "prelude_user.cl", "#include \"prelude/types.cl\"\nint user;\n" },
    { "outside.cl", "#include \"fused/vector_forward.cl\"\n" },
    { "escape.cl", "#include \"../secret.cl\"\n" },
    { "angle.cl", "#include <stdio.h>\n" },
    { "open.cl", "#include \"lib/one.cl\n" },
    { "comment.cl",
      "/* text\n#include \"nowhere.cl\"\n*/ // /*\nchar *s = \"/*\";\n#include \"lib/two.cl\"\n#included\n" },
    { "windows.cl", "#include \"lib/two.cl\"\r\nint w;\r\n" },
    { "empty.cl", "" },
    { "prelude/mine.cl", "int shadow;\n" },
    { NULL, NULL },
};

static char *expand(const char *path)
{
    static char kept[1 << 16];
    clf__text text = { 0 };
    clf_status status = clf__source_expand(plugin, path, &text);

    snprintf(kept, sizeof kept, "%s", text.data ? text.data : "");
    clf__text_free(&text);
    return status ? NULL : kept;
}

static void expect_error(const char *path, const char *message)
{
    clf__text text = { 0 };

    cr_assert_eq(clf__source_expand(plugin, path, &text), CLF_INVALID_VALUE, "%s", path);
    cr_assert(strstr(clf_error_message(), message), "'%s' lacks '%s'", clf_error_message(), message);
    clf__text_free(&text);
}

Test(source, includes_once_with_line_marks)
{
    cr_assert_str_eq(expand("main.cl"), "#line 1 \"main.cl\"\n"
                                        "#line 1 \"lib/one.cl\"\n"
                                        "#line 1 \"lib/two.cl\"\n"
                                        "int two;\n"
                                        "#line 2 \"lib/one.cl\"\n"
                                        "int one;\n"
                                        "#line 2 \"main.cl\"\n"
                                        "#line 3 \"main.cl\"\n"
                                        "#line 4 \"main.cl\"\n"
                                        "int main_;\n");
    cr_assert_str_eq(expand("empty.cl"), "#line 1 \"empty.cl\"\n");
}

Test(source, cycles_end)
{
    cr_assert_str_eq(expand("cycle_a.cl"), "#line 1 \"cycle_a.cl\"\n"
                                           "#line 1 \"cycle_b.cl\"\n"
                                           "#line 2 \"cycle_b.cl\"\n"
                                           "int b;\n"
                                           "#line 2 \"cycle_a.cl\"\n"
                                           "int a;\n");
    cr_assert_not_null(expand("self.cl"));
}

Test(source, comments_strings_and_line_ends)
{
    const char *text = expand("comment.cl");

    cr_assert_not_null(text, "%s", clf_error_message());
    cr_assert(strstr(text, "#include \"nowhere.cl\""), "what stands in a comment stays");
    cr_assert(strstr(text, "int two;"));
    cr_assert(strstr(text, "#included"));
    cr_assert(strstr(expand("windows.cl"), "int two;"));
}

Test(source, what_cannot_be_included)
{
    expect_error("missing.cl", "'missing.cl'");
    expect_error("unknown.cl", "unknown.cl:3: cannot include \"prelude/typos.cl\"");
    expect_error("unknown.cl", "did you mean \"prelude/types.cl\"");
    expect_error("nested.cl", "unknown.cl:3");
    expect_error("outside.cl", "neither one of the plugin's sources nor in prelude/");
    cr_expect_null(strstr(clf_error_message(), "did you mean"), "what is refused is not proposed: %s", clf_error_message());
    expect_error("escape.cl", "escape.cl:1");
    expect_error("angle.cl", "angle.cl:1: an include names its file in quotes");
    expect_error("open.cl", "open.cl:1");
    expect_error("", "''");
    expect_error("../main.cl", "main.cl");
    expect_error("/etc/passwd", "/etc/passwd");
}

Test(source, prelude_is_for_everybody)
{
    const char *text = expand("prelude_user.cl");

    cr_assert_not_null(text, "%s", clf_error_message());
    cr_assert(strstr(text, "#line 1 \"prelude/types.cl\""));
    cr_assert(strstr(text, "#line 2 \"prelude_user.cl\"\nint user;"));
}

/* The part of a source that expansion leaves as it is. */
static const char *behind_includes(const char *text)
{
    for (const char *next = text; (next = strstr(next, "\n#include")); next++)
        text = next + 1;
    return text + strcspn(text, "\n");
}

Test(source, every_embedded_source_expands)
{
    int count = 0;

    unsetenv("CLF_KERNEL_DIR");
    for (const clf_source *one = clf__embedded_sources; one->path; one++, count++) {
        clf__text text = { 0 };

        cr_assert_eq(clf__source_expand(NULL, one->path, &text), CLF_SUCCESS, "%s", clf_error_message());
        cr_assert(strstr(text.data, behind_includes(one->text)));
        clf__text_free(&text);
    }
    cr_assert_gt(count, 0);
}

Test(source, directory_for_development)
{
    char directory[] = "/tmp/clf_source_XXXXXX", path[256];
    const clf__piece piece = { "int from_directory;\n", 20 };
    clf__text text = { 0 };

    cr_assert_not_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/prelude", directory);
    cr_assert(clf__make_directory(path));
    strcat(path, "/types.cl");
    cr_assert_eq(clf__file_write(path, &piece, 1), CLF_SUCCESS);
    setenv("CLF_KERNEL_DIR", directory, 1);
    cr_assert(strstr(expand("prelude_user.cl"), "int from_directory;"));
    cr_assert_not_null(expand("main.cl"), "what is not in the directory is taken from the library");
    cr_assert_eq(clf__source_expand(NULL, "prelude/math.cl", &text), CLF_SUCCESS);
    clf__text_free(&text);
    snprintf(path, sizeof path, "rm -rf %s", directory);
    cr_assert_eq(system(path), 0);
}

static const char *clean(const char *log)
{
    static char kept[4096];
    clf__text result = { 0 };

    clf__clean_build_log(log, expand("main.cl"), &result);
    snprintf(kept, sizeof kept, "%s", result.data ? result.data : "");
    clf__text_free(&result);
    return kept;
}

Test(build_log, places_in_the_expanded_text_become_real)
{
    cr_assert_str_eq(clean("input.cl:4:5: error: no\n"), "lib/two.cl:1:5: error: no");
    cr_assert_str_eq(clean("\n\nerror: <kernel>:10:5: no\nmore\n\n"), "error: main.cl:4:5: no\nmore");
    cr_assert_str_eq(clean("lib/one.cl:2:5: error: no"), "lib/one.cl:2:5: error: no");
    cr_assert_str_eq(clean("input.cl:99:5: error: no"), "input.cl:99:5: error: no");
    cr_assert_str_eq(clean("error: 12:30: :::7: "), "error: 12:30: :::7:");
    cr_assert_str_eq(clean(" \n \n"), "");
}
