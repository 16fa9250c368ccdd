#include "kernels/cpu/ops.h"

#define MOE_TEXT_(x) #x
#define MOE_TEXT(x) MOE_TEXT_(x)

namespace moe::kernels::MOE_ISA {
namespace {

ProductChoice fastest_product() {
#if MOE_ISA_avx512bf16
  // As measured on EPYC processors (9004, 9005) and on a Xeon with tiles.
  if (__builtin_cpu_is("amd"))
    return {Product::bf16, "this processor's bf16 dot products have twice the rate of fp32"};
  return {Product::f32, "this processor's bf16 dot products have half the rate of fp32"};
#else
  return {Product::f32, "this processor has no products of bf16"};
#endif
}

}  // namespace

const KernelTable& table() {
  static const KernelTable kTable{.version = kKernelTableVersion,
                                  .name = "cpu-" MOE_TEXT(MOE_ISA),
                                  .fastest_product = fastest_product(),
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
