// All problems of a call cut into tasks of about equal cost, which threads share.
#pragma once
#include "kernels/cpu/gemm_part.h"

namespace moe::kernels::MOE_ISA {
namespace {

/// The largest part of C that a task computes.
struct TaskSize {
  std::int64_t rows, columns;
};

/// A problem cut into tasks.
struct Job {
  const GemmProblem* problem;
  TaskSize task;
  std::int64_t n_column_blocks, first_task;
};

constexpr int kMaxJobs = 256;  // problems scheduled together

struct Plan {
  const Context* context;
  int n_jobs;
  Job jobs[kMaxJobs];

  /// What a task computes, and the thread's scratch memory for it.
  Part part(std::int64_t task, int thread) const {
    int low = 0, high = n_jobs;
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      (jobs[middle].first_task <= task ? low : high) = middle;
    }
    const Job& job = jobs[low];
    const GemmProblem& p = *job.problem;
    const std::int64_t local = task - job.first_task;
    const std::int64_t m = local / job.n_column_blocks * job.task.rows;
    const std::int64_t n = local % job.n_column_blocks * job.task.columns;
    return {p,
            m,
            least(m + job.task.rows, p.m),
            n,
            least(n + job.task.columns, p.b.n),
            workspace_of<float>(*context, thread)};
  }
};

/// run(part) for tasks that cover every C. cost_of(problem); task_size(problem, target): that of tasks which
/// cost about as much as the target, at least `least_cost`.
template <class CostOf, class SizeOf, class Run>
void for_parts(const Context& context, const GemmArgs& args, std::int64_t least_cost, const CostOf& cost_of,
               const SizeOf& task_size, const Run& run) {
  constexpr int kTasksPerThread = 6;
  Plan plan;
  plan.context = &context;
  for (std::int64_t begin = 0; begin < args.n_problems; begin += kMaxJobs) {
    const std::int64_t end = least(begin + kMaxJobs, args.n_problems);
    std::int64_t cost = 0, n_tasks = 0;
    for (std::int64_t i = begin; i < end; ++i) cost += cost_of(args.problems[i]);
    const std::int64_t target = most(cost / (kTasksPerThread * n_threads(context)), least_cost);
    plan.n_jobs = 0;
    for (std::int64_t i = begin; i < end; ++i) {
      const GemmProblem& p = args.problems[i];
      if (p.m == 0 || p.b.n == 0) continue;
      const TaskSize size = task_size(p, target);
      const std::int64_t n_column_blocks = divide_up(p.b.n, size.columns);
      plan.jobs[plan.n_jobs++] = {&p, size, n_column_blocks, n_tasks};
      n_tasks += divide_up(p.m, size.rows) * n_column_blocks;
    }
    parallel_for(context, n_tasks, [&](std::int64_t task, int thread) { run(plan.part(task, thread)); });
  }
}

}  // namespace
}  // namespace moe::kernels::MOE_ISA
