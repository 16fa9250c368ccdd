// What the tile instructions do, in plain C++ for any processor, to the last bit: after Intel 64 and IA-32
// Architectures Software Developer's Manual, volume 2, TDPBF16PS and TDPBSSD. The bits of a NaN are not
// imitated.
#pragma once
#include <cstdint>

namespace moe::kernels {
namespace {

/// As HardwareTiles of kernels/cpu/tiles.h.
class EmulatedTiles {
 public:
  template <int kTile>
  void zero() {
    tiles_[kTile] = {};
  }
  template <int kTile>
  void load(const void* from, std::int64_t stride) {
    for (int row = 0; row < kRows; ++row)
      __builtin_memcpy(tiles_[kTile].rows[row], static_cast<const char*>(from) + row * stride, kRowBytes);
  }
  template <int kTile>
  void store(void* to, std::int64_t stride) {
    for (int row = 0; row < kRows; ++row)
      __builtin_memcpy(static_cast<char*>(to) + row * stride, tiles_[kTile].rows[row], kRowBytes);
  }
  /// The products of even and of odd steps are summed from 0 each, step after step, fused; the sum of both
  /// sums is added to C. Every sum is rounded to nearest, ties to even; numbers below 2^-126 count as 0,
  /// those that come and those that result.
  template <int kC, int kA, int kB>
  void multiply_add_bf16() {
    add_products_of_bf16(tiles_[kC], tiles_[kA], tiles_[kB]);
  }
  /// Exact, modulo 2^32.
  template <int kC, int kA, int kB>
  void multiply_add_int8() {
    add_products_of_int8(tiles_[kC], tiles_[kA], tiles_[kB]);
  }

 private:
  static constexpr int kRows = 16, kColumns = 16, kRowBytes = 64, kTiles = 8;

  struct alignas(64) Tile {
    unsigned char rows[kRows][kRowBytes];

    /// Element i of a row.
    template <class T>
    T at(int row, int i) const {
      T x;
      __builtin_memcpy(&x, rows[row] + i * static_cast<int>(sizeof(T)), sizeof x);
      return x;
    }
  };

  // Numbers of f32 are held in f64, which has every product of two bf16, and of every sum as much as decides
  // how it is rounded to f32.
  using Row = double __attribute__((vector_size(8 * kColumns)));
  using FloatRow = float __attribute__((vector_size(4 * kColumns)));

  static double number(std::uint32_t bits) {
    if ((bits & 0x7F800000u) == 0) bits &= 0x80000000u;
    float x;
    __builtin_memcpy(&x, &bits, sizeof x);
    return x;
  }
  static double number(std::uint16_t bf16) { return number(std::uint32_t{bf16} << 16); }

  /// To f32. What is closer to 2^-126 than to the largest number below it becomes 2^-126, and not 0.
  [[gnu::always_inline]] static inline void round(Row& x) {
    constexpr double kLeast = 0x1.FFFFFFp-127;
    x = (x < kLeast) & (x > -kLeast) ? x * 0.0
                                     : __builtin_convertvector(__builtin_convertvector(x, FloatRow), Row);
  }

  [[gnu::noinline]] static void add_products_of_bf16(Tile& c, const Tile& a, const Tile& b) {
    Row of_b[2][kRows];
    for (int pair = 0; pair < kRows; ++pair)
      for (int n = 0; n < kColumns; ++n) {
        of_b[0][pair][n] = number(b.at<std::uint16_t>(pair, 2 * n));
        of_b[1][pair][n] = number(b.at<std::uint16_t>(pair, 2 * n + 1));
      }
    for (int m = 0; m < kRows; ++m) {
      Row even{}, odd{}, sum{};
      for (int pair = 0; pair < kRows; ++pair) {
        round(even += number(a.at<std::uint16_t>(m, 2 * pair)) * of_b[0][pair]);
        round(odd += number(a.at<std::uint16_t>(m, 2 * pair + 1)) * of_b[1][pair]);
      }
      round(even += odd);
      for (int n = 0; n < kColumns; ++n) sum[n] = number(c.at<std::uint32_t>(m, n));
      round(sum += even);
      const FloatRow floats = __builtin_convertvector(sum, FloatRow);
      __builtin_memcpy(c.rows[m], &floats, sizeof floats);
    }
  }

  [[gnu::noinline]] static void add_products_of_int8(Tile& c, const Tile& a, const Tile& b) {
    using IntRow = std::uint32_t __attribute__((vector_size(4 * kColumns)));
    const auto wide = [](std::int8_t x) { return static_cast<std::uint32_t>(std::int32_t{x}); };
    IntRow of_b[4 * kRows];
    for (int k = 0; k < 4 * kRows; ++k)
      for (int n = 0; n < kColumns; ++n) of_b[k][n] = wide(b.at<std::int8_t>(k / 4, n * 4 + k % 4));
    for (int m = 0; m < kRows; ++m) {
      IntRow sum;
      __builtin_memcpy(&sum, c.rows[m], sizeof sum);
      for (int k = 0; k < 4 * kRows; ++k) sum += wide(a.at<std::int8_t>(m, k)) * of_b[k];
      __builtin_memcpy(c.rows[m], &sum, sizeof sum);
    }
  }

  Tile tiles_[kTiles] = {};
};

}  // namespace
}  // namespace moe::kernels
