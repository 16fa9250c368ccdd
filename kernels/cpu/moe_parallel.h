// Loops over blocks of rows.
#pragma once
#include "kernels/api/types.h"

namespace moe::kernels::MOE_ISA {
namespace {

/// fn(begin, end, thread) for consecutive blocks of [0, n).
template <class Fn>
void for_blocks(const Context& context, std::int64_t n, std::int64_t block, const Fn& fn) {
  struct Work {
    const Fn* fn;
    std::int64_t n, block;
  } work{&fn, n, block};
  context.parallel->run(
      context.parallel->self, (n + block - 1) / block,
      [](void* arg, std::int64_t task, int thread) {
        const Work& w = *static_cast<const Work*>(arg);
        const std::int64_t begin = task * w.block, end = begin + w.block;
        (*w.fn)(begin, end < w.n ? end : w.n, thread);
      },
      &work);
}

/// Rows per task so that a task has some 16k elements.
inline std::int64_t rows_per_task(std::int64_t row_elements) {
  const std::int64_t rows = 16384 / (row_elements < 1 ? 1 : row_elements);
  return rows < 1 ? 1 : rows;
}

}  // namespace
}  // namespace moe::kernels::MOE_ISA
