// The caches of the processors that this process may use.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace moe::bench {

/// Of data, instructions aside.
struct Cache {
  int level = 0;
  std::int64_t bytes = 0;
  int count = 0;  // how many of them the processors have among them
  bool operator==(const Cache&) const = default;
};

/// By level. root: /sys/devices/system/cpu, or a folder like it; processors: their numbers, empty = those of
/// the affinity mask. What sysconf() knows of one processor where the folder has nothing; empty where neither
/// does.
std::vector<Cache> read_caches(const std::string& root = "/sys/devices/system/cpu",
                               std::vector<int> processors = {});
/// Of all together.
std::int64_t total_bytes(const std::vector<Cache>& caches);
/// So many times the caches together is much larger than they are.
inline constexpr std::int64_t kMuchLarger = 4;
/// Whether n_bytes that are read again and again come from memory, but for noise: they are much larger.
/// False where no cache is known.
bool come_from_memory(std::int64_t n_bytes, const std::vector<Cache>& caches);
/// As in "L1 2 x 32KiB, L3 32MiB"; "unknown" of none.
std::string text_of(const std::vector<Cache>& caches);

}  // namespace moe::bench
