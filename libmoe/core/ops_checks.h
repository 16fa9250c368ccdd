// Checks that the front doors share: a wrong shape, type or index is a bug and aborts.
#pragma once
#include "libmoe/core/ops.h"

namespace moe::ops {

inline bool is_matrix(const TensorView& x, std::int64_t rows, std::int64_t columns) {
  return x.dtype == DType::f32 && x.shape.rank() == 2 && x.shape[0] == rows && x.shape[1] == columns;
}

/// A contiguous f32 vector of n elements.
inline bool is_vector(const TensorView& x, std::int64_t n) {
  return x.dtype == DType::f32 && x.shape.rank() == 1 && x.shape[0] == n && x.contiguous();
}

/// A contiguous i32 vector of n elements.
inline bool is_indices(const TensorView& x, std::int64_t n) {
  return x.dtype == DType::i32 && x.shape.rank() == 1 && x.shape[0] == n && x.contiguous();
}

/// Contiguous f32 elements of any shape.
inline bool is_elements(const TensorView& x, std::int64_t n) {
  return x.dtype == DType::f32 && x.shape.n_elements() == n && x.contiguous();
}

/// Every index is in [lowest, end); only looked at where the host can read them.
inline bool indices_within(const TensorView& x, std::int64_t lowest, std::int64_t end) {
  if (x.device == nullptr || !x.device->host_accessible()) return true;
  const std::int32_t* index = x.i32();
  for (std::int64_t i = 0; i < x.rows(); ++i)
    if (index[i] < lowest || index[i] >= end) return false;
  return true;
}

}  // namespace moe::ops
