/* From PTX for an architecture to PTX for exactly that one: see retarget.h. */
#include "device/retarget.h"

#include "core/status.h"
#include "device/build.h"
#include "device/device.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

bool clf__retarget_text(const char *ptx, clf__text *text)
{
    static const char target[] = ".target sm_", hidden[] = "//@";
    bool found = false;

    for (const char *c = ptx, *from = ptx;; c++) {
        size_t skip = 0, keep = 0;

        if (!found && strncmp(c, target, sizeof target - 1) == 0 && isdigit((unsigned char)c[sizeof target - 1])) {
            keep = sizeof target - 1 + strspn(c + sizeof target - 1, "0123456789");
            found = true;
        } else if (strncmp(c, hidden, sizeof hidden - 1) == 0) {
            skip = sizeof hidden - 1;
        } else if (*c) {
            continue;
        }
        clf__text_append(text, from, (size_t)(c + keep - from));
        if (keep && c[keep] != 'a')
            clf__text_append(text, "a", 1);
        if (!*c)
            return found;
        c += keep + skip - 1;
        from = c + 1;
    }
}

clf_status clf__retarget(clf_device *device, const char *path, const char *options, cl_program *program)
{
    clf_status status = CLF_SUCCESS;
    clf__text text = { 0 };
    size_t size = 0;
    char *binary;

    if (!strstr(options, CLF__EXACT_TARGET))
        return CLF_SUCCESS;
    binary = clf__build_take_binary(device, *program, &size);
    clReleaseProgram(*program);
    *program = NULL;
    if (binary && size)
        binary[size - 1] = '\0'; /* it ends so already; what does not is no text */
    if (!binary || !clf__retarget_text(binary, &text))
        status = clf__fail(CLF_UNSUPPORTED, "%s: the binary of '%s' is no PTX, so that its target cannot be replaced", path,
                           device->info.name);
    else if (text.failed)
        status = clf__no_memory(size);
    else if (!(*program = clf__build_binary(device, text.data, text.length + 1, options)))
        status = clf__fail(CLF_UNSUPPORTED, "%s: the driver of '%s' refuses PTX for its exact target", path,
                           device->info.name);
    clf__text_free(&text);
    free(binary);
    return status;
}
