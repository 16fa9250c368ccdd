// What mpiexec or srun say to a process that they start, by its environment alone: MPI is not asked.
#pragma once
#include <string>
#include <vector>

namespace moe {

struct Launch {
  std::string launcher;   // "hydra (PMI_RANK)", "Slurm (PMIX_RANK)", "Open MPI"; empty: none
  bool connects = false;  // it offers to connect the processes (PMI, PMIx); else each is alone
  int size = 1;           // processes started together; 1 also when that is not said
  std::vector<std::string> size_variables;  // which say so
  int closed_fd = -1;  // what PMI_FD names when that is no open socket: the launcher is out of reach
};

/// Knows hydra, Slurm's steps and Open MPI. SLURM_NTASKS and SLURM_PROCID alone say nothing: they are also
/// set in the script of a job, which is one process and may start a program without srun. Nor does
/// SLURM_STEP_NUM_TASKS to a program that is started in the shell of srun --pty.
Launch read_launch();

/// Throws Error(usage) when this process is one of several. For programs that know no ranks: each would do
/// the same.
void refuse_ranks(const std::string& program);

/// Before MPI starts, which would abort: throws Error(usage) when the launcher is out of reach.
void check_launcher_in_reach(const Launch& launch);

/// Once the number of ranks is known: throws Error(usage) when the launcher has started more processes than
/// found each other.
void check_ranks_found(const Launch& launch, int n_ranks);

}  // namespace moe
