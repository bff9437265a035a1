#include "clocks.h"

#include <time.h>

double clf__bench_now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

clf__bench_clocks clf__bench_clocks_now(void)
{
    return (clf__bench_clocks){ clf__bench_now(), (double)clock() / CLOCKS_PER_SEC };
}

clf__bench_clocks clf__bench_clocks_since(clf__bench_clocks start)
{
    const clf__bench_clocks end = clf__bench_clocks_now();
    return (clf__bench_clocks){ end.wall - start.wall, end.cpu - start.cpu };
}
