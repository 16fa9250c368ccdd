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
    if (op == "fma_probe" || op == "read_probe") continue;
    std::replace(op.begin(), op.end(), '_', '-');
    const auto other = other_names.find(op);
    EXPECT_TRUE(rows.contains(other == other_names.end() ? op : other->second)) << op;
  }
}

TEST(BenchOp, Bf16WeightsAndProductsToo) {
  OpOptions options = small();
  options.op = {"experts-forward", "experts-dx", "logits"};
  options.arithmetic = {"bf16", "bf16"};
  testing::internal::CaptureStdout();
  EXPECT_EQ(run_op(options), 0);
  EXPECT_NE(testing::internal::GetCapturedStdout().find("bf16"), std::string::npos);
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
