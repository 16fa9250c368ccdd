// Trainable tensors with their gradients, by name, in flat buffers that are moved as a whole.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "libmoe/base/range.h"
#include "libmoe/core/tensor.h"
#include "libmoe/nn/packed_matrices.h"
#include "libmoe/nn/parameter_spec.h"
#include "libmoe/nn/slice.h"

namespace moe {

/// Which ranks hold the same part of a parameter, and add up their gradients.
enum class Copies {
  data,         // those of a data group
  expert_data,  // those that hold the same experts
  none,         // this one alone, which gets its gradient from all tokens
};

struct Parameter {
  ParameterSpec spec;
  Slice slice;                 // which part of the whole tensor is here
  TensorView value, gradient;  // of this part; without data while they are elsewhere
  Copies copies = Copies::data;
  int unit = 0;  // see ParameterList::begin_unit()
  // [n_experts()], once allocated: the expert had tokens since the gradients were begun; an expert without
  // tokens is not updated.
  std::vector<std::uint8_t> touched;
  std::uint8_t written = 0;  // not per expert: a product has written the gradient since then
  std::size_t group = 0;     // of the list's groups, once laid out
  std::int64_t offset = 0;   // of its first element in its group
  // For inference: its matrices are held packed in this type, and there are no values.
  WeightType held = WeightType::f32;
  // The matrices and their transposes packed, where the list has been told to keep them: see keep_packed().
  PackedMatrices packed, packed_transposed;

  /// Marks the gradient (of an expert) as written, and tells whether a product must add to what is there.
  bool adds_to_gradient(std::size_t expert = 0) {
    std::uint8_t& mark = spec.per_expert() ? touched[expert] : written;
    return std::exchange(mark, std::uint8_t{1}) != 0 || !spec.product;
  }
  /// Of a product: one, or one of each expert here.
  std::int64_t n_matrices() const { return spec.per_expert() ? n_experts() : 1; }
  TensorView matrix(std::int64_t i = 0) const { return spec.per_expert() ? value.at(i) : value; }
  /// What packed copies of the matrices and of their transposes take.
  std::int64_t packed_bytes(WeightType type) const;
  /// W as the product x W reads it, and W^T as its gradient dy W^T does.
  WeightView weight(std::int64_t i = 0) const { return packed ? packed.at(i) : WeightView(matrix(i)); }
  WeightView transposed_weight(std::int64_t i = 0) const {
    return packed_transposed ? packed_transposed.at(i) : WeightView(matrix(i)).transposed();
  }

  /// Experts that have their parts here.
  std::int64_t n_experts() const { return spec.per_expert() ? value.shape[0] : 0; }
  /// The optimizer counts its steps for each expert of the model's layer, or once.
  std::int64_t n_step_counts() const { return spec.per_expert() ? spec.axes[0].size : 1; }
  /// Of the model's experts of its layer, the first that is here.
  std::int64_t first_expert() const {
    return spec.per_expert() && !slice.axis[0].empty() ? slice.axis[0][0].begin : 0;
  }
  /// In the group.
  IndexRange range() const { return {offset, offset + value.shape.n_elements()}; }
  /// Calls run(local, whole, n) for runs of n elements that lie together both in this part and in the whole
  /// tensor (row-major indices), over the elements [range.begin, range.end) of this part, in rising order.
  void for_each_run(
      IndexRange range,
      const std::function<void(std::int64_t local, std::int64_t whole, std::int64_t n)>& run) const;
};

/// How a list is shared among the ranks that hold the same parameters (arXiv 1910.02054).
struct Sharding {
  int zero_stage = 0;                       // from 1: moments, 2: and gradients, 3: and values are divided
  int dense_copies = 1, dense_index = 0;    // ranks with the same dense parameters, and this one's place
  int expert_copies = 1, expert_index = 0;  // the same of experts
  int tensor_index = 0;                     // this rank's place in its tensor group
  int n_copies(Copies copies) const;
  int index(Copies copies) const;
};

/// The parameters of a unit that the same ranks hold: one flat buffer [n_elements] of values and one of
/// gradients, with holes (zeros) between parameters.
struct ParameterGroup {
  int unit = 0;
  Copies copies = Copies::data;
  std::vector<Parameter*> parameters;  // at rising offsets
  std::int64_t n_elements = 0;         // a multiple of the number of copies
  int n_copies = 1;                    // ranks that hold this group
  IndexRange share;                    // an equal part for each copy
  IndexRange owned;                    // what this rank updates: its share when moments are divided, or all
  TensorView values, gradients;        // [n_elements]; without data while they are elsewhere
  TensorView owned_values,
      owned_gradients;  // [owned.size()]: always there (gradients: after make_gradients())

  /// What this rank owns of a parameter, in the group.
  IndexRange owned_range(const Parameter& p) const { return intersection(p.range(), owned); }
  /// Elements of the group, which must be owned.
  TensorView owned_values_at(IndexRange r) const { return owned_part(owned_values, r); }
  /// The same elements of another buffer of what is owned.
  TensorView owned_part(const TensorView& buffer, IndexRange r) const {
    return buffer.slice(r.begin - owned.begin, r.end - owned.begin);
  }
  /// Elements of the group, which must be owned or in place.
  TensorView values_at(IndexRange r) const {
    return values ? values.slice(r.begin, r.end) : owned_values_at(r);
  }
  TensorView owned_gradients_at(IndexRange r) const { return owned_part(owned_gradients, r); }

  void bind_values(const TensorView& buffer);
  void bind_gradients(const TensorView& buffer);
};

/// In a fixed order that depends only on the configuration.
class ParameterList {
 public:
  /// Parameters added from here on are of this unit: what a pass uses, a rank gathers and reduces together.
  void begin_unit(int unit) { unit_ = unit; }
  /// The value has no memory before allocate(); until then `copies` and `held` may be changed.
  Parameter& add(ParameterSpec spec, const Slice& slice = {});
  /// Finds the parameters their places in groups, and this rank's shares of these. Once, when all have been
  /// added.
  void lay_out(const Sharding& sharding = {});
  /// Lays them out, and gives memory to the values; not cleared. Once.
  void allocate(Device& device, const Sharding& sharding = {});
  void make_gradients(Stream& stream);
  /// Keeps a packed copy of every matrix of products and of its transpose beside its value, the fp32 master.
  /// Groups whose values are whole.
  void keep_packed(Stream& stream, WeightType type);
  bool keeps_packed() const { return keeps_packed_; }
  /// Packs a matrix that is held packed. values: those of matrix i, on the host.
  void pack_held(Stream& stream, const Parameter& p, std::int64_t i, std::span<const float> values) const;
  /// Packs anew what an update has changed: all matrices but those of experts that are not touched.
  void pack_changed(Stream& stream) const;
  /// Gradients are 0 and no expert is touched.
  void clear_gradients(Stream& stream);
  /// The same, but the gradients of matrices of products are left as they are: the first product overwrites
  /// them, those after it add.
  void begin_gradients(Stream& stream);
  /// Clears what no product has written since begin_gradients(), in a group whose gradients are whole.
  void finish_gradients(Stream& stream, const ParameterGroup& group);

  std::vector<std::unique_ptr<Parameter>>& all() { return parameters_; }
  const std::vector<std::unique_ptr<Parameter>>& all() const { return parameters_; }
  /// By unit, then in the order of Copies.
  std::vector<ParameterGroup>& groups() { return groups_; }
  const std::vector<ParameterGroup>& groups() const { return groups_; }
  const ParameterGroup& group_of(const Parameter& p) const { return groups_[p.group]; }
  const Sharding& sharding() const { return sharding_; }
  /// This rank's share of a parameter, in its group: over all ranks the shares are the whole tensor, each
  /// element once.
  IndexRange share_of(const Parameter& p) const;
  /// Null when absent.
  Parameter* find(const std::string& name) const;
  /// Of the parts that are here.
  std::int64_t n_elements() const;

 private:
  void clear_marks();
  int unit_ = 0;
  std::vector<std::unique_ptr<Parameter>> parameters_;
  std::vector<ParameterGroup> groups_;
  std::vector<Tensor> values_, gradients_;  // of groups_: all of it, or the share
  bool keeps_packed_ = false;
  Sharding sharding_;
};

/// Told as a pass comes to the parameters of a unit and leaves them; for what keeps them elsewhere meanwhile.
class UnitObserver {
 public:
  virtual ~UnitObserver() = default;
  /// When it returns the unit's values are in place; with backward also its gradient buffers.
  virtual void before_use(Stream& stream, int unit, bool backward) = 0;
  /// With backward: the unit's gradients of this pass are complete.
  virtual void after_use(Stream& stream, int unit, bool backward) = 0;
};

}  // namespace moe
