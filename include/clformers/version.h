/* The version of the headers (macros) and of the library that is loaded (functions). */
#ifndef CLFORMERS_VERSION_H
#define CLFORMERS_VERSION_H

#include <clformers/base.h>

#define CLF_VERSION_MAJOR 0
#define CLF_VERSION_MINOR 1
#define CLF_VERSION_PATCH 0

/* The version of the headers as clf_version_number() gives that of the library. */
#define CLF_VERSION_NUMBER (CLF_VERSION_MAJOR * 10000 + CLF_VERSION_MINOR * 100 + CLF_VERSION_PATCH)

CLF_BEGIN

/* Version of the loaded library as "major.minor.patch"; a static string. */
CLF_API const char *clf_version(void);

/* Version of the loaded library as one comparable number: major*10000 + minor*100 + patch. */
CLF_API int clf_version_number(void);

CLF_END
#endif
