#include <clformers/version.h>

#define TEXT_OF(x_) #x_
#define TEXT(x_)    TEXT_OF(x_)

const char *clf_version(void)
{
    return TEXT(CLF_VERSION_MAJOR) "." TEXT(CLF_VERSION_MINOR) "." TEXT(CLF_VERSION_PATCH);
}

int clf_version_number(void)
{
    return CLF_VERSION_NUMBER;
}
