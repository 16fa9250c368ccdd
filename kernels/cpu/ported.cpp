#include "kernels/cpu/ops.h"

namespace moe::kernels::MOE_ISA {

#define MOE_PORT(op, Args) void op(const Context& context, const Args& args) { ref_table().op(context, args); }
MOE_PORT(attention, AttentionArgs)
MOE_PORT(attention_backward, AttentionBackwardArgs)

}  // namespace moe::kernels::MOE_ISA
