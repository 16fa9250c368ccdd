// The tool as a process: signals, exit codes.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>

#include "libmoe/model/checkpoint.h"
#include "libmoe/train/state.h"
#include "tests/train/small_run.h"

using namespace moe;
using namespace moe::test;

namespace {

struct Process {
  pid_t pid;
  std::FILE* stderr_end;
};

Process start_tool(const std::vector<std::string>& arguments) {
  int ends[2];
  EXPECT_EQ(pipe(ends), 0);
  const pid_t pid = fork();
  if (pid == 0) {
    dup2(ends[1], STDERR_FILENO);
    close(ends[0]);
    close(ends[1]);
    std::vector<char*> argv;
    for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
    argv.push_back(nullptr);
    execv(argv[0], argv.data());
    _exit(127);
  }
  close(ends[1]);
  return {pid, fdopen(ends[0], "r")};
}

/// Reads lines until one begins so; false at the end of the output.
bool wait_for_line(const Process& process, const std::string& beginning) {
  char line[4096];
  while (std::fgets(line, sizeof line, process.stderr_end) != nullptr)
    if (std::string(line).starts_with(beginning)) return true;
  return false;
}

int exit_code(const Process& process) {
  char rest[4096];
  while (std::fgets(rest, sizeof rest, process.stderr_end) != nullptr) {
  }
  std::fclose(process.stderr_end);
  int status = 0;
  waitpid(process.pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

}  // namespace

std::vector<std::string> command_line(const TempDir& folder) {
  write_small_dataset(folder / "data.h5");
  return {std::string(MOE_BINARY_DIR) + "/bin/moe-train",
          "--data",
          folder / "data.h5",
          "--output",
          folder / "model.h5",
          "--d-model",
          "32",
          "--d-ffn",
          "48",
          "--n-heads",
          "2",
          "--n-experts",
          "4",
          "--max-length",
          "64",
          "--encoder-layers",
          "2",
          "--decoder-layers",
          "2",
          "--batch-tokens",
          "200",
          "--log-every",
          "1",
          "--valid-sentences",
          "0",
          "--updates",
          "1000000"};
}

TEST(Signals, ASignalSavesAndTheRunGoesOn) {
  TempDir folder;
  std::vector<std::string> line = command_line(folder);
  std::int64_t updates = 0;
  for (const int signal : {SIGTERM, SIGINT, SIGUSR1, SIGXCPU}) {
    const Process process = start_tool(line);
    ASSERT_TRUE(wait_for_line(process, "Ep. "));
    kill(process.pid, signal);
    EXPECT_EQ(exit_code(process), 128 + signal);
    const Checkpoint saved = load_checkpoint(folder / "model.h5", true);
    const RunState state = RunState::from_json(saved.training.json, "model.h5");
    EXPECT_GT(state.update, updates);
    EXPECT_LT(state.update, 1000000);
    updates = state.update;
  }
  line.back() = std::to_string(updates + 2);
  const Process process = start_tool(line);
  EXPECT_TRUE(wait_for_line(process, "continuing "));
  EXPECT_EQ(exit_code(process), 0);
}

TEST(Signals, AClosedTerminalEndsNothingAndARepeatedSignalDoesNotDisturbTheSave) {
  TempDir folder;
  const Process process = start_tool(command_line(folder));
  ASSERT_TRUE(wait_for_line(process, "Ep. "));
  kill(process.pid, SIGHUP);
  ASSERT_TRUE(wait_for_line(process, "Ep. "));
  kill(process.pid, SIGXCPU);  // and again, as the kernel does while the run saves
  kill(process.pid, SIGXCPU);
  EXPECT_EQ(exit_code(process), 128 + SIGXCPU);
  EXPECT_NO_THROW(load_checkpoint(folder / "model.h5", true));
}

TEST(Signals, MessagesThatNobodyReadsEndNothing) {
  TempDir folder;
  std::vector<std::string> line = command_line(folder);
  line.back() = "40";
  const Process process = start_tool(line);
  ASSERT_TRUE(wait_for_line(process, "Ep. "));
  std::fclose(process.stderr_end);
  int status = 0;
  waitpid(process.pid, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_NO_THROW(load_checkpoint(folder / "model.h5", true));
}
