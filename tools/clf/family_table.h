/* Which kernel family of a part has which features, on no device in particular or on some. */
#ifndef CLF_TOOL_FAMILY_TABLE_H
#define CLF_TOOL_FAMILY_TABLE_H

#include "tool.h"

/* Prints a table, and one for each device of `selector` (NULL = no device is opened). */
int clf__features_print(const clf_component *component, const char *selector);
/* The same as members "features" and "devices" of `json`. */
int clf__features_json(const clf_component *component, const char *selector, cJSON *json);

#endif
