#include "libmoe/comm/launch.h"

#include <fmt/ranges.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "libmoe/base/error.h"

namespace moe {
namespace {

bool is_set(const char* variable) {
  return std::getenv(variable) != nullptr;
}

int closed_launcher_fd() {
  const char* text = std::getenv("PMI_FD");
  if (text == nullptr) return -1;
  struct stat status {};
  const int fd = std::atoi(text);
  return fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode) ? -1 : fd;
}

/// In the shell of srun --pty, whose programs inherit what the tasks of its step have.
bool in_slurm_shell() {
  const char* task = std::getenv("SLURM_TASK_PID");
  return is_set("SLURM_PTY_PORT") && task != nullptr && std::atoi(task) != getpid();
}

/// Variables that say how many processes were started together, the nearest launcher's first.
std::vector<std::string> size_variables() {
  std::vector<std::string> variables;
  for (const char* name : {"PMI_SIZE", "OMPI_COMM_WORLD_SIZE"})
    if (is_set(name)) variables.emplace_back(name);
  if (is_set("SLURM_STEP_NUM_TASKS") && !in_slurm_shell()) variables.emplace_back("SLURM_STEP_NUM_TASKS");
  return variables;
}

}  // namespace

Launch read_launch() {
  Launch launch;
  // The launcher nearest to the process first: mpiexec may run inside a step of Slurm, and srun starts its
  // helpers.
  const std::string kind = is_set("HYDI_CONTROL_FD")        ? "hydra"
                           : is_set("OMPI_COMM_WORLD_SIZE") ? "Open MPI"
                           : is_set("SLURM_STEP_NUM_TASKS") ? "Slurm"
                                                            : "a launcher";
  const std::string sign = is_set("PMI_RANK") && is_set("PMI_SIZE") ? "PMI_RANK"
                           : is_set("PMIX_RANK")                    ? "PMIX_RANK"
                                                                    : "";
  launch.connects = !sign.empty();
  if (launch.connects) launch.launcher = fmt::format("{} ({})", kind, sign);
  if (sign == "PMI_RANK") launch.closed_fd = closed_launcher_fd();
  launch.size_variables = size_variables();
  if (!launch.size_variables.empty())
    launch.size = std::max(std::atoi(std::getenv(launch.size_variables.front().c_str())), 1);
  if (launch.launcher.empty() && launch.size > 1) launch.launcher = kind;
  return launch;
}

void refuse_ranks(const std::string& program) {
  const Launch launch = read_launch();
  if (launch.size == 1 || launch.closed_fd >= 0) return;
  usage_error(
      "{} knows no ranks, and {} has started it {} times, each to do all of the work: start it once, without "
      "mpiexec or srun; where each has work of its own, start it as env -u {} {}",
      program, launch.launcher, launch.size, fmt::join(launch.size_variables, " -u "), program);
}

void check_launcher_in_reach(const Launch& launch) {
  if (launch.closed_fd < 0) return;
  usage_error(
      "PMI_FD={} is no open socket, so that {} cannot be reached: either variables of another shell are left "
      "over (without them: env -u PMI_FD -u PMI_RANK -u PMI_SIZE and the command), or a program between "
      "mpiexec and this one has closed it",
      launch.closed_fd, launch.launcher);
}

void check_ranks_found(const Launch& launch, int n_ranks) {
  if (n_ranks > 1 || launch.size == 1) return;
  usage_error(
      "{} has started {} processes that cannot find each other, so that each would work alone: start them by "
      "srun --mpi=pmi2 or by the mpiexec of MPICH, and a single process by srun -n 1 or without a launcher",
      launch.launcher, launch.size);
}

}  // namespace moe
