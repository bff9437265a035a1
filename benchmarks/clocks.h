/* Seconds that pass on the host. */
#ifndef CLF_BENCH_CLOCKS_H
#define CLF_BENCH_CLOCKS_H

/* Of the wall's clock, and of all cores together: the latter hardly see other processes. */
typedef struct clf__bench_clocks {
    double wall, cpu;
} clf__bench_clocks;

double            clf__bench_now(void); /* of the wall's clock */
clf__bench_clocks clf__bench_clocks_now(void);
clf__bench_clocks clf__bench_clocks_since(clf__bench_clocks start);

#endif
