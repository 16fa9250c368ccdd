// Where an element of a packed weight lies, as kernels/api/weight.h says.
#pragma once
#include "kernels/api/weight.h"
#include "kernels/ref/bf16.h"

namespace moe::kernels::ref {

/// Of numbers of which `largest` is the largest magnitude.
struct Int8Scale {
  float scale, inverse;
  explicit Int8Scale(float largest)
      : scale(largest < kLeastInt8 ? 0 : largest / 127), inverse(largest < kLeastInt8 ? 0 : 127 / largest) {}
  std::int32_t quantised(float x) const { return static_cast<std::int32_t>(__builtin_rintf(x * inverse)); }
};

/// In elements of bf16, in bytes of int8, in 16-bit units of int4.
inline std::int64_t packed_place(WeightType type, std::int64_t n_steps, std::int64_t k, std::int64_t n) {
  const std::int64_t steps = strip_row_steps(type), row_units = type == WeightType::int8 ? 64 : 32;
  const std::int64_t row = n / kStripColumns * (packed_steps(type, n_steps) / steps) + k / steps;
  const std::int64_t in_column = type == WeightType::int8 ? 4 : 2;  // units that a row has of a column
  return row * row_units + n % kStripColumns * in_column + k % in_column;
}

inline std::int64_t int4_scale_place(std::int64_t n_steps, std::int64_t k, std::int64_t n) {
  const std::int64_t n_groups = packed_steps(WeightType::int4, n_steps) / kInt4Group;
  return (n / kStripColumns * n_groups + k / kInt4Group) * kStripColumns + n % kStripColumns;
}

/// q of int8 and int4.
inline std::int32_t packed_integer(const Weight& w, std::int64_t k, std::int64_t n) {
  const std::int64_t place = packed_place(w.type, w.k, k, n);
  if (w.type == WeightType::int8) return static_cast<const std::int8_t*>(w.data)[place];
  const std::int32_t code = static_cast<const std::uint16_t*>(w.data)[place] >> k % 8 / 2 * 4 & 15;
  return code < 8 ? code : code - 16;
}

/// An element of f32 or bf16.
inline float weight_element(const Weight& w, std::int64_t k, std::int64_t n) {
  if (w.type == WeightType::bf16)
    return from_bf16(static_cast<const std::uint16_t*>(w.data)[packed_place(w.type, w.k, k, n)]);
  return static_cast<const float*>(w.data)[w.layout == WeightLayout::columns ? n * w.ld + k : k * w.ld + n];
}

}  // namespace moe::kernels::ref
