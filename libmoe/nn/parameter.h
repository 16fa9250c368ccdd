// Trainable tensors with their gradients, by name.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "libmoe/core/tensor.h"

namespace moe {

struct Parameter {
  std::string name;             // "decoder.layers.1.moe.experts.in.weight"
  Tensor value;
  Tensor gradient;              // empty until make_gradients()
  bool weight_decay = true;     // off for biases and norms
  std::int64_t n_experts = 0;   // > 0: dimension 0 indexes the experts of an MoE layer
  // [n_experts]: the expert had tokens since the gradients were cleared; an expert without tokens is not updated.
  std::vector<std::uint8_t> touched;
};

/// In a fixed order that depends only on the configuration.
class ParameterList {
 public:
  Parameter& add(Device& device, std::string name, Shape shape, bool weight_decay, std::int64_t n_experts = 0);
  std::vector<std::unique_ptr<Parameter>>& all() { return parameters_; }
  const std::vector<std::unique_ptr<Parameter>>& all() const { return parameters_; }
  /// Null when absent.
  Parameter* find(const std::string& name) const;
  std::int64_t n_elements() const;
  void make_gradients(Stream& stream);
  void clear_gradients(Stream& stream);

 private:
  std::vector<std::unique_ptr<Parameter>> parameters_;
};

}  // namespace moe
