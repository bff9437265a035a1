/* The log. The wanted level is one atomic number, so that silence costs nothing; callbacks run under
 * a lock, so that clf_log_set returns only when the old callback is no longer in use. */
#include "core/log.h"

#include "core/os.h"
#include "core/text.h"
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { LINE_SIZE = 2048, LEVEL_UNREAD = -1 };

static atomic_int       wanted = LEVEL_UNREAD;
static clf_log_callback sink; /* NULL = stderr */
static void            *sink_user;

static int level_from_environment(void)
{
    const char *text = getenv("CLF_LOG");

    if (text && clf__equal_ignore_case(text, "debug"))
        return CLF_LOG_DEBUG;
    if (text && clf__equal_ignore_case(text, "info"))
        return CLF_LOG_INFO;
    return CLF_LOG_OFF;
}

void clf_log_set(clf_log_level level, clf_log_callback callback, void *user)
{
    clf__process_lock(CLF__LOCK_LOG);
    sink = callback;
    sink_user = user;
    atomic_store(&wanted, callback ? (int)level : level_from_environment());
    clf__process_unlock(CLF__LOCK_LOG);
}

bool clf__log_wanted(clf_log_level level)
{
    int now = atomic_load_explicit(&wanted, memory_order_relaxed);

    if (now == LEVEL_UNREAD) {
        int unread = LEVEL_UNREAD;

        now = level_from_environment();
        if (!atomic_compare_exchange_strong(&wanted, &unread, now))
            now = unread; /* clf_log_set was faster */
    }
    return level != CLF_LOG_OFF && (int)level <= now;
}

void clf__log(clf_log_level level, const char *format, ...)
{
    char line[LINE_SIZE];
    va_list arguments;

    if (!clf__log_wanted(level))
        return;
    va_start(arguments, format);
    (void)vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    for (char *c = line; *c; c++)
        if (*c == '\n' || *c == '\r')
            *c = ' ';

    clf__process_lock(CLF__LOCK_LOG);
    if (!clf__log_wanted(level))
        ; /* switched off meanwhile */
    else if (sink)
        sink(level, line, sink_user);
    else
        fprintf(stderr, "clformers: %s\n", line);
    clf__process_unlock(CLF__LOCK_LOG);
}
