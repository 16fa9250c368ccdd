#include "libmoe/bench/io.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <numeric>
#include <random>
#include <thread>

#include "libmoe/base/error.h"
#include "libmoe/base/progress.h"
#include "libmoe/store/aligned_buffer.h"

namespace moe::bench {
namespace {

constexpr std::int64_t kMaxDepth = 256;
constexpr std::int64_t kFirstBlock = 64 << 10;  // the file's size is a multiple

/// An open file; closes itself.
class File {
 public:
  File(int fd, const std::string& directory, const char* what) : fd_(fd), directory_(directory) {
    if (fd < 0) bad_input("--directory {}: cannot {} a file there: {}", directory, what, strerror(errno));
  }
  ~File() { close(fd_); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int fd() const { return fd_; }
  [[noreturn]] void failed(const char* what, int error) const {
    fail(ErrorCode::failed, "--directory {}: {} failed: {}", directory_, what,
         error == 0 ? "end of file" : strerror(error));
  }

 private:
  int fd_;
  const std::string& directory_;
};

std::int64_t parse_depth(const std::string& text) {
  std::int64_t depth = 0;
  const auto [rest, status] = std::from_chars(text.data(), text.data() + text.size(), depth);
  if (status != std::errc() || rest != text.data() + text.size() || depth < 1 || depth > kMaxDepth)
    usage_error("--depth: '{}' is not a number from 1 to {}", text, kMaxDepth);
  return depth;
}

std::int64_t parse_block(const std::string& text, std::int64_t size) {
  const std::int64_t block = parse_bytes(text).value;
  if (block < kDirectAlignment || block % kDirectAlignment != 0 || block > size)
    usage_error("--block: '{}' is not a multiple of 4KiB up to --size", text);
  return block;
}

// Every block of the file once, `depth` at a time; returns the first error number, -1 for none.
template <class Transfer>
int for_each_block(std::int64_t size, std::int64_t block, std::int64_t depth, bool shuffled,
                   const Transfer& transfer) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(size / block));
  std::iota(order.begin(), order.end(), 0);
  if (shuffled) std::shuffle(order.begin(), order.end(), std::mt19937_64(1));
  std::atomic<std::size_t> next{0};
  std::atomic<int> error{-1};
  const auto work = [&] {
    const AlignedBuffer buffer(block);
    std::mt19937_64 random(2);
    for (std::int64_t i = 0; i < block; i += 8) {
      const std::uint64_t bits = random();
      memcpy(buffer.data() + i, &bits, 8);
    }
    for (std::size_t i; (i = next.fetch_add(1)) < order.size() && error.load() < 0;)
      if (transfer(buffer.data(), block, order[i] * block) != block) error.store(errno);
  };
  std::vector<std::thread> threads;
  for (std::int64_t t = 1; t < depth; ++t) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();
  return error.load();
}

struct Way {
  std::string name;
  int flags;  // of open
  bool writes, cold;
};

class IoBench {
 public:
  explicit IoBench(const IoOptions& options)
      : options_(options),
        size_((options.size.value + kFirstBlock - 1) / kFirstBlock * kFirstBlock),
        file_(open(options.directory.c_str(), O_TMPFILE | O_RDWR, 0600), options.directory, "make") {
    if (for_each_block(size_, kFirstBlock, 1, false,
                       [&](std::byte* b, std::int64_t n, std::int64_t at) {
                         return pwrite(file_.fd(), b, static_cast<std::size_t>(n), at);
                       }) >= 0 ||
        fsync(file_.fd()) != 0)
      file_.failed("writing", errno);
  }

  /// False when the file system does not do direct reads.
  bool measure(const Way& way, std::int64_t block, std::int64_t depth, std::vector<Row>& rows) {
    const int fd = open(fmt::format("/proc/self/fd/{}", file_.fd()).c_str(),
                        way.flags | (way.writes ? O_WRONLY : O_RDONLY));
    if (fd < 0 && errno == EINVAL) return false;
    const File file(fd, options_.directory, "open");
    std::vector<double> seconds;
    for (std::int64_t i = -options_.measure.warm_up; i < options_.measure.repeat; ++i) {
      if (way.cold) posix_fadvise(file_.fd(), 0, 0, POSIX_FADV_DONTNEED);
      const double time = seconds_of([&] { pass(file, way, block, depth); });
      if (i >= 0) seconds.push_back(time);
    }
    const Timing t = summarise(seconds);
    const std::int64_t bytes = size_ / block * block;
    const double gigabytes = static_cast<double>(bytes) / 1e9;
    rows.push_back({{"way", way.name},
                    {"block", format_bytes(block)},
                    {"depth", depth},
                    {"order", std::string(options_.random && !way.writes ? "random" : "sequential")},
                    {"GB/s", Number{gigabytes / t.median, 3}},
                    {"min", Number{gigabytes / t.max, 3}},
                    {"max", Number{gigabytes / t.min, 3}}});
    return true;
  }

 private:
  void pass(const File& file, const Way& way, std::int64_t block, std::int64_t depth) const {
    const int error =
        for_each_block(size_, block, depth, options_.random && !way.writes,
                       [&](std::byte* b, std::int64_t n, std::int64_t at) {
                         const auto bytes = static_cast<std::size_t>(n);
                         errno = 0;
                         return way.writes ? pwrite(file.fd(), b, bytes, at) : pread(file.fd(), b, bytes, at);
                       });
    if (error >= 0) file.failed(way.writes ? "writing" : "reading", error);
    if (way.writes && fsync(file.fd()) != 0) file.failed("writing", errno);
  }

  const IoOptions& options_;
  std::int64_t size_;
  File file_;
};

}  // namespace

void IoOptions::describe(OptionTable& table) {
  table.add("directory", &directory, "DIR", "folder on the disk to measure").short_name('d').file();
  table.add("size", &size, "BYTES", "size of the file that is written and read");
  table.add("block", &block, "BYTES,...", "bytes of one transfer, multiples of 4KiB");
  table.add("depth", &depth, "N,...", "transfers under way at a time in direct reads");
  table.add("random", &random, "", "read the blocks in random order");
  measure.describe(table, false);
}

int run_io(const IoOptions& options) {
  if (options.size.value < kFirstBlock)
    usage_error("--size: {} is too small, at least {}", format_bytes(options.size.value),
                format_bytes(kFirstBlock));
  std::vector<std::int64_t> blocks, depths;
  for (const std::string& text : options.block) blocks.push_back(parse_block(text, options.size.value));
  for (const std::string& text : options.depth) depths.push_back(parse_depth(text));

  IoBench bench(options);
  Report report{.title = "moe-bench io",
                .facts = {{"directory", options.directory}, {"file", format_bytes(options.size.value)}},
                .rows = {}};
  Progress progress("measuring", "passes", static_cast<std::int64_t>(blocks.size() * (3 + depths.size())));
  std::string direct = "yes";
  for (const std::int64_t block : blocks) {
    bench.measure({"write and fsync", 0, true, false}, block, 1, report.rows);
    progress.advance();
    if (!bench.measure({"write direct", O_DIRECT, true, false}, block, 1, report.rows)) direct = "no";
    progress.advance();
    bench.measure({"read, cold cache", 0, false, true}, block, 1, report.rows);
    progress.advance();
    for (const std::int64_t depth : depths) {
      if (!bench.measure({"read direct", O_DIRECT, false, true}, block, depth, report.rows)) direct = "no";
      progress.advance();
    }
  }
  report.facts.push_back({"direct transfers", direct});
  print_report(report, options.measure.output);
  return 0;
}

}  // namespace moe::bench
