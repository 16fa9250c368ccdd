// Element types and the execution context shared by every kernel. No STL here or in anything below it.
#pragma once
#include <cstddef>
#include <cstdint>

namespace moe::kernels {

enum class DType : std::uint8_t { f32, bf16, i32, i64, u8 };

/// Bytes of one element.
constexpr std::size_t size_of(DType t) {
  switch (t) {
    case DType::f32:
    case DType::i32:
      return 4;
    case DType::bf16:
      return 2;
    case DType::i64:
      return 8;
    case DType::u8:
      return 1;
  }
  return 0;
}

enum class Activation : std::uint8_t { none, relu, gelu };

/// What a kernel gets besides its arguments.
struct Context {
  void* stream;  // the handle that the device's RuntimeTable made
};

}  // namespace moe::kernels
