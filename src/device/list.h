/* The list of devices and choosing from it. What works on a list alone touches no OpenCL. */
#ifndef CLF_DEVICE_LIST_H
#define CLF_DEVICE_LIST_H

#include <clformers/device.h>

/* What tells that two entries are one card. */
typedef struct clf__card {
    bool          has_pci, has_uuid;
    unsigned      pci[4]; /* domain, bus, device, function */
    unsigned char uuid[16];
} clf__card;

/* All devices of all platforms in the order of clinfo, with duplicates marked and ranks given.
 * free() the array. Errors: CLF_NO_PLATFORM, CLF_DEVICE_NOT_FOUND when no platform has a device. */
clf_status clf__enumerate(clf_device_info **infos, size_t *count);

/* Fills all but indices, duplicate and rank. */
clf_status clf__device_describe(cl_platform_id platform, cl_device_id id, clf_device_info *info);

/* Marks every entry whose card is preferred through another platform. */
void clf__mark_duplicates(clf_device_info *infos, const clf__card *cards, size_t count);

/* Gives the places in the automatic order; -1 for what is opened by name only. `usable` may be NULL (all are). */
void clf__rank(clf_device_info *infos, const bool *usable, size_t count);

/* Indices of the entries that `selector` matches, best first; NULL, "" or "all": every one.
 * `chosen` has room for `count`. Errors: CLF_DEVICE_NOT_FOUND, CLF_INVALID_SELECTOR. */
clf_status clf__select(const clf_device_info *infos, size_t count, const char *selector, size_t *chosen,
                       size_t *chosen_count);

/* The automatic choice. Errors: CLF_DEVICE_NOT_FOUND when all are by name only. */
clf_status clf__select_best(const clf_device_info *infos, size_t count, size_t *chosen);

/* "cpu", "gpu", "accelerator", "custom", or several joined by "|"; `text` has room for 64. */
void clf__type_text(cl_device_type type, char *text);

#endif
