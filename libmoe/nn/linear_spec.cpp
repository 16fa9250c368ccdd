#include "libmoe/nn/linear_spec.h"

#include <numbers>

namespace moe {

LinearSpec linear_spec(const std::string& name, const Axis& in, const Axis& out, bool with_bias) {
  LinearSpec spec;
  spec.weight = {.name = name + ".weight",
                 .axes = {in, out},
                 .initialiser = xavier(in.size, out.size / out.n_maps),
                 .weight_decay = true,
                 .product = true};
  if (out.n_maps > 1) spec.weight.initialiser.size *= std::numbers::sqrt2_v<float> / 2;
  if (with_bias) spec.bias = {.name = name + ".bias", .axes = {out}};
  return spec;
}

}  // namespace moe
