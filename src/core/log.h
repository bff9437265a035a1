#ifndef CLF_CORE_LOG_H
#define CLF_CORE_LOG_H

#include <clformers/log.h>
#include <stdbool.h>

/* One line to the log when `level` is wanted; formatting costs nothing otherwise. */
void clf__log(clf_log_level level, const char *format, ...) CLF_PRINTF(2, 3);
bool clf__log_wanted(clf_log_level level);

#endif
