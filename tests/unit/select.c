/* The selector grammar and the automatic order, on made-up machines. */
#include "device/list.h"
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CPU         CL_DEVICE_TYPE_CPU
#define GPU         CL_DEVICE_TYPE_GPU
#define ACCELERATOR CL_DEVICE_TYPE_ACCELERATOR

/* Platform 0 has no device and keeps its number. */
static clf_device_info machine[] = {
    { .platform_index = 1,
      .platform = "Oclgrind",
      .name = "Oclgrind Simulator",
      .vendor = "Oclgrind",
      .type = CPU | GPU | ACCELERATOR,
      .simulator = true },
    { .platform_index = 2,
      .platform = "Portable Computing Language",
      .platform_vendor = "The pocl project",
      .name = "pthread-Some Xeon",
      .vendor = "GenuineIntel",
      .type = CPU },
    { .platform_index = 3,
      .platform = "rusticl",
      .name = "llvmpipe (LLVM)",
      .vendor = "Mesa/X.org",
      .type = CPU,
      .software = true },
    { .platform_index = 4,
      .platform = "Intel(R) OpenCL",
      .name = "UHD 770",
      .vendor = "Intel",
      .type = GPU,
      .integrated = true },
    { .platform_index = 4,
      .device_index = 1,
      .platform = "Intel(R) OpenCL",
      .name = "FPGA",
      .vendor = "Intel",
      .type = ACCELERATOR },
    { .platform_index = 5, .platform = "NVIDIA CUDA", .name = "RTX A", .vendor = "NVIDIA", .type = GPU },
    { .platform_index = 5,
      .device_index = 1,
      .platform = "NVIDIA CUDA",
      .name = "RTX B",
      .vendor = "NVIDIA",
      .type = GPU },
};
enum { COUNT = sizeof machine / sizeof machine[0] };

static void prepare(void)
{
    clf__rank(machine, NULL, COUNT);
}

TestSuite(select, .init = prepare);

/* Indices in the order of choice as text, "3 5"; or the name of the error. */
static const char *chosen(const char *selector)
{
    static char text[256];
    size_t indices[COUNT], count;
    clf_status status = clf__select(machine, COUNT, selector, indices, &count);

    if (status)
        return clf_status_name(status);
    text[0] = '\0';
    for (size_t i = 0; i < count; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%zu", i ? " " : "", indices[i]);
    return text;
}

Test(select, automatic_order)
{
    static const int ranks[COUNT] = { -1, 4, 5, 2, 3, 0, 1 };
    size_t best;

    for (int i = 0; i < COUNT; i++)
        cr_assert_eq(machine[i].rank, ranks[i], "%s has rank %d", machine[i].name, machine[i].rank);
    cr_assert_eq(clf__select_best(machine, COUNT, &best), CLF_SUCCESS);
    cr_assert_eq(best, 5);
}

Test(select, unusable_devices_have_no_place)
{
    bool usable[COUNT] = { true, true, true, true, true, false, true };

    clf__rank(machine, usable, COUNT);
    cr_assert_eq(machine[5].rank, -1);
    cr_assert_eq(machine[6].rank, 0);
}

Test(select, all)
{
    cr_assert_str_eq(chosen(NULL), "5 6 3 4 1 2 0");
    cr_assert_str_eq(chosen(""), "5 6 3 4 1 2 0");
    cr_assert_str_eq(chosen("  "), "5 6 3 4 1 2 0");
    cr_assert_str_eq(chosen("ALL"), "5 6 3 4 1 2 0");
    cr_assert_str_eq(chosen("any"), "5 6 3 4 1 2 0");
    cr_assert_str_eq(chosen("all:all"), "5 6 3 4 1 2 0");
}

Test(select, numbers)
{
    cr_assert_str_eq(chosen("2"), "1");
    cr_assert_str_eq(chosen("4"), "3 4", "a lone number is a platform");
    cr_assert_str_eq(chosen("5:1"), "6");
    cr_assert_str_eq(chosen(" 5 : 0 "), "5");
    cr_assert_str_eq(chosen("any:1"), "6 4");
    cr_assert_str_eq(chosen("0"), "CLF_DEVICE_NOT_FOUND");
    cr_assert_str_eq(chosen("5:2"), "CLF_DEVICE_NOT_FOUND");
    cr_assert_str_eq(chosen("4294967298"), "CLF_DEVICE_NOT_FOUND", "no wrap-around to 2");
    cr_assert_str_eq(chosen("99999999999999999999999"), "CLF_DEVICE_NOT_FOUND");
    cr_assert_str_eq(chosen("-1"), "CLF_DEVICE_NOT_FOUND");
}

Test(select, types_are_bit_masks)
{
    cr_assert_str_eq(chosen("cpu"), "1 2 0");
    cr_assert_str_eq(chosen("GPU"), "5 6 3 0");
    cr_assert_str_eq(chosen("accelerator"), "4 0");
    cr_assert_str_eq(chosen("4:gpu"), "3");
    cr_assert_str_eq(chosen("4:cpu"), "CLF_DEVICE_NOT_FOUND");
    cr_assert_str_eq(chosen("gpu:1"), "6");
    cr_assert_str_eq(chosen("1:accelerator"), "0");
}

Test(select, substrings_of_name_or_vendor)
{
    cr_assert_str_eq(chosen("portable"), "1");
    cr_assert_str_eq(chosen("POCL"), "1", "the platform's vendor");
    cr_assert_str_eq(chosen("pocl:xeon"), "1");
    cr_assert_str_eq(chosen("genuine:0"), "CLF_DEVICE_NOT_FOUND", "a device's vendor is none of its platform's");
    cr_assert_str_eq(chosen("LLVMpipe"), "2");
    cr_assert_str_eq(chosen("intel"), "3 4 1", "platform, vendor");
    cr_assert_str_eq(chosen("nvidia:rtx b"), "6");
    cr_assert_str_eq(chosen("intel:fpga"), "4");
    cr_assert_str_eq(chosen("mesa"), "2");
    cr_assert_str_eq(chosen("nvidia:"), "CLF_INVALID_SELECTOR");
    cr_assert_str_eq(chosen("fpga:0"), "CLF_DEVICE_NOT_FOUND", "the first of two parts is a platform");
}

Test(select, several)
{
    cr_assert_str_eq(chosen("rusticl;nvidia"), "2 5 6", "in the order of the selectors");
    cr_assert_str_eq(chosen("5:1; gpu"), "6 5 3 0", "none twice");
    cr_assert_str_eq(chosen("all;all"), "5 6 3 4 1 2 0");
    cr_assert_str_eq(chosen("nvidia;nothing"), "CLF_DEVICE_NOT_FOUND", "each has to match");
}

Test(select, garbage)
{
    static const char *const bad[] = { ":", "0:", ":0", ";", "0;", ";0", "0;;1", "0:0:0", "a:b:c", " : ", "; ;" };
    char text[1024];

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        cr_assert_str_eq(chosen(bad[i]), "CLF_INVALID_SELECTOR", "'%s'", bad[i]);
    cr_assert_str_eq(chosen("%s%n"), "CLF_DEVICE_NOT_FOUND");
    cr_assert_str_eq(chosen("\xff\xfe"), "CLF_DEVICE_NOT_FOUND");
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    cr_assert_str_eq(chosen(text), "CLF_INVALID_SELECTOR");
    cr_assert_str_eq(chosen("0x1"), "CLF_DEVICE_NOT_FOUND", "a text, not a number");
}

Test(select, a_miss_lists_what_exists)
{
    chosen("quantum");
    cr_assert(strstr(clf_error_message(), "'quantum'"));
    for (int i = 0; i < COUNT; i++)
        cr_assert(strstr(clf_error_message(), machine[i].name));
    cr_assert(strstr(clf_error_message(), "2:0  pthread-Some Xeon (Portable Computing Language, cpu)"));
    cr_assert(strstr(clf_error_message(), "cpu|gpu|accelerator"));
}

Test(select, nothing_is_chosen_without_a_name_among_simulators)
{
    size_t best;

    cr_assert_eq(clf__select_best(machine, 0, &best), CLF_DEVICE_NOT_FOUND);
    clf__rank(machine, NULL, 1);
    cr_assert_eq(clf__select_best(machine, 1, &best), CLF_DEVICE_NOT_FOUND);
    cr_assert(strstr(clf_error_message(), "Oclgrind Simulator"));
}

/* ---- one card under two platforms --------------------------------------------------------------- */

Test(duplicates, by_place_then_by_uuid_then_by_name)
{
    clf_device_info infos[] = {
        { .platform_index = 0, .platform = "rusticl", .name = "AMD Radeon (navi21)", .type = GPU },
        { .platform_index = 1, .platform = "AMD APP", .name = "gfx1030", .type = GPU },
        { .platform_index = 2, .platform = "Portable Computing Language", .platform_vendor = "The pocl project",
      .name = "RTX", .type = GPU },
        { .platform_index = 3, .platform = "NVIDIA CUDA", .name = "RTX", .type = GPU },
        { .platform_index = 3, .device_index = 1, .platform = "NVIDIA CUDA", .name = "RTX", .type = GPU },
        { .platform_index = 4, .platform = "Clover", .name = "llvmpipe", .type = CPU, .software = true },
        { .platform_index = 5, .platform = "rusticl", .name = "LLVMpipe", .type = CPU, .software = true },
    };
    clf__card cards[7] = {
        { .has_pci = true, .pci = { 0, 3, 0, 0 } },
        { .has_pci = true, .pci = { 0, 3, 0, 0 } },
        { .has_uuid = true, .uuid = "second card" },
        { .has_uuid = true, .uuid = "first card", .has_pci = true, .pci = { 0, 5, 0, 0 } },
        { .has_uuid = true, .uuid = "second card", .has_pci = true, .pci = { 0, 6, 0, 0 } },
        { 0 },
        { 0 },
    };
    static const bool expected[7] = { true, false, true, false, false, true, false };

    clf__mark_duplicates(infos, cards, 7);
    for (int i = 0; i < 7; i++)
        cr_assert_eq(infos[i].duplicate, expected[i], "%d: %s of %s", i, infos[i].name, infos[i].platform);
    clf__rank(infos, NULL, 7);
    cr_assert_eq(infos[1].rank, 0);
    cr_assert_eq(infos[0].rank, -1);
}

Test(duplicates, equal_cards_of_one_platform_are_two_cards)
{
    clf_device_info infos[] = {
        { .platform_index = 0, .platform = "V", .name = "Card", .type = GPU },
        { .platform_index = 0, .device_index = 1, .platform = "V", .name = "Card", .type = GPU },
        { .platform_index = 1, .platform = "W", .name = "Card", .type = GPU },
        { .platform_index = 1, .device_index = 1, .platform = "W", .name = "Card", .type = GPU },
        { .platform_index = 1, .device_index = 2, .platform = "W", .name = "Card", .type = GPU },
    };
    clf__card cards[5] = { { 0 } };
    static const bool expected[5] = { false, false, true, true, false };

    clf__mark_duplicates(infos, cards, 5);
    for (int i = 0; i < 5; i++)
        cr_assert_eq(infos[i].duplicate, expected[i], "%d", i);
}
