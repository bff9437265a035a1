/* Writes the .safetensors files that the scripts feed to clf:  tool_input KIND FILE
 * A small attention problem, B=2 H=2 N=8 D=4, stored as (B*H, N, D); `expected` holds its result. */
#include <clformers/safetensors.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { ITEMS = 4, LENGTH = 8, WIDTH = 4, COUNT = ITEMS * LENGTH * WIDTH };

static const char good_config[] = "{\"name\": \"scaled_dot_product\", \"causal\": false, \"seq_len\": null}";

static float value(int tensor, int i)
{
    return (float)sin(1.0 + tensor * 100 + i * 0.7);
}

static void attention(const float *q, const float *k, const float *v, float *out)
{
    for (int row = 0; row < ITEMS * LENGTH; row++) {
        double weight[LENGTH], sum = 0, scale = 1 / sqrt((double)WIDTH);
        int    item = row / LENGTH;
        for (int key = 0; key < LENGTH; key++) {
            double score = 0;
            for (int d = 0; d < WIDTH; d++) {
                score += (double)q[row * WIDTH + d] * (double)k[(item * LENGTH + key) * WIDTH + d];
            }
            weight[key] = exp(score * scale);
            sum += weight[key];
        }
        for (int d = 0; d < WIDTH; d++) {
            double mean = 0;
            for (int key = 0; key < LENGTH; key++) {
                mean += weight[key] / sum * (double)v[(item * LENGTH + key) * WIDTH + d];
            }
            out[row * WIDTH + d] = (float)mean;
        }
    }
}

static int write_file(const char *kind, const char *path)
{
    static float                  data[4][COUNT];
    static const char *const      names[] = { "q", "k", "v", "grad_out" };
    const int64_t                 folded[] = { ITEMS, LENGTH, WIDTH }, whole[] = { 2, 2, LENGTH, WIDTH };
    bool                          rank4 = strcmp(kind, "rank4") == 0, integers = strcmp(kind, "int") == 0;
    clf_safetensors_writer       *writer = NULL;
    if (clf_safetensors_create(path, &writer) != CLF_SUCCESS) {
        goto fail;
    }
    for (int t = 0; t < 4; t++) {
        for (int i = 0; i < COUNT; i++) {
            data[t][i] = value(t, i);
        }
    }
    if (strcmp(kind, "expected") == 0) {
        static float out[COUNT];
        attention(data[0], data[1], data[2], out);
        if (clf_safetensors_add(writer, "out", CLF_F32, 3, folded, out) != CLF_SUCCESS) {
            goto fail;
        }
        return clf_safetensors_commit(writer) != CLF_SUCCESS;
    }
    for (int t = 0; t < (strcmp(kind, "gradient") == 0 ? 4 : 3); t++) {
        if (strcmp(kind, "missing") == 0 && t == 2) {
            continue;
        }
        clf_status status = clf_safetensors_add(writer, names[t], integers ? CLF_I32 : CLF_F32, rank4 ? 4 : 3,
                                                rank4 ? whole : folded, data[t]);
        if (status != CLF_SUCCESS) {
            goto fail;
        }
    }
    const char *const extra = strcmp(kind, "stranger") == 0    ? "att_msak"
                            : strcmp(kind, "parameter") == 0   ? "param.weight"
                            : strcmp(kind, "buffer") == 0      ? "buf.features"
                            : strcmp(kind, "draw") == 0        ? "rng.randn.0"
                            : strcmp(kind, "upstream") == 0    ? "grad_oot" : NULL;
    const int64_t one[] = { 1 };
    if (extra && clf_safetensors_add(writer, extra, CLF_F32, 1, one, data[0]) != CLF_SUCCESS) {
        goto fail;
    }
    const char *config = strcmp(kind, "badjson") == 0 ? "{\"name\": " : good_config;
    const char *builder = strcmp(kind, "builder") == 0 ? "some_function" : "build_attention";
    if ((strcmp(kind, "noconfig") != 0 &&
         (clf_safetensors_add_metadata(writer, "config", config) != CLF_SUCCESS ||
          clf_safetensors_add_metadata(writer, "builder", builder) != CLF_SUCCESS)) ||
        clf_safetensors_add_metadata(writer, "component", "attention") != CLF_SUCCESS ||
        clf_safetensors_add_metadata(writer, "shapes", strcmp(kind, "heads") == 0 ? "{\"H\": 3}" : "{\"H\": 2}") !=
            CLF_SUCCESS) {
        goto fail;
    }
    return clf_safetensors_commit(writer) != CLF_SUCCESS;
fail:
    fprintf(stderr, "tool_input: %s\n", clf_error_message());
    clf_safetensors_discard(writer);
    return 1;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fputs("usage: tool_input KIND FILE\n", stderr);
        return 2;
    }
    return write_file(argv[1], argv[2]);
}
