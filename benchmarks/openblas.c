#include "openblas.h"

#include <dlfcn.h>
#include <stddef.h>

/* ISO C has no conversion from dlsym's pointer to a function; POSIX promises that it works. */
static void find_symbol(void *library, const char *name, void *function)
{
    *(void **)function = dlsym(library, name);
}

bool clf__bench_blas_open(clf__bench_blas *blas)
{
    static const char *const names[] = { "libopenblas.so.0", "libopenblas.so" };
    char *(*get_config)(void) = NULL;
    void *library = NULL;

    for (size_t i = 0; i < sizeof names / sizeof *names && !library; i++)
        library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return false;
    find_symbol(library, "cblas_sgemm", &blas->sgemm);
    find_symbol(library, "openblas_set_num_threads", &blas->set_threads);
    find_symbol(library, "openblas_get_config", &get_config);
    blas->name = get_config ? get_config() : "OpenBLAS";
    return blas->sgemm && blas->set_threads;
}
