// Token embeddings with positions (arXiv 1706.03762, section 3.5).
#pragma once
#include <string>

#include "libmoe/core/ops.h"
#include "libmoe/nn/table.h"

namespace moe {

/// sin(p * r_i), cos(p * r_i) side by side for i = 0, 1, ..., r_i = 10000^(-2i/D): [P,D].
Tensor sinusoidal_positions(Stream& stream, std::int64_t n_positions, std::int64_t width);

struct PositionSpec {
  std::int64_t n = 0;    // P
  bool learned = false;  // a parameter instead of the sinusoids
};

/// y = table[id] * sqrt(D) + positions[position]. The table may be shared with other embeddings and the
/// output.
class Embedding {
 public:
  /// Learned positions are a parameter "<name>.positions.weight" [P,D]. The table must outlive the embedding.
  Embedding(ParameterList& parameters, const std::string& name, const Table& table,
            const PositionSpec& positions);
  /// Before the first pass: makes the sinusoids, unless positions are learned.
  void make_positions(Stream& stream);

  /// ids, position: [T] i32; y: [T,D]. Collective when the table is divided; fetched: for backward().
  void forward(Stream& stream, const TensorView& ids, const TensorView& position, const TensorView& y,
               Table::Fetched& fetched) const;
  void backward(Stream& stream, const Table::Fetched& fetched, const TensorView& position,
                const TensorView& dy) const;

 private:
  float scale() const;
  const Table* table_;
  std::int64_t n_positions_;
  Parameter* learned_ = nullptr;
  Tensor sinusoids_;
};

}  // namespace moe
