#include "libmoe/bench/op.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "kernels/api/table.h"
#include "libmoe/base/error.h"

namespace moe::bench {
namespace {

OpOptions small() {
  OpOptions options;
  options.measure.warm_up = 0;
  options.measure.repeat = 1;
  options.measure.threads = 1;
  options.measure.output = "json";
  options.experts = 2;
  options.rows_from = 3;
  options.rows_to = 6;
  options.d_model = 32;
  options.d_ffn = 48;
  options.tokens = 40;
  options.length = 7;
  options.vocab_size = 50;
  return options;
}

TEST(BenchOp, EveryOpRunsAndEqualsTheReference) {
  testing::internal::CaptureStdout();
  const int status = run_op(small());
  const auto report = nlohmann::json::parse(testing::internal::GetCapturedStdout());
  EXPECT_EQ(status, 0);
  std::set<std::string> names;
  for (const auto& row : report["rows"]) {
    names.insert(row["op"].get<std::string>());
    EXPECT_GT(row["ms"], 0) << row;
    EXPECT_LT(row["error"], 1e-4) << row;
  }
  EXPECT_EQ(names.size(), op_entries().size());
  EXPECT_EQ(report["rows"].size(), op_entries().size() + 3);  // grouped products at 3 and at 6 rows
}

// The probes are the ceilings that the others are compared with.
TEST(BenchOp, EveryOpOfTheKernelsHasARow) {
  const std::map<std::string, std::string> other_names = {
      {"gemm", "dense-forward"}, {"activation", "gelu"}, {"activation-backward", "gelu-backward"}};
  std::set<std::string> rows;
  for (const OpEntry& entry : op_entries()) rows.insert(entry.name);
#define MOE_NAME(op, Args) #op,
  for (std::string op : {MOE_KERNEL_OPS(MOE_NAME)}) {
#undef MOE_NAME
    if (op == "multiply_probe" || op == "memory_probe") continue;
    std::replace(op.begin(), op.end(), '_', '-');
    const auto other = other_names.find(op);
    EXPECT_TRUE(rows.contains(other == other_names.end() ? op : other->second)) << op;
  }
}

TEST(BenchOp, Bf16WeightsAndProductsToo) {
  OpOptions options = small();
  options.op = {"experts-forward", "experts-dx", "logits", "layer-norm"};
  options.arithmetic = {WeightType::bf16, Products::bf16};
  testing::internal::CaptureStdout();
  EXPECT_EQ(run_op(options), 0);
  const auto report = nlohmann::json::parse(testing::internal::GetCapturedStdout());
  for (const auto& row : report["rows"])
    EXPECT_EQ(row["arithmetic"], row["op"] == "layer-norm" ? "fp32" : "bf16") << row;
}

// What is far smaller than a cache has no share of memory, unless the caches are emptied.
TEST(BenchOp, TellsCachesFromMemory) {
  OpOptions options = small();
  options.op = {"dense-forward"};
  for (const bool cold : {false, true}) {
    options.cold = cold;
    testing::internal::CaptureStdout();
    EXPECT_EQ(run_op(options), 0);
    const auto row = nlohmann::json::parse(testing::internal::GetCapturedStdout())["rows"][0];
    EXPECT_EQ(row["from"], cold ? "memory" : "cache");
    EXPECT_EQ(row["of memory %"].is_number(), cold) << row;
    EXPECT_GT(row["of arithmetic %"], 0);
  }
}

nlohmann::json to_json(const Row& row) {
  const Report report{.title = "", .facts = {}, .rows = {row}};
  return nlohmann::json::parse(format_report(report, "json"))["rows"][0];
}

TEST(BenchOp, SharesAreThoseOfTheOwnCeiling) {
  Samples samples;
  samples.seconds = {0.001, 0.003, 0.002};
  samples.ceiling_gflops = 400;
  const OpFigures op{
      .name = "x", .shape = "y", .flops = 2e8, .bytes = 6e7, .kind = kernels::MultiplyAdd::bf16};
  auto row = to_json(op_row(op, samples));
  EXPECT_EQ(row["arithmetic"], "bf16");
  EXPECT_NEAR(row["GFLOP/s"], 100, 1e-9);
  EXPECT_NEAR(row["of arithmetic %"], 25, 1e-9);
  EXPECT_NEAR(row["GB/s"], 30, 1e-9);
  EXPECT_EQ(row["from"], "cache");
  EXPECT_TRUE(row["of memory %"].is_null());
  EXPECT_TRUE(row["of roof %"].is_null());
  EXPECT_EQ(row["roof"], "-");

  samples.canary_gbps = {48, 44, 45};
  samples.ceiling_gbps = 50;
  row = to_json(op_row(op, samples));
  EXPECT_EQ(row["from"], "memory");
  EXPECT_NEAR(row["of memory %"], 60, 1e-9);
  EXPECT_EQ(row["roof"], "memory");
  EXPECT_NEAR(row["of roof %"], 60, 1e-9);

  OpFigures written = op;
  written.update_factor = 3;
  written.flops *= 2;
  row = to_json(op_row(written, samples));
  EXPECT_NEAR(row["of memory %"], 20, 1e-9);
  EXPECT_EQ(row["roof"], "bf16");
  EXPECT_NEAR(row["of roof %"], 50, 1e-9);
}

TEST(BenchOp, AFootprintCountsWhatIsReadAndWrittenOnce) {
  Machine machine(1);
  for (const OpEntry& entry : op_entries()) {
    if (std::string(entry.name) != "experts-dw" && std::string(entry.name) != "adam") continue;
    const OpCase c = entry.make(machine.stream(), {.experts = 2,
                                                   .rows = 3,
                                                   .d_model = 32,
                                                   .d_ffn = 48,
                                                   .tokens = 40,
                                                   .heads = 8,
                                                   .length = 7,
                                                   .vocab_size = 50,
                                                   .weights = WeightType::f32,
                                                   .product = Product::f32});
    const std::int64_t weights = 2 * 32 * 48;
    EXPECT_EQ(c.footprint(),
              std::string(entry.name) == "adam" ? 16 * weights : 4 * (weights + 2 * 3 * (32 + 48)));
  }
}

TEST(BenchOp, OptionsThatDoNotFitAreNamed) {
  OpOptions options = small();
  options.heads = 5;
  EXPECT_THROW(options.check(), Error);
  options = small();
  options.rows_from = 9;
  EXPECT_THROW(options.check(), Error);
}

}  // namespace
}  // namespace moe::bench
