// Graceful stops: SIGTERM and SIGINT ask a long step to save and end.
#pragma once

namespace moe {

/// Installs handlers that only note the signal; a second one of the same kind ends the process at once.
void catch_stop_signals();
/// The signal that asked to stop, 0 for none. Thread-safe.
int stop_signal();

}  // namespace moe
