// The types in which matrices are multiplied.
#pragma once
#include <cstdint>

#include "libmoe/base/options.h"
#include "libmoe/base/words.h"
#include "libmoe/core/weight.h"

namespace moe {

/// What matrix products shall multiply.
enum class Products : std::uint8_t { automatic, f32, bf16 };
template <>
inline constexpr std::array kWords<Products>{"auto", "fp32", "bf16"};
template <>
inline constexpr std::array kWords<Product>{"fp32", "bf16"};
template <>
inline constexpr std::array kWords<WeightType>{"fp32", "bf16", "int8", "int4"};

/// Sums and results are fp32 in all of them, and so are the products of gates.
struct Arithmetic {
  WeightType weights = WeightType::f32;
  Products products = Products::automatic;

  /// --weights, of the types that are trained or of all, and --products.
  void describe(OptionTable& table, bool all_weights = false);
  /// --weights, of all types, as they are held after they were read, and --products.
  void describe_for_inference(OptionTable& table);
  /// Products read packed copies of the weights.
  bool packs() const { return weights != WeightType::f32; }
  /// Of a pass on this device: Pass::product.
  Product product_on(const Device& device) const;

 private:
  void describe_products(OptionTable& table);
};

}  // namespace moe
