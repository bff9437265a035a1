/* The log: silent unless the program or the user (CLF_LOG=info|debug) asks for it. */
#ifndef CLFORMERS_LOG_H
#define CLFORMERS_LOG_H

#include <clformers/base.h>

CLF_BEGIN

typedef enum clf_log_level {
    CLF_LOG_OFF   = 0,
    CLF_LOG_INFO  = 1, /* what was chosen and what it cost: device, family, compilations, ignored keys */
    CLF_LOG_DEBUG = 2  /* every launch, cache hit and probe */
} clf_log_level;

/* `message` is one line without a newline, valid during the call. The callback may be called from
 * any thread and must not call clformers. */
typedef void (*clf_log_callback)(clf_log_level level, const char *message, void *user);

/* Sends messages up to `level` to `callback`; NULL restores the default, which writes to stderr
 * and only when the environment variable CLF_LOG is `info` or `debug`. Thread-safe. */
CLF_API void clf_log_set(clf_log_level level, clf_log_callback callback, void *user);

CLF_END
#endif
