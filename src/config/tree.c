/* The JSON parser's answer is NULL for a mistake in the text and for lack of memory alike. */
#include "config/config.h"
#include "core/status.h"
#include <cjson/cJSON.h>
#include <stdlib.h>

/* Far more than the piece that was missing, and little beside what the whole tree takes. */
enum { ROOM = 64 * 1024 };

clf_status clf__json_tree(const char *text, size_t length, const char **end, cJSON **tree)
{
    void *room;

    *tree = cJSON_ParseWithLengthOpts(text, length, end, 0);
    if (*tree)
        return CLF_SUCCESS;
    room = malloc(ROOM + length);
    if (!room)
        return clf__no_memory(ROOM + length);
    free(room);
    *tree = cJSON_ParseWithLengthOpts(text, length, end, 0); /* memory may be there again */
    return CLF_SUCCESS;
}
