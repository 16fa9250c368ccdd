// Matrix products: the experts of a layer (grouped) and dense layers, with both products of the backward
// pass.
#include <memory>

#include "libmoe/bench/op.h"
#include "libmoe/core/ops.h"
#include "libmoe/nn/packed_matrices.h"

namespace moe::bench {
namespace {

enum class Direction { forward, input_gradient, weight_gradient };

const char* name_of(WeightType type) {
  switch (type) {
    case WeightType::f32:
      return "";
    case WeightType::bf16:
      return " bf16";
    case WeightType::int8:
      return " int8";
    case WeightType::int4:
      return " int4";
  }
  return "";
}

// The weights of a case, of f32 or packed.
struct Weights {
  Weights(Stream& stream, const TensorView& w, const OpSizes& s, Direction direction) {
    for (std::int64_t e = 0; e < w.shape[0]; ++e)
      views.push_back(direction == Direction::forward ? WeightView(w.at(e))
                                                      : WeightView(w.at(e)).transposed());
    if (s.weights == WeightType::f32 || direction == Direction::weight_gradient) return;
    packed =
        PackedMatrices(stream.device(), s.weights, w.shape[0], views[0].n_inputs(), views[0].n_outputs());
    std::vector<ops::Packing> packings;
    for (std::size_t e = 0; e < views.size(); ++e) {
      packings.push_back({views[e], packed.at(static_cast<std::int64_t>(e))});
      views[e] = packings.back().to;
    }
    ops::pack_weights(stream, packings);
    stream.synchronize();
  }
  PackedMatrices packed;
  std::vector<WeightView> views;
};

// x: [E,R,D], w: [E,D,F], y: [E,R,F].
OpCase product_case(Stream& stream, const OpSizes& s, Direction direction, std::int64_t experts,
                    std::int64_t rows, std::int64_t d_in, std::int64_t d_out) {
  OpCase c;
  const bool packs = direction != Direction::weight_gradient && s.weights != WeightType::f32;
  c.shape = fmt::format("{}x{} rows, {}x{}{}", experts, rows, d_in, d_out, packs ? name_of(s.weights) : "");
  c.is_product = true;
  c.reads = direction != Direction::weight_gradient;
  c.flops = 2.0 * static_cast<double>(experts * rows * d_in * d_out);
  c.memory.push_back(random_tensor(stream, {experts, rows, d_in}, 1));
  c.memory.push_back(random_tensor(stream, {experts, d_in, d_out}, 2));
  c.memory.push_back(random_tensor(stream, {experts, rows, d_out}, 3));
  const auto weights = std::make_shared<Weights>(stream, c.memory[1], s, direction);
  const WeightView& one = weights->views[0];
  const std::int64_t bytes_of_one =
      packs ? WeightView::bytes_of(s.weights, one.n_inputs(), one.n_outputs()) : 4 * d_in * d_out;
  c.bytes = static_cast<double>(experts * bytes_of_one) * (direction == Direction::weight_gradient ? 2 : 1) +
            4.0 * static_cast<double>(experts * rows * (d_in + d_out));
  auto problems = std::make_shared<std::vector<ops::Gemm>>();
  for (std::int64_t e = 0; e < experts; ++e) {
    const TensorView x = c.memory[0].view().at(e), w = c.memory[1].view().at(e), y = c.memory[2].view().at(e);
    const WeightView& weight = weights->views[static_cast<std::size_t>(e)];
    if (direction == Direction::forward) problems->push_back({.a = x, .b = weight, .c = y});
    if (direction == Direction::input_gradient) problems->push_back({.a = y, .b = weight, .c = x});
    if (direction == Direction::weight_gradient)
      problems->push_back({.a = x, .b = y, .c = w, .trans_a = true});
    problems->back().product = s.product;
  }
  const std::size_t output = direction == Direction::forward          ? 2
                             : direction == Direction::input_gradient ? 0
                                                                      : 1;
  c.outputs.push_back(c.memory[output].view());
  c.run = [&stream, problems, weights] { ops::gemm(stream, *problems); };
  return c;
}

template <Direction D>
OpCase grouped(Stream& stream, const OpSizes& s) {
  return product_case(stream, s, D, s.experts, s.rows, s.d_model, s.d_ffn);
}
template <Direction D>
OpCase dense(Stream& stream, const OpSizes& s) {
  return product_case(stream, s, D, 1, s.tokens, s.d_model, s.d_model);
}
// h: [T,D] times the transposed embedding [V,D].
OpCase logits(Stream& stream, const OpSizes& s) {
  return product_case(stream, s, Direction::input_gradient, 1, s.tokens, s.vocab_size, s.d_model);
}

}  // namespace

std::vector<OpEntry> gemm_entries() {
  return {{"experts-forward", true, grouped<Direction::forward>},
          {"experts-dx", true, grouped<Direction::input_gradient>},
          {"experts-dw", true, grouped<Direction::weight_gradient>},
          {"dense-forward", false, dense<Direction::forward>},
          {"dense-dx", false, dense<Direction::input_gradient>},
          {"dense-dw", false, dense<Direction::weight_gradient>},
          {"logits", false, logits}};
}

}  // namespace moe::bench
