/* The automatic order of devices, and which of them are one card seen twice: no OpenCL call in here. */
#include "device/list.h"

#include "core/text.h"
#include <string.h>

#define TYPE_BITS (CL_DEVICE_TYPE_CPU | CL_DEVICE_TYPE_GPU | CL_DEVICE_TYPE_ACCELERATOR | CL_DEVICE_TYPE_CUSTOM)

enum { CLASSES = 5, BY_NAME_ONLY = -1 };

static int class_of(const clf_device_info *info)
{
    if (info->simulator || info->duplicate)
        return BY_NAME_ONLY;
    switch (info->type & TYPE_BITS) {
    case CL_DEVICE_TYPE_GPU:
        return info->software ? 4 : info->integrated ? 1 : 0;
    case CL_DEVICE_TYPE_ACCELERATOR:
        return info->software ? 4 : 2;
    case CL_DEVICE_TYPE_CPU:
        return info->software ? 4 : 3;
    default: /* several types at once, or one that runs no kernels of ours */
        return BY_NAME_ONLY;
    }
}

void clf__rank(clf_device_info *infos, const bool *usable, size_t count)
{
    int rank = 0;

    for (size_t i = 0; i < count; i++)
        infos[i].rank = -1;
    for (int class = 0; class < CLASSES; class++)
        for (size_t i = 0; i < count; i++)
            if (class_of(&infos[i]) == class && (!usable || usable[i]))
                infos[i].rank = rank++;
}

/* ---- one card under two platforms ----------------------------------------------------------- */

/* The vendor's own platform comes before those that serve many vendors. */
static int platform_preference(const clf_device_info *info)
{
    static const char *const later[] = { "Portable Computing Language", "rusticl", "Clover" };

    for (int i = 0; i < 3; i++)
        if (clf__contains_ignore_case(info->platform, later[i]))
            return i + 1;
    return 0;
}

/* How many entries before `at` on the same platform have the same name: tells equal cards apart. */
static size_t namesakes_before(const clf_device_info *infos, size_t at)
{
    size_t found = 0;

    for (size_t i = 0; i < at; i++)
        found += infos[i].platform_index == infos[at].platform_index && !strcmp(infos[i].name, infos[at].name);
    return found;
}

static bool same_card(const clf_device_info *infos, const clf__card *cards, size_t a, size_t b)
{
    if (infos[a].platform_index == infos[b].platform_index)
        return false;
    if (cards[a].has_pci && cards[b].has_pci)
        return !memcmp(cards[a].pci, cards[b].pci, sizeof cards[a].pci);
    if (cards[a].has_uuid && cards[b].has_uuid)
        return !memcmp(cards[a].uuid, cards[b].uuid, sizeof cards[a].uuid);
    return clf__equal_ignore_case(infos[a].name, infos[b].name) &&
           namesakes_before(infos, a) == namesakes_before(infos, b);
}

void clf__mark_duplicates(clf_device_info *infos, const clf__card *cards, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int mine = platform_preference(&infos[i]);

        infos[i].duplicate = false;
        for (size_t j = 0; j < count && !infos[i].duplicate; j++) {
            int other = platform_preference(&infos[j]);

            infos[i].duplicate = (other < mine || (other == mine && j < i)) && same_card(infos, cards, i, j);
        }
    }
}
