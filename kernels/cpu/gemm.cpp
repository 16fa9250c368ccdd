// Matrix products: packed panels of B and tiles of A, all problems of a call cut into tasks of about equal cost.
// After K. Goto and R. van de Geijn, "Anatomy of High-Performance Matrix Multiplication", TOMS 34(3), 2008.
#include "kernels/cpu/gemm_pack.h"
#include "kernels/cpu/ops.h"

namespace moe::kernels::MOE_ISA {
namespace {

constexpr std::int64_t kDepth = 256;            // steps of k per packed block
constexpr std::int64_t kBlockElements = 96 << 10;  // of A packed at once: a part of the second-level cache
constexpr std::int64_t kMinColumns = 4 * kPanel;   // of a task, so that packing A pays
constexpr std::int64_t kTaskCost = 1 << 20;        // multiply-adds of the smallest task
constexpr int kTasksPerThread = 12;
constexpr int kMaxJobs = 256;                      // problems scheduled together

std::int64_t min(std::int64_t a, std::int64_t b) { return a < b ? a : b; }
std::int64_t max(std::int64_t a, std::int64_t b) { return a > b ? a : b; }
std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// A problem cut into tasks of `rows` x `columns` of C.
struct Job {
  const GemmProblem* problem;
  std::int64_t rows, columns, n_column_blocks;
  std::int64_t first_task;
};

using TileFn = void (*)(const Tile&);

template <class B, int Vecs, int... Rows>
TileFn tile_function(std::int64_t rows) {
  TileFn found = nullptr;
  ((rows == Rows ? (found = multiply_tile<Rows, Vecs, B>, true) : false) || ...);
  return found;
}

template <class B>
TileFn tile_function(std::int64_t rows) {
#if defined(MOE_ISA_avx512)
  return tile_function<B, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14>(rows);
#else
  return tile_function<B, 2, 1, 2, 3, 4, 5, 6>(rows);
#endif
}

/// Rows [m0,m1) x columns [n0,n1) of one problem, by one thread.
struct Block {
  const GemmProblem& p;
  std::int64_t m0, m1, n0, n1;
  float* workspace;

  const float* a_at(std::int64_t m, std::int64_t k) const { return p.a + (p.trans_a ? k * p.lda + m : m * p.lda + k); }
  std::int64_t b_index(std::int64_t k, std::int64_t n) const { return p.trans_b ? n * p.ldb + k : k * p.ldb + n; }
  const void* b_at(std::int64_t k, std::int64_t n) const {
    return static_cast<const char*>(p.b) + b_index(k, n) * (p.b_dtype == DType::bf16 ? 2 : 4);
  }

  void pack_panel(std::int64_t k0, std::int64_t k, std::int64_t n, float* to) const {
    const std::int64_t columns = min(kPanel, n1 - n);
    if (p.b_dtype == DType::bf16)
      pack_b(static_cast<const std::uint16_t*>(b_at(k0, n)), p.ldb, p.trans_b, columns, k, to);
    else
      pack_b(static_cast<const float*>(b_at(k0, n)), p.ldb, p.trans_b, columns, k, to);
  }

  void run() const {
    const std::int64_t n_tiles = ceil_div(m1 - m0, kMaxRows), tile_rows = ceil_div(m1 - m0, n_tiles);
    const std::int64_t n_depths = max(1, ceil_div(p.k, kDepth)), depth = ceil_div(p.k, n_depths);
    float* packed_b = workspace;
    float* packed_a = workspace + kDepth * kPanel;
    std::int64_t k0 = 0;
    do {
      const std::int64_t k = min(depth, p.k - k0);
      for (std::int64_t m = m0; m < m1; m += tile_rows)
        pack_a(a_at(m, k0), p.lda, p.trans_a, min(tile_rows, m1 - m), k, packed_a + (m - m0) * k);
      for (std::int64_t n = n0; n < n1; n += kPanel) {
        pack_panel(k0, k, n, packed_b);
        for (std::int64_t m = m0; m < m1; m += tile_rows) {
          const std::int64_t rows = min(tile_rows, m1 - m);
          tile_function<PackedB>(rows)(tile(m, n, k0, k, packed_a + (m - m0) * k, packed_b));
        }
      }
      k0 += k;
    } while (k0 < p.k);
  }

  Tile tile(std::int64_t m, std::int64_t n, std::int64_t k0, std::int64_t k, const float* a, const float* b) const {
    const bool last = k0 + k == p.k;
    return {.a = a, .b = b, .ldb = p.ldb, .k = k, .c = p.c + m * p.ldc + n, .ldc = p.ldc,
            .columns = min(kPanel, n1 - n), .from_c = p.accumulate || k0 > 0,
            .bias = last && p.bias != nullptr ? p.bias + n : nullptr,
            .relu = last && p.activation == Activation::relu,
            .ahead = reinterpret_cast<const char*>(a), .ahead_step = 0, .next_c = nullptr};
  }
};

struct Plan {
  const Context* context;
  int n_jobs;
  Job jobs[kMaxJobs];
};

void run_task(void* arg, std::int64_t task, int thread) {
  const Plan& plan = *static_cast<const Plan*>(arg);
  int low = 0, high = plan.n_jobs;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (plan.jobs[middle].first_task <= task ? low : high) = middle;
  }
  const Job& job = plan.jobs[low];
  const GemmProblem& p = *job.problem;
  const std::int64_t local = task - job.first_task;
  const std::int64_t m = local / job.n_column_blocks * job.rows, n = local % job.n_column_blocks * job.columns;
  char* workspace = static_cast<char*>(plan.context->workspace) +
                    static_cast<std::size_t>(thread) * plan.context->workspace_bytes_per_thread;
  Block{p, m, min(m + job.rows, p.m), n, min(n + job.columns, p.n), reinterpret_cast<float*>(workspace)}.run();
}

/// Adds the tasks of a problem; returns how many.
std::int64_t add_job(const GemmProblem& p, std::int64_t target_cost, std::int64_t first_task, Job& job) {
  const std::int64_t k = max(1, p.k);
  const std::int64_t most_rows = max(kMaxRows, kBlockElements / min(k, kDepth) / kMaxRows * kMaxRows);
  const std::int64_t n_row_blocks = ceil_div(p.m, most_rows);
  const std::int64_t rows = ceil_div(ceil_div(p.m, n_row_blocks), kMaxRows) * kMaxRows;
  const std::int64_t wanted = ceil_div(max(target_cost / (min(rows, p.m) * k), kMinColumns), kPanel) * kPanel;
  const std::int64_t n_column_blocks = ceil_div(p.n, wanted);
  const std::int64_t columns = ceil_div(ceil_div(p.n, n_column_blocks), kPanel) * kPanel;
  job = {&p, rows, columns, ceil_div(p.n, columns), first_task};
  return ceil_div(p.m, rows) * job.n_column_blocks;
}

}  // namespace

void gemm(const Context& context, const GemmArgs& args) {
  Plan plan;
  plan.context = &context;
  for (std::int64_t begin = 0; begin < args.n_problems; begin += kMaxJobs) {
    const std::int64_t end = min(begin + kMaxJobs, args.n_problems);
    std::int64_t cost = 0, n_tasks = 0;
    for (std::int64_t i = begin; i < end; ++i) cost += args.problems[i].m * args.problems[i].n * args.problems[i].k;
    const std::int64_t target = max(cost / (kTasksPerThread * context.parallel->n_threads), kTaskCost);
    plan.n_jobs = 0;
    for (std::int64_t i = begin; i < end; ++i)
      if (args.problems[i].m > 0 && args.problems[i].n > 0)
        n_tasks += add_job(args.problems[i], target, n_tasks, plan.jobs[plan.n_jobs++]);
    if (n_tasks > 0) context.parallel->run(context.parallel->self, n_tasks, run_task, &plan);
  }
}

}  // namespace moe::kernels::MOE_ISA
