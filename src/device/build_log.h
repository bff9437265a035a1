#ifndef CLF_DEVICE_BUILD_LOG_H
#define CLF_DEVICE_BUILD_LOG_H

#include "core/text.h"

/* Appends the compiler's log of `text` to `clean`: blank ends dropped, and places that a compiler without
 * respect for #line counts in the expanded text ("input.cl:63:16") turned into file and line. */
void clf__clean_build_log(const char *log, const char *text, clf__text *clean);

#endif
