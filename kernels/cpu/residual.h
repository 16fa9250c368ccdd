// y = residual + dropout(x) of some elements.
#pragma once
#include "kernels/api/elementwise.h"
#include "kernels/cpu/random.h"

namespace moe::kernels::MOE_ISA {
namespace {

inline void add_dropped(const DropoutAddArgs& args, std::int64_t begin, std::int64_t end) {
  const auto add = [&args](std::int64_t i, auto part, Vec x) {
    store(args.y + i, args.residual != nullptr ? load(args.residual + i, part) + x : x, part);
  };
  if (args.p == 0) {
    for_vectors(begin, end, [&](std::int64_t i, auto part) { add(i, part, load(args.x + i, part)); });
    return;
  }
  const Vec scale = splat(1 / (1 - args.p));
  Dropout(args.random, args.p)
      .for_kept(static_cast<std::uint64_t>(begin), end - begin, [&](std::int64_t i, auto part, IntVec kept) {
        add(begin + i, part, select(kept, load(args.x + begin + i, part) * scale, Vec{}));
      });
}

}  // namespace
}  // namespace moe::kernels::MOE_ISA
