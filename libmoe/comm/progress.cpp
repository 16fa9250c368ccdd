#include "libmoe/comm/progress.h"

#include <sched.h>
#include <sys/prctl.h>
#include <time.h>

#include <exception>

#include "libmoe/base/log.h"
#include "libmoe/comm/wait_clock.h"

namespace moe {
namespace {

class TaskPending final : public Pending {
 public:
  TaskPending(std::shared_ptr<Engine> engine, std::shared_ptr<Operation> task)
      : engine_(std::move(engine)), task_(std::move(task)) {}
  ~TaskPending() override {
    if (task_->done() || engine_->abandoned()) return;
    if (std::uncaught_exceptions() > 0) {  // this rank fails: its peers may never come
      engine_->abandon("given up by an earlier error");
      return;
    }
    try {
      engine_->wait(*task_);
    } catch (const Error& e) {
      log_message(LogLevel::error, e.what());
      std::abort();
    }
  }
  bool test() override {
    if (!task_->done()) engine_->poll();
    return task_->done();
  }
  void wait() override { engine_->wait(*task_); }

 private:
  std::shared_ptr<Engine> engine_;
  std::shared_ptr<Operation> task_;
};

}  // namespace

void Engine::start(const std::shared_ptr<Operation>& task) {
  if (abandoned()) throw Error(code_, why_);
  tasks_.push_back(task);
  poll();
}

void Engine::poll() {
  if (polling_ || abandoned()) return;
  polling_ = true;
  try {
    for (std::size_t i = 0; i < tasks_.size(); ++i) {  // a step may start further tasks
      const std::shared_ptr<Operation> task = tasks_[i];
      task->done_ = task->advance();
    }
  } catch (const Error& e) {
    polling_ = false;
    give_up(e);
  }
  polling_ = false;
  std::erase_if(tasks_, [](const auto& task) { return task->done(); });
}

void Engine::wait(Operation& task) {
  if (task.done()) return;
  const WaitClock clock;
  Backoff backoff;
  double watched = 0;
  for (;;) {
    if (task.done()) return;
    if (abandoned()) throw Error(code_, why_);
    poll();
    if (task.done()) return;
    backoff.pause();
    const double seconds = backoff.seconds();
    if (seconds < watched + 1e-3) continue;
    watched = seconds;
    try {
      watch_(task, seconds);
    } catch (const Error& e) {
      give_up(e);
    }
  }
}

PendingPtr Engine::run(const std::shared_ptr<Engine>& engine, const std::shared_ptr<Operation>& task) {
  engine->start(task);
  return std::make_unique<TaskPending>(engine, task);
}

void Engine::abandon(std::string why) {
  if (!abandoned()) why_ = std::move(why);
}

void Engine::give_up(const Error& error) {
  abandon(error.what());
  code_ = error.code();
  throw error;
}

void Backoff::pause() {
  constexpr int kYields = 200;
  if (++n_ < kYields) {
    sched_yield();
    return;
  }
  if (n_ == kYields)
    prctl(PR_SET_TIMERSLACK, 1000UL);  // of this thread, ns; else short sleeps last 50 us longer
  const timespec time{0, n_ < 50 * kYields ? 5'000 : 50'000};
  nanosleep(&time, nullptr);
}

double Backoff::seconds() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

}  // namespace moe
