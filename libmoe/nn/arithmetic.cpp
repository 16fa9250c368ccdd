#include "libmoe/nn/arithmetic.h"

namespace moe {

void Arithmetic::describe(OptionTable& table, bool all_weights) {
  Option& option =
      table.add("weights", Word(&weights), "TYPE",
                all_weights ? "What matrix products read: fp32, or weights packed in another type"
                            : "What matrix products read: fp32, or bf16 = packed, rounded copies of "
                              "fp32 weights, which are updated and saved");
  if (!all_weights) option.one_of({"fp32", "bf16"});
  describe_products(table);
}

void Arithmetic::describe_for_inference(OptionTable& table) {
  table.add(
      "weights", Word(&weights), "TYPE",
      "Type in which matrices of products are held, rounded as they are read: fp32; bf16; int8, with a scale "
      "for each output; int4, with a scale for each 32 inputs. Rows of activations are rounded to int8 for "
      "int8 weights, to bf16 for int4");
  describe_products(table);
}

void Arithmetic::describe_products(OptionTable& table) {
  table.add(
      "products", Word(&products), "TYPE",
      "What matrix products multiply: fp32; bf16 = both matrices are rounded first; auto = bf16 where the "
      "processor has tiles for it, or dot products that are faster than those of fp32, else fp32. Sums are "
      "fp32 in all");
}

Product Arithmetic::product_on(const Device& device) const {
  if (products == Products::automatic) return device.kernels().fastest_product.product;
  return products == Products::bf16 ? Product::bf16 : Product::f32;
}

}  // namespace moe
