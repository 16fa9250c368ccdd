// The matrix of a product in the types that products read: plain, or packed once (kernels/api/weight.h).
// Nobody above core looks inside.
#pragma once
#include <span>

#include "kernels/api/gemm.h"
#include "libmoe/core/tensor.h"

namespace moe {

using kernels::Product;
using kernels::WeightType;

/// W [K,N] of a product x W: K inputs, N outputs. Borrows its memory.
class WeightView {
 public:
  WeightView() = default;
  /// A matrix of f32 [K,N] as it lies.
  WeightView(const TensorView& matrix);  // NOLINT: a matrix is usable wherever a weight is
  WeightView(const Tensor& matrix) : WeightView(matrix.view()) {}  // NOLINT
  /// Packed bytes [bytes_of(type, K, N)] of u8.
  WeightView(WeightType type, std::int64_t n_inputs, std::int64_t n_outputs, const TensorView& bytes);

  /// Of a packed weight.
  static std::int64_t bytes_of(WeightType type, std::int64_t n_inputs, std::int64_t n_outputs) {
    return kernels::packed_bytes(type, n_inputs, n_outputs);
  }

  /// The transposed matrix of f32 [N,K], in the same memory.
  WeightView transposed() const;

  explicit operator bool() const { return weight_.data != nullptr; }
  std::int64_t n_inputs() const { return weight_.k; }
  std::int64_t n_outputs() const { return weight_.n; }
  WeightType type() const { return weight_.type; }
  bool packed() const { return weight_.layout == kernels::WeightLayout::packed; }
  const kernels::Weight& kernel_weight() const { return weight_; }

 private:
  kernels::Weight weight_{};
};

namespace ops {

struct Packing {
  WeightView from;  // f32
  WeightView to;    // packed, of the same shape
};
/// Independent weights are packed together. See kernels::PackProblem for how they are rounded.
void pack_weights(Stream& stream, std::span<const Packing> packings);

}  // namespace ops
}  // namespace moe
