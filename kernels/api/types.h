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

/// Runs fn(arg, task, thread) for every task in [0, n_tasks), each exactly once, on threads
/// [0, n_threads); returns when all are done. Which thread runs which task is unspecified, so results must
/// not depend on it.
struct Parallel {
  void* self;
  int n_threads;
  void (*run)(void* self, std::int64_t n_tasks, void (*fn)(void* arg, std::int64_t task, int thread),
              void* arg);
};

/// What a kernel may use besides its arguments: threads, and scratch memory that it must not assume cleared.
struct Context {
  const Parallel* parallel;
  void* workspace;                         // 64-byte aligned, n_threads * workspace_bytes_per_thread bytes
  std::size_t workspace_bytes_per_thread;  // at least kWorkspaceBytesPerThread
  void* device_stream;                     // a device's own stream handle; null on the CPU
};

inline constexpr std::size_t kWorkspaceBytesPerThread = 4u << 20;

}  // namespace moe::kernels
