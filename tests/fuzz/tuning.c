/* Any text as a tuning file: refused with a message, or rows whose key is known and whose choice is there, and a
 * device gets what the first row that matches says. */
#include "fuzz.h"
#include "tune/tune.h"

#include <string.h>

static bool is_known(const char *key)
{
    for (int i = 0; clf__tune_keys[i]; i++)
        if (strcmp(clf__tune_keys[i], key) == 0)
            return true;
    return false;
}

static void check_rows(const clf__tune_file *file)
{
    static const clf_device_info info = { .platform = "Portable Computing Language", .name = "pthread-x" };

    for (size_t i = 0; i < file->count; i++)
        EXPECT(is_known(file->rows[i].key) && file->rows[i].choice);
    EXPECT(!file->rows[file->count].key);
    for (int i = 0; clf__tune_keys[i]; i++) {
        const clf__tuned *row = clf__tune_find(file->rows, &info, clf__tune_keys[i]);
        EXPECT(!row || (row < file->rows + file->count && strcmp(row->key, clf__tune_keys[i]) == 0));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_text(data, size);
    clf__tune_file file;

    if (clf__tune_parse(text, &file) == CLF_SUCCESS)
        check_rows(&file);
    else
        EXPECT(!file.rows && !file.configs && clf_error_message()[0]);
    clf__tune_free(&file);
    free(text);
    return 0;
}
