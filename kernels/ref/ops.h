// Plain loops, one thread: the specification every other version is tested against.
#pragma once
#include "kernels/api/table.h"

namespace moe::kernels::ref {

void gemm(const Context&, const GemmArgs&);

}  // namespace moe::kernels::ref
