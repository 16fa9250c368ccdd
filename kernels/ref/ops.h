// Plain loops, one thread: the specification every other version is tested against.
#pragma once
#include "kernels/api/table.h"

namespace moe::kernels::ref {

// None can fail; the table returns 0 for them.
#define MOE_DECLARE(op, Args) void op(const Context&, const Args&);
MOE_KERNEL_OPS(MOE_DECLARE)
#undef MOE_DECLARE

}  // namespace moe::kernels::ref
