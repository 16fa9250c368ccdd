#include "libmoe/nn/arithmetic.h"

namespace moe {

void Arithmetic::describe(OptionTable& table) {
  table
      .add("weights", &weights, "TYPE",
           "What matrix products read: fp32, or bf16 = rounded copies of fp32 weights, which are updated and "
           "saved")
      .one_of({"fp32", "bf16"});
  describe_products(table);
}

void Arithmetic::describe_products(OptionTable& table) {
  table
      .add("products", &products, "TYPE",
           "What matrix products multiply: fp32, or bf16 = both matrices are rounded first, twice as fast "
           "where the processor has bf16 dot products; sums are fp32 in both")
      .one_of({"fp32", "bf16"});
}

}  // namespace moe
