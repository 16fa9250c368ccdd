#include "kernels/cpu/ops.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/random.h"
#include "kernels/cpu/residual.h"
#include "kernels/cpu/vec.h"

namespace moe::kernels::MOE_ISA {
namespace {

/// body(i, part) for the vectors of [0, n), over all threads.
template <class Body>
void parallel_vectors(const Context& context, std::int64_t n, const Body& body) {
  parallel_blocks(context, n, kElementBlock,
                  [&](std::int64_t begin, std::int64_t end) { for_vectors(begin, end, body); });
}

Vec gelu(Vec x) {
  return x * normal(x).cumulative;
}

Vec gelu_slope(Vec x) {
  const Normal phi = normal(x);
  return phi.cumulative + x * phi.bell * 0.398942280f;  // 1 / sqrt(2 pi)
}

}  // namespace

void fill(const Context& context, const FillArgs& args) {
  const Vec value = splat(args.value);
  parallel_vectors(context, args.n, [=](std::int64_t i, auto part) { store(args.y + i, value, part); });
}

void add_scaled(const Context& context, const AddScaledArgs& args) {
  const Vec alpha = splat(args.alpha);
  parallel_vectors(context, args.n, [=](std::int64_t i, auto part) {
    store(args.y + i, load(args.y + i, part) + alpha * load(args.x + i, part), part);
  });
}

void activation(const Context& context, const ActivationArgs& args) {
  const auto map = [&](const auto& f) {
    parallel_vectors(context, args.n,
                     [&](std::int64_t i, auto part) { store(args.y + i, f(load(args.x + i, part)), part); });
  };
  switch (args.kind) {
    case Activation::none:
      return map([](Vec x) { return x; });
    case Activation::relu:
      return map([](Vec x) { return max(Vec{}, x); });
    case Activation::gelu:
      return map([](Vec x) { return gelu(x); });
  }
}

void activation_backward(const Context& context, const ActivationBackwardArgs& args) {
  const auto map = [&](const auto& f) {
    parallel_vectors(context, args.n, [&](std::int64_t i, auto part) {
      store(args.dy + i, f(load(args.x + i, part), load(args.dy + i, part)), part);
    });
  };
  switch (args.kind) {
    case Activation::none:
      return;
    case Activation::relu:
      return map([](Vec x, Vec dy) { return select(x > Vec{}, dy, Vec{}); });
    case Activation::gelu:
      return map([](Vec x, Vec dy) { return dy * gelu_slope(x); });
  }
}

void dropout_add(const Context& context, const DropoutAddArgs& args) {
  parallel_blocks(context, args.n, kElementBlock,
                  [&](std::int64_t begin, std::int64_t end) { add_dropped(args, begin, end); });
}

void dropout_backward(const Context& context, const DropoutBackwardArgs& args) {
  const Dropout dropout(args.random, args.p);
  const Vec scale = splat(1 / (1 - args.p));
  parallel_blocks(context, args.n, kElementBlock, [&](std::int64_t begin, std::int64_t end) {
    if (args.p == 0)
      for_vectors(begin, end,
                  [&](std::int64_t i, auto part) { store(args.dx + i, load(args.dy + i, part), part); });
    else
      dropout.for_kept(
          static_cast<std::uint64_t>(begin), end - begin, [&](std::int64_t i, auto part, IntVec kept) {
            store(args.dx + begin + i, select(kept, load(args.dy + begin + i, part) * scale, Vec{}), part);
          });
  });
}

void adam(const Context& context, const AdamArgs& args) {
  const Vec gradient_scale = splat(args.gradient_scale);
  const Vec beta1 = splat(args.beta1), rest1 = splat(1 - args.beta1);
  const Vec beta2 = splat(args.beta2), rest2 = splat(1 - args.beta2);
  const Vec unbias1 = splat(1 / args.bias1), unbias2 = splat(1 / args.bias2);
  const Vec rate = splat(args.rate), decay = splat(args.decay), epsilon = splat(args.epsilon);
  parallel_vectors(context, args.n, [=](std::int64_t i, auto part) {
    const Vec g = load(args.gradient + i, part) * gradient_scale, p = load(args.parameter + i, part);
    const Vec m = beta1 * load(args.m + i, part) + rest1 * g;
    const Vec v = beta2 * load(args.v + i, part) + rest2 * g * g;
    store(args.m + i, m, part);
    store(args.v + i, v, part);
    const Vec step = m * unbias1 / (sqrt(v * unbias2) + epsilon);
    const Vec next = p - rate * (step + decay * p);
    store(args.parameter + i, next, part);
  });
}

}  // namespace moe::kernels::MOE_ISA
