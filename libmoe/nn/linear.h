// y = x W + b, the matrix whole or divided over the ranks of a tensor group (arXiv 1909.08053, section 3).
#pragma once
#include <string>

#include "libmoe/comm/communicator.h"
#include "libmoe/core/ops.h"
#include "libmoe/nn/parameter.h"

namespace moe {

/// How the ranks of a tensor group, which must outlive the map, divide it.
struct TensorSplit {
  enum Over {
    outputs,  // x is whole on every rank, y the rank's columns
    inputs,   // x is the rank's columns, y whole on every rank: the sum of what the ranks make of their parts
  } over;
  Communicator& tensor;
  int n_maps = 1;  // over outputs: so many maps side by side, and a rank has a part of each
};

/// Part `tensor.rank()` of n things, and the same part of each of n_maps runs of n.
std::vector<IndexRange> tensor_part(const Communicator& tensor, std::int64_t n, int n_maps = 1);

/// Holds parameters "<name>.weight" [in,out] and, with a bias, "<name>.bias" [out] of the list. Values and
/// gradients that are whole have the same bits on all ranks of the tensor group, if its inputs do.
class Linear {
 public:
  Linear(ParameterList& parameters, const std::string& name, std::int64_t n_in, std::int64_t n_out,
         bool with_bias = true);
  /// With a bias. Its passes are collective over the tensor group.
  Linear(ParameterList& parameters, const std::string& name, std::int64_t n_in, std::int64_t n_out,
         const TensorSplit& split);

  /// Its products are of f32 whatever the stream's are, and read f32: for scores by which something is
  /// chosen.
  void keep_f32();
  /// What products read: f32, or a copy in bf16.
  TensorView weight() const { return weight_->weight(); }
  TensorView bias() const { return bias_ == nullptr ? TensorView{} : bias_->value; }
  /// Of the rank's part.
  std::int64_t n_in() const { return weight_->value.shape[0]; }
  std::int64_t n_out() const { return weight_->value.shape[1]; }

  /// x: [T,in]; y: [T,out], contiguous when inputs are divided. activation: none or relu, none when inputs
  /// are divided.
  void forward(Stream& stream, const TensorView& x, const TensorView& y,
               ops::Activation activation = ops::Activation::none) const;
  /// x: [T,in], dy: [T,out]; dx: [T,in] is overwritten, or added to, or empty. Parameter gradients
  /// accumulate.
  void backward(Stream& stream, const TensorView& x, const TensorView& dy, const TensorView& dx,
                bool accumulate_dx = false) const;
  /// The same, but where outputs are divided dx gets what comes through the rank's own: the sum over the
  /// tensor group is left to the caller.
  void backward_of_part(Stream& stream, const TensorView& x, const TensorView& dy, const TensorView& dx,
                        bool accumulate_dx) const;

 private:
  bool sums_outputs() const { return tensor_ != nullptr && over_ == TensorSplit::inputs; }
  bool sums_dx() const { return tensor_ != nullptr && over_ == TensorSplit::outputs; }
  Parameter* weight_;
  Parameter* bias_ = nullptr;
  Communicator* tensor_ = nullptr;  // null: the map is whole
  TensorSplit::Over over_ = TensorSplit::outputs;
  bool keep_f32_ = false;
};

}  // namespace moe
