// One run at a time for one output.
#pragma once
#include <chrono>
#include <string>

namespace moe {

/// OUTPUT.lock, beside the end of its symbolic links, held while a run lasts and removed at its end: a second
/// run would go on from a checkpoint that the first is about to replace, and both would save. A run that was
/// killed leaves the file, and no lock. Not thread-safe.
class OutputLock {
 public:
  /// The ranks of a killed job may take as long to end.
  static constexpr std::chrono::seconds kWait{10};

  /// Waits as long for another run to end. Throws Error(failed) when it does not, naming its process and
  /// host, or when no file can be made beside the output.
  explicit OutputLock(const std::string& output, std::chrono::seconds wait = kWait);
  ~OutputLock();
  OutputLock(const OutputLock&) = delete;
  OutputLock& operator=(const OutputLock&) = delete;

 private:
  void sign();
  void release();

  std::string path_;
  int file_;
};

}  // namespace moe
