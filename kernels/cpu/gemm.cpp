// Matrix products: which way each of them takes, and into what tasks it is cut.
#include "kernels/cpu/gemm_columns.h"
#include "kernels/cpu/gemm_integers.h"
#include "kernels/cpu/gemm_many.h"
#include "kernels/cpu/gemm_steps.h"
#include "kernels/cpu/gemm_tasks.h"
#include "kernels/cpu/ops.h"

namespace moe::kernels::MOE_ISA {
namespace {

constexpr std::int64_t kReadCost = 12;         // multiply-adds in the time that one element takes from memory
constexpr std::int64_t kTaskCost = 1 << 20;    // of the smallest task
constexpr std::int64_t kRowsPerPacking = 128;  // with fewer, packing B for a task costs too much

std::int64_t cost_of(std::int64_t m, std::int64_t n, std::int64_t k) {
  return m * n * k + kReadCost * (m * n + n * k + m * k);
}

/// Few rows of an unpacked B have ways of their own.
bool few_rows(const GemmProblem& p) {
  return !packed_b(p) && !p.trans_a && p.m <= (columns_of_b(p) ? kFewRowsTransposed : kFewRows);
}

template <class Words>
void run_part(const Part& part) {
  if (!few_rows(part.p)) return ManyRows<Words>{part}.run();
  columns_of_b(part.p) ? ColumnsOfB<Words>{part}.run() : StepsOfB<Words>{part}.run();
}

void run(const Part& part) {
  const GemmProblem& p = part.p;
  if (p.b.type == WeightType::int8) return IntegersOfB<Int8>{part}.run();
  if (p.b.type == WeightType::int4) return IntegersOfB<Int4>{part}.run();
  if (packed_b(p))
    p.product == Product::bf16 ? StripsOfB<RoundedSteps>{part}.run() : StripsOfB<WidenedSteps>{part}.run();
  else
    p.product == Product::bf16 ? run_part<Pairs>(part) : run_part<Elements>(part);
}

/// Rows of A that a task packs at most.
std::int64_t most_rows_of(const GemmProblem& p) {
  if (few_rows(p)) return kFewRows;
  if (integers_of_b(p)) return most_rows_of_integers(p);
  return most(1, kBlockElements / (depth_of(p) / steps_per_word(p) + 32) / kMaxRows) * kMaxRows;
}

TaskSize task_size(const GemmProblem& p, std::int64_t target_cost) {
  const std::int64_t most_rows = most_rows_of(p);
  // A task reads its rows of A again and, few rows, wants long runs of B.
  const std::int64_t min_columns = columns_of_b(p) ? kPanel : 4 * kPanel;
  const std::int64_t m = least(most_rows, p.m), column_cost = cost_of(m, 1, p.b.k) - cost_of(m, 0, p.b.k);
  // Few rows follow the rows of B: whole ones are read faster than halves of them.
  const std::int64_t task_cost = few_rows(p) && !columns_of_b(p) ? target_cost * 3 / 2 : target_cost;
  const std::int64_t wanted = round_up(most(task_cost / column_cost, min_columns), kPanel);
  const std::int64_t columns = round_up(divide_up(p.b.n, divide_up(p.b.n, wanted)), kPanel);
  const std::int64_t n_column_blocks = divide_up(p.b.n, columns);
  // Where columns alone do not give tasks enough, rows do, as many as pay for the packing of B.
  const std::int64_t missing = divide_up(divide_up(cost_of(p.m, p.b.n, p.b.k), target_cost), n_column_blocks);
  const std::int64_t n_row_blocks = most(divide_up(p.m, most_rows), least(missing, p.m / kRowsPerPacking));
  return {round_up(divide_up(p.m, n_row_blocks), kMaxRows), columns};
}

}  // namespace

void gemm(const Context& context, const GemmArgs& args) {
  for_parts(
      context, args, kTaskCost, [](const GemmProblem& p) { return cost_of(p.m, p.b.n, p.b.k); }, task_size,
      run);
}

}  // namespace moe::kernels::MOE_ISA
