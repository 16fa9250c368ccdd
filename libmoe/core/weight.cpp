#include "libmoe/core/weight.h"

#include <utility>
#include <vector>

#include "libmoe/core/call.h"

namespace moe {

using kernels::WeightLayout;

WeightView::WeightView(const TensorView& matrix) {
  if (!matrix && matrix.shape.n_elements() != 0) return;
  MOE_CHECK(matrix.dtype == DType::f32 && matrix.shape.rank() == 2, "a weight of shape {}",
            matrix.shape.text());
  MOE_CHECK(matrix.rows() <= 1 || matrix.row_stride >= matrix.shape[1], "rows of a weight overlap");
  weight_ = {matrix.shape[0],    matrix.shape[1], WeightType::f32,
             WeightLayout::rows, matrix.data,     matrix.row_stride};
}

WeightView::WeightView(WeightType type, std::int64_t n_inputs, std::int64_t n_outputs,
                       const TensorView& bytes) {
  MOE_CHECK(type != WeightType::f32 && bytes.dtype == DType::u8 && bytes.contiguous() &&
                bytes.shape.n_elements() == bytes_of(type, n_inputs, n_outputs),
            "{} bytes for a packed weight [{},{}]", bytes.shape.n_elements(), n_inputs, n_outputs);
  MOE_CHECK(reinterpret_cast<std::uintptr_t>(bytes.data) % kernels::kStripRowBytes == 0);
  MOE_CHECK(type == WeightType::bf16 || n_inputs <= kernels::kMostSteps, "{} inputs of integers", n_inputs);
  weight_ = {n_inputs, n_outputs, type, WeightLayout::packed, bytes.data, 0};
}

WeightView WeightView::transposed() const {
  MOE_CHECK(!packed(), "a packed weight is read in one direction");
  WeightView other = *this;
  std::swap(other.weight_.k, other.weight_.n);
  other.weight_.layout = weight_.layout == WeightLayout::rows ? WeightLayout::columns : WeightLayout::rows;
  return other;
}

void ops::pack_weights(Stream& stream, std::span<const Packing> packings) {
  std::vector<kernels::PackProblem> problems;
  problems.reserve(packings.size());
  for (const auto& [from, to] : packings) {
    MOE_CHECK(!from.packed() && to.packed() && from.n_inputs() == to.n_inputs() &&
                  from.n_outputs() == to.n_outputs(),
              "packing [{},{}] as [{},{}]", from.n_inputs(), from.n_outputs(), to.n_inputs(), to.n_outputs());
    problems.push_back({from.kernel_weight(), to.type(), const_cast<void*>(to.kernel_weight().data)});
  }
  MOE_CALL(stream, pack_weight,
           (kernels::PackWeightArgs{problems.data(), static_cast<std::int64_t>(problems.size())}));
}

}  // namespace moe
