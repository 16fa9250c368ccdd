#include "libmoe/nn/packed_matrices.h"

namespace moe {

PackedMatrices::PackedMatrices(Device& device, WeightType type, std::int64_t n_matrices,
                               std::int64_t n_inputs, std::int64_t n_outputs)
    : type_(type),
      n_inputs_(n_inputs),
      n_outputs_(n_outputs),
      bytes_(device, {n_matrices, WeightView::bytes_of(type, n_inputs, n_outputs)}, DType::u8) {}

WeightView PackedMatrices::at(std::int64_t matrix) const {
  return {type_, n_inputs_, n_outputs_, bytes_.view().at(matrix)};
}

}  // namespace moe
