// Matrix products: all problems of a call are cut into tasks of about equal cost.
#include "kernels/cpu/gemm_columns.h"
#include "kernels/cpu/gemm_integers.h"
#include "kernels/cpu/gemm_many.h"
#include "kernels/cpu/gemm_steps.h"
#include "kernels/cpu/ops.h"

namespace moe::kernels::MOE_ISA {
namespace {

constexpr std::int64_t kReadCost = 12;         // multiply-adds in the time that one element takes from memory
constexpr std::int64_t kTaskCost = 1 << 20;    // of the smallest task
constexpr std::int64_t kRowsPerPacking = 128;  // with fewer, packing B for a task costs too much
constexpr int kTasksPerThread = 6;
constexpr int kMaxJobs = 256;  // problems scheduled together

std::int64_t cost_of(std::int64_t m, std::int64_t n, std::int64_t k) {
  return m * n * k + kReadCost * (m * n + n * k + m * k);
}

/// A problem cut into tasks of `rows` x `columns` of C.
struct Job {
  const GemmProblem* problem;
  std::int64_t rows, columns, n_column_blocks;
  std::int64_t first_task;
};

struct Plan {
  const Context* context;
  int n_jobs;
  Job jobs[kMaxJobs];
};

/// Few rows of an unpacked B have ways of their own.
bool few_rows(const GemmProblem& p) {
  return !packed_b(p) && !p.trans_a && p.m <= (columns_of_b(p) ? kFewRowsTransposed : kFewRows);
}

template <class Words>
void run_part(const Part& part) {
  if (!few_rows(part.p)) return ManyRows<Words>{part}.run();
  columns_of_b(part.p) ? ColumnsOfB<Words>{part}.run() : StepsOfB<Words>{part}.run();
}

void run_task(const Plan& plan, std::int64_t task, int thread) {
  int low = 0, high = plan.n_jobs;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (plan.jobs[middle].first_task <= task ? low : high) = middle;
  }
  const Job& job = plan.jobs[low];
  const GemmProblem& p = *job.problem;
  const std::int64_t local = task - job.first_task;
  const std::int64_t m = local / job.n_column_blocks * job.rows;
  const std::int64_t n = local % job.n_column_blocks * job.columns;
  const Part part{p,
                  m,
                  least(m + job.rows, p.m),
                  n,
                  least(n + job.columns, p.b.n),
                  workspace_of<float>(*plan.context, thread)};
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

/// Adds the tasks of a problem; returns how many.
std::int64_t add_job(const GemmProblem& p, std::int64_t target_cost, std::int64_t first_task, Job& job) {
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
  const std::int64_t rows = round_up(divide_up(p.m, n_row_blocks), kMaxRows);
  job = {&p, rows, columns, n_column_blocks, first_task};
  return divide_up(p.m, rows) * n_column_blocks;
}

}  // namespace

void gemm(const Context& context, const GemmArgs& args) {
  Plan plan;
  plan.context = &context;
  for (std::int64_t begin = 0; begin < args.n_problems; begin += kMaxJobs) {
    const std::int64_t end = least(begin + kMaxJobs, args.n_problems);
    std::int64_t cost = 0, n_tasks = 0;
    for (std::int64_t i = begin; i < end; ++i)
      cost += cost_of(args.problems[i].m, args.problems[i].b.n, args.problems[i].b.k);
    const std::int64_t target = most(cost / (kTasksPerThread * n_threads(context)), kTaskCost);
    plan.n_jobs = 0;
    for (std::int64_t i = begin; i < end; ++i)
      if (args.problems[i].m > 0 && args.problems[i].b.n > 0)
        n_tasks += add_job(args.problems[i], target, n_tasks, plan.jobs[plan.n_jobs++]);
    parallel_for(context, n_tasks, [&](std::int64_t task, int thread) { run_task(plan, task, thread); });
  }
}

}  // namespace moe::kernels::MOE_ISA
