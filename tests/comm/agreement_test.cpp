#include "libmoe/comm/agreement.h"

#include <gtest/gtest.h>

#include <atomic>

#include "libmoe/base/error.h"
#include "tests/support/thread_ranks.h"

namespace moe {
namespace {

/// What is said of facts[rank]; empty when they are taken for the same.
std::string verdict(const std::vector<Facts>& facts) {
  std::atomic<std::size_t> n_refused = 0;
  testing::internal::CaptureStderr();
  test::run_ranks(static_cast<int>(facts.size()), [&](const std::shared_ptr<Communicator>& world) {
    try {
      require_same(*world, facts[static_cast<std::size_t>(world->rank())]);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::usage);
      EXPECT_STREQ(e.what(), "");
      ++n_refused;
    }
    world->barrier();  // all of them are where they were
  });
  std::string said = testing::internal::GetCapturedStderr();
  EXPECT_EQ(n_refused, said.empty() ? 0 : facts.size());
  const std::string error = "error: ", remedy = "; start them alike\n";
  if (said.empty()) return said;
  EXPECT_TRUE(said.starts_with(error) && said.ends_with(remedy)) << said;
  return said.substr(error.size(), said.size() - error.size() - remedy.size());
}

TEST(Agreement, TheFirstDifferenceIsNamedWithItsRanks) {
  const Facts one{{"the program", "a"}, {"--x", "1"}, {"--y", "p\nq"}};
  EXPECT_EQ(verdict({one}), "");
  EXPECT_EQ(verdict({one, one, one}), "");
  EXPECT_EQ(verdict({{}, {}}), "");
  Facts other = one, third = one;
  other[1].second = "2";
  third[1].second = "";
  EXPECT_EQ(verdict({one, other, one, other, third}),
            "--x is not the same for all ranks: 1 on ranks 0, 2, 2 on ranks 1, 3,  on rank 4");
  third = one;
  third[2].second = "p\nr";
  EXPECT_EQ(verdict({one, third, other}), "--x is not the same for all ranks: 1 on ranks 0, 1, 2 on rank 2");
  EXPECT_EQ(verdict({one, third}), "--y is not the same for all ranks: p q on rank 0, p r on rank 1");
  const Facts longer{{"the program", "a"}, {"--x", "1"}, {"--y", "p\nq"}, {"--z", "0"}};
  EXPECT_EQ(verdict({one, longer}), "--z is not the same for all ranks: none on rank 0, 0 on rank 1");
  EXPECT_EQ(verdict({longer, one}), "--z is not the same for all ranks: 0 on rank 0, none on rank 1");
  std::vector<Facts> many(12, other);
  many[0] = one;
  EXPECT_NE(verdict(many).find("2 on ranks 1, 2, 3, 4, 5, 6, 7, 8 and 3 more"), std::string::npos);
}

TEST(Agreement, FactsOfAProgramAreItsOptions) {
  std::int64_t x = 1, threads = 2, z = 3;
  std::string empty;
  std::set<std::string> given;
  OptionTable table;
  table.note_given(given);
  table.add("x", &x, "N", "");
  table.add("threads", &threads, "N", "").by_rank();
  table.add("z", &z, "N", "");
  table.add("name", &empty, "NAME", "");
  set_from_text(table.options()[0], "1");
  const Facts facts = start_facts("moe-test", table);
  ASSERT_EQ(facts.size(), 5u);
  EXPECT_EQ(facts[0], (std::pair<std::string, std::string>("the program", "moe-test")));
  EXPECT_EQ(facts[1].first, "its version");
  EXPECT_EQ(facts[2], (std::pair<std::string, std::string>("--x", "1")));
  EXPECT_EQ(facts[3], (std::pair<std::string, std::string>("--z", "3 (default)")));
  EXPECT_EQ(facts[4], (std::pair<std::string, std::string>("--name", "none (default)")));
}

}  // namespace
}  // namespace moe
