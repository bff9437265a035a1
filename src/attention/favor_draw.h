/* Random features of favor. */
#ifndef CLF_ATTENTION_FAVOR_DRAW_H
#define CLF_ATTENTION_FAVOR_DRAW_H

#include "attention/favor.h"
#include <clformers/status.h>

/* Of the features' `drawn` directions in `width` dimensions, data[d * drawn + j]. `xformers`: its blocks. */
clf_status clf__favor_draw(int width, int drawn, int map, bool xformers, const char *name, uint64_t seed, double *data);

#endif
