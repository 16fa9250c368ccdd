// The MoE kernels of every instruction set against the reference, and the reference against closed forms.
#include "tests/kernels/kernel_test.h"

namespace moe::test {
namespace {

using namespace kernels;

struct Routing {
  std::int64_t t, e, k;
  Floats probability, log_sum_exp, entropy;
  Ints chosen, index;
};

Routing route(const KernelTable& table, const KernelContext& context, std::int64_t t, std::int64_t e,
              std::int64_t k, std::int64_t noisy_from, bool drop_second, unsigned seed) {
  Routing r{t, e, k, Floats(t * e), Floats(t), Floats(t), Ints(t * k), Ints(t * k)};
  const Floats logits = numbers(t * e, seed, 3);
  table.moe_score(context, {.t = t,
                            .e = e,
                            .logits = logits.data(),
                            .probability = r.probability.data(),
                            .log_sum_exp = r.log_sum_exp.data(),
                            .entropy = r.entropy.data()});
  table.moe_choice(context, {.t = t,
                             .e = e,
                             .k = k,
                             .score = logits.data(),
                             .noisy_from = noisy_from,
                             .noise = {1, 2, 12},
                             .drop_second = drop_second,
                             .second = {1, 3, 7},
                             .probability = r.probability.data(),
                             .chosen = r.chosen.data(),
                             .index = r.index.data()});
  return r;
}

struct Sizes {
  std::int64_t t, e, k;
};
const Sizes kSizes[] = {{0, 3, 1}, {1, 1, 1}, {5, 3, 1}, {70, 8, 2}, {33, 17, 4}, {300, 64, 3}, {19, 5, 5}};

TEST(MoeKernels, GateOfEveryIsaIsTheReferences) {
  for (const KernelTable* table : cpu_tables())
    for (const Sizes& s : kSizes)
      for (std::int64_t noisy_from : {s.k, std::int64_t{1}, std::int64_t{0}}) {
        const Routing a = route(*table, three_threads(), s.t, s.e, s.k, noisy_from, s.k == 2, 5);
        const Routing b = route(ref_table(), one_thread(), s.t, s.e, s.k, noisy_from, s.k == 2, 5);
        // One rounding per exponential and one per term of the sums.
        expect_close(a.probability, b.probability, 1e-7f, 2e-6f, table->name);
        expect_close(a.log_sum_exp, b.log_sum_exp, 1e-6f, 1e-6f, table->name);
        expect_close(a.entropy, b.entropy, 1e-5f, 1e-5f, table->name);
        EXPECT_EQ(a.chosen, b.chosen) << table->name;
        EXPECT_EQ(a.index, b.index) << table->name;
      }
}

TEST(MoeKernels, TiesGoToTheLowestExpertAndNansToDistinctOnes) {
  for (const KernelTable* table : cpu_tables()) {
    for (float value : {0.5f, NAN, -INFINITY}) {
      const Floats logits(6, value);
      Ints chosen(4);
      const MoeChoiceArgs args{.t = 1,
                               .e = 6,
                               .k = 4,
                               .score = logits.data(),
                               .noisy_from = 4,
                               .chosen = chosen.data(),
                               .index = chosen.data()};
      table->moe_choice(three_threads(), args);
      EXPECT_EQ(chosen, (Ints{0, 1, 2, 3})) << table->name << " " << value;
    }
  }
}

// With equal logits the Gumbel-perturbed choice is uniform: counts of 4000 draws over 8 experts have a
// deviation of about 21; 120 is far outside.
TEST(MoeKernels, GumbelNoiseChoosesByProbability) {
  const std::int64_t t = 4000, e = 8;
  const Floats logits(t * e, 0);
  Ints chosen(t * 2);
  const MoeChoiceArgs args{.t = t,
                           .e = e,
                           .k = 2,
                           .score = logits.data(),
                           .noisy_from = 1,
                           .noise = {9, 9, 0},
                           .chosen = chosen.data(),
                           .index = chosen.data()};
  ref_table().moe_choice(one_thread(), args);
  Ints counts(e);
  for (std::int64_t i = 0; i < t; ++i) {
    ASSERT_EQ(chosen[2 * i], 0);  // the first choice is without noise
    ++counts[chosen[2 * i + 1]];
  }
  EXPECT_EQ(counts[0], 0);
  for (std::int64_t expert = 1; expert < e; ++expert) EXPECT_NEAR(counts[expert], t / 7.0, 120);
}

struct PlanResult {
  Ints counts, offsets, row, choice, token;
};

PlanResult plan_part(const KernelTable& table, const Routing& r, std::int64_t capacity, KeepOrder order,
                     std::int64_t begin, std::int64_t end, std::int32_t first_choice) {
  const auto n = static_cast<std::size_t>((end - begin) * r.k), e = static_cast<std::size_t>(r.e);
  PlanResult p{Ints(e), Ints(e + 1), Ints(n), Ints(n, -9), Ints(n, -9)};
  std::vector<std::uint64_t> scratch(static_cast<std::size_t>(r.t * r.k) + 3 * e, 0xDEADBEEF);
  Floats probability;
  for (std::int64_t i = 0; i < r.t * r.k; ++i)
    probability.push_back(r.index[i] < 0 ? 0 : r.probability[i / r.k * r.e + r.index[i]]);
  table.moe_plan(three_threads(), {.t = r.t,
                                   .e = r.e,
                                   .k = r.k,
                                   .begin = begin,
                                   .end = end,
                                   .index = r.index.data(),
                                   .capacity = capacity,
                                   .order = order,
                                   .random = {4, 4, 40},
                                   .probability = probability.data(),
                                   .first_choice = first_choice,
                                   .scratch = scratch.data(),
                                   .counts = p.counts.data(),
                                   .offsets = p.offsets.data(),
                                   .row = p.row.data(),
                                   .choice = p.choice.data(),
                                   .token = p.token.data()});
  return p;
}

PlanResult plan(const KernelTable& table, const Routing& r, std::int64_t capacity, KeepOrder order) {
  return plan_part(table, r, capacity, order, 0, r.t, 0);
}

TEST(MoeKernels, PlanOfEveryIsaIsTheReferences) {
  for (const Sizes& s : kSizes) {
    const Routing r = route(ref_table(), one_thread(), s.t, s.e, s.k, s.k, s.k == 2, 6);
    for (std::int64_t capacity : {-1, 0, 1, 7, 1000})
      for (KeepOrder order : {KeepOrder::position, KeepOrder::random, KeepOrder::probability}) {
        const PlanResult expected = plan(ref_table(), r, capacity, order);
        for (const KernelTable* table : cpu_tables()) {
          const PlanResult got = plan(*table, r, capacity, order);
          EXPECT_EQ(got.counts, expected.counts);
          EXPECT_EQ(got.offsets, expected.offsets);
          EXPECT_EQ(got.row, expected.row);
          EXPECT_EQ(got.choice, expected.choice);
          EXPECT_EQ(got.token, expected.token);
        }
      }
  }
}

// Tokens that get rows compete with those that do not: the parts of a batch keep what the whole keeps.
TEST(MoeKernels, PlansOfPartsAreThePlanOfTheWhole) {
  std::vector<const KernelTable*> tables = cpu_tables();
  tables.push_back(&ref_table());
  for (const KernelTable* table : tables)
    for (const Sizes& s : kSizes) {
      const Routing r = route(ref_table(), one_thread(), s.t, s.e, s.k, s.k, s.k == 2, 6);
      for (std::int64_t capacity : {-1, 0, 1, 7})
        for (KeepOrder order : {KeepOrder::position, KeepOrder::random, KeepOrder::probability}) {
          const PlanResult whole = plan(*table, r, capacity, order);
          Ints counts(s.e), n_rows(s.e);
          for (std::int64_t begin = 0, part = 0; begin < s.t || part == 0; ++part) {
            const std::int64_t end = std::min(begin + (part == 1 ? 0 : 1 + s.t / 3), s.t);
            const auto first_choice = static_cast<std::int32_t>(begin * s.k);
            const PlanResult p = plan_part(*table, r, capacity, order, begin, end, first_choice);
            for (std::int64_t e = 0; e < s.e; ++e) {
              counts[e] += p.counts[e];
              n_rows[e] += p.offsets[e + 1] - p.offsets[e];
              for (std::int64_t i = p.offsets[e]; i < p.offsets[e + 1]; ++i) {
                const std::int32_t c = p.choice[i];
                EXPECT_EQ(r.index[c], e);
                EXPECT_GE(whole.row[c], 0);
                EXPECT_EQ(p.row[c - first_choice], i);
                EXPECT_EQ(p.token[i], (c - first_choice) / s.k);
              }
            }
            begin = end;
          }
          EXPECT_EQ(counts, whole.counts);
          for (std::int64_t e = 0; e < s.e; ++e)
            EXPECT_EQ(n_rows[e], whole.offsets[e + 1] - whole.offsets[e]);
        }
    }
}

// By hand: expert 0 is wanted by tokens 0, 1, 2 first and 3 second; expert 1 by 3 first and 0, 1 second.
TEST(MoeKernels, SecondChoicesQueueBehindFirstOnes) {
  Routing r{4, 2, 2, {.9f, .1f, .8f, .2f, .7f, .3f, .4f, .6f}, {}, {}, {}, {0, 1, 0, 1, 0, -1, 1, 0}};
  const PlanResult p = plan(ref_table(), r, 2, KeepOrder::position);
  EXPECT_EQ(p.counts, (Ints{4, 3}));
  EXPECT_EQ(p.offsets, (Ints{0, 2, 4}));
  EXPECT_EQ(p.token,
            (Ints{0, 1, 0, 3, -9, -9, -9, -9}));  // expert 1 keeps token 3's first, token 0's second choice
  EXPECT_EQ(p.row, (Ints{0, 2, 1, -1, -1, -1, 3, -1}));
  const PlanResult q = plan(ref_table(), r, 2, KeepOrder::probability);
  EXPECT_EQ(q.token, (Ints{0, 1, 1, 3, -9, -9, -9, -9}));  // of expert 1: 0.6 and 0.2
}

// Random token selection: 100 tokens want one expert of capacity 25; over 400 streams each is kept about 100
// times with a deviation of 9, late tokens like early ones.
TEST(MoeKernels, RandomSelectionIsFairToPositions) {
  const std::int64_t t = 100;
  const Ints index(t, 0);
  Ints kept(t), counts(1), offsets(2), row(t), choice(t), token(t);
  std::vector<std::uint64_t> scratch(t + 3);
  for (std::uint64_t stream = 0; stream < 400; ++stream) {
    ref_table().moe_plan(one_thread(), {.t = t,
                                        .e = 1,
                                        .k = 1,
                                        .begin = 0,
                                        .end = t,
                                        .index = index.data(),
                                        .capacity = 25,
                                        .order = KeepOrder::random,
                                        .random = {7, stream, 0},
                                        .scratch = scratch.data(),
                                        .counts = counts.data(),
                                        .offsets = offsets.data(),
                                        .row = row.data(),
                                        .choice = choice.data(),
                                        .token = token.data()});
    ASSERT_EQ(offsets[1], 25);
    ASSERT_TRUE(std::is_sorted(token.begin(), token.begin() + 25));
    for (std::int64_t i = 0; i < t; ++i) kept[i] += row[i] >= 0;
  }
  for (std::int64_t i = 0; i < t; ++i) EXPECT_NEAR(kept[i], 100, 45) << i;
}

TEST(MoeKernels, WeightsStatisticsAndBackwardOfEveryIsaAreTheReferences) {
  for (const Sizes& s : kSizes) {
    const Routing r = route(ref_table(), one_thread(), s.t, s.e, s.k, s.k, s.k == 2, 8);
    const PlanResult p = plan(ref_table(), r, 6, KeepOrder::position);
    const Floats dweight = numbers(s.t * s.k, 1), load = numbers(s.e, 2);
    Ints group(s.t);
    for (std::int64_t t = 0; t < s.t; ++t) group[t] = static_cast<std::int32_t>(t % 3);
    for (GateNormal normal : {GateNormal::none, GateNormal::chosen, GateNormal::kept}) {
      const auto run = [&](const KernelTable& table) {
        Floats weight(s.t * s.k), dlogits(s.t * s.e), sums(3 * s.e + 2);
        Ints by_group(3 * s.e, -5);
        table.moe_weight(three_threads(), {s.t, s.e, s.k, r.probability.data(), r.chosen.data(), p.row.data(),
                                           normal, weight.data()});
        table.moe_gate_backward(
            three_threads(), {s.t, s.e, s.k, r.probability.data(), r.log_sum_exp.data(), r.chosen.data(),
                              p.row.data(), normal, dweight.data(), load.data(), 0.3f, 0.2f, dlogits.data()});
        table.moe_statistics(three_threads(),
                             {s.t, s.e, s.k, r.probability.data(), r.log_sum_exp.data(), r.entropy.data(),
                              r.chosen.data(), r.index.data(), s.k > 2 ? s.k : 1, group.data(), 3,
                              sums.data(), &sums[s.e], &sums[2 * s.e], &sums[3 * s.e], by_group.data()});
        table.moe_entropy_backward(three_threads(),
                                   {s.t, s.e, r.probability.data(), r.entropy.data(), 0.7f, dlogits.data()});
        weight.insert(weight.end(), dlogits.begin(), dlogits.end());
        weight.insert(weight.end(), sums.begin(), sums.end());
        weight.insert(weight.end(), by_group.begin(), by_group.end());
        return weight;
      };
      const Floats expected = run(ref_table());
      for (const KernelTable* table : cpu_tables())
        expect_close(run(*table), expected, 2e-6f, 2e-6f, table->name);
    }
  }
}

TEST(MoeKernels, RowMovementOfEveryIsaIsTheReferences) {
  for (const Sizes& s : kSizes)
    for (std::int64_t d : {1, 7, 16, 45, 130}) {
      const Routing r = route(ref_table(), one_thread(), s.t, s.e, s.k, s.k, s.k == 2, 9);
      const PlanResult p = plan(ref_table(), r, 9, KeepOrder::random);
      const std::int64_t n = p.offsets.back();
      const Floats h = numbers(n * d, 3), dy = numbers(s.t * d, 4), weight = numbers(s.t * s.k, 5);
      const Floats logits = numbers(2 * s.t, 6), other = numbers(s.t * d, 7);
      const auto run = [&](const KernelTable& table, const KernelContext& context) {
        std::vector<Floats> out;
        const auto next = [&](std::int64_t size) {
          out.push_back(numbers(size, 99));
          return out.back().data();
        };
        out.reserve(20);
        for (bool accumulate : {false, true}) {
          table.moe_combine(context,
                            {s.t, s.k, d, h.data(), p.row.data(), weight.data(), accumulate, next(s.t * d)});
          table.moe_combine(context,
                            {s.t, s.k, d, h.data(), p.row.data(), nullptr, accumulate, next(s.t * d)});
          table.moe_jitter(context, {s.t, d, dy.data(), 0.1f, {3, 2, 13}, accumulate, next(s.t * d)});
        }
        float* dh = next(n * d);
        table.moe_combine_backward(
            context, {s.t, s.k, d, dy.data(), h.data(), p.row.data(), weight.data(), dh, next(s.t * s.k)});
        table.moe_bias_backward(context, {s.e, d, h.data(), p.offsets.data(), next(s.e * d)});
        table.moe_dropout(context, {n, d, d + 3, h.data(), p.choice.data(), 0.4f, {3, 4, 21}, next(n * d)});
        table.moe_mix(context, {s.t, d, logits.data(), dy.data(), other.data(), next(s.t * d)});
        float *dlogits = next(2 * s.t), *da = next(s.t * d);
        table.moe_mix_backward(
            context, {s.t, d, logits.data(), dy.data(), other.data(), dy.data(), dlogits, da, next(s.t * d)});
        return out;
      };
      const std::vector<Floats> expected = run(ref_table(), one_thread());
      for (const KernelTable* table : cpu_tables()) {
        const std::vector<Floats> one = run(*table, one_thread()), three = run(*table, three_threads());
        for (std::size_t i = 0; i < one.size(); ++i) {
          // Sums of up to 300 terms below 1 in another order.
          expect_close(one[i], expected[i], 2e-5f, 2e-6f,
                       std::string(table->name) + " output " + std::to_string(i));
          expect_same_bits(one[i], three[i], table->name);
        }
      }
    }
}

}  // namespace
}  // namespace moe::test
