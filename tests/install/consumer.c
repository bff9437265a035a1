/* The smallest program: the headers fit the library that is loaded, and the parts are in it. An argument is the
 * version that both should have. */
#include <clformers/clformers.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    const clf_component *component = NULL;
    clf_status status = clf_component_find(CLF_ATTENTION, "scaled_dot_product", &component);

    if (status != CLF_SUCCESS)
        fprintf(stderr, "%s: %s\n", clf_status_name(status), clf_error_message());
    else
        printf("clformers %s: %s\n", clf_version(), component->descriptor->summary);
    return status != CLF_SUCCESS || clf_version_number() != CLF_VERSION_NUMBER ||
           (argc > 1 && strcmp(argv[1], clf_version()) != 0);
}
