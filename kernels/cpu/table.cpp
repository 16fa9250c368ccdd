#include "kernels/cpu/ops.h"

#define MOE_TEXT_(x) #x
#define MOE_TEXT(x) MOE_TEXT_(x)

namespace moe::kernels::MOE_ISA {

const KernelTable& table() {
  static constexpr KernelTable kTable{.version = kKernelTableVersion,
                                      .name = "cpu-" MOE_TEXT(MOE_ISA),
#define MOE_ENTRY(op, Args)                            \
  .op = [](const Context& context, const Args& args) { \
    MOE_ISA::op(context, args);                        \
    return 0;                                          \
  },
                                      MOE_KERNEL_OPS(MOE_ENTRY)
#undef MOE_ENTRY
  };
  return kTable;
}

}  // namespace moe::kernels::MOE_ISA
