// The processor's tile registers (AMX): eight matrices of 16 rows of 64 bytes, and their products.
// kernels/cpu/tiles_emulated.h does the same on processors without them.
#pragma once
#include <cstdint>

namespace moe::kernels {
namespace {

/// The tile registers of this thread while it lives; they hold zeros at first. A thread has one at a time.
/// Inline assembly, since intrinsics want the number of a register spelled out, and those of GCC 12 do not
/// say that they read memory.
class HardwareTiles {
 public:
  HardwareTiles() {
    static constexpr Configuration kConfiguration;
    asm volatile("ldtilecfg %0" : : "m"(kConfiguration));
  }
  // Also tells the kernel that there is nothing to save when it switches threads.
  ~HardwareTiles() { asm volatile("tilerelease"); }
  HardwareTiles(const HardwareTiles&) = delete;
  HardwareTiles& operator=(const HardwareTiles&) = delete;

  template <int kTile>
  void zero() {
    asm volatile("tilezero %%tmm%c0" : : "i"(kTile));
  }
  /// Rows lie `stride` bytes apart.
  template <int kTile>
  void load(const void* from, std::int64_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(kTile) : "memory");
  }
  template <int kTile>
  void store(void* to, std::int64_t stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(kTile) : "memory");
  }
  /// C [16,16] of f32 += A [16,32] of bf16 times B [32,16], whose pairs of rows are interleaved.
  template <int kC, int kA, int kB>
  void multiply_add_bf16() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kC), "i"(kA), "i"(kB));
  }
  /// C [16,16] of i32 += A [16,64] of i8 times B [64,16], four rows of which are interleaved.
  template <int kC, int kA, int kB>
  void multiply_add_int8() {
    asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kC), "i"(kA), "i"(kB));
  }

 private:
  struct alignas(64) Configuration {
    std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
    std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  };
  static_assert(sizeof(Configuration) == 64);
};

}  // namespace
}  // namespace moe::kernels
