#include "kernels/cpu/ops.h"

#define MOE_TEXT_(x) #x
#define MOE_TEXT(x) MOE_TEXT_(x)

namespace moe::kernels::MOE_ISA {

const KernelTable& table() {
  static constexpr KernelTable kTable{
      .version = kKernelTableVersion,
      .name = "cpu-" MOE_TEXT(MOE_ISA),
      .gemm = gemm,
  };
  return kTable;
}

}  // namespace moe::kernels::MOE_ISA
