#include "libmoe/model/initialise.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "libmoe/base/threads.h"
#include "libmoe/model/transformer_impl.h"

namespace moe {
namespace {

std::uint64_t hash(const std::string& text) {  // FNV-1a
  std::uint64_t h = 0xcbf29ce484222325u;
  for (char c : text) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return h;
}

float draw(const Initialiser& d, const kernels::RandomStream& random, std::uint64_t i) {
  if (d.kind == Initialiser::constant) return d.size;
  if (d.kind == Initialiser::uniform) return d.size * (2 * kernels::uniform_at(random, i) - 1);
  const kernels::Philox4 bits = kernels::philox(random.seed, random.sequence, i);  // Box-Muller
  const float u = kernels::to_uniform(bits.v[0]) + 0x1p-25f, angle = kernels::to_uniform(bits.v[1]);
  return d.size * std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi_v<float> * angle);
}

// Elements [begin, end) of the group, the parameter's or a part of them: what they are depends on their place
// in the whole tensor alone.
void initialise_range(Stream& stream, ThreadPool& threads, const ParameterGroup& group, const Parameter& p,
                      IndexRange range, std::uint64_t seed) {
  constexpr std::int64_t kBlock = std::int64_t{1} << 18, kTask = std::int64_t{1} << 14;
  const kernels::RandomStream random{seed, hash(p.spec.name), 0};
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
                         to[i] = draw(p.spec.initialiser, random, static_cast<std::uint64_t>(whole + i));
                     });
    });
    copy_from_host<float>(stream, values, group.values_at(block));
  }
}

}  // namespace

std::vector<float> initial_values(const ParameterSpec& spec, std::uint64_t seed) {
  const kernels::RandomStream random{seed, hash(spec.name), 0};
  std::vector<float> values(static_cast<std::size_t>(spec.shape().n_elements()));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = draw(spec.initialiser, random, i);
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
