#include "libmoe/comm/launch.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>

#include "libmoe/base/error.h"

namespace moe {
namespace {

using Variables = std::vector<std::pair<std::string, std::string>>;

/// The environment of a test: these variables and no other of a launcher.
class LaunchTest : public ::testing::Test {
 protected:
  LaunchTest() { clear(); }
  ~LaunchTest() override { clear(); }
  static void clear() {
    for (const char* name : {"PMI_RANK", "PMI_SIZE", "PMI_FD", "PMIX_RANK", "HYDI_CONTROL_FD",
                             "OMPI_COMM_WORLD_SIZE", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_STEP_ID",
                             "SLURM_STEP_NUM_TASKS", "SLURM_PTY_PORT", "SLURM_TASK_PID"})
      unsetenv(name);
  }
  static Launch launch(const Variables& variables) {
    clear();
    for (const auto& [name, value] : variables) setenv(name.c_str(), value.c_str(), 1);
    return read_launch();
  }
  static std::string fault(const std::function<void()>& f) {
    try {
      f();
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::usage);
      return e.what();
    }
    return "";
  }
};

TEST_F(LaunchTest, KnowsWhoStartedHowMany) {
  const Variables batch{{"SLURM_NTASKS", "4"}, {"SLURM_PROCID", "0"}};
  Variables step = batch, pmi2, pmix, hydra_in_step, task, shell;
  step.insert(step.end(), {{"SLURM_STEP_ID", "0"}, {"SLURM_STEP_NUM_TASKS", "4"}});
  pmi2 = pmix = hydra_in_step = task = shell = step;
  pmi2.insert(pmi2.end(), {{"PMI_RANK", "1"}, {"PMI_SIZE", "4"}});
  pmix.insert(pmix.end(), {{"PMIX_RANK", "1"}});
  hydra_in_step.insert(hydra_in_step.end(), {{"HYDI_CONTROL_FD", "7"}, {"PMI_RANK", "0"}, {"PMI_SIZE", "1"}});
  task.insert(task.end(), {{"SLURM_PTY_PORT", "40000"}, {"SLURM_TASK_PID", std::to_string(getpid())}});
  shell.insert(shell.end(), {{"SLURM_PTY_PORT", "40000"}, {"SLURM_TASK_PID", std::to_string(getppid())}});
  const std::tuple<Variables, std::string, bool, int> kCases[] = {
      {{}, "", false, 1},
      {batch, "", false, 1},  // the script of a job is one process
      {step, "Slurm", false, 4},
      {task, "Slurm", false, 4},
      {shell, "", false, 1},
      {{{"SLURM_STEP_NUM_TASKS", "1"}}, "", false, 1},
      {pmi2, "Slurm (PMI_RANK)", true, 4},
      {pmix, "Slurm (PMIX_RANK)", true, 4},
      {hydra_in_step, "hydra (PMI_RANK)", true, 1},
      {{{"HYDI_CONTROL_FD", "7"}, {"PMI_RANK", "0"}, {"PMI_SIZE", "2"}}, "hydra (PMI_RANK)", true, 2},
      {{{"PMI_RANK", "0"}}, "", false, 1},
      {{{"PMI_RANK", "0"}, {"PMI_SIZE", "3"}}, "a launcher (PMI_RANK)", true, 3},
      {{{"OMPI_COMM_WORLD_SIZE", "2"}, {"PMIX_RANK", "0"}}, "Open MPI (PMIX_RANK)", true, 2},
      {{{"OMPI_COMM_WORLD_SIZE", "2"}}, "Open MPI", false, 2}};
  for (const auto& [variables, launcher, connects, size] : kCases) {
    const Launch seen = launch(variables);
    EXPECT_EQ(seen.launcher, launcher);
    EXPECT_EQ(seen.connects, connects) << launcher;
    EXPECT_EQ(seen.size, size) << launcher;
    EXPECT_EQ(seen.closed_fd, -1) << launcher;
    EXPECT_EQ(fault([] { refuse_ranks("moe-test"); }).empty(), size == 1) << launcher;
    EXPECT_EQ(fault([&] { check_ranks_found(seen, 1); }).empty(), size == 1) << launcher;
    EXPECT_EQ(fault([&] { check_ranks_found(seen, 4); }), "");
  }
}

TEST_F(LaunchTest, TheRemedyHolds) {
  launch({{"PMI_RANK", "0"}, {"PMI_SIZE", "2"}, {"SLURM_STEP_NUM_TASKS", "2"}});
  const std::string message = fault([] { refuse_ranks("moe-test"); });
  EXPECT_NE(message.find("env -u PMI_SIZE -u SLURM_STEP_NUM_TASKS moe-test"), std::string::npos) << message;
  unsetenv("PMI_SIZE");
  unsetenv("SLURM_STEP_NUM_TASKS");
  EXPECT_EQ(fault([] { refuse_ranks("moe-test"); }), "");
}

TEST_F(LaunchTest, SeesThatTheLauncherIsOutOfReach) {
  int sockets[2], pipes[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
  ASSERT_EQ(pipe(pipes), 0);
  const auto with = [](int fd) {
    return launch({{"PMI_RANK", "0"}, {"PMI_SIZE", "2"}, {"PMI_FD", std::to_string(fd)}});
  };
  EXPECT_EQ(fault([&] { check_launcher_in_reach(with(sockets[0])); }), "");
  const std::string message = fault([&] { check_launcher_in_reach(with(pipes[0])); });
  EXPECT_NE(message.find(fmt::format("PMI_FD={} ", pipes[0])), std::string::npos) << message;
  // A program that knows no ranks is alone then.
  EXPECT_EQ(fault([] { refuse_ranks("moe-test"); }), "");
  close(sockets[0]);
  EXPECT_NE(fault([&] { check_launcher_in_reach(with(sockets[0])); }), "");
  for (const int fd : {sockets[1], pipes[0], pipes[1]}) close(fd);
}

}  // namespace
}  // namespace moe
