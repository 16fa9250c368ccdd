#include "libmoe/base/signals.h"

#include <csignal>
#include <initializer_list>

namespace moe {
namespace {

volatile std::sig_atomic_t noted = 0;
extern "C" void note_signal(int signal) {
  noted = signal;
  // The kernel repeats SIGXCPU every second, and the others may come again by themselves.
  if (signal == SIGTERM || signal == SIGINT) std::signal(signal, SIG_DFL);
}

void note(int signal) {
  struct sigaction action {};
  action.sa_handler = note_signal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(signal, &action, nullptr);
}

bool ends_the_process(int signal) {
  struct sigaction now {};
  return sigaction(signal, nullptr, &now) == 0 && now.sa_handler == SIG_DFL;
}

}  // namespace

void catch_stop_signals() {
  for (const int signal : {SIGTERM, SIGINT}) note(signal);
  for (const int signal : {SIGUSR1, SIGXCPU})
    if (ends_the_process(signal)) note(signal);
  std::signal(SIGHUP, SIG_IGN);
}

int stop_signal() {
  return noted;
}

}  // namespace moe
