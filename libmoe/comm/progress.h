// Operations under way on one rank. Whoever waits for one of them moves all of them, so that ranks which wait
// for different operations never wait for each other.
#pragma once
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "libmoe/comm/communicator.h"

namespace moe {

/// One operation in any number of steps.
class Operation {
 public:
  explicit Operation(std::string what) : what_(std::move(what)) {}
  virtual ~Operation() = default;
  /// Does what can be done now without waiting; true when nothing is left. May throw Error. Not called again
  /// after that.
  virtual bool advance() = 0;
  /// "all-reduce of world on rank 0 of 4"
  const std::string& what() const { return what_; }
  bool done() const { return done_; }

 private:
  friend class Engine;
  std::string what_;
  bool done_ = false;
};

/// Used by one thread.
class Engine {
 public:
  /// watch is called about every millisecond of a wait with the task and the seconds waited so far; it throws
  /// when waiting on makes no sense.
  using Watch = std::function<void(const Operation& task, double seconds)>;
  explicit Engine(Watch watch) : watch_(std::move(watch)) {}

  /// Advances the task at once and from now on.
  void start(const std::shared_ptr<Operation>& task);
  /// Advances all tasks in the order in which they were started.
  void poll();
  /// Returns when the task is done. Throws what its steps or the watch throw; after that nothing advances any
  /// more and every wait throws the same.
  void wait(Operation& task);
  /// Starts the task and hands out what its caller holds.
  static PendingPtr run(const std::shared_ptr<Engine>& engine, const std::shared_ptr<Operation>& task);

  /// Nothing advances any more: this rank is about to end by an error.
  void abandon(std::string why);
  bool abandoned() const { return !why_.empty(); }

 private:
  [[noreturn]] void give_up(const Error& error);
  Watch watch_;
  std::vector<std::shared_ptr<Operation>> tasks_;
  bool polling_ = false;
  std::string why_;
  ErrorCode code_ = ErrorCode::device;
};

/// Gives the processor to others between two polls: at once by yielding, after some microseconds by sleeping,
/// because ranks that spin steal the time of those they wait for when there are more ranks than processors.
class Backoff {
 public:
  void pause();
  double seconds() const;

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  int n_ = 0;
};

}  // namespace moe
