// A rank that misbehaves in one way, and what the others make of it. See run_faults.
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <thread>
#include <vector>

#include "libmoe/base/log.h"
#include "libmoe/comm/mpi_world.h"
#include "libmoe/comm/watcher.h"

namespace moe {
namespace {

void exchange(Communicator& world, Stream& stream, const Tensor& values) {
  world.all_reduce(stream, Reduce::sum, values);
  std::vector<std::int64_t> one(static_cast<std::size_t>(world.size()), 1);
  world.all_to_all(stream, values.view().slice(0, world.size()), one,
                   values.view().slice(world.size(), 2 * world.size()), one);
  world.barrier();
}

// The main thread works on its own, until the heartbeat ends the process.
[[noreturn]] void compute() {
  for (;;) std::this_thread::sleep_for(std::chrono::milliseconds(10));
}

// What the last rank does after a few good rounds.
void misbehave(const std::string& how) {
  if (how.starts_with("kill")) std::raise(SIGKILL);
  if (how == "stop") std::raise(SIGSTOP);
  if (how == "abort") MOE_CHECK(false, "a bug");
  if (how.starts_with("error")) bad_input("corpus.tsv is damaged");
  if (how == "exit") std::exit(5);
  if (how == "late") compute();
}

bool is_rank(const std::string& number) {
  const char* rank = std::getenv("PMI_RANK");
  return rank != nullptr && rank == number;
}

// The last rank is lost before it has come to the others, which wait for it in MPI_Init.
void start_or_be_killed() {
  if (!is_rank("2")) return;
  log_info("rank 2 is process {}", getpid());
  start_watcher();
  std::raise(SIGKILL);
}

void run(const std::string& how) {
  if (how == "kill-starting") start_or_be_killed();
  WorldOptions options;
  options.heartbeat.silence_seconds = how == "stop" ? 2 : 6;
  options.time_limit_seconds = how == "late" || how == "leave" ? 1 : 60;
  // Rank 1 finds no way to rank 0.
  if (how.ends_with("-deaf") && is_rank("1")) options.heartbeat.join_seconds = 0;
  const std::shared_ptr<Communicator> world = open_world(options);
  if (world->rank() == 0)
    for (std::size_t r = 0; r < world_facts(*world).peers.size(); ++r)
      log_info("rank {} is process {}", r, world_facts(*world).peers[r].process);
  const auto device = Device::open("ref");
  Stream stream(*device, 1);
  const Tensor values = Tensor::zeros(stream, {1 << 17});
  for (int i = 0; i < 20; ++i) exchange(*world, stream, values);
  if (how == "none") return;
  if (how == "forever") {
    fmt::print("working\n");
    std::fflush(stdout);
    for (;;) exchange(*world, stream, values);
  }
  if (world->rank() == world->size() - 1 - (how == "kill-first" ? world->size() - 1 : 0)) {
    if (how == "leave") return;
    misbehave(how);
  }
  if (how == "kill-computing") compute();
  for (;;) exchange(*world, stream, values);
}

}  // namespace
}  // namespace moe

int main(int, char** argv) {
  try {
    moe::run(argv[1]);
    return 0;
  } catch (const moe::Error& e) {
    moe::log_message(moe::LogLevel::error, e.what());
    moe::log_info("this rank ends with exit code {}", static_cast<int>(e.code()));
    return static_cast<int>(e.code());
  }
}
