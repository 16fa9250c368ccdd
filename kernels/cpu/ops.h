// The vector versions, compiled once per instruction set into namespace moe::kernels::MOE_ISA.
#pragma once
#include "kernels/api/table.h"

namespace moe::kernels::MOE_ISA {

void gemm(const Context&, const GemmArgs&);

}  // namespace moe::kernels::MOE_ISA
