#include "kernels/cpu/ops.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/vec.h"

namespace moe::kernels::MOE_ISA {
namespace {

/// Columns per task of the backward pass: every task goes through all rows in order, so each sum has one
/// order.
constexpr std::int64_t kColumns = 128;
/// Rows looked up this far ahead are asked for from memory.
constexpr std::int64_t kAhead = 4;

}  // namespace

void embedding(const Context& context, const EmbeddingArgs& args) {
  const Vec scale = splat(args.scale);
  parallel_blocks(context, args.n_rows, rows_per_task(args.width), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) {
      const float* row = args.table + args.ids[t] * args.width;
      const float* position =
          args.positions == nullptr ? nullptr : args.positions + args.position[t] * args.width;
      float* y = args.y + t * args.ld_y;
      for_vectors(0, args.width, [&](std::int64_t c, auto part) {
        const Vec x = load(row + c, part) * scale;
        store(y + c, position == nullptr ? x : x + load(position + c, part), part);
      });
    }
  });
}

void embedding_backward(const Context& context, const EmbeddingBackwardArgs& args) {
  const Vec scale = splat(args.scale);
  parallel_blocks(context, args.width, kColumns, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = 0; t < args.n_rows; ++t) {
      float* row = args.dtable + args.ids[t] * args.width;
      const float* dy = args.dy + t * args.ld_dy;
      if (t + kAhead < args.n_rows) {
        const float* next = args.dtable + args.ids[t + kAhead] * args.width;
        for (std::int64_t c = begin; c < end; c += 16) __builtin_prefetch(next + c, 1);
      }
      for_vectors(begin, end, [&](std::int64_t c, auto part) {
        store(row + c, load(row + c, part) + load(dy + c, part) * scale, part);
      });
    }
  });
}

void gather_rows(const Context& context, const GatherRowsArgs& args) {
  parallel_blocks(context, args.n_rows, rows_per_task(args.width), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const float* x = args.index[i] < 0 ? nullptr : args.x + args.index[i] * args.ld_x;
      float* y = args.y + i * args.ld_y;
      for_vectors(0, args.width, [&](std::int64_t c, auto part) {
        store(y + c, x == nullptr ? Vec{} : load(x + c, part), part);
      });
    }
  });
}

}  // namespace moe::kernels::MOE_ISA
