// First values of the parameters.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "libmoe/model/transformer_impl.h"

namespace moe {
namespace {

struct Distribution {
  enum Kind { constant, uniform, normal } kind;
  float size;  // the value, the limit or the deviation
};

bool ends_with(const std::string& text, const std::string& end) {
  return text.ends_with(end);
}

// Xavier's limit (Glorot and Bengio 2010) for a map of `in` to `out`.
Distribution xavier(std::int64_t in, std::int64_t out) {
  return {Distribution::uniform, std::sqrt(6.0f / static_cast<float>(in + out))};
}

Distribution distribution_of(const Parameter& p) {
  const Shape& shape = p.value.shape();
  const std::string& name = p.name;
  if (ends_with(name, ".bias")) return {Distribution::constant, 0};
  if (shape.rank() == 1) return {Distribution::constant, 1};  // a norm's gain
  const std::int64_t in = shape[shape.rank() - 2], out = shape[shape.rank() - 1];
  if (ends_with(name, "embedding.weight") || ends_with(name, "positions.weight") || name == "output.weight")
    return {Distribution::normal, 1 / std::sqrt(static_cast<float>(out))};
  if (ends_with(name, ".gate.weight")) return {Distribution::uniform, 1 / std::sqrt(static_cast<float>(in))};
  if (ends_with(name, ".qkv.weight") || ends_with(name, ".kv.weight")) {
    // Each of the fused maps is D to D; scaled by 1/sqrt(2) so that their products start small.
    Distribution d = xavier(in, in);
    d.size *= std::numbers::sqrt2_v<float> / 2;
    return d;
  }
  return xavier(in, out);
}

std::uint64_t hash(const std::string& text) {  // FNV-1a
  std::uint64_t h = 0xcbf29ce484222325u;
  for (char c : text) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return h;
}

float draw(const Distribution& d, const kernels::RandomStream& random, std::uint64_t i) {
  if (d.kind == Distribution::constant) return d.size;
  if (d.kind == Distribution::uniform) return d.size * (2 * kernels::uniform_at(random, i) - 1);
  const kernels::Philox4 bits = kernels::philox(random.seed, random.sequence, i);  // Box-Muller
  const float u = kernels::to_uniform(bits.v[0]) + 0x1p-25f, angle = kernels::to_uniform(bits.v[1]);
  return d.size * std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi_v<float> * angle);
}

void initialise_one(Stream& stream, const Parameter& p, std::uint64_t seed) {
  constexpr std::int64_t kBlock = std::int64_t{1} << 22, kTask = std::int64_t{1} << 14;
  const Distribution d = distribution_of(p);
  const kernels::RandomStream random{seed, hash(p.name), 0};
  const std::int64_t n = p.value.shape().n_elements();
  const TensorView all = p.value.view().reshape({n});
  for (std::int64_t begin = 0; begin < n; begin += kBlock) {
    std::vector<float> values(static_cast<std::size_t>(std::min(kBlock, n - begin)));
    const auto n_values = static_cast<std::int64_t>(values.size());
    stream.threads().run((n_values + kTask - 1) / kTask, [&](std::int64_t task, int) {
      for (std::int64_t i = task * kTask; i < std::min((task + 1) * kTask, n_values); ++i)
        values[static_cast<std::size_t>(i)] = draw(d, random, static_cast<std::uint64_t>(begin + i));
    });
    copy_from_host<float>(stream, values, all.slice(begin, begin + n_values));
  }
}

}  // namespace

void Transformer::initialise(Stream& stream, std::uint64_t seed) {
  for (const auto& parameter : impl_->parameters.all()) initialise_one(stream, *parameter, seed);
}

}  // namespace moe
