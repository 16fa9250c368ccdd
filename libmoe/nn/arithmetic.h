// The types in which matrices are multiplied.
#pragma once
#include <string>

#include "libmoe/base/options.h"
#include "libmoe/core/weight.h"

namespace moe {

/// Sums and results are fp32 in all of them, and so are the products of gates.
struct Arithmetic {
  std::string weights = "fp32", products = "fp32";

  /// --weights and --products.
  void describe(OptionTable& table);
  /// --products alone, where weights are as a file has them.
  void describe_products(OptionTable& table);
  WeightType weight_type() const { return weights == "bf16" ? WeightType::bf16 : WeightType::f32; }
  /// Products read packed copies of the weights.
  bool packs() const { return weight_type() != WeightType::f32; }
  /// Of a pass: Pass::product.
  Product product() const { return products == "bf16" ? Product::bf16 : Product::f32; }
};

}  // namespace moe
