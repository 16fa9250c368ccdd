// Chooses the instruction set at run time: compiled for the baseline only.
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

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
namespace amx {
void gemm(const Context&, const GemmArgs&);
}  // namespace amx
namespace amx_emulated {
void gemm(const Context&, const GemmArgs&);
}  // namespace amx_emulated

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

/// Linux gives the tiles' registers, which its threads must save, to processes that ask for them.
bool tiles_permitted() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}
bool has_amx() {
  static const bool kHas = [] {
    constexpr unsigned kBf16 = 1u << 22, kTile = 1u << 24, kInt8 = 1u << 25, kAll = kBf16 | kTile | kInt8;
    unsigned a = 0, b = 0, c = 0, features = 0;
    return has_avx512bf16() && __get_cpuid_count(7, 0, &a, &b, &c, &features) != 0 &&
           (features & kAll) == kAll && tiles_permitted();
  }();
  return kHas;
}

template <void (*kGemm)(const Context&, const GemmArgs&)>
KernelTable with_gemm(KernelTable table, const char* name) {
  table.name = name;
  table.gemm = [](const Context& context, const GemmArgs& args) {
    kGemm(context, args);
    return 0;
  };
  return table;
}
const KernelTable& amx_table() {
  static const KernelTable kTable = [] {
    KernelTable table = with_gemm<amx::gemm>(avx512bf16::table(), "cpu-amx");
    table.fastest_product = {Product::bf16, "this processor multiplies bf16 in tiles"};
    return table;
  }();
  return kTable;
}
const KernelTable& amx_emulated_table() {
  static const KernelTable kTable = with_gemm<amx_emulated::gemm>(baseline::table(), "cpu-amx-emulated");
  return kTable;
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
  if (__builtin_strcmp(isa, "amx") == 0 && has_amx()) return &amx_table();
  if (__builtin_strcmp(isa, kEmulatedTiles) == 0) return &amx_emulated_table();
  return nullptr;
}

}  // namespace moe::kernels
