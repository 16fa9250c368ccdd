// The rate of each op beside the machine's ceilings, and its result beside the reference kernels.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "libmoe/bench/measure.h"
#include "libmoe/nn/arithmetic.h"

namespace moe::bench {

struct OpOptions {
  MeasureOptions measure;
  std::vector<std::string> op;  // empty: all
  std::int64_t experts = 8, rows_from = 64, rows_to = 64, rows_factor = 2;
  std::int64_t d_model = 512, d_ffn = 2048, tokens = 2048, heads = 8, length = 32, vocab_size = 8192;
  Arithmetic arithmetic;
  bool cold = false;
  void describe(OptionTable& table);
  /// Throws Error(usage) naming the option that does not fit.
  void check() const;
};

/// Sizes of one case.
struct OpSizes {
  std::int64_t experts, rows, d_model, d_ffn, tokens, heads, length, vocab_size;
  WeightType weights;
  Product product;  // see ops::Gemm
};

/// An op on tensors of its own.
struct OpCase {
  std::string shape;
  double flops = 0, bytes = 0;  // floating-point operations; bytes that must be read and written once
  bool is_product = false;      // multiplied in the type of --products, else in fp32
  bool reads = false;           // what it writes is little beside what it reads
  std::function<void()> run;
  std::vector<TensorView> outputs;  // what is compared with the reference
  std::vector<Tensor> memory;
  /// Bytes of memory that it needs, each once.
  std::int64_t footprint() const;
};

struct OpEntry {
  const char* name;
  bool grouped;  // its size depends on the rows per expert
  OpCase (*make)(Stream& stream, const OpSizes& sizes);
};
/// Every op that can be measured.
const std::vector<OpEntry>& op_entries();
std::vector<OpEntry> gemm_entries();
std::vector<OpEntry> other_entries();
std::vector<OpEntry> small_entries();
std::vector<OpEntry> moe_entries();

/// a * b, as operations and bytes are counted.
inline double n_of(std::int64_t a, std::int64_t b) {
  return static_cast<double>(a) * static_cast<double>(b);
}
/// An op over rows [T,N] that does `flops` operations and moves `bytes` bytes per element: memory holds
/// n_tensors of them, then tensors of the other shapes, all of numbers that look random.
OpCase rows_case(Stream& stream, std::int64_t t, std::int64_t n, double flops, double bytes, int n_tensors,
                 const std::vector<Shape>& others = {});
/// Indices in [0, limit) that look random: [n] i32.
Tensor random_indices(Stream& stream, std::int64_t n, std::int64_t limit);
/// A tensor of numbers that look random, the same for the same seed on every device.
Tensor random_tensor(Stream& stream, Shape shape, std::uint64_t seed, float low = -1, float high = 1);

/// What a row of the report is made of, beside the samples.
struct OpFigures {
  std::string name, shape;
  double flops = 0, bytes = 0;
  kernels::MultiplyAdd kind = kernels::MultiplyAdd::f32;
  double update_factor = 1;  // what memory may move at most while the op runs, over the rate of reading
  double error = 0;
};
/// Shares of the ceilings of the same moments. That of memory is there only when memory was measured.
Row op_row(const OpFigures& op, const Samples& samples);

/// Prints one row per op and size. Returns 1 when a result is not that of the reference kernels, else 0.
int run_op(const OpOptions& options);

}  // namespace moe::bench
