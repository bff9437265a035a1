/* Listing all devices of all platforms. */
#include "device/list.h"

#include "core/log.h"
#include "core/os.h"
#include "core/status.h"
#include "core/text.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Queries of extensions, by number: headers of OpenCL 1.2 may lack them. */
enum {
    QUERY_UUID_KHR     = 0x106A,
    QUERY_PCI_KHR      = 0x410F, /* four cl_uint */
    QUERY_PCI_BUS_NV   = 0x4008,
    QUERY_PCI_SLOT_NV  = 0x4009, /* device << 3 | function */
    QUERY_PCI_DOMAIN_NV = 0x400A,
    QUERY_TOPOLOGY_AMD = 0x4037  /* 24 bytes: cl_uint type, 17 unused, bus, device, function */
};

/* A text into a fixed array, without blanks at its ends; cut when it is longer. */
static void keep_text(char *whole, size_t length, char *text, size_t size)
{
    whole[length] = '\0';
    while (*whole == ' ')
        whole++;
    (void)snprintf(text, size, "%s", whole);
    for (size_t end = strlen(text); end > 0 && text[end - 1] == ' '; end--)
        text[end - 1] = '\0';
}

/* "" when the query fails; only lack of memory is an error. */
static clf_status device_text(cl_device_id id, cl_device_info what, char *text, size_t size)
{
    size_t length = 0;
    char *whole;

    text[0] = '\0';
    if (clGetDeviceInfo(id, what, 0, NULL, &length) != CL_SUCCESS || length == 0)
        return CLF_SUCCESS;
    whole = malloc(length + 1);
    if (!whole)
        return clf__no_memory(length + 1);
    if (clGetDeviceInfo(id, what, length, whole, NULL) == CL_SUCCESS)
        keep_text(whole, length, text, size);
    free(whole);
    return CLF_SUCCESS;
}

static clf_status platform_text(cl_platform_id id, cl_platform_info what, char *text, size_t size)
{
    size_t length = 0;
    char *whole;

    text[0] = '\0';
    if (clGetPlatformInfo(id, what, 0, NULL, &length) != CL_SUCCESS || length == 0)
        return CLF_SUCCESS;
    whole = malloc(length + 1);
    if (!whole)
        return clf__no_memory(length + 1);
    if (clGetPlatformInfo(id, what, length, whole, NULL) == CL_SUCCESS)
        keep_text(whole, length, text, size);
    free(whole);
    return CLF_SUCCESS;
}

static clf_status describe_in_words(cl_platform_id platform, cl_device_id id, clf_device_info *info)
{
    clf_status status = platform_text(platform, CL_PLATFORM_NAME, info->platform, sizeof info->platform);

    if (!status)
        status = platform_text(platform, CL_PLATFORM_VENDOR, info->platform_vendor, sizeof info->platform_vendor);
    if (!status)
        status = device_text(id, CL_DEVICE_NAME, info->name, sizeof info->name);
    if (!status)
        status = device_text(id, CL_DEVICE_VENDOR, info->vendor, sizeof info->vendor);
    return status ? status : device_text(id, CL_DRIVER_VERSION, info->driver, sizeof info->driver);
}

static bool contains_any(const char *text, const char *const *words)
{
    for (; *words; words++)
        if (clf__contains_ignore_case(text, *words))
            return true;
    return false;
}

clf_status clf__device_describe(cl_platform_id platform, cl_device_id id, clf_device_info *info)
{
    static const char *const rasterisers[] = { "llvmpipe", "softpipe", "swrast", "lavapipe", "swiftshader", NULL };
    static const char *const simulators[] = { "oclgrind", NULL };
    cl_bool unified = CL_FALSE;
    cl_ulong memory = 0;
    cl_uint units = 0;
    clf_status status;
    cl_int code;

    memset(info, 0, sizeof *info);
    info->size = sizeof *info;
    info->platform_id = platform;
    info->device_id = id;
    info->rank = -1;
    status = describe_in_words(platform, id, info);
    if (status)
        return status;
    code = clGetDeviceInfo(id, CL_DEVICE_TYPE, sizeof info->type, &info->type, NULL);
    if (!code)
        code = clGetDeviceInfo(id, CL_DEVICE_GLOBAL_MEM_SIZE, sizeof memory, &memory, NULL);
    if (!code)
        code = clGetDeviceInfo(id, CL_DEVICE_MAX_COMPUTE_UNITS, sizeof units, &units, NULL);
    if (!code)
        code = clGetDeviceInfo(id, CL_DEVICE_HOST_UNIFIED_MEMORY, sizeof unified, &unified, NULL);
    if (code)
        return clf__fail_opencl(code, "clGetDeviceInfo of '%s'", info->name);
    info->global_memory = memory;
    info->compute_units = (int)units;
    info->integrated = unified != CL_FALSE;
    info->software = contains_any(info->name, rasterisers);
    info->simulator = contains_any(info->name, simulators) || contains_any(info->platform, simulators);
    return CLF_SUCCESS;
}

/* Where the card sits, as far as the driver tells. */
static clf_status identify(cl_device_id id, clf__card *card)
{
    char extensions[8192];
    unsigned char topology[24] = { 0 };
    cl_uint bus = 0, slot = 0, domain = 0;

    memset(card, 0, sizeof *card);
    clf_status status = device_text(id, CL_DEVICE_EXTENSIONS, extensions, sizeof extensions);
    if (status)
        return status;
    if (strstr(extensions, "cl_khr_device_uuid"))
        card->has_uuid = clGetDeviceInfo(id, QUERY_UUID_KHR, sizeof card->uuid, card->uuid, NULL) == CL_SUCCESS;
    if (strstr(extensions, "cl_khr_pci_bus_info"))
        card->has_pci = clGetDeviceInfo(id, QUERY_PCI_KHR, sizeof card->pci, card->pci, NULL) == CL_SUCCESS;
    if (!card->has_pci && strstr(extensions, "cl_nv_device_attribute_query") &&
        clGetDeviceInfo(id, QUERY_PCI_BUS_NV, sizeof bus, &bus, NULL) == CL_SUCCESS &&
        clGetDeviceInfo(id, QUERY_PCI_SLOT_NV, sizeof slot, &slot, NULL) == CL_SUCCESS) {
        if (clGetDeviceInfo(id, QUERY_PCI_DOMAIN_NV, sizeof domain, &domain, NULL) != CL_SUCCESS)
            domain = 0;
        card->has_pci = true;
        card->pci[0] = domain;
        card->pci[1] = bus;
        card->pci[2] = slot >> 3;
        card->pci[3] = slot & 7;
    }
    if (!card->has_pci && strstr(extensions, "cl_amd_device_attribute_query") &&
        clGetDeviceInfo(id, QUERY_TOPOLOGY_AMD, sizeof topology, topology, NULL) == CL_SUCCESS) {
        card->has_pci = true;
        for (int i = 0; i < 3; i++)
            card->pci[1 + i] = topology[21 + i];
    }
    return CLF_SUCCESS;
}

/* Can our kernels run there: available, with a compiler, OpenCL 1.2 or later? */
static clf_status ask_usable(cl_device_id id, bool *usable)
{
    cl_bool available = CL_FALSE, compiler = CL_FALSE;
    int major = 0, minor = 0;
    char version[128];

    clf_status status = device_text(id, CL_DEVICE_VERSION, version, sizeof version);
    *usable = sscanf(version, "OpenCL %d.%d", &major, &minor) == 2 && (major > 1 || (major == 1 && minor >= 2)) &&
              !clGetDeviceInfo(id, CL_DEVICE_AVAILABLE, sizeof available, &available, NULL) && available &&
              !clGetDeviceInfo(id, CL_DEVICE_COMPILER_AVAILABLE, sizeof compiler, &compiler, NULL) && compiler;
    return status;
}

typedef struct device_list {
    clf_device_info *infos;
    clf__card       *cards;
    bool            *usable;
    size_t           count;
    clf__text        left_out; /* what does not answer, and why */
} device_list;

static void free_list(device_list *list)
{
    free(list->infos);
    free(list->cards);
    free(list->usable);
    clf__text_free(&list->left_out);
}

static clf_status grow(device_list *list, size_t more)
{
    size_t count = list->count + more;
    clf_device_info *infos = realloc(list->infos, count * sizeof *infos);

    if (!infos)
        return clf__no_memory(count * sizeof *infos);
    list->infos = infos;
    clf__card *cards = realloc(list->cards, count * sizeof *cards);
    if (!cards)
        return clf__no_memory(count * sizeof *cards);
    list->cards = cards;
    bool *usable = realloc(list->usable, count * sizeof *usable);
    if (!usable)
        return clf__no_memory(count * sizeof *usable);
    list->usable = usable;
    return CLF_SUCCESS;
}

/* The devices of a platform; free() *ids. A platform without any is no error. */
static clf_status get_ids(cl_platform_id platform, int index, cl_device_id **ids, cl_uint *count)
{
    cl_int code = clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, 0, NULL, count);

    if (code == CL_DEVICE_NOT_FOUND || (code == CL_SUCCESS && *count == 0)) {
        clf__log(CLF_LOG_DEBUG, "platform %d has no device", index);
        *count = 0;
        return CLF_SUCCESS;
    }
    if (code == CL_SUCCESS) {
        *ids = calloc(*count, sizeof **ids);
        if (!*ids)
            return clf__no_memory(*count * sizeof **ids);
        code = clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, *count, *ids, NULL);
    }
    return code ? clf__fail_opencl(code, "clGetDeviceIDs of platform %d", index) : CLF_SUCCESS;
}

/* Passes over what does not answer, with the reason that the thread's message holds. */
static void leave_out(device_list *list)
{
    clf__log(CLF_LOG_INFO, "left out: %s", clf_error_message());
    clf__text_add(&list->left_out, "; %s", clf_error_message());
}

/* Adds the devices of one platform. One that fails to tell is passed over: the others may work. */
static clf_status add_platform(device_list *list, cl_platform_id platform, int index)
{
    cl_device_id *ids = NULL;
    cl_uint count = 0;
    clf_status status = get_ids(platform, index, &ids, &count);

    if (status && status != CLF_OUT_OF_HOST_MEMORY) {
        leave_out(list);
        status = CLF_SUCCESS;
        goto done;
    }
    if (!status && count)
        status = grow(list, count);
    for (cl_uint i = 0; i < count && !status; i++) {
        clf_device_info *info = &list->infos[list->count];

        status = clf__device_describe(platform, ids[i], info);
        if (!status)
            status = identify(ids[i], &list->cards[list->count]);
        if (!status)
            status = ask_usable(ids[i], &list->usable[list->count]);
        if (status == CLF_OUT_OF_HOST_MEMORY)
            break;
        if (status) {
            leave_out(list);
            status = CLF_SUCCESS;
            continue;
        }
        info->platform_index = index;
        info->device_index = (int)i;
        list->count++;
    }
done:
    free(ids);
    return status;
}

static clf_status enumerate(clf_device_info **infos, size_t *count)
{
    device_list list = { 0 };
    cl_platform_id *platforms = NULL;
    cl_uint platform_count = 0;
    clf_status status;
    cl_int code;

    *infos = NULL;
    *count = 0;
    code = clGetPlatformIDs(0, NULL, &platform_count);
    if (code == CLF_NO_PLATFORM || (code == CL_SUCCESS && platform_count == 0))
        return clf__fail(CLF_NO_PLATFORM,
                         "no OpenCL platform: install the driver of your device (pocl-opencl-icd serves "
                         "any CPU); the loader looks in /etc/OpenCL/vendors or where OCL_ICD_VENDORS points");
    if (code != CL_SUCCESS)
        return clf__fail_opencl(code, "clGetPlatformIDs");
    platforms = calloc(platform_count, sizeof(cl_platform_id));
    if (!platforms)
        return clf__no_memory(platform_count * sizeof(cl_platform_id));
    code = clGetPlatformIDs(platform_count, platforms, NULL);
    if (code != CL_SUCCESS) {
        status = clf__fail_opencl(code, "clGetPlatformIDs");
        goto fail;
    }
    for (cl_uint i = 0; i < platform_count; i++) {
        status = add_platform(&list, platforms[i], (int)i);
        if (status)
            goto fail;
    }
    if (list.count == 0) {
        status = clf__fail(CLF_DEVICE_NOT_FOUND, "none of the %u OpenCL platforms has a device%s", platform_count,
                           list.left_out.data ? list.left_out.data : "");
        goto fail;
    }
    clf__mark_duplicates(list.infos, list.cards, list.count);
    clf__rank(list.infos, list.usable, list.count);
    *infos = list.infos;
    *count = list.count;
    list.infos = NULL;
    status = CLF_SUCCESS;
fail:
    free_list(&list); /* what is handed out is no longer in it */
    free(platforms);
    return status;
}

/* One thread at a time: while PoCL 3.1 sets up its devices for one thread, it shows them half done to another. */
clf_status clf__enumerate(clf_device_info **infos, size_t *count)
{
    clf_status status;

    clf__process_lock(CLF__LOCK_DRIVERS);
    status = enumerate(infos, count);
    clf__process_unlock(CLF__LOCK_DRIVERS);
    return status;
}

clf_status clf_devices(const char *selector, clf_device_info **infos, size_t *count)
{
    clf_device_info *all = NULL, *result = NULL;
    size_t *chosen = NULL, all_count = 0, chosen_count = 0;
    clf_status status;

    if (!infos || !count)
        return clf__fail(CLF_INVALID_VALUE, "argument '%s' is NULL", infos ? "count" : "infos");
    *infos = NULL;
    *count = 0;
    status = clf__enumerate(&all, &all_count);
    if (status)
        return status;
    chosen = calloc(all_count, sizeof *chosen);
    result = calloc(all_count, sizeof *result);
    if (!chosen || !result) {
        status = clf__no_memory(all_count * sizeof *result);
        goto fail;
    }
    status = clf__select(all, all_count, selector, chosen, &chosen_count);
    if (status)
        goto fail;
    for (size_t i = 0; i < chosen_count; i++)
        result[i] = all[chosen[i]];
    *infos = result;
    *count = chosen_count;
    result = NULL;
fail:
    free(result);
    free(chosen);
    free(all);
    return status;
}

void clf_free(void *pointer)
{
    free(pointer);
}
