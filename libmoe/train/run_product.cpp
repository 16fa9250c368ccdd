#include "libmoe/train/run_product.h"

#include <array>

#include "libmoe/base/log.h"

namespace moe {
namespace {

/// The kind that all ranks are fastest in.
kernels::ProductChoice fastest_of(const Device& device, Communicator& world) {
  const kernels::ProductChoice mine = device.kernels().fastest_product;
  std::array<std::int64_t, 1> any_f32{mine.product == Product::f32};
  world.all_reduce(Reduce::max, std::span<std::int64_t>(any_f32));
  if (any_f32[0] != 0 && mine.product != Product::f32)
    return {Product::f32, "the processor of another rank is fastest in it"};
  return mine;
}

/// Of the run so far: "" when it begins. Older files tell it among the options.
std::string remembered(const RunState& state) {
  if (!state.choices.products.empty() || state.update == 0) return state.choices.products;
  const auto option = state.course.find("products");
  return option == state.course.end() || option->second == word_of(Products::automatic) ? "" : option->second;
}

}  // namespace

Product choose_product(const TrainOptions& options, const Device& device, Communicator& world,
                       RunState& state) {
  Product product = options.arithmetic.product_on(device);
  if (options.arithmetic.products == Products::automatic) {
    const kernels::ProductChoice fastest = fastest_of(device, world);
    product = fastest.product;
    const std::string before = remembered(state);
    if (before.empty() || before == word_of(product)) {
      if (world.rank() == 0) log_info("products of {}: {}", word_of(product), fastest.why);
    } else {
      Word(&product).set(before);
      if (world.rank() == 0)
        log_info("products of {}, as the run began; {} is faster here: {} (--products {} goes on in it)",
                 before, word_of(fastest.product), fastest.why, word_of(fastest.product));
    }
  }
  state.choices.products = word_of(product);
  return product;
}

}  // namespace moe
