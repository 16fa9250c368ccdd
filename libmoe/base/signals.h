// Graceful stops: signals that ask a long step to save and end.
#pragma once

namespace moe {

/// Installs handlers that only note the signal: of SIGTERM and SIGINT, of which a second one ends the process
/// at once; and of SIGUSR1 (schedulers warn by it) and SIGXCPU (the limit of processor time), unless these
/// are ignored or have a handler already, as SIGUSR1 under mpiexec. SIGHUP is ignored: work goes on when its
/// terminal is closed, as UCX, where MPI uses it, has it anyway.
void catch_stop_signals();
/// The signal that asked to stop, 0 for none. Thread-safe.
int stop_signal();

}  // namespace moe
