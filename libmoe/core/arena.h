// The memory of a device: blocks cut from large segments.
#pragma once
#include <cstdint>
#include <map>
#include <set>
#include <utility>

#include "kernels/api/runtime.h"

namespace moe {

/// A block comes from the smallest free piece that holds it; what is freed joins its free neighbours, so
/// batches of changing sizes fill the same memory again. Freed memory stays here until a segment must be
/// added: then segments without any block are given back first. Not thread-safe.
class Arena {
 public:
  explicit Arena(const kernels::RuntimeTable& runtime) : runtime_(&runtime) {}
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  /// What a block of so many bytes takes.
  static std::int64_t size_of_block(std::int64_t bytes);
  /// 64-byte aligned. Returns the runtime's error code, 0 on success.
  int allocate(std::int64_t bytes, void** pointer);
  /// bytes as in allocate().
  void release(void* pointer, std::int64_t bytes);
  /// Gives segments without any block back to the system.
  void trim();

 private:
  using Pieces = std::map<char*, std::int64_t>;
  int add_segment(std::int64_t size);
  void add_piece(char* begin, std::int64_t size);
  std::pair<char*, std::int64_t> take_piece(Pieces::iterator piece);

  const kernels::RuntimeTable* runtime_;
  Pieces segments_, free_;                            // sizes by address
  std::set<std::pair<std::int64_t, char*>> by_size_;  // the same free pieces
};

}  // namespace moe
