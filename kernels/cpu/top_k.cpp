#include "kernels/cpu/ops.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/vec.h"

namespace moe::kernels::MOE_ISA {
namespace {

/// The best so far, in falling order. Candidates come in rising order of index, so one that equals the last
/// does not get in, and one that gets in goes behind its equals.
class Best {
 public:
  Best(float* values, std::int32_t* indices, std::int64_t k) : values_(values), indices_(indices), k_(k) {}

  float bound() const { return values_[k_ - 1]; }
  bool full() const { return n_ == k_; }

  void insert(float value, std::int64_t index) {
    std::int64_t at = n_ < k_ ? n_++ : k_ - 1;
    for (; at > 0 && values_[at - 1] < value; --at) {
      values_[at] = values_[at - 1];
      indices_[at] = indices_[at - 1];
    }
    values_[at] = value;
    indices_[at] = static_cast<std::int32_t>(index);
  }

 private:
  float* values_;
  std::int32_t* indices_;
  std::int64_t k_, n_ = 0;
};

void top_k_row(const float* x, std::int64_t n, Best best) {
  std::int64_t i = 0;
  for (; !best.full(); ++i) best.insert(x[i] == x[i] ? x[i] : -__builtin_inff(), i);
  Vec bound = splat(best.bound());
  const auto scan = [&](std::int64_t begin, auto part) {
    const Vec v = load(x + begin, part);
    if (!any((v > bound) & first_lanes(part.n))) return;
    for (int lane = 0; lane < part.n; ++lane)
      if (x[begin + lane] > best.bound()) best.insert(x[begin + lane], begin + lane);
    bound = splat(best.bound());
  };
  // Four vectors per test: nearly all of a row is below the bound.
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    IntVec hit{};
    for (int j = 0; j < 4; ++j) hit |= load(x + i + j * kLanes) > bound;
    if (!any(hit)) continue;
    for (int j = 0; j < 4; ++j) scan(i + j * kLanes, Full{});
  }
  for_vectors(i, n, scan);
}

}  // namespace

void top_k(const Context& context, const TopKArgs& args) {
  parallel_blocks(context, args.n_rows, rows_per_task(args.width), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t)
      top_k_row(args.x + t * args.ld_x, args.width,
                {args.values + t * args.k, args.indices + t * args.k, args.k});
  });
}

}  // namespace moe::kernels::MOE_ISA
