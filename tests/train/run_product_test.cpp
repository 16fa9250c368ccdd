#include "libmoe/train/run_product.h"

#include <gtest/gtest.h>

#include "libmoe/comm/communicator.h"

namespace moe {
namespace {

class RunProduct : public testing::Test {
 protected:
  Product choose(Products asked) {
    options.arithmetic.products = asked;
    return choose_product(options, *device, *world, state);
  }
  std::unique_ptr<Device> device = Device::open();
  std::unique_ptr<Communicator> world = self_communicator();
  TrainOptions options;
  RunState state;
};

TEST_F(RunProduct, OfANewRunIsThatOfTheOptionOrTheFastest) {
  EXPECT_EQ(choose(Products::f32), Product::f32);
  EXPECT_EQ(choose(Products::bf16), Product::bf16);
  state = {};
  EXPECT_EQ(choose(Products::automatic), device->kernels().fastest_product.product);
  EXPECT_EQ(state.choices.products, word_of(device->kernels().fastest_product.product));
}

TEST_F(RunProduct, StaysAsTheRunBeganWhereverItGoesOn) {
  state.update = 5;
  for (const Product product : {Product::f32, Product::bf16}) {
    state.choices.products = word_of(product);
    EXPECT_EQ(choose(Products::automatic), product);
  }
  EXPECT_EQ(choose(Products::f32), Product::f32);  // from here on
  EXPECT_EQ(choose(Products::automatic), Product::f32);
}

TEST_F(RunProduct, OfAnOlderFileIsThatOfItsOptions) {
  state.update = 5;
  state.course["products"] = "bf16";
  EXPECT_EQ(choose(Products::automatic), Product::bf16);
}

TEST(FastestProduct, IsNoneOfWeightsThatAreIntegersAndHasAReason) {
  for (const char* isa : kernels::kCpuIsas) {
    const kernels::KernelTable* table = kernels::cpu_table(isa);
    if (table == nullptr) continue;
    EXPECT_NE(std::string(table->fastest_product.why), "") << isa;
    if (std::string(isa) == "baseline" || std::string(isa) == "avx2") {
      EXPECT_EQ(table->fastest_product.product, Product::f32) << isa;
    }
    if (std::string(isa) == "amx") {
      EXPECT_EQ(table->fastest_product.product, Product::bf16);
    }
  }
  EXPECT_EQ(kernels::ref_table().fastest_product.product, Product::f32);
}

}  // namespace
}  // namespace moe
