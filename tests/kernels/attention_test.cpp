// Attention over ragged sequences: the reference against closed forms and finite differences, every
// instruction set against the reference.
#include "tests/kernels/kernel_test.h"

namespace moe::test {
namespace {

using namespace kernels;

struct Lengths {
  std::int64_t queries, keys;
};

/// Sequences with gaps between them, q, k and v as column slices of one matrix each with rows of odd length.
struct Case {
  std::int64_t heads, width, model;
  Ints q_begin, q_length, k_begin, k_length;
  std::int64_t q_rows = 1, k_rows = 2;  // gaps
  std::int64_t ld_q, ld_kv;
  Floats q, kv, dy;
  bool causal = false;
  float dropout = 0;
  Floats y, log_sum_exp;
  static constexpr float kMark = -777;

  Case(std::int64_t n_heads, std::int64_t head_width, const std::vector<Lengths>& lengths, unsigned seed = 1)
      : heads(n_heads),
        width(head_width),
        model(n_heads * head_width),
        ld_q(model + 3),
        ld_kv(2 * model + 1) {
    for (const Lengths& l : lengths) {
      q_begin.push_back(static_cast<std::int32_t>(q_rows));
      q_length.push_back(static_cast<std::int32_t>(l.queries));
      k_begin.push_back(static_cast<std::int32_t>(k_rows));
      k_length.push_back(static_cast<std::int32_t>(l.keys));
      q_rows += l.queries + 1;
      k_rows += l.keys + 2;
    }
    q = numbers(q_rows * ld_q, seed, 2);
    kv = numbers(k_rows * ld_kv, seed + 1, 2);
    dy = numbers(q_rows * ld_q, seed + 2);
    y.assign(q.size(), kMark);
    log_sum_exp.assign(static_cast<std::size_t>(q_rows * heads), kMark);
  }

  AttentionSegments segments() const {
    return {static_cast<std::int64_t>(q_begin.size()),
            heads,
            width,
            q_begin.data(),
            q_length.data(),
            k_begin.data(),
            k_length.data(),
            causal,
            1 / std::sqrt(static_cast<float>(width)),
            dropout,
            {.seed = 3, .sequence = 4, .first_index = 5},
            heads + 1};
  }

  void forward(const KernelTable& table, const Context& context, bool save = true) {
    table.attention(context, {segments(), q.data(), ld_q, kv.data(), ld_kv, kv.data() + model, ld_kv,
                              y.data(), ld_q, save ? log_sum_exp.data() : nullptr});
  }

  struct Gradients {
    Floats dq, dkv;
  };
  Gradients backward(const KernelTable& table, const Context& context) const {
    Gradients g{Floats(q.size(), kMark), Floats(kv.size(), kMark)};
    table.attention_backward(context, {segments(), q.data(), ld_q, kv.data(), ld_kv, kv.data() + model, ld_kv,
                                       y.data(), ld_q, log_sum_exp.data(), dy.data(), ld_q, g.dq.data(), ld_q,
                                       g.dkv.data(), ld_kv, g.dkv.data() + model, ld_kv});
    return g;
  }

  /// sum(dy * y) of the sequences' rows.
  double objective() {
    forward(ref_table(), one_thread(), false);
    double sum = 0;
    for (std::size_t i = 0; i < y.size(); ++i)
      if (y[i] != kMark) sum += static_cast<double>(y[i]) * dy[i];
    return sum;
  }

  double slope(float& input) {
    const float kept = input, h = 1.0f / 128;
    input = kept + h;
    const double above = objective();
    input = kept - h;
    const double below = objective();
    input = kept;
    return (above - below) / (2.0 * h);
  }
};

TEST(Attention, ReferenceOfOneKeyIsItsValue) {
  Case x(2, 3, {{2, 1}, {1, 0}});
  x.forward(ref_table(), one_thread());
  const auto value = [&](std::int64_t row, std::int64_t c) {
    return x.kv[static_cast<std::size_t>(row * x.ld_kv + x.model + c)];
  };
  for (std::int64_t c = 0; c < 6; ++c) {
    EXPECT_FLOAT_EQ(x.y[static_cast<std::size_t>(1 * x.ld_q + c)], value(2, c));
    EXPECT_FLOAT_EQ(x.y[static_cast<std::size_t>(2 * x.ld_q + c)], value(2, c));
    EXPECT_EQ(x.y[static_cast<std::size_t>(4 * x.ld_q + c)], 0);            // no key
    EXPECT_EQ(x.y[static_cast<std::size_t>(3 * x.ld_q + c)], Case::kMark);  // no sequence's row
  }
  EXPECT_EQ(x.log_sum_exp[8], -INFINITY);
}

TEST(Attention, ReferenceOfEqualKeysIsTheMeanOfVisibleValues) {
  for (bool causal : {false, true}) {
    Case x(1, 2, {{3, 5}});
    x.causal = causal;
    for (std::int64_t j = 0; j < 5; ++j)
      x.kv[static_cast<std::size_t>((2 + j) * x.ld_kv)] =
          x.kv[static_cast<std::size_t>((2 + j) * x.ld_kv + 1)] = 0.5f;
    x.forward(ref_table(), one_thread());
    for (std::int64_t i = 0; i < 3; ++i) {
      const std::int64_t visible = causal ? i + 3 : 5;
      double mean = 0;
      for (std::int64_t j = 0; j < visible; ++j)
        mean += x.kv[static_cast<std::size_t>((2 + j) * x.ld_kv + 2)] / static_cast<double>(visible);
      EXPECT_NEAR(x.y[static_cast<std::size_t>((1 + i) * x.ld_q)], mean, 1e-6);
      const double score = 0.5 * (x.q[static_cast<std::size_t>((1 + i) * x.ld_q)] +
                                  x.q[static_cast<std::size_t>((1 + i) * x.ld_q + 1)]);
      EXPECT_NEAR(x.log_sum_exp[static_cast<std::size_t>(1 + i)],
                  score / std::sqrt(2.0) + std::log(static_cast<double>(visible)), 1e-5);
    }
  }
}

TEST(Attention, ReferenceGradientsAreTheSlopes) {
  for (bool causal : {false, true})
    for (float dropout : {0.0f, 0.3f}) {
      Case x(2, 3, {{4, 4}, {2, 5}, {3, 2}, {0, 2}}, 7);
      x.causal = causal;
      x.dropout = dropout;
      x.forward(ref_table(), one_thread());
      const Case::Gradients g = x.backward(ref_table(), one_thread());
      for (std::size_t i = 0; i < x.q.size(); ++i)
        if (g.dq[i] != Case::kMark) {
          EXPECT_NEAR(g.dq[i], x.slope(x.q[i]), 2e-3) << "q " << i;
        }
      for (std::size_t i = 0; i < x.kv.size(); ++i)
        if (g.dkv[i] != Case::kMark) {
          EXPECT_NEAR(g.dkv[i], x.slope(x.kv[i]), 2e-3) << "kv " << i;
        }
    }
}

TEST(Attention, DropoutKeepsTheMeanAndFollowsItsNumbers) {
  Case x(1, 1, {{1, 1000}});
  x.dropout = 0.25f;
  for (std::int64_t j = 0; j < 1000; ++j) {
    x.kv[static_cast<std::size_t>((2 + j) * x.ld_kv)] = 0;
    x.kv[static_cast<std::size_t>((2 + j) * x.ld_kv + 1)] = 1;
  }
  int n_kept = 0;
  // The only head's numbers in row 1, of rows with numbers for two heads.
  for (std::uint64_t j = 0; j < 1000; ++j) n_kept += uniform_at(x.segments().random, 2 * 65536 + j) >= 0.25f;
  EXPECT_NEAR(n_kept, 750, 60);
  for (const KernelTable* table : {&ref_table(), cpu_tables().back()}) {
    x.forward(*table, one_thread());
    EXPECT_NEAR(x.y[static_cast<std::size_t>(x.ld_q)], n_kept / 750.0, 1e-5);
  }
}

/// On every instruction set, with one thread and with three. longer: how much longer the sums are than usual.
void compare_with_reference(const Case& inputs, const std::string& which, float longer = 1) {
  Case expected = inputs;
  expected.forward(ref_table(), one_thread());
  const Case::Gradients e = expected.backward(ref_table(), one_thread());
  for (const KernelTable* table : cpu_tables()) {
    const std::string what = std::string(table->name) + " " + which;
    Case x = inputs, same = inputs;
    x.forward(*table, one_thread());
    same.forward(*table, three_threads());
    expect_same_bits(x.y, same.y, what + " y");
    expect_close(x.y, expected.y, 2e-6f * longer, 5e-6f, what + " y");
    expect_close(x.log_sum_exp, expected.log_sum_exp, 2e-6f * longer, 2e-6f, what + " log_sum_exp");
    const Case::Gradients g = x.backward(*table, one_thread()), h = x.backward(*table, three_threads());
    expect_same_bits(g.dq, h.dq, what + " dq");
    expect_same_bits(g.dkv, h.dkv, what + " dkv");
    expect_close(g.dq, e.dq, 2e-5f * longer, 2e-5f, what + " dq");
    expect_close(g.dkv, e.dkv, 4e-5f * longer, 2e-5f, what + " dkv");
  }
}

TEST(Attention, EveryTailOnAllInstructionSets) {
  for (std::int64_t width : {1, 5, 8, 16, 20, 64, 100})
    for (bool causal : {false, true})
      for (float dropout : {0.0f, 0.2f}) {
        std::vector<Lengths> lengths = {{0, 3}, {3, 0}, {5, 9}, {40, 3}};
        for (std::int64_t n = 1; n <= 35; n += width == 16 ? 1 : 5) lengths.push_back({n, n});
        Case x(2, width, lengths, static_cast<unsigned>(width));
        x.causal = causal;
        x.dropout = dropout;
        compare_with_reference(x, "head width " + std::to_string(width) + (causal ? " causal" : "") +
                                      (dropout > 0 ? " dropout" : ""));
      }
}

TEST(Attention, SeveralQueryBlocksOnAllInstructionSets) {
  for (bool causal : {false, true}) {
    Case x(1, 32, {{230, 230}, {97, 200}, {200, 97}, {1, 300}, {2, 300}});
    x.causal = causal;
    compare_with_reference(x, causal ? "causal" : "");
  }
}

// Keys in several transposed blocks, and query blocks of a few rows.
TEST(Attention, VeryManyKeysAndVeryWideHeads) {
  for (bool causal : {false, true}) {
    Case many(1, 100, {{7, 9000}});
    many.causal = causal;
    compare_with_reference(many, "many keys");
    Case blocks(1, 2, {{40, 11000}});
    blocks.causal = causal;
    compare_with_reference(blocks, "query blocks", 4);
    Case wide(1, 8192, {{3, 40}});
    wide.causal = causal;
    compare_with_reference(wide, "wide", 20);
  }
}

TEST(Attention, ASequenceDoesNotDependOnTheOthers) {
  for (const KernelTable* table : cpu_tables()) {
    Case all(4, 16, {{7, 7}, {33, 33}, {12, 20}, {1, 60}});
    all.forward(*table, three_threads());
    for (std::size_t b = 0; b < 4; ++b) {
      Case one = all;
      one.y.assign(one.y.size(), Case::kMark);
      one.q_begin = {all.q_begin[b]};
      one.q_length = {all.q_length[b]};
      one.k_begin = {all.k_begin[b]};
      one.k_length = {all.k_length[b]};
      one.forward(*table, one_thread());
      for (std::size_t i = 0; i < one.y.size(); ++i)
        if (one.y[i] != Case::kMark) {
          ASSERT_EQ(one.y[i], all.y[i]) << table->name;
        }
    }
  }
}

TEST(Attention, NaNInAKeyReachesTheQueriesThatSeeIt) {
  for (const KernelTable* table : cpu_tables()) {
    Case x(1, 8, {{20, 20}});
    x.causal = true;
    x.kv[static_cast<std::size_t>((2 + 10) * x.ld_kv)] = NAN;
    x.forward(*table, one_thread());
    EXPECT_FALSE(std::isnan(x.y[static_cast<std::size_t>(10 * x.ld_q)])) << table->name;  // query 9
    EXPECT_TRUE(std::isnan(x.y[static_cast<std::size_t>(11 * x.ld_q)])) << table->name;   // query 10
  }
}

TEST(Attention, NothingToDo) {
  for (const KernelTable* table : cpu_tables()) {
    Case x(2, 8, {});
    x.forward(*table, three_threads());
    x.backward(*table, three_threads());
    EXPECT_EQ(x.y, Floats(x.y.size(), Case::kMark));
  }
}

}  // namespace
}  // namespace moe::test
