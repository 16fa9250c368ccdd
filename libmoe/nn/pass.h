// What a pass is told once, for every module that it runs through.
#pragma once
#include "libmoe/core/weight.h"
#include "libmoe/nn/random.h"

namespace moe {

struct Pass {
  bool training = false;  // noise, dropout, capacity
  // What matrix products multiply (kernels/api/gemm.h). Sums and results are f32, and so are the products of
  // gates.
  Product product = Product::f32;
  PassRandom random{};

  /// The same with the random numbers of layer `layer`, numbered over encoder, then decoder.
  Pass of_layer(std::uint32_t layer) const {
    Pass pass = *this;
    pass.random.layer = layer;
    return pass;
  }
};

}  // namespace moe
