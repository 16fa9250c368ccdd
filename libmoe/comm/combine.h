// Element-wise reductions, always in the order of ranks: every algorithm gives the same bits.
#pragma once
#include <cstdint>

#include "libmoe/comm/communicator.h"

namespace moe {

/// to[i] = reduce(to[i], from[i])
using Combine = void (*)(void* to, const void* from, std::int64_t n);

template <class T>
void add_elements(void* to, const void* from, std::int64_t n) {
  T* __restrict a = static_cast<T*>(to);
  const T* __restrict b = static_cast<const T*>(from);
  for (std::int64_t i = 0; i < n; ++i) a[i] += b[i];
}
template <class T>
void max_elements(void* to, const void* from, std::int64_t n) {
  T* __restrict a = static_cast<T*>(to);
  const T* __restrict b = static_cast<const T*>(from);
  for (std::int64_t i = 0; i < n; ++i) a[i] = a[i] < b[i] ? b[i] : a[i];
}
template <class T>
Combine combine_for(Reduce reduce) {
  return reduce == Reduce::sum ? add_elements<T> : max_elements<T>;
}
inline Combine combine_for(Reduce reduce, DType dtype) {
  switch (dtype) {
    case DType::f32:
      return combine_for<float>(reduce);
    case DType::i32:
      return combine_for<std::int32_t>(reduce);
    case DType::i64:
      return combine_for<std::int64_t>(reduce);
    default:
      MOE_CHECK(false, "reductions are of f32, i32 and i64");
  }
}

}  // namespace moe
