// A disk that is soon full.
#pragma once
#include <string>

namespace moe::test {

/// A disk of some KiB that is there while the object lives, if this process may mount one.
class SmallDisk {
 public:
  SmallDisk(const std::string& folder, int kib);
  ~SmallDisk();
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  explicit operator bool() const { return mounted_; }
  /// Another size, with what is on it.
  void resize(int kib);

 private:
  std::string folder_;
  bool mounted_;
};

}  // namespace moe::test
