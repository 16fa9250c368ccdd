#include "libmoe/model/initialise.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "libmoe/base/threads.h"
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

Distribution distribution_of(const std::string& name, const Shape& shape) {
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

// Elements [begin, end) of the group, the parameter's or a part of them: what they are depends on their place
// in the whole tensor alone.
void initialise_range(Stream& stream, ThreadPool& threads, const ParameterGroup& group, const Parameter& p,
                      IndexRange range, std::uint64_t seed) {
  constexpr std::int64_t kBlock = std::int64_t{1} << 18, kTask = std::int64_t{1} << 14;
  const Distribution d = distribution_of(p.name, p.whole_shape);
  const kernels::RandomStream random{seed, hash(p.name), 0};
  std::vector<float> values;
  for (std::int64_t begin = range.begin; begin < range.end; begin += kBlock) {
    const IndexRange block{begin, std::min(begin + kBlock, range.end)};
    values.resize(static_cast<std::size_t>(block.size()));
    threads.run((block.size() + kTask - 1) / kTask, [&](std::int64_t task, int) {
      const std::int64_t first = block.begin + task * kTask - p.offset;
      p.for_each_run({first, std::min(first + kTask, block.end - p.offset)},
                     [&](std::int64_t local, std::int64_t whole, std::int64_t n) {
                       float* to = values.data() + (local + p.offset - block.begin);
                       for (std::int64_t i = 0; i < n; ++i)
                         to[i] = draw(d, random, static_cast<std::uint64_t>(whole + i));
                     });
    });
    copy_from_host<float>(stream, values, group.values_at(block));
  }
}

}  // namespace

std::vector<float> initial_values(const std::string& name, const Shape& whole_shape, std::uint64_t seed) {
  const Distribution d = distribution_of(name, whole_shape);
  std::vector<float> values(static_cast<std::size_t>(whole_shape.n_elements()));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = draw(d, {seed, hash(name), 0}, i);
  return values;
}

void Transformer::initialise(Stream& stream, std::uint64_t seed) {
  ThreadPool threads(stream.n_threads());
  for (const ParameterGroup& group : impl_->parameters.groups())
    for (const Parameter* p : group.parameters) {
      const IndexRange range = group.values ? p->range() : group.owned_range(*p);
      if (!range.empty()) initialise_range(stream, threads, group, *p, range, seed);
    }
}

}  // namespace moe
