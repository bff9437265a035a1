/* A work-item for every element of the output. */
#include "attention/factor.cl"
#include "prelude/types.cl"

__kernel void gain(__global const float *v, __global float *out, int keys, int width, float gain)
{
    const int column = get_global_id(0) % width;
    float sum = 0;
    for (int k = 0; k < keys; k++)
        sum = clf_fma(OWN_FACTOR, v[((int)get_global_id(1) * keys + k) * width + column], sum);
    out[get_global_id(1) * get_global_size(0) + get_global_id(0)] = gain * sum / keys;
}
