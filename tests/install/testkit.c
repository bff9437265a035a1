/* The test kit outside: one case of every part on the first device; 0 also where there is no device. */
#include <clformers/testkit.h>
#include <stdio.h>

static void show(const clf_testkit_result *result, void *user)
{
    *(int *)user += !result->passed;
    printf("%s: %d passed, %s\n", result->component->name, result->counts.passed, result->trouble);
}

int main(int argc, char **argv)
{
    const clf_component      *parts[] = { clf_component_next(NULL), NULL };
    int                       code = 0, failed = 0, pairs = 0;
    clf_testkit_sweep_options options = { .size = sizeof options, .result = show };
    if (clf_testkit_child(argc, argv, &code))
        return code;
    options.run.size = sizeof options.run;
    options.run.only = 2;
    options.run.user = &failed;
    if (clf_testkit_sweep(parts, &options, &pairs) != CLF_SUCCESS)
        return 0;
    return failed > 0 || pairs != 1;
}
