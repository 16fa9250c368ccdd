#include "kernels/ref/ops.h"

namespace moe::kernels {

const KernelTable& ref_table() {
  static constexpr KernelTable kTable{
      .version = kKernelTableVersion,
      .name = "ref",
      .gemm = ref::gemm,
  };
  return kTable;
}

}  // namespace moe::kernels
