// Matrix products where there are tiles: those of bf16 and of int8 weights go by them, all others as on
// processors without (MOE_WITHOUT_TILES).
#include "kernels/cpu/gemm_tiles.h"

#include "kernels/cpu/gemm_tasks.h"

namespace moe::kernels::MOE_WITHOUT_TILES {
void gemm(const Context&, const GemmArgs&);
}  // namespace moe::kernels::MOE_WITHOUT_TILES

namespace moe::kernels::MOE_ISA {
namespace {

// In multiply-adds: what the tiles do while one element comes from memory, and the smallest task.
constexpr std::int64_t kReadCost = 256, kTaskCost = 1 << 24;
constexpr std::int64_t kRowsPerPacking = 256;  // with fewer, packing B for a task costs too much
constexpr std::int64_t kLeastColumns = 128;    // the same of A

bool by_tiles(const GemmProblem& p) {
  const bool bf16 = p.b.type == WeightType::f32 || p.b.type == WeightType::bf16;
  return p.b.type == WeightType::int8 || (bf16 && p.product == Product::bf16);
}

std::int64_t cost_of(std::int64_t m, std::int64_t n, std::int64_t k) {
  return m * n * k + kReadCost * (m * n + n * k + m * k);
}

TaskSize task_size(const GemmProblem& p, std::int64_t target_cost) {
  const Depth depth(p, p.b.type == WeightType::int8 ? Int8Tiles::kSteps : Bf16Tiles::kSteps);
  const std::int64_t m = least(depth.most_rows(), p.m);
  const std::int64_t column_cost = cost_of(m, 1, p.b.k) - cost_of(m, 0, p.b.k);
  const std::int64_t most_columns = depth.cut() || packs_all_of_b(p) ? depth.most_columns() : p.b.n;
  const std::int64_t wanted = least(most(target_cost / column_cost, kLeastColumns), most_columns);
  const std::int64_t columns = round_up(divide_up(p.b.n, divide_up(p.b.n, wanted)), kBlock);
  // Where columns alone do not give tasks enough, rows do.
  const std::int64_t missing =
      divide_up(divide_up(cost_of(p.m, p.b.n, p.b.k), target_cost), divide_up(p.b.n, columns));
  const std::int64_t n_row_blocks =
      most(divide_up(p.m, depth.most_rows()), least(missing, p.m / kRowsPerPacking));
  return {round_up(divide_up(p.m, n_row_blocks), kBlock), columns};
}

void run(const Part& part) {
  if (part.p.b.type == WeightType::int8)
    TileProduct<Int8Tiles>{part}.run();
  else
    TileProduct<Bf16Tiles>{part}.run();
}

/// Leaves C as it is: nothing is added to it.
bool nothing_to_do(const GemmProblem& p) {
  return p.b.k == 0 && p.accumulate;
}

}  // namespace

void gemm(const Context& context, const GemmArgs& args) {
  // Runs of problems that go the same way, one run as a rule.
  for (std::int64_t begin = 0, end = 0; begin < args.n_problems; begin = end) {
    const bool tiles = by_tiles(args.problems[begin]);
    while (end < args.n_problems && by_tiles(args.problems[end]) == tiles) ++end;
    const GemmArgs some{args.problems + begin, end - begin};
    if (!tiles)
      MOE_WITHOUT_TILES::gemm(context, some);
    else
      for_parts(
          context, some, kTaskCost, [](const GemmProblem& p) { return cost_of(p.m, p.b.n, p.b.k); },
          task_size,
          [](const Part& part) {
            if (!nothing_to_do(part.p)) run(part);
          });
  }
}

}  // namespace moe::kernels::MOE_ISA
