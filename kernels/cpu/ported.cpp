#include "kernels/cpu/ops.h"

namespace moe::kernels::MOE_ISA {

#define MOE_PORT(op, Args) void op(const Context& context, const Args& args) { ref_table().op(context, args); }
MOE_PORT(fill, FillArgs)
MOE_PORT(add_scaled, AddScaledArgs)
MOE_PORT(activation, ActivationArgs)
MOE_PORT(activation_backward, ActivationBackwardArgs)
MOE_PORT(bias_backward, BiasBackwardArgs)
MOE_PORT(dropout_add, DropoutAddArgs)
MOE_PORT(dropout_backward, DropoutBackwardArgs)
MOE_PORT(sum_of_squares, SumOfSquaresArgs)
MOE_PORT(all_finite, AllFiniteArgs)
MOE_PORT(layer_norm, LayerNormArgs)
MOE_PORT(layer_norm_backward, LayerNormBackwardArgs)
MOE_PORT(embedding, EmbeddingArgs)
MOE_PORT(embedding_backward, EmbeddingBackwardArgs)
MOE_PORT(gather_rows, GatherRowsArgs)
MOE_PORT(attention, AttentionArgs)
MOE_PORT(attention_backward, AttentionBackwardArgs)
MOE_PORT(cross_entropy, CrossEntropyArgs)
MOE_PORT(log_softmax, LogSoftmaxArgs)
MOE_PORT(top_k, TopKArgs)
MOE_PORT(adam, AdamArgs)

}  // namespace moe::kernels::MOE_ISA
