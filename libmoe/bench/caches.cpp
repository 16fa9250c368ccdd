#include "libmoe/bench/caches.h"

#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

#include <fstream>
#include <map>
#include <set>
#include <tuple>

#include "libmoe/base/options.h"

namespace moe::bench {
namespace {

std::vector<int> processors_of_mask() {
  std::vector<int> processors;
  cpu_set_t mask;
  CPU_ZERO(&mask);
  if (sched_getaffinity(0, sizeof mask, &mask) != 0) return processors;
  for (int i = 0; i < CPU_SETSIZE; ++i)
    if (CPU_ISSET(i, &mask)) processors.push_back(i);
  return processors;
}

std::string line_of(const std::string& path) {
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  return line;
}

// "32K", as the kernel writes it.
std::int64_t bytes_of(const std::string& size) {
  const std::int64_t n = std::atoll(size.c_str());
  return size.ends_with('K') ? n << 10 : size.ends_with('M') ? n << 20 : n;
}

std::vector<Cache> caches_of_sysconf() {
  std::vector<Cache> caches;
  int level = 0;
  for (const int name : {_SC_LEVEL1_DCACHE_SIZE, _SC_LEVEL2_CACHE_SIZE, _SC_LEVEL3_CACHE_SIZE}) {
    ++level;
    const std::int64_t bytes = sysconf(name);
    if (bytes > 0) caches.push_back({level, bytes, 1});
  }
  return caches;
}

}  // namespace

std::vector<Cache> read_caches(const std::string& root, std::vector<int> processors) {
  if (processors.empty()) processors = processors_of_mask();
  // Processors that share a cache name the same ones: together one cache.
  std::set<std::tuple<int, std::int64_t, std::string>> instances;
  for (const int processor : processors)
    for (int index = 0;; ++index) {
      const std::string folder = fmt::format("{}/cpu{}/cache/index{}/", root, processor, index);
      const std::string size = line_of(folder + "size");
      if (size.empty()) break;
      if (line_of(folder + "type") == "Instruction") continue;
      instances.insert({std::atoi(line_of(folder + "level").c_str()), bytes_of(size),
                        line_of(folder + "shared_cpu_list")});
    }
  std::map<std::pair<int, std::int64_t>, int> counts;
  for (const auto& [level, bytes, shared] : instances) ++counts[{level, bytes}];
  std::vector<Cache> caches;
  for (const auto& [cache, count] : counts) caches.push_back({cache.first, cache.second, count});
  return caches.empty() ? caches_of_sysconf() : caches;
}

std::int64_t total_bytes(const std::vector<Cache>& caches) {
  std::int64_t total = 0;
  for (const Cache& cache : caches) total += cache.bytes * cache.count;
  return total;
}

bool come_from_memory(std::int64_t n_bytes, const std::vector<Cache>& caches) {
  return !caches.empty() && n_bytes >= kMuchLarger * total_bytes(caches);
}

std::string text_of(const std::vector<Cache>& caches) {
  std::string text;
  for (const Cache& cache : caches) {
    text += fmt::format("{}L{} ", text.empty() ? "" : ", ", cache.level);
    if (cache.count > 1) text += fmt::format("{} x ", cache.count);
    text += format_bytes(cache.bytes);
  }
  return text.empty() ? "unknown" : text;
}

}  // namespace moe::bench
