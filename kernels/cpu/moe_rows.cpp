#include "kernels/cpu/ops.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/random.h"

namespace moe::kernels::MOE_ISA {
namespace {

void add_row(const float* x, float weight, std::int64_t n, bool first, float* y) {
  if (first)
    for (std::int64_t d = 0; d < n; ++d) y[d] = weight * x[d];
  else
    for (std::int64_t d = 0; d < n; ++d) y[d] += weight * x[d];
}

// Sixteen partial sums: the order depends on n alone.
float dot_of(const float* x, const float* y, std::int64_t n) {
  float part[16] = {};
  std::int64_t d = 0;
  for (; d + 16 <= n; d += 16)
    for (int i = 0; i < 16; ++i) part[i] += x[d + i] * y[d + i];
  for (int i = 0; d < n; ++d, ++i) part[i] += x[d] * y[d];
  for (int width = 8; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) part[i] += part[i + width];
  return part[0];
}

float first_of_two(const float* logits) {
  return 1 / (1 + __builtin_expf(logits[1] - logits[0]));
}

// body(i, part, uniforms) for the elements first + i of a use, 0 <= i < n.
template <class Body>
void for_uniforms(const RandomStream& random, std::uint64_t first, std::int64_t n, const Body& body) {
  std::uint32_t bits[kRandomChunk + kLanes] = {};  // a tail reads on, and ignores what it reads
  const std::uint64_t begin = random.first_index + first;
  const std::int64_t skip = static_cast<std::int64_t>(begin % kRandomChunk);
  for (std::int64_t chunk = -skip; chunk < n; chunk += kRandomChunk) {
    random_bits(random, begin + static_cast<std::uint64_t>(chunk), bits);
    for_vectors(chunk < 0 ? 0 : chunk, least(chunk + kRandomChunk, n), [&](std::int64_t i, auto part) {
      IntVec number;
      __builtin_memcpy(&number, bits + (i - chunk), sizeof number);
      body(i, part, __builtin_convertvector(number >> 8 & splat_int(0xffffff), Vec) * 0x1p-24f);
    });
  }
}

}  // namespace

void moe_combine(const Context& context, const MoeCombineArgs& a) {
  parallel_blocks(context, a.t, rows_per_task(a.d), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) {
      float* y = a.y + t * a.d;
      bool first = !a.accumulate;
      for (std::int64_t i = t * a.k; i < (t + 1) * a.k; ++i) {
        if (a.row[i] < 0) continue;
        add_row(a.h + a.row[i] * a.d, a.weight == nullptr ? 1 : a.weight[i], a.d, first, y);
        first = false;
      }
      if (first)
        for (std::int64_t d = 0; d < a.d; ++d) y[d] = 0;
    }
  });
}

void moe_combine_backward(const Context& context, const MoeCombineBackwardArgs& a) {
  parallel_blocks(context, a.t, rows_per_task(a.d), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin * a.k; i < end * a.k; ++i) {
      const std::int64_t row = a.row[i];
      a.dweight[i] = 0;
      if (row < 0) continue;
      const float* dy = a.dy + i / a.k * a.d;
      a.dweight[i] = dot_of(dy, a.h + row * a.d, a.d);
      add_row(dy, a.weight[i], a.d, true, a.dh + row * a.d);
    }
  });
}

void moe_bias_backward(const Context& context, const MoeBiasBackwardArgs& a) {
  constexpr std::int64_t kColumns = 256;
  const std::int64_t blocks = (a.d + kColumns - 1) / kColumns;
  parallel_for(context, a.e * blocks, [&](std::int64_t task, int) {
    const std::int64_t e = task / blocks, first = task % blocks * kColumns;
    const std::int64_t n = a.d - first < kColumns ? a.d - first : kColumns;
    float sum[kColumns] = {};
    for (std::int64_t r = a.offsets[e]; r < a.offsets[e + 1]; ++r)
      for (std::int64_t d = 0; d < n; ++d) sum[d] += a.dy[r * a.d + first + d];
    for (std::int64_t d = 0; d < n; ++d) a.db[e * a.d + first + d] += sum[d];
  });
}

void moe_dropout(const Context& context, const MoeDropoutArgs& a) {
  const Dropout dropout(a.random, a.p);
  const Vec scale = splat(1 / (1 - a.p));
  parallel_blocks(context, a.n, rows_per_task(a.d), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r)
      dropout.for_kept(static_cast<std::uint64_t>(a.choice[r] * a.random_width), a.d,
                       [x = a.x + r * a.d, y = a.y + r * a.d, scale](std::int64_t i, auto part, IntVec kept) {
                         store(y + i, select(kept, load(x + i, part) * scale, Vec{}), part);
                       });
  });
}

void moe_jitter(const Context& context, const MoeJitterArgs& a) {
  const Vec low = splat(1 - a.epsilon), width = splat(2 * a.epsilon);
  parallel_blocks(context, a.t * a.d, kElementBlock, [&](std::int64_t begin, std::int64_t end) {
    for_uniforms(a.random, static_cast<std::uint64_t>(begin), end - begin,
                 [&, x = a.x + begin, y = a.y + begin](std::int64_t i, auto part, Vec u) {
                   const Vec noisy = load(x + i, part) * (low + width * u);
                   store(y + i, a.accumulate ? load(y + i, part) + noisy : noisy, part);
                 });
  });
}

void moe_mix(const Context& context, const MoeMixArgs& a) {
  parallel_blocks(context, a.t, rows_per_task(a.d), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) {
      const float c = first_of_two(a.logits + 2 * t);
      for (std::int64_t i = t * a.d; i < (t + 1) * a.d; ++i) a.y[i] = c * a.a[i] + (1 - c) * a.b[i];
    }
  });
}

void moe_mix_backward(const Context& context, const MoeMixBackwardArgs& a) {
  parallel_blocks(context, a.t, rows_per_task(a.d), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) {
      const float* dy = a.dy + t * a.d;
      const float c = first_of_two(a.logits + 2 * t);
      const float dc = dot_of(dy, a.a + t * a.d, a.d) - dot_of(dy, a.b + t * a.d, a.d);
      add_row(dy, c, a.d, true, a.da + t * a.d);
      add_row(dy, 1 - c, a.d, true, a.db + t * a.d);
      a.dlogits[2 * t] = dc * c * (1 - c);
      a.dlogits[2 * t + 1] = -a.dlogits[2 * t];
    }
  });
}

}  // namespace moe::kernels::MOE_ISA
