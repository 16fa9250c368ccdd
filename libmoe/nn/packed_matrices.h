// The matrices of a parameter in a packed type: what products read instead of its f32 values.
#pragma once
#include "libmoe/core/weight.h"

namespace moe {

/// So many matrices [K,N] of one type, one after the other.
class PackedMatrices {
 public:
  PackedMatrices() = default;
  /// Memory for them, not filled.
  PackedMatrices(Device& device, WeightType type, std::int64_t n_matrices, std::int64_t n_inputs,
                 std::int64_t n_outputs);

  explicit operator bool() const { return static_cast<bool>(bytes_); }
  WeightView at(std::int64_t matrix) const;

 private:
  WeightType type_ = WeightType::f32;
  std::int64_t n_inputs_ = 0, n_outputs_ = 0;
  Tensor bytes_;  // [n_matrices, bytes of one] u8
};

}  // namespace moe
