/* What a plugin may not include. */
#include "fused/portable_tile.cl"
__kernel void stray(void) { }
