// The front door to matrix products: shapes are checked here, once for every device.
#include <vector>

#include "libmoe/core/call.h"
#include "libmoe/core/ops.h"

namespace moe::ops {
namespace {

void check_matrix(const TensorView& v, const char* name, std::int64_t rows, std::int64_t columns) {
  MOE_CHECK(v.shape.rank() == 2 && v.shape[0] == rows && v.shape[1] == columns, "gemm: {} is {}, not [{},{}]",
            name, v.shape.text(), rows, columns);
  MOE_CHECK(v.data != nullptr || v.shape.n_elements() == 0, "gemm: {} has no memory", name);
  MOE_CHECK(rows <= 1 || v.row_stride >= columns, "gemm: rows of {} overlap", name);
}

kernels::GemmProblem checked_problem(const Stream& stream, const Gemm& p) {
  MOE_CHECK(p.c.shape.rank() == 2, "gemm: c is {}", p.c.shape.text());
  const std::int64_t m = p.c.shape[0], n = p.c.shape[1], k = p.b.n_inputs();
  MOE_CHECK(p.b.n_outputs() == n, "gemm: b is [{},{}], c is {}", k, p.b.n_outputs(), p.c.shape.text());
  check_matrix(p.a, "a", p.trans_a ? k : m, p.trans_a ? m : k);
  check_matrix(p.c, "c", m, n);
  MOE_CHECK(p.a.dtype == DType::f32 && p.c.dtype == DType::f32, "gemm: a and c are f32");
  MOE_CHECK(p.c.device == &stream.device() || p.c.data == nullptr, "gemm: c is on another device");
  MOE_CHECK(!p.trans_a || !p.b.packed(), "gemm: a transposed a meets matrices of f32");
  if (p.bias)
    MOE_CHECK(p.bias.dtype == DType::f32 && p.bias.shape == Shape{n}, "gemm: bias {}", p.bias.shape.text());
  MOE_CHECK(!p.accumulate || (!p.bias && p.activation == Activation::none),
            "gemm: no epilogue with accumulate");
  MOE_CHECK(p.activation != Activation::gelu, "gemm: gelu is an op of its own");
  return {.m = m,
          .a = static_cast<const float*>(p.a.data),
          .lda = p.a.row_stride,
          .b = p.b.kernel_weight(),
          .c = static_cast<float*>(p.c.data),
          .ldc = p.c.row_stride,
          .bias = static_cast<const float*>(p.bias.data),
          .product = p.product,
          .trans_a = p.trans_a,
          .accumulate = p.accumulate,
          .activation = p.activation};
}

}  // namespace

void gemm(Stream& stream, std::span<const Gemm> problems) {
  std::vector<kernels::GemmProblem> checked;
  checked.reserve(problems.size());
  for (const Gemm& p : problems) checked.push_back(checked_problem(stream, p));
  MOE_CALL(stream, gemm, (kernels::GemmArgs{checked.data(), static_cast<std::int64_t>(checked.size())}));
}

void gemm(Stream& stream, const Gemm& problem) {
  gemm(stream, std::span(&problem, 1));
}

}  // namespace moe::ops
