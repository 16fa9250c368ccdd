// The matrix W [K,N] of a product Y = X W, in the types that products read, and its packed bytes. These are
// the same for every instruction set and every device, so that a file may hold them.
//
// Packed elements stand in strips of 16 columns. A row of a strip is 64 bytes and has a few steps of k of
// each column, which is what a register of dot products takes, and 16 rows are what a tile takes:
//
//   bf16   row = 2 steps of k:  element (k,n) at  (n/16 * K2/2 + k/2) * 32 + n%16 * 2 + k%2    (16-bit units)
//   int8   row = 4 steps of k:  element (k,n) at  (n/16 * K2/4 + k/4) * 64 + n%16 * 4 + k%4    (bytes)
//   int4   row = 8 steps of k:  element (k,n) in the four bits from bit k%8/2 * 4 on of the 16-bit unit
//                               (n/16 * K2/8 + k/8) * 32 + n%16 * 2 + k%2, as two's complement
//
// K2 is K rounded up to whole tiles: 32 steps of bf16 and of int4, 64 of int8. Columns and steps that are
// added are zeros. Behind the elements of int8 and int4 come the scales, and behind those of int8 the sums:
//
//   int8   scale f32 [N2], sum i32 [N2]: w = q * scale[n]; sum[n] is that of the q of a column
//   int4   scale bf16 [N2/16][K2/32][16]: w = q * scale[n/16][k/32][n%16]
//
// N2 is N rounded up to a multiple of 16. All are little-endian, and each part begins at a multiple of 64
// bytes.
#pragma once
#include "kernels/api/types.h"

namespace moe::kernels {

enum class WeightType : std::uint8_t { f32, bf16, int8, int4 };

/// How the elements lie in memory: f32 by rows of W or by columns; the other types packed.
enum class WeightLayout : std::uint8_t {
  rows,     // [K,N] with leading dimension ld
  columns,  // [N,K] with leading dimension ld
  packed,
};

inline constexpr std::int64_t kStripColumns = 16;
inline constexpr std::int64_t kStripRowBytes = 64;
/// Steps of k that share a scale of int4.
inline constexpr std::int64_t kInt4Group = 32;

/// Numbers of int8 are all 0 where the largest magnitude is below this.
inline constexpr float kLeastInt8 = 0x1p-100f;
/// K of int8 and int4 is at most this: so many products of int8 have a sum of 32 bits.
inline constexpr std::int64_t kMostSteps = 1 << 17;

/// Steps of k in a row of a strip.
constexpr std::int64_t strip_row_steps(WeightType type) {
  return type == WeightType::bf16 ? 2 : type == WeightType::int8 ? 4 : 8;
}
/// K2: whole tiles.
constexpr std::int64_t packed_steps(WeightType type, std::int64_t k) {
  const std::int64_t tile = type == WeightType::int8 ? 64 : 32;
  return (k + tile - 1) / tile * tile;
}
/// N2: whole strips.
constexpr std::int64_t packed_columns(std::int64_t n) {
  return (n + kStripColumns - 1) / kStripColumns * kStripColumns;
}
/// Bytes of one strip's elements.
constexpr std::int64_t strip_bytes(WeightType type, std::int64_t k) {
  return packed_steps(type, k) / strip_row_steps(type) * kStripRowBytes;
}
constexpr std::int64_t packed_element_bytes(WeightType type, std::int64_t k, std::int64_t n) {
  return packed_columns(n) / kStripColumns * strip_bytes(type, k);
}
/// Of scales (and sums), rounded up to 64.
constexpr std::int64_t packed_scale_bytes(WeightType type, std::int64_t k, std::int64_t n) {
  const std::int64_t bytes = type == WeightType::int8 ? packed_columns(n) * 4
                             : type == WeightType::int4
                                 ? packed_columns(n) * (packed_steps(type, k) / kInt4Group) * 2
                                 : 0;
  return (bytes + 63) / 64 * 64;
}
/// All of a packed weight.
constexpr std::int64_t packed_bytes(WeightType type, std::int64_t k, std::int64_t n) {
  const std::int64_t scales = packed_scale_bytes(type, k, n);
  return packed_element_bytes(type, k, n) + (type == WeightType::int8 ? 2 * scales : scales);
}

struct Weight {
  std::int64_t k, n;  // [K,N]
  WeightType type;
  WeightLayout layout;
  const void* data;  // packed: 64-byte aligned
  std::int64_t ld;   // not packed: elements from one row (column) to the next

  const unsigned char* bytes() const { return static_cast<const unsigned char*>(data); }
  const float* int8_scales() const {
    return reinterpret_cast<const float*>(bytes() + packed_element_bytes(type, k, n));
  }
  const std::int32_t* int8_sums() const {
    return reinterpret_cast<const std::int32_t*>(bytes() + packed_element_bytes(type, k, n) +
                                                 packed_scale_bytes(type, k, n));
  }
  const std::uint16_t* int4_scales() const {
    return reinterpret_cast<const std::uint16_t*>(bytes() + packed_element_bytes(type, k, n));
  }
};

/// The packed bytes of a matrix of f32, which lies by rows or by columns. All instruction sets give the same
/// bytes; bytes between the parts are zeros. Numbers are rounded to nearest, ties to even:
///
///   bf16   NaN stays NaN
///   int8   of each column, m = max_k |w|: scale[n] = m / 127, q = w * (127 / m); both are 0 where m is below
///          kLeastInt8
///   int4   of each group of a column, m = the element of largest magnitude (the first of these):
///          scale = m / -8 in bf16, q = w / scale held in [-8, 7]; both are 0 where that scale is 0 or -0
///
/// Numbers that are not finite have no place in int8 and int4: what they become is not defined.
struct PackProblem {
  Weight from;      // f32, rows or columns
  WeightType type;  // bf16, int8 or int4
  void* to;         // [packed_bytes(type, K, N)], 64-byte aligned
};

/// Independent weights packed together: the experts of an MoE layer are one call.
struct PackWeightArgs {
  const PackProblem* problems;
  std::int64_t n_problems;
};

}  // namespace moe::kernels
