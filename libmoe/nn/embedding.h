// Token embeddings with positions (arXiv 1706.03762, section 3.5).
#pragma once
#include <string>

#include "libmoe/core/ops.h"
#include "libmoe/nn/parameter.h"

namespace moe {

/// sin(p * r_i), cos(p * r_i) side by side for i = 0, 1, ..., r_i = 10000^(-2i/D): [P,D].
Tensor sinusoidal_positions(Stream& stream, std::int64_t n_positions, std::int64_t width);

/// y = table[id] * sqrt(D) + positions[position]. The table may be shared with other embeddings and the
/// output.
class Embedding {
 public:
  /// learned: a parameter "<name>.positions.weight" [P,D] instead of the sinusoids.
  Embedding(Stream& stream, ParameterList& parameters, const std::string& name, Parameter& table,
            std::int64_t n_positions, bool learned);

  const Parameter& table() const { return *table_; }
  Parameter& table() { return *table_; }
  /// ids, position: [T] i32; y: [T,D].
  void forward(Stream& stream, const TensorView& ids, const TensorView& position, const TensorView& y) const;
  void backward(Stream& stream, const TensorView& ids, const TensorView& position,
                const TensorView& dy) const;

 private:
  float scale() const;
  Parameter* table_;
  Parameter* learned_ = nullptr;
  Tensor sinusoids_;
};

}  // namespace moe
