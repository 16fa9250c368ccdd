// Chooses the instruction set at run time: compiled for the baseline only.
#include "kernels/api/table.h"

namespace moe::kernels {

namespace baseline {
const KernelTable& table();
}  // namespace baseline
namespace avx2 {
const KernelTable& table();
}  // namespace avx2
namespace avx512 {
const KernelTable& table();
}  // namespace avx512
namespace avx512bf16 {
const KernelTable& table();
}  // namespace avx512bf16

namespace {

bool has_avx2() {
  return __builtin_cpu_supports("x86-64-v3") != 0;
}
bool has_avx512() {
  return __builtin_cpu_supports("x86-64-v4") != 0;
}
bool has_avx512bf16() {
  return has_avx512() && __builtin_cpu_supports("avx512bf16") != 0 &&
         __builtin_cpu_supports("avx512vnni") != 0;
}

}  // namespace

const char* best_cpu_isa() {
  const char* best = nullptr;
  for (const char* isa : kCpuIsas)
    if (cpu_table(isa) != nullptr) best = isa;
  return best;
}

const KernelTable* cpu_table(const char* isa) {
  if (__builtin_strcmp(isa, "baseline") == 0) return &baseline::table();
  if (__builtin_strcmp(isa, "avx2") == 0 && has_avx2()) return &avx2::table();
  if (__builtin_strcmp(isa, "avx512") == 0 && has_avx512()) return &avx512::table();
  if (__builtin_strcmp(isa, "avx512bf16") == 0 && has_avx512bf16()) return &avx512bf16::table();
  return nullptr;
}

}  // namespace moe::kernels
