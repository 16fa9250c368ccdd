// Matrix products: the experts of a layer (grouped) and dense layers, with both products of the backward
// pass.
#include <memory>

#include "libmoe/bench/op.h"
#include "libmoe/core/ops.h"

namespace moe::bench {
namespace {

enum class Product { forward, input_gradient, weight_gradient };

// As the upper half of the bits: the numbers on both devices are the same.
Tensor to_bf16(Stream& stream, const Tensor& x) {
  const std::vector<float> values = to_host<float>(stream, x.view());
  Tensor y(stream.device(), x.shape(), DType::bf16);
  std::vector<std::uint16_t> bits;
  bits.reserve(values.size());
  for (const float v : values)
    bits.push_back(static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(v) >> 16));
  stream.copy(y.view().data, bits.data(), y.view().n_bytes());
  stream.synchronize();
  return y;
}

// x: [E,R,D], w: [E,D,F], y: [E,R,F].
OpCase product_case(Stream& stream, Product product, std::int64_t experts, std::int64_t rows,
                    std::int64_t d_in, std::int64_t d_out, bool bf16, DType multiplied) {
  OpCase c;
  c.shape = fmt::format("{}x{} rows, {}x{}{}", experts, rows, d_in, d_out, bf16 ? " bf16" : "");
  c.flops = 2.0 * static_cast<double>(experts * rows * d_in * d_out);
  const double weight_bytes = static_cast<double>(experts * d_in * d_out) * (bf16 ? 2 : 4);
  c.bytes = weight_bytes * (product == Product::weight_gradient ? 2 : 1) +
            4.0 * static_cast<double>(experts * rows * (d_in + d_out));
  c.memory.push_back(random_tensor(stream, {experts, rows, d_in}, 1));
  c.memory.push_back(random_tensor(stream, {experts, d_in, d_out}, 2));
  c.memory.push_back(random_tensor(stream, {experts, rows, d_out}, 3));
  if (bf16) c.memory[1] = to_bf16(stream, c.memory[1]);
  auto problems = std::make_shared<std::vector<ops::Gemm>>();
  for (std::int64_t e = 0; e < experts; ++e) {
    const TensorView x = c.memory[0].view().at(e), w = c.memory[1].view().at(e), y = c.memory[2].view().at(e);
    if (product == Product::forward) problems->push_back({.a = x, .b = w, .c = y});
    if (product == Product::input_gradient) problems->push_back({.a = y, .b = w, .c = x, .trans_b = true});
    if (product == Product::weight_gradient) problems->push_back({.a = x, .b = y, .c = w, .trans_a = true});
    problems->back().product = multiplied;
  }
  const std::size_t output = product == Product::forward ? 2 : product == Product::input_gradient ? 0 : 1;
  c.outputs.push_back(c.memory[output].view());
  c.run = [&stream, problems] { ops::gemm(stream, *problems); };
  return c;
}

template <Product P>
OpCase grouped(Stream& stream, const OpSizes& s) {
  return product_case(stream, P, s.experts, s.rows, s.d_model, s.d_ffn,
                      s.bf16 && P != Product::weight_gradient, s.product);
}
template <Product P>
OpCase dense(Stream& stream, const OpSizes& s) {
  return product_case(stream, P, 1, s.tokens, s.d_model, s.d_model, s.bf16 && P != Product::weight_gradient,
                      s.product);
}
// h: [T,D] times the transposed embedding [V,D].
OpCase logits(Stream& stream, const OpSizes& s) {
  return product_case(stream, Product::input_gradient, 1, s.tokens, s.vocab_size, s.d_model, s.bf16,
                      s.product);
}

}  // namespace

std::vector<OpEntry> gemm_entries() {
  return {{"experts-forward", true, grouped<Product::forward>},
          {"experts-dx", true, grouped<Product::input_gradient>},
          {"experts-dw", true, grouped<Product::weight_gradient>},
          {"dense-forward", false, dense<Product::forward>},
          {"dense-dx", false, dense<Product::input_gradient>},
          {"dense-dw", false, dense<Product::weight_gradient>},
          {"logits", false, logits}};
}

}  // namespace moe::bench
