// What the tests of an MoE layer start from.
#pragma once
#include <memory>
#include <vector>

#include "libmoe/moe/layer.h"
#include "tests/support/device.h"
#include "tests/support/module_check.h"

namespace moe::test {

inline constexpr std::int64_t kWidth = 10, kTokens = 24;

inline MoeSpec base_spec() {
  MoeSpec c;
  c.expert.width = kWidth;
  c.expert.hidden = 14;
  c.router.n_experts = 5;
  c.expert.activation = ops::Activation::gelu;
  c.capacity.drop_tokens = false;
  c.capacity.least = 1;
  return c;
}

class LayerFixture : public testing::Test {
 protected:
  LayerFixture() : device_(test::open_device()), stream_(*device_, 2) {}
  Tensor empty(Shape shape) { return Tensor(*device_, shape); }
  std::vector<float> host(const TensorView& x) { return to_host<float>(stream_, x); }
  std::vector<float> run(const MoeLayer& layer, const TensorView& x, const Pass& pass, MoeLayer::Saved& saved,
                         ExpertSource* source = nullptr, const MoePass& moe = {}) {
    const Tensor y(*device_, x.shape);
    layer.forward(stream_, pass, moe, x, source, 3, y, saved);
    return host(y);
  }

  std::unique_ptr<Device> device_;
  Stream stream_;
  ParameterList parameters_;
  const ProcessGrid grid_;
};

}  // namespace moe::test
