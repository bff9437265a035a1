/* The linear layers of compositional attention: which there are, their shapes, their first values. */
#include "attention/compositional_layers.h"
#include "component/random.h"
#include <math.h>

clf__linear clf__compositional_layer(const compositional_config *c, compositional_layer layer)
{
    const int64_t model = c->base.dim_model, heads = c->base.num_heads, rule = c->dim_attn / c->num_rules;
    const bool linear = !c->qk_rule && !c->nonlinear, network = !c->qk_rule && c->nonlinear;
    const clf__linear none = { 0 };

    switch (layer) {
    case LAYER_Q:
        return (clf__linear){ c->dim_key, model };
    case LAYER_K:
        return c->use_separate_proj_weight ? (clf__linear){ c->dim_key, model } : none;
    case LAYER_V:
        return c->use_separate_proj_weight ? (clf__linear){ c->dim_value, model } : none;
    case LAYER_OUT:
        return (clf__linear){ model, heads * rule };
    case LAYER_VALUE_K:
        return c->qk_rule ? (clf__linear){ c->dim_selection, rule } : none;
    case LAYER_VALUE_Q:
        return c->q_compose ? (clf__linear){ c->dim_selection, model / heads }
                            : (clf__linear){ c->dim_selection * heads, model };
    case LAYER_SCORE:
        return linear ? (clf__linear){ 1, rule + c->dim_selection } : none;
    case LAYER_HIDDEN:
        return network ? (clf__linear){ c->dim_selection, rule + c->dim_selection } : none;
    case LAYER_TOP:
        return network ? (clf__linear){ 1, c->dim_selection } : none;
    default:
        return none;
    }
}

static void weight_shape(const void *config, compositional_layer layer, int *rank, int64_t *shape)
{
    const clf__linear linear = clf__compositional_layer(config, layer);

    *rank = linear.out > 0 ? 2 : 0;
    shape[0] = linear.out;
    shape[1] = linear.in;
}

static void bias_shape(const void *config, compositional_layer layer, int *rank, int64_t *shape)
{
    const clf__linear linear = clf__compositional_layer(config, layer);

    *rank = linear.out > 0 && ((const compositional_config *)config)->bias ? 1 : 0;
    shape[0] = linear.out;
}

static void q_weight(const void *c, int *rank, int64_t *shape) { weight_shape(c, LAYER_Q, rank, shape); }
static void q_bias(const void *c, int *rank, int64_t *shape) { bias_shape(c, LAYER_Q, rank, shape); }
static void k_weight(const void *c, int *rank, int64_t *shape) { weight_shape(c, LAYER_K, rank, shape); }
static void k_bias(const void *c, int *rank, int64_t *shape) { bias_shape(c, LAYER_K, rank, shape); }
static void v_weight(const void *c, int *rank, int64_t *shape) { weight_shape(c, LAYER_V, rank, shape); }
static void v_bias(const void *c, int *rank, int64_t *shape) { bias_shape(c, LAYER_V, rank, shape); }
static void out_weight(const void *c, int *rank, int64_t *shape) { weight_shape(c, LAYER_OUT, rank, shape); }
static void out_bias(const void *c, int *rank, int64_t *shape) { bias_shape(c, LAYER_OUT, rank, shape); }
static void value_k_weight(const void *c, int *rank, int64_t *shape) { weight_shape(c, LAYER_VALUE_K, rank, shape); }
static void value_k_bias(const void *c, int *rank, int64_t *shape) { bias_shape(c, LAYER_VALUE_K, rank, shape); }
static void value_q_weight(const void *c, int *rank, int64_t *shape) { weight_shape(c, LAYER_VALUE_Q, rank, shape); }
static void value_q_bias(const void *c, int *rank, int64_t *shape) { bias_shape(c, LAYER_VALUE_Q, rank, shape); }
static void score_weight(const void *c, int *rank, int64_t *shape) { weight_shape(c, LAYER_SCORE, rank, shape); }
static void score_bias(const void *c, int *rank, int64_t *shape) { bias_shape(c, LAYER_SCORE, rank, shape); }
static void hidden_weight(const void *c, int *rank, int64_t *shape) { weight_shape(c, LAYER_HIDDEN, rank, shape); }
static void hidden_bias(const void *c, int *rank, int64_t *shape) { bias_shape(c, LAYER_HIDDEN, rank, shape); }
static void top_weight(const void *c, int *rank, int64_t *shape) { weight_shape(c, LAYER_TOP, rank, shape); }
static void top_bias(const void *c, int *rank, int64_t *shape) { bias_shape(c, LAYER_TOP, rank, shape); }

const clf_parameter clf__compositional_parameters[] = {
    { "in_proj_container.q_proj.weight", q_weight, .init = CLF_INIT_OWN,
      .doc = "projection of queries; shared: of all" },
    { "in_proj_container.q_proj.bias", q_bias, .init = CLF_INIT_OWN, .doc = "its bias" },
    { "in_proj_container.k_proj.weight", k_weight, .init = CLF_INIT_OWN, .doc = "projection of keys, if separate" },
    { "in_proj_container.k_proj.bias", k_bias, .init = CLF_INIT_OWN, .doc = "its bias" },
    { "in_proj_container.v_proj.weight", v_weight, .init = CLF_INIT_OWN, .doc = "projection of values, if separate" },
    { "in_proj_container.v_proj.bias", v_bias, .init = CLF_INIT_OWN, .doc = "its bias" },
    { "out_proj.weight", out_weight, .init = CLF_INIT_OWN, .doc = "from all heads' results to the model" },
    { "out_proj.bias", out_bias, .init = CLF_INIT_OWN, .doc = "its bias" },
    { "value_k.weight", value_k_weight, .init = CLF_INIT_OWN, .doc = "qk_rule: what a retrieved value is compared by" },
    { "value_k.bias", value_k_bias, .init = CLF_INIT_OWN, .doc = "its bias, the same for all rules: no effect" },
    { "value_q.weight", value_q_weight, .init = CLF_INIT_OWN,
      .doc = "which rule a query selects; no effect with a linear score" },
    { "value_q.bias", value_q_bias, .init = CLF_INIT_OWN, .doc = "its bias" },
    { "score_network.weight", score_weight, .init = CLF_INIT_OWN, .doc = "linear score of a retrieved value" },
    { "score_network.bias", score_bias, .init = CLF_INIT_OWN, .doc = "its bias, the same for all rules: no effect" },
    { "score_network.0.weight", hidden_weight, .init = CLF_INIT_OWN,
      .doc = "nonlinear: retrieved value and selection to a hidden layer" },
    { "score_network.0.bias", hidden_bias, .init = CLF_INIT_OWN, .doc = "its bias" },
    { "score_network.2.weight", top_weight, .init = CLF_INIT_OWN, .doc = "nonlinear: hidden layer to the score" },
    { "score_network.2.bias", top_bias, .init = CLF_INIT_OWN, .doc = "its bias, the same for all rules: no effect" },
    CLF_PARAMETERS_END
};

/* Largest absolute first value: of the input projections and of biases 1 / sqrt(in), else by Glorot and Bengio. */
static double bound_of(const compositional_config *c, compositional_layer layer, bool bias)
{
    const clf__linear linear = clf__compositional_layer(c, layer);
    const bool selects = layer == LAYER_VALUE_K || layer == LAYER_VALUE_Q;

    if (bias && layer == LAYER_OUT)
        return 0;
    if (bias || layer <= LAYER_V)
        return 1 / sqrt((double)linear.in);
    return sqrt((c->qk_rule && selects ? 3.0 : 6.0) / (double)(linear.in + linear.out));
}

clf_status clf__compositional_initialise(const void *config, const clf_parameter *what, uint64_t seed, double *data)
{
    const int place = (int)(what - clf__compositional_parameters);
    const double bound = bound_of(config, (compositional_layer)(place / 2), place % 2);
    int64_t shape[CLF_MAX_RANK] = { 0 }, count = 1;
    int rank;

    what->shape(config, &rank, shape);
    for (int i = 0; i < rank; i++)
        count *= shape[i];
    clf__stream_fill(seed, what->name, bound, count, data);
    return CLF_SUCCESS;
}
