#include "kernels/cpu/gemm_words.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/parallel.h"

namespace moe::kernels::MOE_ISA {
namespace {

// At least latency x units of any processor here, and fewer than the registers.
#if MOE_ISA_avx512
constexpr int kChains = 16;
#else
constexpr int kChains = 12;
#endif
constexpr int kMaxTasks = 1024;

/// The compiler knows nothing of x from here on.
template <class V>
MOE_INLINE void forget(V& x) {
  asm volatile("" : "+v"(x));
}

// A kind of multiply-add: vectors of factors that are 1, and the products that an element of a sum gets.

struct Floats {
  using Sum = Vec;
  static constexpr int kProducts = 1;
  static Vec ones() { return splat(1); }
  static Vec multiply_add(Vec a, Vec b, Vec sum) { return MOE_ISA::multiply_add(a, b, sum); }
};

#if MOE_ISA_avx512bf16
struct PairsOfBf16 {
  using Sum = Vec;
  static constexpr int kProducts = 2;
  static Vec ones() { return from_bits(splat_int(0x3F803F80)); }
  static Vec multiply_add(Vec a, Vec b, Vec sum) { return multiply_add_pairs(a, b, sum); }
};

struct Int8 {
  using Sum = IntVec;
  static constexpr int kProducts = 4;
  static IntVec ones() { return splat_int(0x01010101); }
  static IntVec multiply_add(IntVec a, IntVec b, IntVec sum) {
    return reinterpret_cast<IntVec>(_mm512_dpbusd_epi32(
        reinterpret_cast<__m512i>(sum), reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
  }
};
#else
// Pairs are taken apart once for many products: what remains are those of floats.
using PairsOfBf16 = Floats;

/// After both factors were extended to 16 bits, once for many products.
struct Int8 {
  using Sum = IntVec;
  static constexpr int kProducts = 2;
  static IntVec ones() { return splat_int(0x00010001); }
  static IntVec multiply_add(IntVec a, IntVec b, IntVec sum) {
#if MOE_ISA_avx512
    return sum + reinterpret_cast<IntVec>(
                     _mm512_madd_epi16(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
#elif MOE_ISA_avx2
    return sum + reinterpret_cast<IntVec>(
                     _mm256_madd_epi16(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
#else
    return sum + reinterpret_cast<IntVec>(
                     _mm_madd_epi16(reinterpret_cast<__m128i>(a), reinterpret_cast<__m128i>(b)));
#endif
  }
};
#endif

/// The sum of the products of one task.
template <class Kind>
double run_chains(std::int64_t n_steps) {
  typename Kind::Sum sum[kChains] = {};
  // Chains that begin alike would be one.
#pragma GCC unroll 16
  for (auto& s : sum) forget(s);
  auto a = Kind::ones(), b = Kind::ones();
  forget(b);
  for (std::int64_t i = 0; i < n_steps; ++i) {
#pragma GCC unroll 16
    for (int c = 0; c < kChains; ++c) {
      forget(a);  // no product is known from before
      sum[c] = Kind::multiply_add(a, b, sum[c]);
    }
  }
  double total = 0;
  for (const auto& s : sum)
    for (int lane = 0; lane < kLanes; ++lane) total += static_cast<double>(s[lane]);
  return total;
}

template <class Kind>
void probe_kind(const Context& context, const MultiplyProbeArgs& args) {
  double sums[kMaxTasks];
  const std::int64_t n_tasks = least(4 * n_threads(context), kMaxTasks);
  parallel_for(context, n_tasks,
               [&](std::int64_t task, int) { sums[task] = run_chains<Kind>(args.n_steps); });
  args.results[0] = 2.0 * Kind::kProducts * kLanes * kChains * static_cast<double>(n_tasks * args.n_steps);
  args.results[1] = 0;
  for (std::int64_t task = 0; task < n_tasks; ++task) args.results[1] += sums[task];
}

// Memory.

constexpr std::int64_t kMinPart = 64 << 10;  // floats of a task at least
constexpr int kBlock = 64;                   // floats
constexpr int kAhead = 512;                  // floats from what is read to what is asked for

template <bool update, bool prefetch>
MOE_INLINE void pass_block(float* x, Vec (&sum)[4]) {
  if constexpr (prefetch)
#pragma GCC unroll 4
    for (int line = 0; line < kBlock; line += 16) fetch(x + kAhead + line);
#pragma GCC unroll 16
  for (int i = 0; i < kBlock / kLanes; ++i) {
    Vec v = load(x + i * kLanes);
    sum[i % 4] += v;
    if constexpr (!update) continue;
    forget(v);
    store(x + i * kLanes, v);
  }
}

template <bool update, bool prefetch, bool two_streams>
float pass_part(float* x, std::int64_t n) {
  Vec sum[4] = {};
  std::int64_t done = 0;
  if constexpr (two_streams) {
    const std::int64_t half = n / (2 * kBlock) * kBlock;
    for (std::int64_t i = 0; i < half; i += kBlock) {
      pass_block<update, prefetch>(x + i, sum);
      pass_block<update, prefetch>(x + half + i, sum);
    }
    done = 2 * half;
  }
  for (; done + kBlock <= n; done += kBlock) pass_block<update, prefetch>(x + done, sum);
  float total = sum_lanes(sum[0] + sum[1] + (sum[2] + sum[3]));
  for (; done < n; ++done) {
    float rest = x[done];
    total += rest;
    if constexpr (!update) continue;
    forget(rest);
    x[done] = rest;
  }
  return total;
}

using PassPart = float (*)(float* x, std::int64_t n);
template <bool update>
constexpr PassPart kWays[kMemoryWays] = {pass_part<update, false, false>, pass_part<update, true, false>,
                                         pass_part<update, false, true>, pass_part<update, true, true>};

}  // namespace

void multiply_probe(const Context& context, const MultiplyProbeArgs& args) {
  switch (args.kind) {
    case MultiplyAdd::f32:
      return probe_kind<Floats>(context, args);
    case MultiplyAdd::bf16:
      return probe_kind<PairsOfBf16>(context, args);
    case MultiplyAdd::i8:
      return probe_kind<Int8>(context, args);
  }
}

void memory_probe(const Context& context, const MemoryProbeArgs& args) {
  float sums[kMaxTasks] = {};
  const PassPart pass = (args.update ? kWays<true> : kWays<false>)[static_cast<int>(args.way)];
  const std::int64_t smallest = divide_up(args.n, kMaxTasks),
                     part = smallest > kMinPart ? smallest : kMinPart;
  parallel_blocks(context, args.n, part, [&](std::int64_t begin, std::int64_t end) {
    sums[begin / part] = pass(args.data + begin, end - begin);
  });
  float total = 0;
  for (const float s : sums) total += s;
  *args.sum = total;
}

}  // namespace moe::kernels::MOE_ISA
