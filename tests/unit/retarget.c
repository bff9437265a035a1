/* PTX for an architecture becomes PTX for exactly that one. */
#include "device/retarget.h"

#include <criterion/criterion.h>
#include <string.h>

static void check(const char *from, const char *to, bool found)
{
    clf__text text = { 0 };

    cr_assert_eq(clf__retarget_text(from, &text), found, "%s", from);
    cr_assert_str_eq(text.data, to);
    clf__text_free(&text);
}

Test(retarget, target)
{
    check(".version 8.0\n.target sm_90, texmode_independent\n", ".version 8.0\n.target sm_90a, texmode_independent\n", true);
    check(".target sm_90\n.target sm_90\n", ".target sm_90a\n.target sm_90\n", true);
    check(".target sm_90a\n", ".target sm_90a\n", true);
    check(".target sm_100", ".target sm_100a", true);
}

Test(retarget, hidden_instructions)
{
    check(".target sm_90\n\t//@wgmma.fence;\n//@setmaxnreg.dec 24;\n// a comment\n",
          ".target sm_90a\n\twgmma.fence;\nsetmaxnreg.dec 24;\n// a comment\n", true);
    check("//@", "", false);
}

Test(retarget, no_ptx)
{
    check("\177ELF", "\177ELF", false);
    check(".target compute", ".target compute", false);
}
