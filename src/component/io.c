/* The io tables that attention mechanisms share. */
#include <clformers/component.h>

const clf_io clf_attention_io_qkv[] = {
    [CLF_QKV_Q] = { "q", "BHQD", CLF_INPUT, CLF_IO_FLOATING, CLF_IO_DIFFERENTIABLE, "queries" },
    [CLF_QKV_K] = { "k", "BHKD", CLF_INPUT, CLF_IO_FLOATING, CLF_IO_DIFFERENTIABLE, "keys" },
    [CLF_QKV_V] = { "v", "BHKE", CLF_INPUT, CLF_IO_FLOATING, CLF_IO_DIFFERENTIABLE, "values" },
    [CLF_QKV_ATT_MASK] = { "att_mask", "BHQK", CLF_INPUT, CLF_IO_MASK, CLF_IO_OPTIONAL | CLF_IO_BROADCAST,
                           "which keys a query sees, or what is added to the scores" },
    [CLF_QKV_KEY_PADDING_MASK] = { "key_padding_mask", "BK", CLF_INPUT, CLF_IO_BOOLEAN,
                                   CLF_IO_OPTIONAL | CLF_IO_BROADCAST, "which keys are no padding" },
    [CLF_QKV_OUT] = { "out", "BHQE", CLF_OUTPUT, CLF_IO_FLOATING, CLF_IO_DIFFERENTIABLE, "result" },
    [CLF_QKV_LSE] = { "lse", "BHQ", CLF_OUTPUT, CLF_IO_SINGLE, CLF_IO_OPTIONAL,
                      "natural logarithm of the sum of exponentials of a row's scores" },
    CLF_IO_END
};

const clf_io clf_attention_io_q[] = {
    [CLF_QKV_Q] = { "q", "BHQD", CLF_INPUT, CLF_IO_FLOATING, CLF_IO_DIFFERENTIABLE, "the sequence" },
    [CLF_QKV_K] = { "k", "BHKD", CLF_INPUT, CLF_IO_FLOATING, CLF_IO_OPTIONAL, "not read" },
    [CLF_QKV_V] = { "v", "BHKD", CLF_INPUT, CLF_IO_FLOATING, CLF_IO_OPTIONAL, "not read" },
    [CLF_QKV_ATT_MASK] = { "att_mask", "BHQK", CLF_INPUT, CLF_IO_MASK, CLF_IO_OPTIONAL | CLF_IO_BROADCAST,
                           "which positions a position sees" },
    [CLF_QKV_KEY_PADDING_MASK] = { "key_padding_mask", "BK", CLF_INPUT, CLF_IO_BOOLEAN,
                                   CLF_IO_OPTIONAL | CLF_IO_BROADCAST, "which positions are no padding" },
    [CLF_QKV_OUT] = { "out", "BHQD", CLF_OUTPUT, CLF_IO_FLOATING, CLF_IO_DIFFERENTIABLE, "result" },
    CLF_IO_END
};
