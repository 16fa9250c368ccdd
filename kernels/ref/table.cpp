#include "kernels/ref/ops.h"

namespace moe::kernels {

const KernelTable& ref_table() {
  static constexpr KernelTable kTable{.version = kKernelTableVersion,
                                      .name = "ref",
                                      .fastest_product = {Product::f32, "the reference loops are exact"},
#define MOE_ENTRY(op, Args)                            \
  .op = [](const Context& context, const Args& args) { \
    ref::op(context, args);                            \
    return 0;                                          \
  },
                                      MOE_KERNEL_OPS(MOE_ENTRY)
#undef MOE_ENTRY
  };
  return kTable;
}

}  // namespace moe::kernels
