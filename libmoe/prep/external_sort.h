// Sorts any number of small records in bounded memory: sorted runs in a temporary file, merged on the way
// out.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "libmoe/prep/temporary_file.h"

namespace moe::prep {

struct KeyValue {
  std::uint64_t key, value;
  friend auto operator<=>(const KeyValue&, const KeyValue&) = default;
};

/// Not thread-safe. Throws as TemporaryFile does.
class ExternalSort {
 public:
  /// Holds up to memory_bytes of records, then writes them to a temporary file in folder.
  ExternalSort(std::string folder, std::int64_t memory_bytes);
  void add(KeyValue record);
  /// No more add() from here on; cursors may be made.
  void finish();
  std::int64_t size() const { return size_; }

  /// Gives the records by key, then value. The sorter outlives it. Several may exist.
  class Cursor {
   public:
    explicit Cursor(const ExternalSort& sorter);
    bool next(KeyValue& record);

   private:
    struct Run {
      std::int64_t at, end;          // bytes of the file
      std::vector<KeyValue> buffer;  // records before `at`
      std::size_t used = 0;
    };
    bool refill(Run& run);
    const ExternalSort& sorter_;
    std::vector<Run> runs_;
    struct Head {
      KeyValue record;
      std::size_t run;
    };
    std::vector<Head> heap_;
    std::size_t memory_at_ = 0;
  };

 private:
  void spill();
  std::string folder_;
  std::size_t capacity_;
  std::vector<KeyValue> memory_;
  std::unique_ptr<TemporaryFile> file_;
  std::vector<std::int64_t> run_ends_;
  std::int64_t size_ = 0;
};

}  // namespace moe::prep
