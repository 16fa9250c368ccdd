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

double measure_fma_gflops(Stream& stream, double seconds) {
  constexpr double kRunSeconds = 1e-4;
  const Tensor operations(stream.device(), {1}, DType::i64);  // 8 bytes for a double
  double best = 0, spent = 0;
  for (std::int64_t n_steps = 20000; spent < seconds;) {
    const double time = seconds_of(stream, [&] {
      MOE_CALL(stream, fma_probe,
               (kernels::FmaProbeArgs{n_steps, static_cast<double*>(operations.view().data)}));
    });
    double n_operations = 0;
    stream.copy(&n_operations, operations.view().data, sizeof n_operations);
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

double measure_read_gbps(Stream& stream, const TensorView& buffer) {
  MOE_CHECK(buffer.contiguous());
  const Tensor sum(stream.device(), {1});
  const double time = seconds_of(stream, [&] {
    MOE_CALL(stream, read_probe,
             (kernels::ReadProbeArgs{buffer.shape.n_elements(), buffer.f32(), sum.view().f32()}));
  });
  return static_cast<double>(buffer.n_bytes()) / time / 1e9;
}

}  // namespace moe
