// A model whose next-token logits are a fixed function of a hypothesis' tokens: searches over it can be
// checked by enumeration.
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include "libmoe/decode/search.h"

namespace moe::test {

using LogitFunction = std::function<std::vector<float>(const std::vector<std::int32_t>& tokens)>;

/// Pseudo-random logits in [0, spread) from the tokens.
LogitFunction random_logits(std::int64_t vocab_size, std::uint64_t seed, float spread);

class FakeModel : public StepModel {
 public:
  FakeModel(std::int64_t vocab_size, std::int64_t n_rows, LogitFunction logits)
      : vocab_size_(vocab_size), logits_(std::move(logits)), rows_(static_cast<std::size_t>(n_rows)) {}
  std::int64_t vocab_size() const override { return vocab_size_; }
  void step(Stream& stream, const std::vector<std::int32_t>& tokens, const TensorView& logits) override;
  void reorder(Stream& stream, const std::vector<std::int32_t>& parent) override;
  std::int64_t n_steps() const { return n_steps_; }

 private:
  std::int64_t vocab_size_;
  LogitFunction logits_;
  std::vector<std::vector<std::int32_t>> rows_;  // tokens fed so far
  std::int64_t n_steps_ = 0;
};

}  // namespace moe::test
