#include "libmoe/nn/embedding.h"

#include <cmath>

namespace moe {

Tensor sinusoidal_positions(Stream& stream, std::int64_t n_positions, std::int64_t width) {
  std::vector<float> values(static_cast<std::size_t>(n_positions * width));
  for (std::int64_t p = 0; p < n_positions; ++p)
    for (std::int64_t d = 0; d < width; ++d) {
      const double rate =
          std::exp(static_cast<double>(d / 2 * 2) * -std::log(10000.0) / static_cast<double>(width));
      const double angle = static_cast<double>(p) * rate;
      values[static_cast<std::size_t>(p * width + d)] =
          static_cast<float>(d % 2 == 0 ? std::sin(angle) : std::cos(angle));
    }
  return Tensor::from_host<float>(stream, values, {n_positions, width});
}

Embedding::Embedding(ParameterList& parameters, const std::string& name, const Table& table,
                     const PositionSpec& positions)
    : table_(&table), n_positions_(positions.n) {
  if (positions.learned)
    learned_ = &parameters.add(
        vectors_spec(name + ".positions.weight", {positions.n, AxisRole::positions}, table.width()));
}

void Embedding::make_positions(Stream& stream) {
  if (learned_ == nullptr) sinusoids_ = sinusoidal_positions(stream, n_positions_, table_->width());
}

float Embedding::scale() const {
  return std::sqrt(static_cast<float>(table_->width()));
}

void Embedding::forward(Stream& stream, const TensorView& ids, const TensorView& position,
                        const TensorView& y, Table::Fetched& fetched) const {
  fetched = table_->fetch(stream, ids);
  ops::embedding(stream, {.ids = fetched.index,
                          .table = fetched.rows,
                          .scale = scale(),
                          .position = position,
                          .positions = learned_ != nullptr ? learned_->value : sinusoids_.view(),
                          .y = y});
  fetched.release();
}

void Embedding::backward(Stream& stream, const Table::Fetched& fetched, const TensorView& position,
                         const TensorView& dy) const {
  table_->add_gradient(stream, fetched, dy, scale());
  if (learned_ != nullptr) ops::embedding_backward(stream, position, dy, 1, learned_->gradient);
}

}  // namespace moe
