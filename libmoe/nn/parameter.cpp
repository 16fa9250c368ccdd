#include "libmoe/nn/parameter.h"

#include <algorithm>

namespace moe {

Parameter& ParameterList::add(Device& device, std::string name, Shape shape, bool weight_decay,
                              std::int64_t n_experts) {
  auto parameter = std::make_unique<Parameter>();
  parameter->name = std::move(name);
  parameter->value = Tensor(device, shape);
  parameter->weight_decay = weight_decay;
  parameter->n_experts = n_experts;
  parameters_.push_back(std::move(parameter));
  return *parameters_.back();
}

Parameter* ParameterList::find(const std::string& name) const {
  const auto it = std::find_if(parameters_.begin(), parameters_.end(), [&](const auto& p) { return p->name == name; });
  return it == parameters_.end() ? nullptr : it->get();
}

std::int64_t ParameterList::n_elements() const {
  std::int64_t n = 0;
  for (const auto& p : parameters_) n += p->value.shape().n_elements();
  return n;
}

void ParameterList::make_gradients(Stream& stream) {
  for (auto& p : parameters_)
    if (!p->gradient) p->gradient = Tensor(stream.device(), p->value.shape());
  clear_gradients(stream);
}

void ParameterList::clear_gradients(Stream& stream) {
  for (auto& p : parameters_) {
    stream.fill_zero(p->gradient.view().data, p->gradient.view().n_bytes());
    p->touched.assign(static_cast<std::size_t>(p->n_experts), 0);
  }
}

}  // namespace moe
