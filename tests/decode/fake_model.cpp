#include "tests/decode/fake_model.h"

#include "kernels/api/philox.h"

namespace moe::test {

LogitFunction random_logits(std::int64_t vocab_size, std::uint64_t seed, float spread) {
  return [=](const std::vector<std::int32_t>& tokens) {
    std::uint64_t sequence = 14695981039346656037ull;
    for (std::int32_t t : tokens)
      sequence = (sequence ^ static_cast<std::uint64_t>(t + 1)) * 1099511628211ull;
    std::vector<float> logits;
    for (std::int64_t v = 0; v < vocab_size; ++v)
      logits.push_back(spread * kernels::uniform_at({seed, sequence, 0}, static_cast<std::uint64_t>(v)));
    return logits;
  };
}

void FakeModel::step(Stream& stream, const std::vector<std::int32_t>& tokens, const TensorView& logits) {
  MOE_CHECK(tokens.size() == rows_.size() && logits.shape == (Shape{logits.rows(), vocab_size_}));
  std::vector<float> values;
  for (std::size_t r = 0; r < rows_.size(); ++r) {
    rows_[r].push_back(tokens[r]);
    const std::vector<float> row = logits_(rows_[r]);
    values.insert(values.end(), row.begin(), row.end());
  }
  copy_from_host<float>(stream, values, logits);
  ++n_steps_;
}

void FakeModel::reorder(Stream&, const std::vector<std::int32_t>& parent) {
  std::vector<std::vector<std::int32_t>> rows;
  for (std::int32_t p : parent) rows.push_back(rows_.at(static_cast<std::size_t>(p)));
  rows_ = std::move(rows);
}

}  // namespace moe::test
