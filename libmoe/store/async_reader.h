// Reads extents of a file in the background, past the page cache where the file system allows it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "libmoe/h5/input_file.h"

namespace moe {

/// A read to be done; `to`, offset and bytes are multiples of 4096.
struct ReadRequest {
  std::int64_t offset = 0, bytes = 0;
  std::byte* to = nullptr;
  std::uint64_t checksum = 0;  // of the bytes, XXH3
  int layer = 0, expert = 0;   // named in errors
};

/// A request under way. Copies refer to the same request.
class ReadTicket;
using ReadTicketPtr = std::shared_ptr<ReadTicket>;

/// All functions are thread-safe.
class AsyncReader {
 public:
  /// Throws Error(bad_input) when the file cannot be opened again.
  explicit AsyncReader(std::shared_ptr<const h5::InputFile> input, int n_threads = 2);
  /// Forgets what is queued and waits for the reads that are running.
  ~AsyncReader();
  AsyncReader(const AsyncReader&) = delete;
  AsyncReader& operator=(const AsyncReader&) = delete;

  ReadTicketPtr submit(const ReadRequest& request);
  bool finished(const ReadTicketPtr& ticket) const;
  /// Puts the tickets before all others, waits for them. Throws the Error of the first that failed: the file
  /// was cut short or altered (bad_input), or could not be read (failed).
  void wait(std::span<const ReadTicketPtr> tickets);
  /// Takes back a request that is still queued. False when it runs or has ended: it stays as it is.
  bool withdraw(const ReadTicketPtr& ticket);
  /// Afterwards nothing is written to the request's memory: it is withdrawn, or waited for while it runs.
  void cancel(const ReadTicketPtr& ticket);

  std::int64_t bytes_read() const;
  /// Whether reads pass the page cache.
  bool direct() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace moe
