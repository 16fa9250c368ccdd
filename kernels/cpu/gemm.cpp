#include "kernels/cpu/ops.h"

namespace moe::kernels::MOE_ISA {

void gemm(const Context& context, const GemmArgs& args) { ref_table().gemm(context, args); }

}  // namespace moe::kernels::MOE_ISA
