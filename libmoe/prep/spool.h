// Clean candidates kept aside in reading order, compressed: the inputs are read once, and standard input
// works too.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "libmoe/data/dataset.h"
#include "libmoe/prep/temporary_file.h"

struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

namespace moe::prep {

struct Candidate {
  std::size_t part = 0;
  Split split = Split::train;
  std::string source, target;
};

/// Not thread-safe. Throws as TemporaryFile does.
class Spool {
 public:
  explicit Spool(const std::string& folder);
  ~Spool();
  void add(const Candidate& candidate);
  /// No more add() from here on; readers may be made.
  void finish();
  std::int64_t size() const { return size_; }

  /// Gives the candidates in the order in which they were added. The spool outlives it.
  class Reader {
   public:
    explicit Reader(const Spool& spool);
    ~Reader();
    bool next(Candidate& candidate);

   private:
    std::uint64_t read_number();
    void read_text(std::string& text);
    bool refill();
    const Spool& spool_;
    std::unique_ptr<ZSTD_DCtx_s, std::size_t (*)(ZSTD_DCtx_s*)> context_;
    std::vector<std::byte> compressed_, text_;
    std::size_t in_at_ = 0, in_end_ = 0, at_ = 0, end_ = 0;
    std::int64_t offset_ = 0, n_given_ = 0;
  };

 private:
  void put_number(std::uint64_t n);
  void put_text(const std::string& text);
  void flush(bool last);
  TemporaryFile file_;
  std::unique_ptr<ZSTD_CCtx_s, std::size_t (*)(ZSTD_CCtx_s*)> context_;
  std::string text_;                   // not yet compressed
  std::vector<std::byte> compressed_;  // room for one block
  std::int64_t size_ = 0;
};

}  // namespace moe::prep
