#include "libmoe/nn/arithmetic.h"

namespace moe {
namespace {

void describe_type(OptionTable& table, const char* name, std::string* type, const char* help) {
  table.add(name, type, "TYPE", help).one_of({"fp32", "bf16"});
}

}  // namespace

void Arithmetic::describe(OptionTable& table) {
  describe_type(
      table, "weights", &weights,
      "What matrix products read: fp32, or bf16 = rounded copies of fp32 weights, which are updated "
      "and saved");
  describe_products(table);
}

void Arithmetic::describe_products(OptionTable& table) {
  describe_type(
      table, "products", &products,
      "What matrix products multiply: fp32, or bf16 = both matrices are rounded first, twice as fast "
      "where the processor has bf16 dot products; sums are fp32 in both");
}

}  // namespace moe
