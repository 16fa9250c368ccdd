// Heartbeats of ranks in one process; tests/mpi has real ones.
#include "libmoe/comm/heartbeat.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <thread>

#include "libmoe/comm/heartbeat_socket.h"

namespace moe {
namespace {

// No rank is ended by its heartbeat here.
constexpr HeartbeatOptions kPatient{.beat_seconds = 0.05, .silence_seconds = 600, .grace_seconds = 600};

const std::string kHere = "127.0.0.1";

std::vector<std::unique_ptr<Heartbeat>> join_all(int n) {
  std::vector<std::unique_ptr<Heartbeat>> all;
  std::vector<Peer> peers;
  std::string invitation;
  for (int r = 0; r < n; ++r) {
    all.push_back(std::make_unique<Heartbeat>(r, n, kPatient));
    peers.push_back({fmt::format("host{}", r), 1000 + r});
    if (r == 0) invitation = all[0]->listen(kHere);
    EXPECT_TRUE(r == 0 || all.back()->join(invitation));
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
  explicit FirstRankElsewhere(int ranks, const rlimit& descriptors = {1024, 1024}) {
    int pipe_ends[2];
    EXPECT_EQ(pipe(pipe_ends), 0);
    process_ = fork();
    if (process_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);  // also where the test is killed
      setrlimit(RLIMIT_NOFILE, &descriptors);
      Heartbeat first(0, ranks, kPatient);
      const std::string invitation = first.listen(kHere);
      if (write(pipe_ends[1], invitation.data(), invitation.size()) < 0) _exit(1);
      close(pipe_ends[1]);
      while (true) pause();
    }
    close(pipe_ends[1]);
    char part[256];
    for (ssize_t n; (n = read(pipe_ends[0], part, sizeof part)) > 0;)
      invitation_.append(part, static_cast<std::size_t>(n));
    close(pipe_ends[0]);
  }
  ~FirstRankElsewhere() {
    kill(process_, SIGKILL);
    waitpid(process_, nullptr, 0);
  }
  FirstRankElsewhere(const FirstRankElsewhere&) = delete;
  FirstRankElsewhere& operator=(const FirstRankElsewhere&) = delete;

  const std::string& invitation() const { return invitation_; }
  void hold() const {
    kill(process_, SIGSTOP);
    waitpid(process_, nullptr, WUNTRACED);
  }
  void let_go() const { kill(process_, SIGCONT); }

 private:
  pid_t process_ = -1;
  std::string invitation_;
};

// A launcher ends the others of a host as well: nobody knows by their connections who was the first.
TEST(Heartbeat, DoesNotChooseAmongRanksThatGoTogether) {
  const FirstRankElsewhere first(4);
  std::vector<std::unique_ptr<Heartbeat>> others;
  for (int r = 1; r < 4; ++r) {
    others.push_back(std::make_unique<Heartbeat>(r, 4, kPatient));
    ASSERT_TRUE(others.back()->join(first.invitation()));
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

struct Invitation {
  explicit Invitation(const std::string& text)
      : key(*key_from_hex(text.substr(0, 64))), where(text.substr(65)) {}
  Key key;
  std::string where;  // ADDRESS PORT
  int port() const { return std::stoi(where.substr(where.find(' '))); }
};

// A socket that is connected to that port of this machine, -1 when nobody listens there.
int connect_by_hand(const std::string& address, int port) {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<std::uint16_t>(port));
  inet_pton(AF_INET, address.c_str(), &to.sin_addr);
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0) return fd;
  close(fd);
  return -1;
}

TEST(Heartbeat, ListensOnTheGivenAddressAlone) {
  Heartbeat first(0, 2, kPatient);
  const Invitation invitation(first.listen(kHere));
  const int here = connect_by_hand(kHere, invitation.port());
  EXPECT_GE(here, 0);
  EXPECT_EQ(connect_by_hand("127.0.0.2", invitation.port()), -1);
  close(here);
}

TEST(Heartbeat, StrangersAreNotHeard) {
  Heartbeat first(0, 3, kPatient);
  const std::string text = first.listen(kHere);
  const Invitation invitation(text);
  const int web = connect_by_hand(kHere, invitation.port());
  const std::string request(5000, 'G');
  ASSERT_EQ(write(web, request.data(), request.size()), static_cast<ssize_t>(request.size()));
  Connection forger(connect_by_hand(kHere, invitation.port()), *make_key(), 1, 0);
  Frame lost;
  lost.type = FrameType::lost;
  lost.rank = 2;
  forger.send(lost);
  EXPECT_FALSE(connect_to(invitation.where, *make_key(), 1, 0.2).open());
  Heartbeat second(1, 3, kPatient), again(1, 3, kPatient), third(2, 3, kPatient);
  EXPECT_TRUE(second.join(text));
  EXPECT_FALSE(again.join(text));  // rank 1 is there already
  EXPECT_TRUE(third.join(text));
  for (Heartbeat* h : {&first, &second, &third}) h->watch({});
  // From now on nobody else is let in: rank 0 closes those that wait, and listens no more.
  char c = 0;
  while (read(web, &c, 1) > 0) {
  }
  while (connect_by_hand(kHere, invitation.port()) >= 0) sched_yield();
  for (const Heartbeat* h : {&first, &second, &third}) EXPECT_EQ(h->lost(), "");
  third.fail(3);
  EXPECT_EQ(wait_for_loss(second), "rank 2 has ended with exit code 3; its own message says why");
  close(web);
}

TEST(Heartbeat, NobodyAtTheAddress) {
  EXPECT_FALSE(Heartbeat(1, 2, kPatient).join(""));
  EXPECT_FALSE(Heartbeat(1, 2, kPatient).join("00112233445566778899aabbccddeeff 127.0.0.1 1"));
  EXPECT_FALSE(Heartbeat(1, 2, kPatient).join(to_hex(*make_key()) + " 127.0.0.1 1"));
  EXPECT_FALSE(Heartbeat(1, 2, kPatient).join(to_hex(*make_key()) + " nowhere 1"));
  EXPECT_EQ(Heartbeat(0, 2, kPatient).listen(""), "");
}

// Of the ranks 1 to n - 1, with nothing else behind them.
std::vector<Connection> connect_all(const FirstRankElsewhere& first, int n) {
  const Invitation invitation(first.invitation());
  std::vector<Connection> all;
  for (int r = 1; r < n; ++r) {
    Connection c = connect_to(invitation.where, invitation.key, r, 60);
    if (c.open()) all.push_back(std::move(c));
  }
  return all;
}

TEST(Heartbeat, RaisesTheLimitOfOpenFiles) {
  EXPECT_EQ(connect_all(FirstRankElsewhere(100, {64, 4096}), 100).size(), 99u);
}

// Those that find no place are told at once, and leave room for other files.
TEST(Heartbeat, TakesAsManyRanksAsItMayHaveFiles) {
  const FirstRankElsewhere first(100, {300, 300});
  std::vector<Connection> all = connect_all(first, 100);
  EXPECT_GT(all.size(), 20u);
  EXPECT_LT(all.size(), 50u);
  for (Connection& c : all) {
    pollfd beat{c.fd(), POLLIN, 0};
    bool closed = false;
    poll(&beat, 1, -1);
    EXPECT_FALSE(c.receive(closed).empty());
    EXPECT_FALSE(closed);
  }
}

// One end of a connection between rank 1 and rank 0, and what others write into it.
class Frames : public testing::Test {
 protected:
  Frames() {
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends_), 0);
    first = Connection(ends_[0], key, 0, 1);
    second = Connection(ends_[1], key, 1, 0);
  }
  static std::string taken_from(int fd) {
    std::string bytes(sizeof(Frame), '\0');
    EXPECT_EQ(recv(fd, bytes.data(), bytes.size(), MSG_WAITALL), static_cast<ssize_t>(bytes.size()));
    return bytes;
  }
  // A frame of rank 1, on its way.
  std::string sent() {
    second.send({});
    return taken_from(first.fd());
  }
  // How many frames rank 0 takes of it.
  std::size_t heard(const std::string& bytes) {
    EXPECT_EQ(write(second.fd(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
    bool closed = false;
    const std::size_t n = first.receive(closed).size();
    EXPECT_FALSE(closed);
    return n;
  }
  const Key key = *make_key();
  Connection first, second;

 private:
  int ends_[2];
};

TEST_F(Frames, OfTheOtherRankAreHeardOnce) {
  const std::string one = sent(), two = sent(), three = sent();
  EXPECT_EQ(heard(one + three), 2u);
  EXPECT_EQ(heard(one + two + three), 0u);
  EXPECT_EQ(heard(sent()), 1u);
}

TEST_F(Frames, ThatWereChangedAreNotHeard) {
  const std::string frame = sent();
  for (std::size_t i = 0; i < frame.size(); ++i) {
    std::string changed = frame;
    changed[i] = static_cast<char>(changed[i] ^ 0x10);
    EXPECT_EQ(heard(changed), 0u) << "byte " << i;
  }
  EXPECT_EQ(heard(frame), 1u);
}

TEST_F(Frames, OfOthersAreNotHeard) {
  const auto of = [&](const Key& k, int from, int to) {
    Connection other(dup(second.fd()), k, from, to);
    other.send({});
    return taken_from(first.fd());
  };
  EXPECT_EQ(heard(of(*make_key(), 1, 0)), 0u);  // without the key
  EXPECT_EQ(heard(of(key, 2, 0)), 0u);          // of the connection of rank 2
  first.send({});
  EXPECT_EQ(heard(taken_from(second.fd())), 0u);  // its own, sent back
  EXPECT_EQ(heard(sent()), 1u);
}

TEST_F(Frames, AreFoundBehindWhatIsNone) {
  for (const std::size_t n : {1, 47, 48, 49, 100}) {
    const std::string before = sent(), after = sent();
    EXPECT_EQ(heard(before + std::string(n, 'e') + after), 2u) << n;
  }
}

}  // namespace
}  // namespace moe
