// Packing of weights, a few strips at a time: rows of W are read in runs.
#include "kernels/cpu/gemm_pack.h"
#include "kernels/cpu/int8.h"
#include "kernels/cpu/ops.h"

namespace moe::kernels::MOE_ISA {
namespace {

constexpr int kBlockSteps = 32;
constexpr std::int64_t kStripsPerTask = 8;

/// Some steps of the columns of a strip, zeros for those that are not there.
struct Block {
  alignas(64) float at[kBlockSteps][kStripColumns];
};

void load_block(const Weight& from, std::int64_t k, std::int64_t n, Block& block) {
  const std::int64_t steps = least(kBlockSteps, from.k - k), columns = least(kStripColumns, from.n - n);
  if (steps < kBlockSteps || columns < kStripColumns) __builtin_memset(&block, 0, sizeof block);
  if (steps <= 0) return;
  const float* data = static_cast<const float*>(from.data);
  if (from.layout == WeightLayout::columns) {
    for (std::int64_t i = 0; i < columns; i += kLanes)
      pack_lanes(Elements{}, data + (n + i) * from.ld + k, from.ld, columns - i, steps, block.at[0] + i,
                 kStripColumns);
    return;
  }
  for (std::int64_t s = 0; s < steps; ++s)
    for (std::int64_t i = 0; i < columns; i += kLanes)
      store(block.at[s] + i, load_first(data + (k + s) * from.ld + n + i, columns - i));
}

/// Strips [begin, end) of a weight.
struct Strips {
  const PackProblem& p;
  std::int64_t begin, end;

  /// body(block, strip, k): the strip's steps from k on.
  template <class Body>
  void for_blocks(const Body& body) const {
    Block block;
    for (std::int64_t k = 0; k < packed_steps(p.type, p.from.k); k += kBlockSteps)
      for (std::int64_t strip = begin; strip < end; ++strip) {
        load_block(p.from, k, strip * kStripColumns, block);
        body(block, strip, k);
      }
  }
  unsigned char* row_at(std::int64_t strip, std::int64_t k) const {
    return bytes() + strip * strip_bytes(p.type, p.from.k) + k / strip_row_steps(p.type) * kStripRowBytes;
  }
  unsigned char* bytes() const { return static_cast<unsigned char*>(p.to); }
  unsigned char* scales() const { return bytes() + packed_element_bytes(p.type, p.from.k, p.from.n); }
  std::int64_t scale_bytes() const { return packed_scale_bytes(p.type, p.from.k, p.from.n); }
};

void store_words(unsigned char* to, UintVec words) {
  __builtin_memcpy(to, &words, sizeof words);
}

void pack_bf16(const Strips& strips) {
  strips.for_blocks([&](const Block& block, std::int64_t strip, std::int64_t k) {
    unsigned char* to = strips.row_at(strip, k);
    for (int s = 0; s < kBlockSteps; s += 2)
      for (int i = 0; i < kStripColumns; i += kLanes, to += sizeof(Vec))
        store_words(to,
                    reinterpret_cast<UintVec>(pairs_of(load(block.at[s] + i), load(block.at[s + 1] + i))));
  });
}

/// A number for each column of the strips of a task.
struct Columns {
  float of[kStripsPerTask][kStripColumns];
};

Columns largest_of_columns(const Strips& strips) {
  Columns largest{};
  strips.for_blocks([&](const Block& block, std::int64_t strip, std::int64_t) {
    for (int i = 0; i < kStripColumns; i += kLanes) {
      float* at = largest.of[strip - strips.begin] + i;
      Vec size = load(at);
      for (const auto& row : block.at) size = larger_size(size, load(row + i));
      store(at, size);
    }
  });
  return largest;
}

/// kLanes columns of a block; returns the sums of their integers.
IntVec pack_int8_columns(const float* first, Vec largest, unsigned char* to) {
  const Int8Scales scales(largest);
  IntVec sum{};
  for (int s = 0; s < kBlockSteps; s += 4, to += kStripRowBytes) {
    UintVec words{};
    for (int j = 0; j < 4; ++j) {
      const IntVec q = scales.rounded(load(first + (s + j) * kStripColumns));
      sum += q;
      words |= reinterpret_cast<UintVec>(q & 255) << 8 * j;
    }
    store_words(to, words);
  }
  return sum;
}

void pack_int8(const Strips& strips) {
  const Columns largest = largest_of_columns(strips);
  auto* scales = reinterpret_cast<float*>(strips.scales());
  auto* sums = reinterpret_cast<float*>(strips.scales() + strips.scale_bytes());  // their bits
  for (std::int64_t n = strips.begin * kStripColumns; n < strips.end * kStripColumns; n += kLanes) {
    store(scales + n, Int8Scales(load(largest.of[0] + n - strips.begin * kStripColumns)).scale);
    store(sums + n, Vec{});
  }
  strips.for_blocks([&](const Block& block, std::int64_t strip, std::int64_t k) {
    for (int i = 0; i < kStripColumns; i += kLanes) {
      float* sum = sums + strip * kStripColumns + i;
      const IntVec more = pack_int8_columns(block.at[0] + i, load(largest.of[strip - strips.begin] + i),
                                            strips.row_at(strip, k) + 4 * i);
      store(sum, from_bits(bits_of(load(sum)) + more));
    }
  });
}

/// kLanes columns of a block, which is a group; returns their scales.
HalfVec pack_int4_columns(const float* first, unsigned char* to) {
  Vec largest{};
  for (int s = 0; s < kBlockSteps; ++s) {
    const Vec x = load(first + s * kStripColumns);
    largest = select(abs(x) > abs(largest), x, largest);
  }
  HalfVec scales = round_to_half(largest / -8.0f);
  const IntVec zero = widen(scales) == Vec{};
  for (int s = 0; s < kBlockSteps; s += 8, to += kStripRowBytes) {
    UintVec words{};
    for (int j = 0; j < 8; ++j) {
      const Vec quotient = load(first + (s + j) * kStripColumns) / widen(scales);
      const IntVec q = round_to_int(select(zero, Vec{}, min(max(quotient, splat(-8)), splat(7))));
      words |= reinterpret_cast<UintVec>(q & 15) << (j % 2 * 16 + j / 2 * 4);
    }
    store_words(to, words);
  }
  return scales & ~__builtin_convertvector(zero, HalfVec);  // 0, not -0
}

void pack_int4(const Strips& strips) {
  const std::int64_t n_groups = packed_steps(WeightType::int4, strips.p.from.k) / kInt4Group;
  strips.for_blocks([&](const Block& block, std::int64_t strip, std::int64_t k) {
    auto* scales = reinterpret_cast<std::uint16_t*>(strips.scales()) +
                   (strip * n_groups + k / kInt4Group) * kStripColumns;
    for (int i = 0; i < kStripColumns; i += kLanes)
      store(scales + i, pack_int4_columns(block.at[0] + i, strips.row_at(strip, k) + 4 * i));
  });
  // Half a line is left behind an odd number of strips and groups.
  const std::int64_t used = packed_columns(strips.p.from.n) * n_groups * 2,
                     left = strips.scale_bytes() - used;
  if (strips.end * kStripColumns >= strips.p.from.n && left > 0)
    __builtin_memset(strips.scales() + used, 0, static_cast<std::size_t>(left));
}

void pack_strips(const Strips& strips) {
  switch (strips.p.type) {
    case WeightType::f32:
      return;
    case WeightType::bf16:
      return pack_bf16(strips);
    case WeightType::int8:
      return pack_int8(strips);
    case WeightType::int4:
      return pack_int4(strips);
  }
}

std::int64_t n_strips(const PackProblem& p) {
  return packed_columns(p.from.n) / kStripColumns;
}

}  // namespace

void pack_weight(const Context& context, const PackWeightArgs& args) {
  std::int64_t n_tasks = 0;
  for (std::int64_t i = 0; i < args.n_problems; ++i)
    n_tasks += divide_up(n_strips(args.problems[i]), kStripsPerTask);
  parallel_for(context, n_tasks, [&](std::int64_t task, int) {
    const PackProblem* p = args.problems;
    for (std::int64_t n; task >= (n = divide_up(n_strips(*p), kStripsPerTask)); ++p) task -= n;
    pack_strips({*p, task * kStripsPerTask, least((task + 1) * kStripsPerTask, n_strips(*p))});
  });
}

}  // namespace moe::kernels::MOE_ISA
