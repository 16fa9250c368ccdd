// Names a rank that is killed. Beside each rank stands a small process that outlives it and writes to the log
// who has gone without a word. For a second more it holds what the launcher had given to the rank: hydra
// reports an end to its other hosts only when those pipes are closed, and their ranks hear of it from the
// heartbeats before they are killed. No MPI here.
#pragma once

namespace moe {

/// Starts the watcher of this process, which a launcher has started as a rank (PMI_RANK or PMIX_RANK says
/// which). Once, by the main thread, before MPI starts. It ends with this process, or a second later when it
/// has to name it (five when nobody reads the log), and heeds no request to end before. Without it (Linux
/// before 5.3 has no pidfd_open) heartbeats alone name lost ranks.
void start_watcher();

/// All ranks have come together and are connected: from now on they hear of each other's end, and a watcher
/// speaks of its own rank alone. Until then it also speaks of another rank of its host that has ended first,
/// perhaps so early that it had no watcher, and for which the launcher has killed this one.
void ranks_are_together();

/// Nothing is left to say when this process ends: it has said why itself, or ends in order, or another rank
/// is the lost one. Safe in a signal handler and in any thread.
void dismiss_watcher();

}  // namespace moe
