#include "kernels/ref/weight.h"

#include "kernels/ref/bf16.h"
#include "kernels/ref/ops.h"

namespace moe::kernels::ref {
namespace {

float element(const Weight& w, std::int64_t k, std::int64_t n) {
  const auto* data = static_cast<const float*>(w.data);
  return data[w.layout == WeightLayout::columns ? n * w.ld + k : k * w.ld + n];
}

float size_of(float x) {
  return x < 0 ? -x : x;
}

void pack_bf16(const PackProblem& p) {
  auto* to = static_cast<std::uint16_t*>(p.to);
  for (std::int64_t n = 0; n < p.from.n; ++n)
    for (std::int64_t k = 0; k < p.from.k; ++k)
      to[packed_place(WeightType::bf16, p.from.k, k, n)] = to_bf16(element(p.from, k, n));
}

void pack_int8(const PackProblem& p, const Weight& packed) {
  auto* to = static_cast<std::int8_t*>(p.to);
  auto* scales = const_cast<float*>(packed.int8_scales());
  auto* sums = const_cast<std::int32_t*>(packed.int8_sums());
  for (std::int64_t n = 0; n < p.from.n; ++n) {
    float largest = 0;
    for (std::int64_t k = 0; k < p.from.k; ++k) {
      const float size = size_of(element(p.from, k, n));
      if (size > largest) largest = size;
    }
    const Int8Scale scale(largest);
    scales[n] = scale.scale;
    for (std::int64_t k = 0; k < p.from.k; ++k) {
      const std::int32_t q = scale.quantised(element(p.from, k, n));
      to[packed_place(WeightType::int8, p.from.k, k, n)] = static_cast<std::int8_t>(q);
      sums[n] += q;
    }
  }
}

void pack_int4_group(const PackProblem& p, const Weight& packed, std::int64_t begin, std::int64_t n) {
  const std::int64_t end = begin + kInt4Group < p.from.k ? begin + kInt4Group : p.from.k;
  float largest = 0;
  for (std::int64_t k = begin; k < end; ++k)
    if (size_of(element(p.from, k, n)) > size_of(largest)) largest = element(p.from, k, n);
  std::uint16_t& half =
      const_cast<std::uint16_t*>(packed.int4_scales())[int4_scale_place(p.from.k, begin, n)];
  half = to_bf16(largest / -8);
  const float scale = from_bf16(half);
  if (scale == 0) half = 0;  // not -0
  auto* to = static_cast<std::uint16_t*>(p.to);
  for (std::int64_t k = begin; k < end; ++k) {
    const float quotient = scale == 0 ? 0 : __builtin_rintf(element(p.from, k, n) / scale);
    const std::int32_t q = quotient < -8 ? -8 : quotient > 7 ? 7 : static_cast<std::int32_t>(quotient);
    std::uint16_t& unit = to[packed_place(WeightType::int4, p.from.k, k, n)];
    unit = static_cast<std::uint16_t>(unit | (q & 15) << k % 8 / 2 * 4);
  }
}

}  // namespace

void pack_weight(const Context&, const PackWeightArgs& args) {
  for (std::int64_t i = 0; i < args.n_problems; ++i) {
    const PackProblem& p = args.problems[i];
    const std::int64_t k = p.from.k, n = p.from.n;
    const auto bytes = static_cast<std::size_t>(packed_bytes(p.type, k, n));
    if (bytes == 0) continue;
    __builtin_memset(p.to, 0, bytes);
    const Weight packed{k, n, p.type, WeightLayout::packed, p.to, 0};
    if (p.type == WeightType::bf16) pack_bf16(p);
    if (p.type == WeightType::int8) pack_int8(p, packed);
    for (std::int64_t column = 0; p.type == WeightType::int4 && column < n; ++column)
      for (std::int64_t begin = 0; begin < k; begin += kInt4Group) pack_int4_group(p, packed, begin, column);
  }
}

}  // namespace moe::kernels::ref
