// Multi-head attention over ragged sequences (arXiv 1706.03762), with the projections of queries, keys and
// values fused.
#pragma once
#include "libmoe/nn/linear.h"
#include "libmoe/nn/random.h"

namespace moe {

/// Where each sentence's rows lie; both [B] i32.
struct RowRanges {
  TensorView begin, length;
};

struct AttentionOptions {
  bool causal = false;
  float dropout = 0;  // of the probabilities
  PassRandom random{};
};

/// Queries, keys and values from the same rows. Parameters "<name>.qkv.*" [D,3D], "<name>.out.*" [D,D].
class SelfAttention {
 public:
  struct Saved {
    Tensor qkv;          // [T,3D]
    Tensor y;            // [T,D] before the output projection
    Tensor log_sum_exp;  // [T,H]
  };

  SelfAttention(ParameterList& parameters, const std::string& name, std::int64_t width,
                std::int64_t n_heads);

  /// x, y: [T,D].
  void forward(Stream& stream, const TensorView& x, const RowRanges& rows, const AttentionOptions& options,
               const TensorView& y, Saved& saved) const;
  /// dx: [T,D] is overwritten. Frees what was saved.
  void backward(Stream& stream, const TensorView& x, const RowRanges& rows, const AttentionOptions& options,
                const TensorView& dy, Saved saved, const TensorView& dx) const;
  /// One token per row: appends its key and value at `position` of the cache and attends to all of them.
  /// x, y: [R,D]; cache: [R,P,2D]; each row's keys are rows r*P ... r*P + position of the flattened cache,
  /// which `rows` says (query ranges are rows one by one).
  void step(Stream& stream, const TensorView& x, const RowRanges& queries, const RowRanges& keys,
            std::int64_t position, const TensorView& cache, const TensorView& y) const;

 private:
  ops::AttentionShape shape(const RowRanges& rows, const AttentionOptions& options) const;
  Linear qkv_, out_;
  std::int64_t n_heads_;
};

/// Queries from the decoder's rows, keys and values from the encoder's. Parameters "<name>.query.*" [D,D],
/// "<name>.kv.*" [D,2D], "<name>.out.*" [D,D].
class CrossAttention {
 public:
  struct Saved {
    Tensor q, kv;        // [T,D], [S,2D]
    Tensor y;            // [T,D]
    Tensor log_sum_exp;  // [T,H]
  };

  CrossAttention(ParameterList& parameters, const std::string& name, std::int64_t width,
                 std::int64_t n_heads);

  /// x, y: [T,D]; memory: [S,D].
  void forward(Stream& stream, const TensorView& x, const RowRanges& rows, const TensorView& memory,
               const RowRanges& memory_rows, const AttentionOptions& options, const TensorView& y,
               Saved& saved) const;
  /// dx: [T,D] is overwritten, dmemory: [S,D] added to. Frees what was saved.
  void backward(Stream& stream, const TensorView& x, const RowRanges& rows, const TensorView& memory,
                const RowRanges& memory_rows, const AttentionOptions& options, const TensorView& dy,
                Saved saved, const TensorView& dx, const TensorView& dmemory) const;
  /// The keys and values of a memory, for step(): [S,2D].
  Tensor keys_and_values(Stream& stream, const TensorView& memory) const;
  /// x, y: [R,D]; kv: [S,2D].
  void step(Stream& stream, const TensorView& x, const RowRanges& queries, const TensorView& kv,
            const RowRanges& keys, const TensorView& y) const;

 private:
  ops::AttentionShape shape(const RowRanges& queries, const RowRanges& keys,
                            const AttentionOptions& options) const;
  Linear query_, kv_, out_;
  std::int64_t n_heads_;
};

}  // namespace moe
