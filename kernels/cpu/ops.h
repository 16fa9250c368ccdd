// The vector versions, compiled once per instruction set into namespace moe::kernels::MOE_ISA.
#pragma once
#include "kernels/api/table.h"

namespace moe::kernels::MOE_ISA {

// None can fail; the table returns 0 for them.
#define MOE_DECLARE(op, Args) void op(const Context&, const Args&);
MOE_KERNEL_OPS(MOE_DECLARE)
#undef MOE_DECLARE

}  // namespace moe::kernels::MOE_ISA
