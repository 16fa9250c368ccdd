// Random numbers, what is decided by them, and the sums of a gate, against references that share no code with
// the kernels: these and the reference loops use the same few functions.
#include <array>
#include <functional>
#include <tuple>

#include "tests/kernels/kernel_test.h"

namespace moe::test {
namespace {

using namespace kernels;
using Words = std::array<std::uint32_t, 4>;

/// Philox4x32-10 as the paper writes it: ten rounds of a permutation of the counter, the key raised by Weyl's
/// sequence in between.
Words philox_by_the_paper(Words counter, std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t left = std::uint64_t{0xD2511F53} * counter[0];
    const std::uint64_t right = std::uint64_t{0xCD9E8D57} * counter[2];
    counter = {std::uint32_t(right >> 32) ^ counter[1] ^ key[0], std::uint32_t(right),
               std::uint32_t(left >> 32) ^ counter[3] ^ key[1], std::uint32_t(left)};
    key = {key[0] + 0x9E3779B9, key[1] + 0xBB67AE85};
  }
  return counter;
}

/// Number i of a stream, in [0,1).
double uniform(const RandomStream& s, std::uint64_t i) {
  const std::uint64_t n = s.first_index + i, block = n / 4;
  const Words words = philox_by_the_paper({std::uint32_t(block), std::uint32_t(block >> 32),
                                           std::uint32_t(s.sequence), std::uint32_t(s.sequence >> 32)},
                                          {std::uint32_t(s.seed), std::uint32_t(s.seed >> 32)});
  return (words[n % 4] >> 8) / 16777216.0;
}

/// Of the middle of the step that the uniform stands for, which for the last one would be 1 in fp32.
double gumbel_by_definition(const RandomStream& s, std::uint64_t i) {
  return -std::log(-std::log(std::min(uniform(s, i) + 0x1p-25, 1 - 0x1p-24)));
}

std::vector<const KernelTable*> all_tables() {
  std::vector<const KernelTable*> tables = cpu_tables();
  tables.push_back(&ref_table());
  return tables;
}

// The known answers of Random123 (kat_vectors), for the paper's function above and for the kernels'.
TEST(Philox, GivesTheKnownAnswers) {
  struct Known {
    Words counter;
    std::array<std::uint32_t, 2> key;
    Words result;
  };
  const Known known[] = {
      {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
      {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
       {0xffffffff, 0xffffffff},
       {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
      {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
       {0xa4093822, 0x299f31d0},
       {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
  };
  const auto wide = [](std::uint32_t low, std::uint32_t high) { return std::uint64_t{high} << 32 | low; };
  for (const auto& [counter, key, result] : known) {
    EXPECT_EQ(philox_by_the_paper(counter, key), result);
    const Philox4 got =
        philox(wide(key[0], key[1]), wide(counter[2], counter[3]), wide(counter[0], counter[1]));
    EXPECT_EQ((Words{got.v[0], got.v[1], got.v[2], got.v[3]}), result);
  }
}

TEST(Philox, DropoutAndJitterOfEveryIsaTakeTheNumbersOfTheirElements) {
  const std::int64_t n = 37, d = 21, width = 30;
  const RandomStream random{0x123456789abcdef0, 0xfedcba9876543210, 0xfffffff3};
  const Floats x(n * d, 1);
  Ints choice(n);
  for (std::int64_t r = 0; r < n; ++r) choice[r] = static_cast<std::int32_t>((r * 17) % n + 1000);
  for (const KernelTable* table : all_tables()) {
    Floats dropped(n * d), row_dropped(n * d), jittered(n * d);
    table->dropout_add(three_threads(), {n * d, 0.3f, random, x.data(), nullptr, dropped.data()});
    table->moe_dropout(three_threads(),
                       {n, d, width, x.data(), choice.data(), 0.3f, random, row_dropped.data()});
    table->moe_jitter(three_threads(), {n, d, x.data(), 0.25f, random, false, jittered.data()});
    for (std::int64_t i = 0; i < n * d; ++i) {
      const auto row_number = static_cast<std::uint64_t>(choice[i / d] * width + i % d);
      const double u = uniform(random, static_cast<std::uint64_t>(i));
      ASSERT_EQ(dropped[i] == 0, u < 0.3f) << table->name << " " << i;
      ASSERT_EQ(row_dropped[i] == 0, uniform(random, row_number) < 0.3f) << table->name << " " << i;
      ASSERT_NEAR(jittered[i], 0.75 + 0.5 * u, 2e-7) << table->name << " " << i;
    }
  }
}

TEST(Gumbel, IsMinusLogMinusLogOfItsUniform) {
  const RandomStream random{5, 6, 7};
  for (std::uint64_t i = 0; i < 20'000; ++i) {
    const double expected = gumbel_by_definition(random, i);
    // fp32 has 3e-8 of rounding in u, which grows by 1/(1-u) in the outer logarithm.
    ASSERT_NEAR(gumbel(random, i), expected, 1e-6 + 1.2e-7 * std::exp(expected)) << i;
  }
}

// Kolmogorov and Smirnov's test against exp(-exp(-x)): the distance of that many numbers is
// above 1.95/sqrt(n) once in a thousand seeds.
TEST(Gumbel, HasItsDistribution) {
  for (const std::uint64_t seed : {1, 2, 3}) {
    std::vector<double> x;
    for (std::uint64_t i = 0; i < 100'000; ++i) x.push_back(gumbel({seed, 11, 0}, i));
    std::sort(x.begin(), x.end());
    const auto n = static_cast<double>(x.size());
    double distance = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double below = std::exp(-std::exp(-x[i])), rank = static_cast<double>(i);
      distance = std::max({distance, below - rank / n, (rank + 1) / n - below});
    }
    EXPECT_LT(distance, 1.95 / std::sqrt(n)) << "seed " << seed;
  }
}

// The stream's number is the greatest that there is, one of sixteen million.
TEST(Gumbel, IsFiniteForTheGreatestUniform) {
  const RandomStream random{1, 2, 14'589'967};
  ASSERT_EQ(uniform(random, 0), 1 - 0x1p-24);
  EXPECT_NEAR(gumbel(random, 0), 24 * std::log(2.0), 1e-5);
}

struct Gated {
  Floats probability;
  Ints chosen, index;
};

Gated gate(const KernelTable& table, const Floats& logits, std::int64_t t, std::int64_t e, std::int64_t k,
           std::int64_t noisy_from, const RandomStream& noise, const RandomStream& second) {
  Gated g{Floats(t * e), Ints(t * k), Ints(t * k)};
  Floats log_sum_exp(t), entropy(t);
  table.moe_score(three_threads(), {.t = t,
                                    .e = e,
                                    .logits = logits.data(),
                                    .probability = g.probability.data(),
                                    .log_sum_exp = log_sum_exp.data(),
                                    .entropy = entropy.data()});
  table.moe_choice(three_threads(), {.t = t,
                                     .e = e,
                                     .k = k,
                                     .score = logits.data(),
                                     .noisy_from = noisy_from,
                                     .noise = noise,
                                     .drop_second = k == 2,
                                     .second = second,
                                     .probability = g.probability.data(),
                                     .chosen = g.chosen.data(),
                                     .index = g.index.data()});
  return g;
}

// Each choice has the highest score, by the logits and noise of the test's own, of the experts before it
// left.
TEST(Gumbel, DecidesTheChoicesOfEveryIsa) {
  const std::int64_t t = 500, e = 9, k = 2;
  const Floats logits = numbers(t * e, 4, 2);
  const RandomStream noise{8, 9, 10}, second{8, 10, 3};
  for (const KernelTable* table : all_tables())
    for (const std::int64_t noisy_from : {0, 1, 2}) {
      const Gated g = gate(*table, logits, t, e, k, noisy_from, noise, second);
      std::int64_t n_dropped = 0;
      for (std::int64_t token = 0; token < t; ++token) {
        const auto score = [&](std::int64_t expert, std::int64_t j) {
          const std::int64_t i = token * e + expert;
          return logits[i] +
                 (j >= noisy_from ? gumbel_by_definition(noise, static_cast<std::uint64_t>(i)) : 0);
        };
        const std::int32_t* chosen = &g.chosen[token * k];
        ASSERT_NE(chosen[0], chosen[1]);
        for (std::int64_t j = 0; j < k; ++j)
          for (std::int64_t expert = 0; expert < e; ++expert)
            if (expert != chosen[0]) {
              ASSERT_LE(score(expert, j), score(chosen[j], j) + 1e-5)
                  << table->name << " token " << token << " choice " << j << " noisy from " << noisy_from;
            }
        const double p0 = g.probability[token * e + chosen[0]], p1 = g.probability[token * e + chosen[1]];
        const double dropped_below = 2 * p1 / (p0 + p1),
                     u = uniform(second, static_cast<std::uint64_t>(token));
        n_dropped += g.index[token * k + 1] < 0;
        if (std::abs(u - dropped_below) > 1e-6) {
          ASSERT_EQ(g.index[token * k + 1] < 0, dropped_below < u) << table->name << " token " << token;
        }
      }
      EXPECT_GT(n_dropped, t / 20);
      EXPECT_LT(n_dropped, t);
    }
}

struct Kept {
  Ints row, counts;
};

Kept keep(const KernelTable& table, const Ints& index, const Floats& probability, std::int64_t t,
          std::int64_t e, std::int64_t k, std::int64_t capacity, KeepOrder order,
          const RandomStream& random) {
  Kept kept{Ints(t * k), Ints(e)};
  Ints offsets(e + 1), choice(t * k), token(t * k);
  std::vector<std::uint64_t> scratch(t * k + 3 * e);
  table.moe_plan(three_threads(), {.t = t,
                                   .e = e,
                                   .k = k,
                                   .begin = 0,
                                   .end = t,
                                   .index = index.data(),
                                   .capacity = capacity,
                                   .order = order,
                                   .random = random,
                                   .probability = probability.data(),
                                   .first_choice = 0,
                                   .scratch = scratch.data(),
                                   .counts = kept.counts.data(),
                                   .offsets = offsets.data(),
                                   .row = kept.row.data(),
                                   .choice = choice.data(),
                                   .token = token.data()});
  return kept;
}

// Which choices of an expert stay, by sorting them: first choices before second ones and then by position or
// by the greater random number, or by probability; then by position. From 256 choices of a token on, as few
// tokens have them as places.
TEST(KeepOrder, IsThatOfTheSortedChoices) {
  struct Size {
    std::int64_t t, e, k, capacity;
  };
  for (const Size& s : {Size{90, 3, 1, 11}, Size{60, 4, 2, 9}, Size{7, 320, 300, 3}, Size{3, 600, 520, 1}}) {
    std::mt19937 shuffling(3);
    Ints experts(s.e), index;
    for (std::int64_t i = 0; i < s.e; ++i) experts[i] = static_cast<std::int32_t>(i);
    for (std::int64_t t = 0; t < s.t; ++t) {
      std::shuffle(experts.begin(), experts.end(), shuffling);
      index.insert(index.end(), experts.begin(), experts.begin() + s.k);
    }
    Floats probability = numbers(s.t * s.k, 5);
    for (float& p : probability) p = std::round(8 * std::abs(p)) / 8;  // with ties
    const RandomStream random{21, 22, 23};
    const auto before = [&](KeepOrder order) {
      return [&, order](std::int64_t a, std::int64_t b) {
        const auto key = [&](std::int64_t i) {
          double by = 0;
          if (order == KeepOrder::random) by = -uniform(random, static_cast<std::uint64_t>(i));
          if (order == KeepOrder::probability) by = -probability[i];
          return std::tuple(order == KeepOrder::probability ? 0 : i % s.k, by, i / s.k);
        };
        return key(a) < key(b);
      };
    };
    for (const KeepOrder order : {KeepOrder::position, KeepOrder::random, KeepOrder::probability}) {
      Ints stays(index.size());
      for (std::int32_t expert = 0; expert < s.e; ++expert) {
        std::vector<std::int64_t> choices;
        for (std::int64_t i = 0; i < s.t * s.k; ++i)
          if (index[i] == expert) choices.push_back(i);
        std::sort(choices.begin(), choices.end(), before(order));
        for (std::int64_t n = 0; n < std::min(s.capacity, std::int64_t(choices.size())); ++n)
          stays[choices[n]] = 1;
      }
      for (const KernelTable* table : all_tables()) {
        Ints kept = keep(*table, index, probability, s.t, s.e, s.k, s.capacity, order, random).row;
        for (std::int32_t& row : kept) row = row >= 0;
        EXPECT_EQ(kept, stays) << table->name << " top " << s.k << " order " << static_cast<int>(order);
      }
    }
  }
}

TEST(GateSums, WeightsAreProbabilitiesOverTheirSum) {
  const std::int64_t t = 40, e = 12, k = 5;
  const Gated g = gate(ref_table(), numbers(t * e, 6, 3), t, e, k, k, {}, {});
  Ints row(t * k);
  for (std::int64_t i = 0; i < t * k; ++i)
    row[i] = i % 3 == 0 || i / k == 7 ? -1 : static_cast<std::int32_t>(i);
  for (const KernelTable* table : all_tables())
    for (const GateNormal normal : {GateNormal::none, GateNormal::chosen, GateNormal::kept}) {
      Floats weight(t * k);
      table->moe_weight(three_threads(),
                        {t, e, k, g.probability.data(), g.chosen.data(), row.data(), normal, weight.data()});
      for (std::int64_t token = 0; token < t; ++token) {
        double all = 0, kept = 0, given = 0;
        for (std::int64_t i = token * k; i < (token + 1) * k; ++i) {
          const double p = g.probability[token * e + g.chosen[i]];
          all += p;
          kept += row[i] < 0 ? 0 : p;
          given += weight[i];
        }
        const double divisor = normal == GateNormal::none ? 1 : normal == GateNormal::chosen ? all : kept;
        for (std::int64_t i = token * k; i < (token + 1) * k; ++i)
          ASSERT_NEAR(weight[i], row[i] < 0 ? 0 : g.probability[token * e + g.chosen[i]] / divisor, 1e-6)
              << table->name << " token " << token;
        if (normal == GateNormal::kept) {
          ASSERT_NEAR(given, kept > 0 ? 1 : 0, 1e-6);
        }
      }
    }
}

// One token more than fp32 counts one by one, all with expert 0.
TEST(GateSums, LoadsAreCountedBeyondWhatFloatsCount) {
  const std::int64_t k = (std::int64_t{1} << 24) + 2;
  const Ints chosen(k, 0);
  const Floats probability{1}, one{0};
  for (const KernelTable* table : all_tables()) {
    Floats sums(3), totals(2);
    Ints by_group(1);
    table->moe_statistics(three_threads(), {.t = 1,
                                            .e = 1,
                                            .k = k,
                                            .probability = probability.data(),
                                            .log_sum_exp = one.data(),
                                            .entropy = one.data(),
                                            .chosen = chosen.data(),
                                            .index = chosen.data(),
                                            .load_choices = k,
                                            .group = nullptr,
                                            .n_groups = 1,
                                            .probability_sum = &sums[0],
                                            .load = &sums[1],
                                            .confidence = &sums[2],
                                            .totals = totals.data(),
                                            .by_group = by_group.data()});
    EXPECT_EQ(sums[1], 16777218.0f) << table->name;
    EXPECT_EQ(sums[2], 16777218.0f) << table->name;
    EXPECT_EQ(by_group[0], 16777218) << table->name;
  }
}

}  // namespace
}  // namespace moe::test
