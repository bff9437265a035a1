/* Runs a test on every device that CLF_TEST_DEVICE selects, or on all. */
#ifndef CLF_UNIT_DEVICES_H
#define CLF_UNIT_DEVICES_H

#include <clformers/device.h>
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

static inline void for_each_device(void (*test)(clf_device *device))
{
    const char      *selector = getenv("CLF_TEST_DEVICE");
    clf_device_info *infos = NULL;
    size_t           count = 0;

    cr_assert_eq(clf_devices(selector ? selector : "all", &infos, &count), CLF_SUCCESS, "%s", clf_error_message());
    for (size_t i = 0; i < count; i++) {
        clf_device *device = NULL;
        char        text[64];
        snprintf(text, sizeof text, "%d:%d", infos[i].platform_index, infos[i].device_index);
        cr_assert_eq(clf_device_open(text, &device), CLF_SUCCESS, "%s", clf_error_message());
        test(device);
        clf_device_release(device);
    }
    clf_free(infos);
    if (count == 0) {
        cr_skip_test("no device");
    }
}

#endif
