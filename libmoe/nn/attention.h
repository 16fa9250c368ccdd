// Multi-head attention over ragged sequences (arXiv 1706.03762), with the projections of queries, keys and
// values fused. Ranks of a tensor group, which must outlive the modules, divide the heads; their number must
// divide that of the heads. Passes are collective over the group, and draw the random numbers of the whole.
#pragma once
#include "libmoe/nn/linear.h"

namespace moe {

/// Where each sentence's rows lie; both [B] i32.
struct RowRanges {
  TensorView begin, length;
};

struct AttentionSpec {
  std::int64_t width = 0, n_heads = 0;
  bool causal = false;
  double dropout = 0;  // of the probabilities, in training
};

/// The heads of an attention that this rank has: the first is number `first` of `all`.
struct AttentionHeads {
  std::int64_t n = 0, first = 0, all = 0;
};

/// Queries, keys and values from the same rows. Parameters "<name>.qkv.*" [D,3D], "<name>.out.*" [D,D]. W is
/// D / ranks of the tensor group.
class SelfAttention {
 public:
  struct Saved {
    Tensor qkv;          // [T,3W]
    Tensor y;            // [T,W] before the output projection
    Tensor log_sum_exp;  // [T,H] of the own heads
  };

  SelfAttention(ParameterList& parameters, const std::string& name, const AttentionSpec& spec,
                Communicator& tensor);

  /// W: a cache has 2W numbers per position.
  std::int64_t width_here() const { return out_.n_in(); }

  /// x, y: [T,D].
  void forward(Stream& stream, const Pass& pass, const TensorView& x, const RowRanges& rows,
               const TensorView& y, Saved& saved) const;
  /// dx: [T,D] is overwritten. Frees what was saved.
  void backward(Stream& stream, const Pass& pass, const TensorView& x, const RowRanges& rows,
                const TensorView& dy, Saved saved, const TensorView& dx) const;
  /// One token per row: appends its key and value at `position` of the cache and attends to all of them.
  /// x, y: [R,D]; cache: [R,P,2W]; each row's keys are rows r*P ... r*P + position of the flattened cache,
  /// which `rows` says (query ranges are rows one by one).
  void step(Stream& stream, const Pass& pass, const TensorView& x, const RowRanges& queries,
            const RowRanges& keys, std::int64_t position, const TensorView& cache, const TensorView& y) const;

 private:
  ops::AttentionShape shape(const Pass& pass, const RowRanges& rows) const;
  AttentionSpec spec_;
  AttentionHeads heads_;
  Linear qkv_, out_;
};

/// Queries from the decoder's rows, keys and values from the encoder's. Parameters "<name>.query.*" [D,D],
/// "<name>.kv.*" [D,2D], "<name>.out.*" [D,D]. W as in SelfAttention.
class CrossAttention {
 public:
  struct Saved {
    Tensor q, kv;        // [T,W], [S,2W]
    Tensor y;            // [T,W]
    Tensor log_sum_exp;  // [T,H] of the own heads
  };

  CrossAttention(ParameterList& parameters, const std::string& name, const AttentionSpec& spec,
                 Communicator& tensor);

  /// x, y: [T,D]; memory: [S,D].
  void forward(Stream& stream, const Pass& pass, const TensorView& x, const RowRanges& rows,
               const TensorView& memory, const RowRanges& memory_rows, const TensorView& y,
               Saved& saved) const;
  /// dx: [T,D] is overwritten. What comes through the own heads is added to dmemory: [S,D]; the sum
  /// over the tensor group is left to the caller, once for all layers. Frees what was saved.
  void backward(Stream& stream, const Pass& pass, const TensorView& x, const RowRanges& rows,
                const TensorView& memory, const RowRanges& memory_rows, const TensorView& dy, Saved saved,
                const TensorView& dx, const TensorView& dmemory) const;
  /// The keys and values of a memory, for step(): [S,2W].
  Tensor keys_and_values(Stream& stream, const Pass& pass, const TensorView& memory) const;
  /// x, y: [R,D]; kv: [S,2W].
  void step(Stream& stream, const Pass& pass, const TensorView& x, const RowRanges& queries,
            const TensorView& kv, const RowRanges& keys, const TensorView& y) const;

 private:
  ops::AttentionShape shape(const Pass& pass, const RowRanges& queries, const RowRanges& keys) const;
  AttentionSpec spec_;
  AttentionHeads heads_;
  Linear query_, kv_, out_;
};

}  // namespace moe
