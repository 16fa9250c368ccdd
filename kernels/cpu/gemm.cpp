// Matrix products: packed panels of B and tiles of A, all problems of a call cut into tasks of about equal
// cost. After K. Goto and R. van de Geijn, "Anatomy of High-Performance Matrix Multiplication", TOMS 34(3),
// 2008.
#include "kernels/cpu/gemm_pack.h"
#include "kernels/cpu/ops.h"

namespace moe::kernels::MOE_ISA {
namespace {

constexpr std::int64_t kDepth = 512;               // steps of k per packed block
constexpr std::int64_t kBlockElements = 64 << 10;  // of A packed at once: a part of the second-level cache
constexpr std::int64_t kMinColumns = 4 * kPanel;   // of a task, so that packing A pays
constexpr std::int64_t kTaskCost = 1 << 20;        // multiply-adds of the smallest task
constexpr int kTasksPerThread = 12;
constexpr int kMaxJobs = 256;  // problems scheduled together

std::int64_t min(std::int64_t a, std::int64_t b) {
  return a < b ? a : b;
}
std::int64_t max(std::int64_t a, std::int64_t b) {
  return a > b ? a : b;
}
std::int64_t ceil_div(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

/// A problem cut into tasks of `rows` x `columns` of C.
struct Job {
  const GemmProblem* problem;
  std::int64_t rows, columns, n_column_blocks;
  std::int64_t first_task;
};

/// A tile of all kPanel columns in place; a narrower one through a copy, so that nothing behind it is
/// touched.
void run_tile(Tile tile, TileFn multiply, std::int64_t rows, std::int64_t columns) {
  if (columns == kPanel) return multiply(tile);
  float c[kMaxRows * kPanel], bias[kPanel];
  float* const target = tile.c;
  const std::int64_t ldc = tile.ldc;
  if (tile.from_c)
    for (std::int64_t r = 0; r < rows; ++r) copy_row(target + r * ldc, columns, c + r * kPanel);
  if (tile.bias != nullptr) {
    copy_row(tile.bias, columns, bias);
    tile.bias = bias;
  }
  tile.c = c;
  tile.ldc = kPanel;
  tile.next_c = nullptr;
  multiply(tile);
  for (std::int64_t r = 0; r < rows; ++r) copy_row(c + r * kPanel, columns, target + r * ldc);
}

/// Rows [m0,m1) x columns [n0,n1) of one problem, by one thread.
struct Block {
  const GemmProblem& p;
  std::int64_t m0, m1, n0, n1;
  float* workspace;
  std::int64_t n_tiles = ceil_div(m1 - m0, kMaxRows), tile_rows = ceil_div(m1 - m0, n_tiles);

  const float* a_at(std::int64_t m, std::int64_t k) const {
    return p.a + (p.trans_a ? k * p.lda + m : m * p.lda + k);
  }
  std::int64_t element_bytes() const { return p.b_dtype == DType::bf16 ? 2 : 4; }
  const char* b_at(std::int64_t k, std::int64_t n) const {
    return static_cast<const char*>(p.b) + (p.trans_b ? n * p.ldb + k : k * p.ldb + n) * element_bytes();
  }

  void pack_panel(std::int64_t k0, std::int64_t k, std::int64_t n, float* to) const {
    const std::int64_t columns = min(kPanel, n1 - n);
    const void* b = b_at(k0, n);
    if (p.b_dtype == DType::bf16)
      pack_b(static_cast<const std::uint16_t*>(b), p.ldb, p.trans_b, columns, k, to);
    else
      pack_b(static_cast<const float*>(b), p.ldb, p.trans_b, columns, k, to);
  }

  /// Tiles of A: [tile][rows][lda], or [tile][k][rows] from a transposed A.
  void pack_a(std::int64_t k0, std::int64_t k, std::int64_t lda, float* to) const {
    for (std::int64_t m = m0; m < m1; m += tile_rows) {
      const std::int64_t rows = min(tile_rows, m1 - m);
      if (p.trans_a)
        pack_columns(a_at(m, k0), p.lda, rows, k, to + (m - m0) * lda);
      else
        for (std::int64_t r = 0; r < rows; ++r) copy_row(a_at(m + r, k0), k, to + (m + r - m0) * lda);
    }
  }

  void run() const {
    const std::int64_t n_depths = max(1, ceil_div(p.k, kDepth)), depth = ceil_div(p.k, n_depths);
    float* packed_b = workspace;
    float* packed_a = workspace + kDepth * kPanel;
    std::int64_t k0 = 0;
    do {
      const std::int64_t k = min(depth, p.k - k0), lda = (k + 15) / 16 * 16 + 16;
      pack_a(k0, k, lda, packed_a);
      for (std::int64_t n = n0; n < n1; n += kPanel) run_panel(k0, k, n, packed_a, lda, packed_b);
      k0 += k;
    } while (k0 < p.k);
  }

  /// How the tile of this index reads B. A panel that is narrow or transposed is packed before its first
  /// tile; any other by its first tile, or not at all when there is no second.
  ReadB read_b(std::int64_t columns, std::int64_t index) const {
    if (p.trans_b || columns < kPanel || index > 0) return ReadB::packed;
    return n_tiles == 1 ? ReadB::plain : ReadB::packing;
  }

  void run_panel(std::int64_t k0, std::int64_t k, std::int64_t n, const float* packed_a, std::int64_t lda,
                 float* packed_b) const {
    const bool last = k0 + k == p.k;
    const std::int64_t columns = min(kPanel, n1 - n);
    if (read_b(columns, 0) == ReadB::packed) pack_panel(k0, k, n, packed_b);
    for (std::int64_t m = m0, index = 0; m < m1; m += tile_rows, ++index) {
      const std::int64_t rows = min(tile_rows, m1 - m);
      const ReadB read = read_b(columns, index);
      Tile t{.a = packed_a + (m - m0) * lda,
             .lda = lda,
             .b = read == ReadB::packed ? static_cast<const void*>(packed_b) : b_at(k0, n),
             .ldb = p.ldb,
             .packed_b = packed_b,
             .k = k,
             .c = p.c + m * p.ldc + n,
             .ldc = p.ldc,
             .from_c = p.accumulate || k0 > 0,
             .bias = last && p.bias != nullptr ? p.bias + n : nullptr,
             .relu = last && p.activation == Activation::relu,
             .ahead = reinterpret_cast<const char*>(packed_a),
             .ahead_step = 0,
             .ahead_jump = 0,
             .ahead_second = 0,
             .next_c =
                 p.accumulate && k0 == 0 && m + tile_rows < m1 ? p.c + (m + tile_rows) * p.ldc + n : nullptr};
      look_ahead(t, k0, n, index);
      run_tile(t, tile_function(p.trans_a, p.b_dtype == DType::bf16, read, rows), rows, columns);
    }
  }

  /// Lets the tile fetch its share of the panel of B that comes next.
  void look_ahead(Tile& t, std::int64_t k0, std::int64_t n, std::int64_t index) const {
    const bool in_row = n + kPanel < n1;
    if (!in_row && k0 + t.k >= p.k) return;
    const char* next = in_row ? b_at(k0, n + kPanel) : b_at(k0 + t.k, n0);
    const std::int64_t row_bytes = (p.trans_b ? t.k : kPanel) * element_bytes();
    const std::int64_t lines = p.trans_b ? ceil_div(t.k, kAheadRun) : 1;  // of a row, per pointer
    const std::int64_t n_pointers = n_tiles * lines * 64 < row_bytes ? 2 : 1;
    const std::int64_t first = index * n_pointers * lines * 64;
    if (first >= row_bytes) return;
    t.ahead = next + first;
    t.ahead_step = p.ldb * element_bytes();
    t.ahead_jump = p.trans_b ? 64 - kAheadRun * t.ahead_step : 0;
    t.ahead_second = (n_pointers - 1) * lines * 64;
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
  const std::int64_t m = local / job.n_column_blocks * job.rows,
                     n = local % job.n_column_blocks * job.columns;
  char* workspace = static_cast<char*>(plan.context->workspace) +
                    static_cast<std::size_t>(thread) * plan.context->workspace_bytes_per_thread;
  Block{p, m, min(m + job.rows, p.m), n, min(n + job.columns, p.n), reinterpret_cast<float*>(workspace)}
      .run();
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
    for (std::int64_t i = begin; i < end; ++i)
      cost += args.problems[i].m * args.problems[i].n * args.problems[i].k;
    const std::int64_t target = max(cost / (kTasksPerThread * context.parallel->n_threads), kTaskCost);
    plan.n_jobs = 0;
    for (std::int64_t i = begin; i < end; ++i)
      if (args.problems[i].m > 0 && args.problems[i].n > 0)
        n_tasks += add_job(args.problems[i], target, n_tasks, plan.jobs[plan.n_jobs++]);
    if (n_tasks > 0) context.parallel->run(context.parallel->self, n_tasks, run_task, &plan);
  }
}

}  // namespace moe::kernels::MOE_ISA
