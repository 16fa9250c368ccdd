#include "tests/store/synthetic_store.h"

#include <fstream>

#include "libmoe/base/checksum.h"
#include "libmoe/h5/input_file.h"

namespace moe::test {

float expert_value(std::size_t layer, std::int64_t expert, std::int64_t i) {
  return static_cast<float>(layer * 1000 + static_cast<std::size_t>(expert) * 100) +
         static_cast<float>(i % 97) / 97;
}

ExpertFile make_sections(const std::string& path, const ExpertLayout& layout,
                         const std::vector<std::int64_t>& n_experts) {
  ExpertFile file{path, layout, {}};
  std::ofstream out(path, std::ios::binary);
  std::int64_t offset = 8192;
  out << std::string(static_cast<std::size_t>(offset), 'x');
  for (std::size_t layer = 0; layer < n_experts.size(); ++layer) {
    ExpertSection section{n_experts[layer], {offset, n_experts[layer] * layout.stride_bytes()}, {}, {}};
    for (std::int64_t e = 0; e < n_experts[layer]; ++e) {
      std::vector<float> values(static_cast<std::size_t>(layout.stride_bytes() / 4), 0.0f);
      for (std::int64_t i = 0; i < layout.n_elements(); ++i)
        values[static_cast<std::size_t>(i)] = expert_value(layer, e, i);
      section.checksums.push_back(checksum(std::as_bytes(std::span(values))));
      section.ids.push_back(e);
      out.write(reinterpret_cast<const char*>(values.data()), layout.stride_bytes());
    }
    offset += section.extent.bytes;
    file.sections.push_back(std::move(section));
  }
  out.close();
  file.input = std::make_shared<const h5::InputFile>(path);
  return file;
}

bool weights_match(const ExpertLayout& layout, std::size_t layer, std::int64_t expert,
                   const ExpertWeights& weights) {
  const auto equal = [&](const TensorView& view, std::int64_t begin, Shape shape) {
    if (!view || view.shape != shape) return false;
    for (std::int64_t i = 0; i < shape.n_elements(); ++i)
      if (view.f32()[i] != expert_value(layer, expert, begin + i)) return false;
    return true;
  };
  const auto equal_matrix = [&](const WeightView& weight, std::int64_t begin, Shape shape) {
    const kernels::Weight& w = weight.kernel_weight();
    if (w.layout != kernels::WeightLayout::rows || w.ld != w.n) return false;
    TensorView view{const_cast<void*>(w.data), DType::f32, {w.k, w.n}, w.n, nullptr};
    return equal(view, begin, shape);
  };
  // As man 5 moe-h5 puts them end to end.
  const std::int64_t d = layout.d_model(), f = layout.d_ffn();
  return equal_matrix(weights.in_weight, 0, {d, f}) && equal(weights.in_bias, d * f, {f}) &&
         equal_matrix(weights.out_weight, d * f + f, {f, d}) && equal(weights.out_bias, 2 * d * f + f, {d});
}

}  // namespace moe::test
