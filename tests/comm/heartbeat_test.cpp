// Heartbeats of ranks in one process; tests/mpi has real ones.
#include "libmoe/comm/heartbeat.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <thread>

#include "libmoe/comm/heartbeat_socket.h"

namespace moe {
namespace {

// No rank is ended by its heartbeat here.
constexpr HeartbeatOptions kPatient{.beat_seconds = 0.05, .silence_seconds = 600, .grace_seconds = 600};

std::vector<std::unique_ptr<Heartbeat>> join_all(int n) {
  std::vector<std::unique_ptr<Heartbeat>> all;
  std::vector<Peer> peers;
  for (int r = 0; r < n; ++r) {
    all.push_back(std::make_unique<Heartbeat>(r, n, kPatient));
    peers.push_back({fmt::format("host{}", r), 1000 + r});
    const bool joined = r == 0 || all.back()->join(all[0]->address());
    EXPECT_TRUE(joined);
  }
  for (const auto& h : all) h->watch(peers);
  return all;
}

std::string wait_for_loss(const Heartbeat& heartbeat) {
  while (heartbeat.lost_code() == 0) sched_yield();
  return heartbeat.lost();
}

TEST(Heartbeat, NamesARankThatGoesWithoutAWord) {
  auto all = join_all(4);
  for (const auto& h : all) EXPECT_EQ(h->lost(), "");
  all[2].reset();
  for (const int r : {0, 1, 3}) {
    EXPECT_EQ(wait_for_loss(*all[static_cast<std::size_t>(r)]), "rank 2 (host host2, process 1002) is lost");
    EXPECT_EQ(all[static_cast<std::size_t>(r)]->lost_code(), 4);
  }
}

// Which may have ended because of another one.
TEST(Heartbeat, DoesNotCallTheFirstRankLostWhenItGoes) {
  auto all = join_all(3);
  all[0].reset();
  for (const int r : {1, 2}) {
    EXPECT_EQ(wait_for_loss(*all[static_cast<std::size_t>(r)]),
              "rank 0 (host host0, process 1000) has closed its connection");
    EXPECT_EQ(all[static_cast<std::size_t>(r)]->lost_code(), 4);
  }
}

// Rank 0 in a process of its own, so that it can be kept from looking.
class FirstRankElsewhere {
 public:
  explicit FirstRankElsewhere(int ranks) {
    int pipe_ends[2];
    EXPECT_EQ(pipe(pipe_ends), 0);
    process_ = fork();
    if (process_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);  // also where the test is killed
      const Heartbeat first(0, ranks, kPatient);
      const std::string& address = first.address();
      if (write(pipe_ends[1], address.data(), address.size()) < 0) _exit(1);
      close(pipe_ends[1]);
      while (true) pause();
    }
    close(pipe_ends[1]);
    char part[256];
    for (ssize_t n; (n = read(pipe_ends[0], part, sizeof part)) > 0;)
      address_.append(part, static_cast<std::size_t>(n));
    close(pipe_ends[0]);
  }
  ~FirstRankElsewhere() {
    kill(process_, SIGKILL);
    waitpid(process_, nullptr, 0);
  }
  FirstRankElsewhere(const FirstRankElsewhere&) = delete;
  FirstRankElsewhere& operator=(const FirstRankElsewhere&) = delete;

  const std::string& address() const { return address_; }
  void hold() const {
    kill(process_, SIGSTOP);
    waitpid(process_, nullptr, WUNTRACED);
  }
  void let_go() const { kill(process_, SIGCONT); }

 private:
  pid_t process_ = -1;
  std::string address_;
};

// A launcher ends the others of a host as well: nobody knows by their connections who was the first.
TEST(Heartbeat, DoesNotChooseAmongRanksThatGoTogether) {
  const FirstRankElsewhere first(4);
  std::vector<std::unique_ptr<Heartbeat>> others;
  for (int r = 1; r < 4; ++r) {
    others.push_back(std::make_unique<Heartbeat>(r, 4, kPatient));
    ASSERT_TRUE(others.back()->join(first.address()));
  }
  first.hold();
  others[1].reset();
  others[0].reset();
  first.let_go();
  EXPECT_EQ(wait_for_loss(*others[2]), "rank 1 has closed its connection");
}

TEST(Heartbeat, PassesOnTheCodeOfARankThatFails) {
  auto all = join_all(3);
  all[1]->fail(3);
  for (const int r : {0, 2}) {
    EXPECT_EQ(all[static_cast<std::size_t>(r)]->lost(),  // they have heard it when fail() returns
              "rank 1 (host host1, process 1001) has ended with exit code 3; its own message says why");
    EXPECT_EQ(all[static_cast<std::size_t>(r)]->lost_code(), 3);
  }
}

TEST(Heartbeat, AnOrderlyEndIsNoLoss) {
  auto all = join_all(3);
  all[1]->ending();
  while (all[2]->ended_rank() != 1) sched_yield();
  for (const auto& h : all) h->finish();
  for (const auto& h : all) EXPECT_EQ(h->lost(), "");
}

TEST(Heartbeat, StrangersAreNotHeard) {
  auto all = join_all(2);
  const std::string address = all[0]->address();
  const std::string where = address.substr(address.find(' ') + 1);
  Frame wrong_token;
  wrong_token.type = FrameType::hello;
  wrong_token.rank = 1;
  EXPECT_FALSE(connect_to(where, wrong_token, 1).open());
  Frame no_frame;
  no_frame.magic = 0x20544547;  // "GET "
  EXPECT_FALSE(connect_to(where, no_frame, 1).open());
  EXPECT_EQ(all[0]->lost(), "");
  EXPECT_EQ(all[1]->lost(), "");
  // Rank 1 is there already.
  EXPECT_FALSE(Heartbeat(1, 2, kPatient).join(address));
  EXPECT_EQ(all[0]->lost(), "");
}

TEST(Heartbeat, NobodyAtTheAddress) {
  EXPECT_FALSE(Heartbeat(1, 2, kPatient).join(""));
  EXPECT_FALSE(Heartbeat(1, 2, kPatient).join("00112233445566778899aabbccddeeff 1 nowhere"));
}

}  // namespace
}  // namespace moe
