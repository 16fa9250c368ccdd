// The kernels of one device as a table of function pointers: the same slots for ref, cpu and any plugin. An empty
// slot is an error that names op and device, never a quiet fallback.
#pragma once
#include "kernels/api/gemm.h"
#include "kernels/api/runtime.h"
#include "kernels/api/types.h"

namespace moe::kernels {

struct KernelTable {
  int version;
  const char* name;  // "ref", "cpu-baseline", "cpu-avx2", "cpu-avx512"
  void (*gemm)(const Context&, const GemmArgs&);
};

inline constexpr int kKernelTableVersion = 1;

/// Plain loops: the specification of every op.
const KernelTable& ref_table();
/// The CPU's table for an instruction set: "baseline", "avx2", "avx512"; null when this processor lacks it or the
/// name is unknown.
const KernelTable* cpu_table(const char* isa);
/// The best instruction set of this processor.
const char* best_cpu_isa();
const RuntimeTable& cpu_runtime();

}  // namespace moe::kernels
