// The front door: an absent kernel is an error that names op and device, a wrong shape or index is a bug,
// views with strides reach the kernels as they are.
#include "libmoe/core/ops.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <numeric>

#include "libmoe/core/call.h"
#include "tests/support/device.h"

namespace moe {
namespace {

class Ops : public testing::Test {
 protected:
  Tensor floats(Shape shape, float first = 0) {
    std::vector<float> values(static_cast<std::size_t>(shape.n_elements()));
    std::iota(values.begin(), values.end(), first);
    return Tensor::from_host<float>(stream_, values, shape);
  }
  Tensor indices(const std::vector<std::int32_t>& values) {
    return Tensor::from_host<std::int32_t>(stream_, values, {static_cast<std::int64_t>(values.size())});
  }
  std::unique_ptr<Device> device_ = test::open_device();
  Stream stream_{*device_, 2};
};

using OpsDeathTest = Ops;

void expect_device_error(const std::function<void()>& call, const std::vector<std::string>& words) {
  try {
    call();
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::device);
    for (const std::string& word : words)
      EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
  }
}

TEST_F(Ops, AnAbsentKernelIsAnErrorThatNamesOpAndDevice) {
  expect_device_error(
      [&] {
        call_kernel(stream_, decltype(kernels::KernelTable::adam){nullptr}, "adam", kernels::AdamArgs{});
      },
      {"adam", "cpu"});
}

TEST_F(Ops, AKernelThatFailsIsAnErrorThatNamesOpAndDevice) {
  constexpr int kOutOfMemory = 1;
  const auto kernel = [](const kernels::Context&, const kernels::AdamArgs&) { return kOutOfMemory; };
  expect_device_error(
      [&] {
        call_kernel(stream_, decltype(kernels::KernelTable::adam){kernel}, "adam", kernels::AdamArgs{});
      },
      {"adam", "cpu", device_->runtime().error_text(kOutOfMemory)});
}

TEST_F(Ops, StridedViewsAreUsedInPlace) {
  const Tensor x = floats({3, 4}), y = Tensor::zeros(stream_, {3, 6});
  ops::gather_rows(stream_, x.view().columns(1, 3), indices({2, -1, 0}), y.view().columns(3, 5));
  EXPECT_EQ(to_host<float>(stream_, y),
            (std::vector<float>{0, 0, 0, 9, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0}));
  const Tensor db = Tensor::zeros(stream_, {2});
  ops::bias_backward(stream_, x.view().columns(2, 4), db);
  EXPECT_EQ(to_host<float>(stream_, db), (std::vector<float>{18, 21}));
}

TEST_F(Ops, AttentionTakesSlicesOfOneMatrix) {
  const Tensor qkv = floats({4, 6}), y = Tensor::zeros(stream_, {4, 2});
  const Tensor begin = indices({0, 3}), length = indices({3, 1});
  const ops::AttentionShape shape{.q_begin = begin,
                                  .q_length = length,
                                  .k_begin = begin,
                                  .k_length = length,
                                  .n_heads = 1,
                                  .causal = true};
  ops::attention(stream_, {.shape = shape,
                           .q = qkv.view().columns(0, 2),
                           .k = qkv.view().columns(2, 4),
                           .v = qkv.view().columns(4, 6),
                           .y = y});
  const std::vector<float> values = to_host<float>(stream_, y);
  EXPECT_EQ(values[0], 4);   // the first row sees itself alone
  EXPECT_EQ(values[6], 22);  // so does the second sequence
  EXPECT_EQ(values[7], 23);
}

TEST_F(Ops, EmptyInputsAreFine) {
  const Tensor none(*device_, {0, 4}), row(*device_, {4}), table = floats({3, 4}), no_rows(*device_, {0});
  const Tensor no_ids = indices({});
  ops::layer_norm(
      stream_,
      {.x = none, .gamma = row, .beta = row, .epsilon = 1e-5f, .y = none, .mean = no_rows, .rstd = no_rows});
  ops::embedding(stream_, {.ids = no_ids, .table = table, .y = none});
  ops::embedding_backward(stream_, no_ids, none, 1, table);
  ops::gather_rows(stream_, table, no_ids, none);
  ops::cross_entropy(stream_, none, no_ids, 0.1f, 1, no_rows, no_rows);
  ops::log_softmax(stream_, none);
  EXPECT_EQ(ops::sum_of_squares(stream_, none), 0);
  EXPECT_TRUE(ops::all_finite(stream_, none));
}

TEST_F(Ops, ScalarsComeBack) {
  const Tensor x = floats({2, 3});
  EXPECT_EQ(ops::sum_of_squares(stream_, x), 55);
  EXPECT_TRUE(ops::all_finite(stream_, x));
  ops::fill(stream_, NAN, x);
  EXPECT_FALSE(ops::all_finite(stream_, x));
}

TEST_F(OpsDeathTest, WrongShapesAbort) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const Tensor x = floats({3, 4}), y = floats({3, 4}), other = floats({4, 3});
  EXPECT_DEATH(ops::add_scaled(stream_, 1, x, floats({5})), "x \\[3,4\\] y \\[5\\]");
  EXPECT_DEATH(ops::dropout_add(stream_, x, {}, 1.0f, {}, y), "p = 1");
  EXPECT_DEATH(ops::top_k(stream_, x, 5, other, other), "k");
}

TEST_F(OpsDeathTest, WrongIndicesAbortWhereTheHostSeesThem) {
  if (!device_->host_accessible()) GTEST_SKIP() << "the host does not see them";
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const Tensor x = floats({3, 4}), y = floats({3, 4});
  EXPECT_DEATH(ops::gather_rows(stream_, x, indices({0, 1, 3}), y), "outside");
  EXPECT_DEATH(ops::embedding(stream_, {.ids = indices({0, -1, 1}), .table = x, .y = y}), "an id outside");
  const Tensor begin = indices({2}), length = indices({2});
  const ops::AttentionShape shape{
      .q_begin = begin, .q_length = length, .k_begin = begin, .k_length = length, .n_heads = 1};
  EXPECT_DEATH(ops::attention(stream_, {.shape = shape, .q = x, .k = x, .v = x, .y = y}),
               "query rows outside");
}

}  // namespace
}  // namespace moe
