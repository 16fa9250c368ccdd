#include "libmoe/core/ceiling.h"

#include <algorithm>
#include <chrono>

#include "libmoe/core/call.h"
#include "libmoe/core/ops.h"

namespace moe {
namespace {

template <class F>
double seconds_of(Stream& stream, F&& work) {
  stream.synchronize();
  const auto start = std::chrono::steady_clock::now();
  work();
  stream.synchronize();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

const char* name_of(kernels::MultiplyAdd kind) {
  switch (kind) {
    case kernels::MultiplyAdd::f32:
      return "fp32";
    case kernels::MultiplyAdd::bf16:
      return "bf16";
    case kernels::MultiplyAdd::i8:
      return "int8";
  }
  return "";
}

const char* name_of(kernels::MemoryWay way) {
  switch (way) {
    case kernels::MemoryWay::plain:
      return "plain";
    case kernels::MemoryWay::prefetch:
      return "prefetch";
    case kernels::MemoryWay::two_streams:
      return "two streams";
    case kernels::MemoryWay::two_streams_prefetch:
      return "two streams, prefetch";
  }
  return "";
}

kernels::MultiplyAdd multiply_add_of(Product product, WeightType weights) {
  if (weights == WeightType::int8) return kernels::MultiplyAdd::i8;
  if (weights == WeightType::int4) return kernels::MultiplyAdd::bf16;
  return product == Product::bf16 ? kernels::MultiplyAdd::bf16 : kernels::MultiplyAdd::f32;
}

double measure_multiply_gflops(Stream& stream, kernels::MultiplyAdd kind, double seconds) {
  constexpr double kRunSeconds = 1e-4;
  const Tensor results(stream.device(), {2}, DType::i64);  // 8 bytes for each double
  double best = 0, spent = 0;
  for (std::int64_t n_steps = 20000; spent < seconds;) {
    const double time = seconds_of(stream, [&] {
      MOE_CALL(stream, multiply_probe,
               (kernels::MultiplyProbeArgs{kind, n_steps, static_cast<double*>(results.view().data)}));
    });
    double n_operations = 0;
    stream.copy(&n_operations, results.view().data, sizeof n_operations);
    stream.synchronize();
    best = std::max(best, n_operations / time / 1e9);
    spent += time;
    if (time < kRunSeconds) n_steps *= 2;
  }
  return best;
}

double measure_product_gflops(Stream& stream) {
  constexpr std::int64_t kRows = 256, kWidth = 512;
  const Tensor x(stream.device(), {kRows, kWidth}), w(stream.device(), {kWidth, kWidth}),
      y(stream.device(), {kRows, kWidth});
  for (const Tensor* t : {&x, &w}) ops::fill(stream, 1, t->view());
  double best = 1e9;
  for (int i = 0; i < 8; ++i)
    best = std::min(best, seconds_of(stream, [&] { ops::gemm(stream, {.a = x, .b = w, .c = y}); }));
  return 2e-9 * kRows * kWidth * kWidth / best;
}

double measure_memory_gbps(Stream& stream, const TensorView& buffer, kernels::MemoryWay way, bool update) {
  MOE_CHECK(buffer.contiguous());
  const Tensor sum(stream.device(), {1});
  const double time = seconds_of(stream, [&] {
    MOE_CALL(
        stream, memory_probe,
        (kernels::MemoryProbeArgs{way, update, buffer.shape.n_elements(), buffer.f32(), sum.view().f32()}));
  });
  return static_cast<double>(buffer.n_bytes()) * (update ? 2 : 1) / time / 1e9;
}

MemoryCeiling measure_memory_ceiling(Stream& stream, const TensorView& buffer, int n_rounds) {
  MemoryCeiling best;
  for (int i = 0; i < n_rounds * kernels::kMemoryWays; ++i) {
    const auto way = static_cast<kernels::MemoryWay>(i % kernels::kMemoryWays);
    const double read = measure_memory_gbps(stream, buffer, way),
                 update = measure_memory_gbps(stream, buffer, way, true);
    if (read > best.read_gbps) best.read_gbps = read, best.read_way = way;
    if (update > best.update_gbps) best.update_gbps = update, best.update_way = way;
  }
  return best;
}

}  // namespace moe
