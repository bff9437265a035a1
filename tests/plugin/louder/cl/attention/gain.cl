/* Another plugin's kernel under the same path, 30 times as loud. */
__kernel void gain(__global const float *v, long4 v_at, __global float *out, long4 out_at, int keys, int heads, float gain)
{
    const int e = get_global_id(0), i = get_global_id(1), b = get_global_id(2) / heads, h = get_global_id(2) % heads;
    float sum = 0;
    for (int k = 0; k < keys; k++)
        sum += v[v_at.s0 + b * v_at.s1 + h * v_at.s2 + k * v_at.s3 + e];
    out[out_at.s0 + b * out_at.s1 + h * out_at.s2 + i * out_at.s3 + e] = 30 * gain * sum / keys;
}
